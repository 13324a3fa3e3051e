"""Static services: what the pillar has in the kernel's table beside keepalived, through runs, boots and moves."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mysql_ha_lab import cluster as look
from mysql_ha_lab import salt
from mysql_ha_lab.lab import Lab
from mysql_ha_lab.plan import DIRECTORS
from mysql_ha_lab.salt import HostResult
from pillars import EXAMPLE, as_yaml
from test_5_ipvs import BOTH, MYSQL1, MYSQL2, SERVICE, VIP, Session

STATE = "mysql_ha-director-services-ipvs-static"
UNIT, RECORD = "mysql_ha-ipvs.service", "/etc/mysql_ha/ipvs.rules"
MARK, STRANGE = "fwmark 5 ipv4", "fwmark 77 ipv4"
OF_KEEPALIVED = "tcp 192.168.1.100:3306"
WEB = {"scheduler": "rr", "servers": BOTH}
# Neither the weight nor the threshold would survive `ipvsadm --save` and `--restore`.
MARKED = {"scheduler": "wlc", "servers": {"192.168.1.5:0": {"weight": 100000, "upper_threshold": 9}}}
OURS = {SERVICE: WEB, MARK: MARKED}
# Not the address of the sessions: keepalived adds and removes that of an endpoint.
MOVING_VIP = "192.168.1.103"
MOVING = f"tcp {MOVING_VIP}:3306"
ENDPOINT = {"address": MOVING_VIP, "port": 3306, "serves": "all", "check": "tcp", "scheduler": "wrr"}
Results = dict[str, HostResult]


class Directors:
    """The two directors, whose static services come from the pillar."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def apply(self, services: dict[str, Any], *arguments: str, moved: bool = False, **keys: Any) -> Results:
        """A run with these static services, and with the one that moves as an endpoint, perhaps."""
        pillar = copy.deepcopy(EXAMPLE)
        pillar["ipvs"] = {"services": services, **keys}
        if moved:
            pillar["endpoints"]["moving"] = ENDPOINT
        salt.set_pillar(self.lab, as_yaml(pillar))
        return salt.apply(self.lab, *arguments, target="lvs*", report=False)

    def run(self, services: dict[str, Any], **keys: Any) -> dict[str, Any]:
        """What such a run changes. It succeeds, does what test mode predicted, and then there is nothing to do."""
        predicted = of_static(self.apply(services, "test=True", **keys))
        done = self.apply(services, **keys)
        for director, result in done.items():
            assert result.ok, result.error or result.problems()
            own = of_static(done)[director]
            assert own["changes"] == predicted[director]["changes"], director
            assert predicted[director]["result"] is (None if own["changes"] else True)
        for director, result in self.apply(services, **keys).items():
            assert result.ok, result.error or result.problems()
            assert not result.changed, f"{director}: {result.changed}"
        changes = [own["changes"] for own in of_static(done).values()]
        assert changes[0] == changes[1], "both directors have the same"
        return changes[0]

    def listed(self) -> dict[str, dict[str, Any]]:
        """What is in the tables, by director, without what comes and goes."""
        return {director: plain(table) for director, table in salt.call(self.lab, "lvs*", "ipvs.list").items()}

    def has(self, director: str, *words: str) -> bool:
        return self.lab.run(director, words, check=False).returncode == 0

    def journal(self, director: str) -> str:
        words = ["journalctl", "--quiet", "--no-pager", "--output=cat", "--boot", f"--unit={UNIT}"]
        return self.lab.run(director, words).stdout

    def started(self, director: str, unit: str) -> int:
        """When a unit was started, in the host's own microseconds."""
        words = ["systemctl", "show", "--value", "--property=ExecMainStartTimestampMonotonic", unit]
        return int(self.lab.run(director, words).stdout)

    @contextmanager
    def reachable(self) -> Iterator[None]:
        """The address of the sessions leads over the director that has the others to the databases."""
        hosts = {look.wait_for_holder(self.lab): "eth0", "mysql1": "lo", "mysql2": "lo"}
        for host, interface in hosts.items():
            self.lab.run(host, ["ip", "address", "replace", f"{VIP}/32", "dev", interface])
        try:
            yield
        finally:
            for host, interface in hosts.items():
                self.lab.run(host, ["ip", "address", "delete", f"{VIP}/32", "dev", interface], check=False)


