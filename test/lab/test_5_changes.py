"""Changes by day: what is edited in the pillar and applied breaks no session that it does not concern."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mysql_ha_lab import cluster as look
from mysql_ha_lab import salt
from mysql_ha_lab.client import VIP, Probe, Sessions
from mysql_ha_lab.command import wait_for
from mysql_ha_lab.lab import Lab
from mysql_ha_lab.plan import DIRECTORS, REPOSITORY
from pillars import EXAMPLE, as_yaml

READ_VIP, THIRD_VIP = "192.168.1.101", "192.168.1.102"
MYSQL1, MYSQL2 = "192.168.1.5:3306", "192.168.1.6:3306"
SESSIONS = 200
FIGURES = REPOSITORY / "build/changes.json"
Pillar = dict[str, Any]


class Changing:
    """A cluster whose pillar is edited and applied, with sessions open and new connections coming in all the time."""

    def __init__(self, lab: Lab, pillar: Pillar, sessions: Sessions, probe: Probe) -> None:
        self.lab, self.pillar, self.sessions, self.probe = lab, pillar, sessions, probe
        self.done: list[dict[str, Any]] = []

    @contextmanager
    def change(self, what: str, *, concerns: set[tuple[str, int]] | None = None) -> Iterator[Pillar]:
        """
        Edit the pillar, apply it, and see that no session broke but those that it ``concerns``: (virtual address,
        server_id).
        """
        mark, attempts = self.sessions.mark(), self.probe.mark()
        yield self.pillar
        apply(self.lab, self.pillar)
        self.sessions.all_asked(mark)
        self.probe.steady(attempts)
        broken = self.sessions.broken(mark)
        gap = self.probe.gap(attempts)
        untouched = [one for one in broken if (one["host"], one["server"]) not in (concerns or set())]
        self.done.append(
            {
                "change": what,
                "sessions": SESSIONS,
                "ended": len(broken) - len(untouched),
                "broken": len(untouched),
                "new": gap.attempts,
                "failed": gap.failed,
                "longest_gap_s": round(gap.seconds, 2),
            }
        )
        assert not untouched, f"{what}: {json.dumps(untouched)}"
        assert gap.failed == 0, f"{what}: {gap}"


def apply(lab: Lab, pillar: Pillar) -> None:
    salt.set_pillar(lab, as_yaml(pillar))
    # The real servers first: a director must not send them packets for an address that they do not have yet.
    for target in ("mysql*", "lvs*"):
        for result in salt.apply(lab, target=target, report=False).values():
            assert result.ok, result.error or result.problems()


@pytest.fixture(scope="module")
def two_entrances(cluster: Lab) -> Iterator[tuple[Lab, Pillar]]:
    """The running cluster with a second endpoint that names its servers one by one."""
    pillar = copy.deepcopy(EXAMPLE)
    pillar["endpoints"]["read"] = {
        "address": READ_VIP,
        "port": 3306,
        "scheduler": "wrr",
        "check": "tcp",
        "servers": {"mysql1": {}, "mysql2": {}},
    }
    apply(cluster, pillar)
    yield cluster, pillar
    salt.set_pillar(cluster, as_yaml(EXAMPLE))
    for result in salt.apply(cluster, report=False).values():
        assert result.ok, result.error or result.problems()


@pytest.fixture(scope="module")
def changing(two_entrances: tuple[Lab, Pillar], request: pytest.FixtureRequest) -> Iterator[Changing]:
    lab, pillar = two_entrances
    for director in DIRECTORS:
        wait_for_service(lab, director, VIP, {MYSQL1: 3, MYSQL2: 3})
        wait_for_service(lab, director, READ_VIP, {MYSQL1: 3, MYSQL2: 3})
    half = SESSIONS // 2
    with Sessions(lab, {VIP: half, READ_VIP: half}) as sessions, Probe(lab, "--limit", "5") as probe:
        assert Counter(sessions.opened) == {(vip, server): half // 2 for vip in (VIP, READ_VIP) for server in (1, 2)}
        one = Changing(lab, pillar, sessions, probe)
        yield one
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(one.done, indent=1))
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + "\n".join(map(sentence, one.done)))


def sentence(done: dict[str, Any]) -> str:
    return (
        f"{done['change']}: of {done['sessions']} sessions {done['ended']} that it concerns ended, {done['broken']} "
        f"others broke; {done['failed']} of {done['new']} new ones failed, longest gap {done['longest_gap_s']} s"
    )


def service(lab: Lab, director: str, vip: str) -> dict[str, Any]:
    return look.table(lab, director).get(f"{vip}:3306", {})


def wait_for_service(lab: Lab, director: str, vip: str, servers: dict[str, int]) -> None:
    wait_for(
        f"{servers} behind {vip} on {director}",
        lambda: service(lab, director, vip).get("servers") == servers,
        60,
        0.3,
    )


@pytest.mark.long
def test_another_weight(changing: Changing) -> None:
    with changing.change("weight of mysql1 from 3 to 5") as pillar:
        pillar["nodes"]["mysql1"]["weight"] = 5
    for director in DIRECTORS:
        wait_for_service(changing.lab, director, VIP, {MYSQL1: 5, MYSQL2: 3})
        wait_for_service(changing.lab, director, READ_VIP, {MYSQL1: 5, MYSQL2: 3})


@pytest.mark.long
def test_another_scheduler(changing: Changing) -> None:
    with changing.change("scheduler of write from wrr to wlc") as pillar:
        pillar["endpoints"]["write"]["scheduler"] = "wlc"
    for director in DIRECTORS:
        assert service(changing.lab, director, VIP)["scheduler"] == "wlc"
        assert service(changing.lab, director, READ_VIP)["scheduler"] == "wrr"


@pytest.mark.long
def test_other_checks_and_timeouts(changing: Changing) -> None:
    with changing.change("checks: interval, timeout, retries") as pillar:
        pillar["checks"] = {"interval": 0.5, "connect_timeout": 2, "retries": 2, "retry_interval": 0.2}
    with changing.change("check of read from tcp to a program") as pillar:
        pillar["endpoints"]["read"]["check"] = {"type": "misc", "script": "/bin/true", "user": "root"}
    for director in DIRECTORS:
        wait_for_service(changing.lab, director, READ_VIP, {MYSQL1: 5, MYSQL2: 3})


def test_drain_and_remove_a_server_and_add_it_again(changing: Changing) -> None:
    lab = changing.lab
    weight = changing.pillar["nodes"]["mysql1"]["weight"]
    with changing.change("mysql2 drained from read") as pillar:
        pillar["endpoints"]["read"]["servers"]["mysql2"] = {"weight": 0}
    for director in DIRECTORS:
        wait_for_service(lab, director, READ_VIP, {MYSQL1: weight, MYSQL2: 0})
    with changing.change("mysql2 removed from read", concerns={(READ_VIP, 2)}) as pillar:
        del pillar["endpoints"]["read"]["servers"]["mysql2"]
    for director in DIRECTORS:
        wait_for_service(lab, director, READ_VIP, {MYSQL1: weight})
    # Those that it concerned are told at once, and do not hang until a timeout of theirs.
    assert len(changing.sessions.broken()) == SESSIONS // 4
    with changing.change("mysql2 added to read") as pillar:
        pillar["endpoints"]["read"]["servers"]["mysql2"] = {}
    for director in DIRECTORS:
        wait_for_service(lab, director, READ_VIP, {MYSQL1: weight, MYSQL2: 3})


@pytest.mark.long
def test_an_endpoint_comes_and_goes(changing: Changing) -> None:
    lab = changing.lab
    with changing.change("endpoint third added") as pillar:
        pillar["endpoints"]["third"] = dict(pillar["endpoints"]["write"], address=THIRD_VIP)
    for director in DIRECTORS:
        wait_for_service(lab, director, THIRD_VIP, {MYSQL1: 5, MYSQL2: 3})
    with Sessions(lab, {THIRD_VIP: 4}) as third:
        third.all_asked(third.mark())
        assert not third.broken()
    with changing.change("endpoint third removed") as pillar:
        del pillar["endpoints"]["third"]
    for director in DIRECTORS:
        assert service(lab, director, THIRD_VIP) == {}


@pytest.mark.long
def test_thresholds_alone(changing: Changing) -> None:
    """keepalived does not apply a reload that changes only these; the formula does."""
    with changing.change("upper_threshold of mysql1 behind read") as pillar:
        pillar["endpoints"]["read"]["servers"]["mysql1"] = {"upper_threshold": 1000, "lower_threshold": 10}
    for director in DIRECTORS:
        listed = salt.call(changing.lab, director, "ipvs.list")[director]
        server = listed[f"tcp {READ_VIP}:3306"]["servers"][MYSQL1]
        assert (server["upper_threshold"], server["lower_threshold"]) == (1000, 10)
