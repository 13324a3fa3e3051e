"""What the pillar says of VRRP, as it is seen from outside: adverts on the network, addresses on the directors."""

from __future__ import annotations

import copy
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mysql_ha_lab import cluster as look
from mysql_ha_lab import salt
from mysql_ha_lab.client import VIP
from mysql_ha_lab.command import wait_for
from mysql_ha_lab.identity import write
from mysql_ha_lab.lab import Lab
from mysql_ha_lab.plan import ADDRESSES, DIRECTORS
from pillars import EXAMPLE, as_yaml

SECOND_VIP = "192.168.1.101"
PYTHON = "/opt/salt/bin/python"
LISTEN = Path(__file__).parent / "guest/vrrp_listen.py"
LISTEN_ON_HOST = "/usr/local/lib/lab/vrrp_listen.py"
# A director that came back and could preempt has done it long before: its own timer is 3.6 s at most.
LONG_ENOUGH = 6
PRIORITIES = {name: EXAMPLE["nodes"][name]["priority"] for name in DIRECTORS}
TWO = {
    "front": {"virtual_router_id": 51, "endpoints": ["write"]},
    "back": {"virtual_router_id": 52, "addresses": [SECOND_VIP]},
}


class Directors:
    """The two directors, and how their VRRP is changed by pillar."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        for name in (*DIRECTORS, "mysql1"):
            write(lab.plan.host(name).root / LISTEN_ON_HOST.lstrip("/"), LISTEN.read_text())

    def use(self, priorities: dict[str, int] = PRIORITIES, secrets: dict[str, Any] | None = None, **vrrp: Any) -> None:
        """pillar.example with this of its `vrrp` said otherwise."""
        pillar = copy.deepcopy(EXAMPLE)
        pillar["vrrp"] |= vrrp
        pillar["secrets"] |= secrets or {}
        for name, priority in priorities.items():
            pillar["nodes"][name]["priority"] = priority
        salt.set_pillar(self.lab, as_yaml(pillar))
        for result in salt.apply(self.lab, target="lvs*", report=False).values():
            assert result.ok, result.error or result.problems()

    def holders(self, address: str = VIP) -> list[str]:
        words = ["ip", "-o", "-4", "address", "show"]
        return [name for name in DIRECTORS if f" {address}/" in self.lab.run(name, words).stdout]

    def wait_for(self, holder: str, *addresses: str) -> None:
        for address in addresses or (VIP,):
            wait_for(f"{address} on {holder} alone", lambda a=address: self.holders(a) == [holder], 90, 0.5)

    def hear(self, host: str, seconds: float = 4) -> list[dict[str, Any]]:
        """The adverts that reach a host."""
        said = self.lab.run(host, [PYTHON, LISTEN_ON_HOST, str(seconds)]).stdout
        return [json.loads(line) for line in said.splitlines()]

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """keepalived does not run on a director; afterwards it has started, and has looked who is master."""
        self.lab.run(name, ["systemctl", "stop", "keepalived"])
        yield
        began = time.time()
        self.lab.run(name, ["systemctl", "start", "keepalived"])
        words = ["journalctl", "-q", "-u", "keepalived", "-o", "cat", f"--since=@{int(began)}"]
        wait_for(f"{name} to stand by", lambda: "Entering BACKUP STATE" in self.lab.run(name, words).stdout, 60, 0.5)

    def move(self, to: str) -> None:
        """Have one of them hold the addresses, where nobody preempts."""
        holder = look.wait_for_holder(self.lab)
        if holder != to:
            with self.stopped(holder):
                self.wait_for(to)


@pytest.fixture(scope="module")
def directors(cluster: Lab) -> Iterator[Directors]:
    """Both on pillar.example, then and afterwards."""
    found = Directors(cluster)
    found.use()
    yield found
    found.use()


def other_than(director: str) -> str:
    return next(name for name in DIRECTORS if name != director)


def spacing(adverts: list[dict[str, Any]]) -> float:
    """The median of the seconds between one advert and the next."""
    times = [advert["at"] for advert in adverts]
    return statistics.median(later - earlier for earlier, later in zip(times, times[1:], strict=False))


@pytest.mark.parametrize("interval", [0.3, 0.15])
def test_adverts_below_a_second_go_to_the_other_director_alone(directors: Directors, interval: float) -> None:
    directors.use(advert_interval=interval)
    holder = look.wait_for_holder(directors.lab)
    heard = directors.hear(other_than(holder))
    expected = {
        "source": ADDRESSES[holder],
        "destination": ADDRESSES[other_than(holder)],
        "version": 3,
        "router": 51,
        "priority": PRIORITIES[holder],
        "interval": interval,
        "addresses": [VIP],
    }
    assert heard
    assert {json.dumps({key: advert[key] for key in expected}) for advert in heard} == {json.dumps(expected)}
    assert interval * 0.7 < spacing(heard) < interval * 1.5
    assert directors.hear("mysql1") == []


def test_multicast_and_version_2_are_heard_by_everybody(directors: Directors) -> None:
    directors.use(version=2, advert_interval=1, unicast=False, secrets={"vrrp": "1111"})
    holder = look.wait_for_holder(directors.lab)
    heard = directors.hear("mysql1", 5)
    assert {(one["source"], one["destination"], one["version"], one["interval"]) for one in heard} == {
        (ADDRESSES[holder], "224.0.0.18", 2, 1.0)}  # fmt: skip
    assert 0.7 < spacing(heard) < 1.5


def test_the_director_that_returns_does_not_take_the_addresses_back(directors: Directors) -> None:
    directors.use()
    directors.move("lvs1")
    with directors.stopped("lvs1"):
        directors.wait_for("lvs2")
    assert PRIORITIES["lvs1"] > PRIORITIES["lvs2"]
    heard = directors.hear("lvs1", LONG_ENOUGH)
    assert {advert["source"] for advert in heard} == {ADDRESSES["lvs2"]}
    assert directors.holders() == ["lvs2"]


def test_with_preemption_the_priorities_decide_at_any_time(directors: Directors) -> None:
    directors.use(preempt=True)
    directors.wait_for("lvs1")
    directors.use({"lvs1": 100, "lvs2": 150}, preempt=True)
    directors.wait_for("lvs2")
    with directors.stopped("lvs2"):
        directors.wait_for("lvs1")
    directors.wait_for("lvs2")


def test_two_instances_may_prefer_a_director_each(directors: Directors) -> None:
    back = TWO["back"] | {"priorities": {"lvs1": 100, "lvs2": 150}}
    directors.use(preempt=True, instances=TWO | {"back": back})
    directors.wait_for("lvs1", VIP)
    directors.wait_for("lvs2", SECOND_VIP)
    with directors.stopped("lvs2"):
        directors.wait_for("lvs1", VIP, SECOND_VIP)
    directors.wait_for("lvs2", SECOND_VIP)
    assert directors.holders() == ["lvs1"]


def test_a_group_moves_as_one(directors: Directors) -> None:
    """One instance of two is not well on the director that has both."""
    files = {"unwell": {"file": "/run/unwell", "weight": 0, "init": 0, "overwrite": True}}
    front = TWO["front"] | {"track": {"files": ["unwell"]}}
    directors.use(instances=TWO | {"front": front}, groups={"both": {"instances": ["front", "back"]}}, files=files)
    holder = look.wait_for_holder(directors.lab)
    other = other_than(holder)
    directors.wait_for(holder, VIP, SECOND_VIP)
    directors.lab.run(holder, ["sh", "-c", "echo 1 > /run/unwell"])
    directors.wait_for(other, VIP, SECOND_VIP)
    directors.lab.run(holder, ["sh", "-c", "echo 0 > /run/unwell"])
    assert directors.holders() == directors.holders(SECOND_VIP) == [other]
    # The first one is well again: it takes both when the other one is not.
    directors.lab.run(other, ["sh", "-c", "echo 1 > /run/unwell"])
    directors.wait_for(holder, VIP, SECOND_VIP)
    directors.lab.run(other, ["sh", "-c", "echo 0 > /run/unwell"])