def of_static(results: Results) -> dict[str, dict[str, Any]]:
    """What the state of the static services said, by director."""
    assert set(results) == set(DIRECTORS), {host: result.error for host, result in results.items()}
    found = {}
    for director, result in results.items():
        assert not result.error, result.error
        found[director] = next(state for state in result.states if state["id"] == STATE)
    return found


def plain(table: dict[str, Any]) -> dict[str, Any]:
    """A table without counters, and with no word for direct routing, as the pillar has it here."""
    found = copy.deepcopy(table)
    for service in found.values():
        for server in service["servers"].values():
            for word in ("active_connections", "inactive_connections", "persistent_connections", "forward"):
                server.pop(word, None)
    return found


@pytest.fixture(scope="module")
def directors(cluster: Lab) -> Iterator[Directors]:
    """Both without static services, then and afterwards."""
    one = Directors(cluster)
    for result in one.apply({}).values():
        assert result.ok, result.error or result.problems()
    yield one
    for result in one.apply({}, purge=True).values():
        assert result.ok, result.error or result.problems()
    salt.set_pillar(cluster, as_yaml(EXAMPLE))


def test_they_are_there_and_traffic_passes(directors: Directors) -> None:
    changed = directors.run(OURS)
    servers = {f"{SERVICE} -> {MYSQL1}", f"{SERVICE} -> {MYSQL2}", f"{MARK} -> 192.168.1.5:0"}
    assert set(changed) == {SERVICE, MARK, UNIT, RECORD} | servers
    for director, table in directors.listed().items():
        assert {name: table.get(name) for name in OURS} == OURS, director
        assert OF_KEEPALIVED in table
    with directors.reachable():
        session = Session(directors.lab)
        try:
            assert session.server() in ("1", "2")
        finally:
            session.close()


def test_a_boot_brings_them_back_before_keepalived(directors: Directors) -> None:
    lab = directors.lab
    for result in directors.apply(OURS).values():
        assert result.ok, result.error or result.problems()
    holder = look.wait_for_holder(lab)
    standby = next(director for director in DIRECTORS if director != holder)
    lab.power_off(standby)
    lab.boot(standby)
    # No run in between: a minion applies nothing by itself.
    table = look.table(lab, standby)
    assert set(table[f"{VIP}:3306"]["servers"]) == {MYSQL1, MYSQL2}
    assert table["5"]["servers"] == {"192.168.1.5:0": 100000}
    said = directors.journal(standby)
    assert f"{SERVICE}: added" in said
    assert f"{MARK} -> 192.168.1.5:0: added" in said
    assert 0 < directors.started(standby, UNIT) < directors.started(standby, "keepalived")
    look.wait_for_servers(lab, standby, {MYSQL1, MYSQL2})
    assert directors.run(OURS) == {}
    assert directors.listed()[standby][MARK] == MARKED


@pytest.mark.long
def test_what_leaves_the_pillar_goes_and_strangers_stay_unless_purged(directors: Directors) -> None:
    lab = directors.lab
    for result in directors.apply(OURS).values():
        assert result.ok, result.error or result.problems()
    salt.call(lab, "lvs*", "ipvs.ensure_service", "fwmark 77")
    assert set(directors.run({MARK: MARKED}, drain=5)) == {SERVICE, RECORD}
    for table in directors.listed().values():
        assert set(table) == {OF_KEEPALIVED, MARK, STRANGE}
    assert set(directors.run({MARK: MARKED}, purge=True)) == {STRANGE}
    for table in directors.listed().values():
        assert set(table) == {OF_KEEPALIVED, MARK}
    # With the last one the record and the unit go.
    assert set(directors.run({})) == {MARK, UNIT, RECORD}
    for director in DIRECTORS:
        assert set(directors.listed()[director]) == {OF_KEEPALIVED}
        assert not directors.has(director, "test", "-e", RECORD)
        assert not directors.has(director, "systemctl", "is-enabled", UNIT)
        assert not directors.has(director, "test", "-e", f"/etc/systemd/system/{UNIT}")


@pytest.mark.long
def test_from_static_to_endpoint_and_back_in_one_run_each(directors: Directors) -> None:
    lab, static = directors.lab, {MOVING: {"scheduler": "rr", "servers": {MYSQL1: {"weight": 1}}}, MARK: MARKED}
    assert MOVING in directors.run(static)
    # keepalived finds the service existing; what it has otherwise is put right before this state has its turn.
    assert set(directors.run({MARK: MARKED}, moved=True)) == {RECORD}
    assert salt.call(lab, "lvs*", "keepalived.differences") == {director: {} for director in DIRECTORS}
    for director in DIRECTORS:
        assert look.table(lab, director)[f"{MOVING_VIP}:3306"] == {
            "scheduler": "wrr",
            "servers": {MYSQL1: 3, MYSQL2: 3},
        }
        assert MOVING_VIP not in lab.run(director, ["cat", RECORD]).stdout
    # keepalived removes it when it reloads, which test mode knows.
    assert set(directors.run(static)) == {MOVING, f"{MOVING} -> {MYSQL1}", RECORD}
    for director in DIRECTORS:
        assert look.table(lab, director)[f"{MOVING_VIP}:3306"] == {"scheduler": "rr", "servers": {MYSQL1: 1}}
    assert set(directors.run({MARK: MARKED})) == {MOVING, RECORD}


@pytest.mark.long
def test_what_is_changed_by_hand_is_put_right(directors: Directors) -> None:
    for result in directors.apply(OURS).values():
        assert result.ok, result.error or result.problems()
    salt.call(directors.lab, "lvs*", "ipvs.edit_server", SERVICE, MYSQL1, "weight=7")
    salt.call(directors.lab, "lvs*", "ipvs.delete_service", MARK)
    changed = directors.run(OURS)
    assert set(changed) == {f"{SERVICE} -> {MYSQL1}", MARK, f"{MARK} -> 192.168.1.5:0"}
    assert changed[f"{SERVICE} -> {MYSQL1}"] == {"weight": {"old": 7, "new": 1}}
    # The unit does the same by hand, and removes nothing else.
    director = DIRECTORS[0]
    directors.lab.run(director, ["ipvsadm", "-D", "-f", "5"])
    directors.lab.run(director, ["systemctl", "restart", UNIT])
    assert f"{MARK}: added" in directors.journal(director)
    assert set(directors.listed()[director]) == {OF_KEEPALIVED, *OURS}


@pytest.mark.long
def test_what_the_kernel_refuses_is_told_by_the_run_and_by_the_unit(directors: Directors) -> None:
    for result in directors.apply(OURS).values():
        assert result.ok, result.error or result.problems()
    wrong = {"tcp 192.168.1.104:80": {"scheduler": "nosuch"}, MARK: MARKED}
    for director, state in of_static(directors.apply(wrong)).items():
        assert state["result"] is False
        assert "tcp 192.168.1.104:80: ENOENT: this kernel has no scheduler nosuch" in state["comment"]
        # Nothing is removed while something could not be added, and it is still known whose it is.
        assert f"{SERVICE}: kept, because something else could not be added" in state["comment"]
        assert SERVICE in directors.listed()[director]
        assert not directors.has(director, "systemctl", "restart", UNIT)
        assert "Cannot add the service tcp 192.168.1.104:80: ENOENT" in directors.journal(director)
        assert set(directors.listed()[director]) == {OF_KEEPALIVED, SERVICE, MARK}
    assert set(directors.run({MARK: MARKED})) == {SERVICE, RECORD}
    assert directors.has(DIRECTORS[0], "systemctl", "restart", UNIT)


@pytest.mark.long
def test_a_service_has_one_owner(directors: Directors) -> None:
    for result in directors.apply({MOVING: WEB}, moved=True).values():
        assert [state["id"] for state in result.failed][0] == "mysql_ha-sync-mysql_ha-pillar_valid"
        assert (
            f"mysql_ha:ipvs:services:{MOVING}: is the same service as mysql_ha:endpoints:moving"
            in (result.failed[0]["comment"])
        )
