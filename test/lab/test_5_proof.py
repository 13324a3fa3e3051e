"""A director is what its pillar says, and proves it: keepalived's own test, its reload, and the kernel's table.

Real servers are addresses on the director's own loopback, so no other host is needed:
MYSQL_HA_LAB_WITHOUT="mysql1 mysql2 client lvs2" makes a lab for these tests alone.
"""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mysql_ha_lab import salt
from mysql_ha_lab.command import wait_for
from mysql_ha_lab.identity import write
from mysql_ha_lab.lab import Lab
from mysql_ha_lab.plan import DIRECTORS, REPOSITORY
from mysql_ha_lab.salt import HostResult
from pillars import EXAMPLE, as_yaml, changed

LVS = "lvs1"
CALLS = Path(__file__).parent / "guest/salt_calls.py"
CALLS_ON_HOST = "/usr/local/lib/lab/salt_calls.py"
PYTHON = "/opt/salt/bin/python"
CONF = "/etc/keepalived/keepalived.conf"
CONFIGURED = "mysql_ha-director-config-keepalived-configured"
LOADED = "mysql_ha-director-service-keepalived-loaded"
VERIFIED = "mysql_ha-director-table-keepalived-table_verified"
ONE, TWO, THREE, DEAD = (f"10.99.0.{last}" for last in (1, 2, 3, 9))
PROOF, SORRY, DYNAMIC = (f"tcp 192.168.1.{last}:8080" for last in (110, 111, 114))
OTHERS = "tcp 192.168.1.110:9090"
# What the weight of the server in the endpoint `dynamic` is, by the exit status of its check.
WEIGH = "#!/bin/sh\nexit $(cat /run/weigh)\n"
LISTENER = """
import socket
server = socket.create_server(("0.0.0.0", 8080), backlog=64)
while True:
    server.accept()[0].close()
"""


def pillar() -> dict[str, Any]:
    """pillar.example with endpoints of every kind, whose real servers are addresses of the director itself."""
    found = copy.deepcopy(EXAMPLE)
    found["keepalived"]["global_defs"] = {"script_user": "root", "enable_script_security": True}
    found["endpoints"] |= {
        "proof": {"address": "192.168.1.110", "port": 8080, "check": "tcp", "servers": {
            "one": {"address": ONE, "weight": 2}, "two": {"address": TWO, "weight": 3},
            "three": {"address": THREE, "inhibit_on_failure": True}}},
        "sorry": {"address": "192.168.1.111", "port": 8080, "check": "tcp", "servers": {"dead": {"address": DEAD}},
                  "sorry_server": {"address": ONE, "port": 8080}},
        "group": {"group": ["192.168.1.112-113 8080", "fwmark 7"], "scheduler": "sh", "scheduler_flags": ["sh-port"],
                  "check": "none", "servers": {
                      "one": {"address": ONE}, "two": {"address": TWO, "port": 8081, "forward": "nat"}}},
        "six": {"address": "2001:db8::100", "port": 8080, "protocol": "udp", "one_packet": True, "check": "none",
                "servers": {"one": {"address": "2001:db8::5"}}},
        "dynamic": {"address": "192.168.1.114", "port": 8080, "persistence_timeout": 60,
                    "persistence_netmask": "255.255.255.0", "servers": {"one": {"address": ONE, "weight": 5}},
                    "check": {"type": "misc", "script": "/usr/local/bin/weigh", "dynamic": True}},
    }  # fmt: skip
    return found


class Director:
    """A director with one process of Salt's on it that answers calls, and how it is brought to a pillar."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.pillar = pillar()
        write(lab.plan.host(LVS).root / CALLS_ON_HOST.lstrip("/"), CALLS.read_text())
        words = lab.host(LVS).command([PYTHON, "-u", CALLS_ON_HOST])
        self._run = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert json.loads(self._run.stdout.readline()) == {"returned": "ready"}

    def call(self, function: str, *arguments: Any, **options: Any) -> Any:
        """What a function of a module returned; the sentence, if it raised."""
        asked = {"function": function, "arguments": arguments, "options": options, "test": None}
        self._run.stdin.write(json.dumps(asked) + "\n")
        self._run.stdin.flush()
        answer = json.loads(self._run.stdout.readline())
        return answer.get("returned", answer.get("error"))

    def close(self) -> None:
        self._run.stdin.close()
        self._run.wait(30)

    def run(self, *words: str, check: bool = True) -> str:
        return self.lab.run(LVS, list(words), check=check).stdout

    def differences(self) -> Any:
        return self.call("keepalived.differences", self.pillar)

    def table(self) -> dict[str, Any]:
        return self.call("ipvs.list")

    def servers(self, service: str) -> dict[str, int]:
        """The weights of a service's servers, by address."""
        found = self.call("ipvs.get_service", service)["servers"]
        return {name.rpartition(":")[0]: server["weight"] for name, server in found.items()}

    def wait_for(self, service: str, servers: dict[str, int]) -> None:
        wait_for(f"{service} to have {servers}", lambda: self.servers(service) == servers, 60, 0.5)

    def use(self, new: dict[str, Any]) -> None:
        self.pillar = new
        salt.set_pillar(self.lab, as_yaml(new))

    def apply(self, *arguments: str) -> HostResult:
        return salt.apply(self.lab, *arguments, target=LVS, sls="mysql_ha.director.table", report=False)[LVS]

    def brought(self) -> dict[str, dict[str, Any]]:
        """A run in test mode, one for real and a second one: the changes, which the first foresees and the last has
        none of."""
        foreseen, real = self.apply("test=True"), self.apply()
        for result in (foreseen, real):
            assert result.ok, result.error or result.problems()
        assert ours(foreseen) == ours(real)
        self.settled()
        return {state["id"]: state["changes"] for state in real.changed}

    def settled(self) -> None:
        assert self.differences() == {}
        second = self.apply()
        assert second.ok, second.error or second.problems()
        assert second.changed == []

    def reloads(self) -> int:
        """How often keepalived has reloaded since it was started."""
        since = self.run("systemctl", "show", "-P", "InvocationID", "keepalived").strip()
        return self.run("journalctl", "-o", "cat", f"_SYSTEMD_INVOCATION_ID={since}").count("Reloading ...")

    def pid(self) -> str:
        return self.run("systemctl", "show", "-P", "MainPID", "keepalived").strip()


def ours(result: HostResult) -> dict[str, Any]:
    """ID -> changes of keepalived's states."""
    return {state["id"]: state["changes"] for state in result.states if state["function"].startswith("keepalived.")}


@pytest.fixture(scope="module")
def director(lab: Lab) -> Iterator[Director]:
    """The director, brought to the pillar."""
    write(lab.plan.host(LVS).root / "usr/local/bin/weigh", WEIGH, 0o755)
    # Two more than the weight.
    lab.run(LVS, ["sh", "-c", "echo 9 > /run/weigh"])
    for address in (ONE, TWO, THREE):
        lab.run(LVS, ["ip", "address", "replace", f"{address}/32", "dev", "lo"])
    lab.run(LVS, ["systemctl", "stop", "listener"], check=False)
    lab.run(LVS, ["systemd-run", "--unit=listener", "--collect", PYTHON, "-c", LISTENER])
    salt.set_pillar(lab, as_yaml(pillar()))
    first = salt.apply(lab, target=LVS, sls="mysql_ha.director")[LVS]
    assert first.ok, first.error or first.problems()
    one = Director(lab)
    one.wait_for(PROOF, {ONE: 2, TWO: 3, THREE: 1})
    one.wait_for(SORRY, {ONE: 1})
    one.wait_for(DYNAMIC, {ONE: 7})
    yield one
    one.close()
    lab.run(LVS, ["systemctl", "stop", "listener"])
    for address in (ONE, TWO, THREE):
        lab.run(LVS, ["ip", "address", "delete", f"{address}/32", "dev", "lo"], check=False)
    salt.set_pillar(lab, (REPOSITORY / "pillar.example").read_text())
    for name in DIRECTORS:
        if name in lab.plan.hosts:
            assert salt.apply(lab, target=name, sls="mysql_ha.director")[name].ok


@pytest.fixture(autouse=True)
def left_as_it_was(director: Director) -> Iterator[None]:
    """Each test begins with the pillar in effect, and with somebody else's service beside keepalived's."""
    new = pillar()
    if director.pillar != new:
        director.use(new)
        assert director.apply().ok
    foreign = {OTHERS: {"scheduler": "rr", "servers": {"10.99.0.7:9090": {"forward": "dr", "weight": 4}}}}
    director.call("ipvs.apply", foreign)
    yield
    assert director.table()[OTHERS]["servers"].keys() == {"10.99.0.7:9090"}
    assert director.table()[OTHERS]["scheduler"] == "rr"


def test_every_kind_of_endpoint_is_right_and_a_second_run_changes_nothing(director: Director) -> None:
    director.settled()
    found = set(director.table()) - {OTHERS}
    assert found == {"tcp 192.168.1.100:3306", PROOF, SORRY, DYNAMIC, "tcp 192.168.1.112:8080",
                     "tcp 192.168.1.113:8080", "fwmark 7 ipv4", "udp [2001:db8::100]:8080"}  # fmt: skip
    # By the minion's own pillar, as an operator asks.
    assert salt.call(director.lab, LVS, "keepalived.differences") == {LVS: {}}
    # No data of keepalived's are left behind, and none with its password.
    assert director.run("sh", "-c", "ls /tmp/keepalived* || true") == ""


@pytest.mark.long
def test_thresholds_that_only_the_pillar_has_changed(director: Director) -> None:
    pid, reloads = director.pid(), director.reloads()
    director.use(changed(director.pillar, "endpoints", "proof", "servers", "one", {
        "address": ONE, "weight": 2, "upper_threshold": 100, "lower_threshold": 80}))  # fmt: skip
    changes = director.brought()
    assert set(changes) == {CONFIGURED, LOADED, VERIFIED}
    assert changes[VERIFIED] == {f"{PROOF} -> {ONE}:8080": {
        "upper_threshold": {"old": None, "new": 100}, "lower_threshold": {"old": None, "new": 80}}}  # fmt: skip
    assert (director.pid(), director.reloads()) == (pid, reloads + 1)


@pytest.mark.parametrize("change", [
    ("endpoints", "proof", "servers", "one", {"address": ONE, "weight": 9, "upper_threshold": 7}),
    *(pytest.param(change, marks=pytest.mark.long) for change in [
        ("endpoints", "proof", "scheduler", "wlc"),
        ("endpoints", "proof", "persistence_timeout", 30),
        ("endpoints", "group", "scheduler_flags", ["sh-fallback"]),
        ("endpoints", "proof", "port", 8082),
        ("endpoints", "proof", "servers", {"two": {"address": TWO, "weight": 3}, "new": {"address": DEAD}}),
        ("checks", "interval", 2),
    ]),
])  # fmt: skip
def test_what_keepalived_does_by_itself_is_foreseen_and_not_done_twice(director: Director, change: Any) -> None:
    director.use(changed(director.pillar, *change))
    changes = director.apply("test=True"), director.apply()
    for result in changes:
        assert result.ok, result.error or result.problems()
        assert {state["id"] for state in result.states if state["changes"]} == {CONFIGURED, LOADED}
    assert ours(changes[0]) == ours(changes[1])
    assert director.differences() == {}


def test_what_somebody_changed_by_hand_is_put_right(director: Director) -> None:
    director.call("ipvs.add_server", PROOF, DEAD)
    director.call("ipvs.edit_server", PROOF, ONE, weight=0)
    director.call("ipvs.delete_server", PROOF, TWO)
    director.call("ipvs.edit_service", DYNAMIC, scheduler="rr", persistence_timeout=0)
    director.call("ipvs.delete_service", "fwmark 7 ipv4")
    director.call("ipvs.edit_server", DYNAMIC, ONE, weight=1)
    wrong = director.differences()
    assert set(wrong) == {"table"}
    assert set(wrong["table"]) == {
        DYNAMIC, "fwmark 7 ipv4", f"fwmark 7 ipv4 -> {ONE}:0", f"fwmark 7 ipv4 -> {TWO}:8081",
        *(f"{PROOF} -> {address}:8080" for address in (ONE, TWO, DEAD)), f"{DYNAMIC} -> {ONE}:8080"}  # fmt: skip
    assert director.brought() == {VERIFIED: wrong["table"]}
    assert director.servers(PROOF) == {ONE: 2, TWO: 3, THREE: 1}
    assert director.servers(DYNAMIC) == {ONE: 7}


@pytest.mark.long
def test_what_was_there_before_keepalived_started_is_put_right(director: Director) -> None:
    director.run("systemctl", "stop", "keepalived")
    director.call("ipvs.apply", {PROOF: {"scheduler": "rr", "servers": {
        ONE: {"weight": 77, "upper_threshold": 5}, DEAD: {"weight": 1}}}})  # fmt: skip
    assert "keepalived does not run on this host" in director.differences()
    foreseen = director.apply("test=True")
    assert foreseen.ok
    real = director.apply()
    assert real.ok, real.error or real.problems()
    assert ours(foreseen) == ours(real)
    assert set(ours(real)[VERIFIED]) == {PROOF, f"{PROOF} -> {ONE}:8080", f"{PROOF} -> {DEAD}:8080"}
    director.wait_for(PROOF, {ONE: 2, TWO: 3, THREE: 1})
    director.wait_for(SORRY, {ONE: 1})
    director.wait_for(DYNAMIC, {ONE: 7})
    director.settled()


def test_what_a_check_has_decided_stays(director: Director) -> None:
    """Two is dead and gone, three is dead and inhibited, and a check has set a weight."""
    for address in (TWO, THREE):
        director.run("ip", "address", "delete", f"{address}/32", "dev", "lo")
    director.run("sh", "-c", "echo 42 > /run/weigh")
    try:
        director.wait_for(PROOF, {ONE: 2, THREE: 0})
        director.wait_for(DYNAMIC, {ONE: 40})
        director.settled()
        # Neither comes back, and each is as it was, when something else is put right.
        director.call("ipvs.edit_server", PROOF, ONE, weight=9)
        director.call("ipvs.edit_server", PROOF, THREE, weight=9)
        director.call("ipvs.add_server", PROOF, TWO, weight=3)
        assert set(director.brought()[VERIFIED]) == {f"{PROOF} -> {address}:8080" for address in (ONE, TWO, THREE)}
        assert director.servers(PROOF) == {ONE: 2, THREE: 0}
        # Nor by a reload.
        director.use(changed(director.pillar, "endpoints", "proof", "scheduler", "wlc"))
        assert set(director.brought()) == {CONFIGURED, LOADED}
        assert director.servers(PROOF) == {ONE: 2, THREE: 0}
        assert director.servers(DYNAMIC) == {ONE: 40}
    finally:
        for address in (TWO, THREE):
            director.run("ip", "address", "replace", f"{address}/32", "dev", "lo")
        director.run("sh", "-c", "echo 9 > /run/weigh")
    director.wait_for(PROOF, {ONE: 2, TWO: 3, THREE: 1})
    director.wait_for(DYNAMIC, {ONE: 7})


def test_an_address_that_the_hosts_network_does_not_have_is_told(director: Director) -> None:
    def foreign(pillar: dict[str, Any]) -> list[str]:
        return json.loads(director.run("salt-call", "--out=json", "keepalived.foreign_addresses", json.dumps(pillar)))[
            "local"]  # fmt: skip

    assert foreign(director.pillar) == []
    (sentence,) = foreign(changed(director.pillar, "endpoints", "proof", "address", "10.99.1.1"))
    assert "mysql_ha:endpoints:proof: 10.99.1.1 is in none of the networks of eth0 on this host" in sentence
    assert "(192.168.1.0/24)" in sentence


def test_what_keepalived_refuses_changes_nothing(director: Director) -> None:
    file, table, reloads = director.run("cat", CONF), director.table(), director.reloads()
    good = director.pillar
    director.use(changed(good, "keepalived", "global_defs", "no_such_keyword", 1))
    for arguments in (["test=True"], []):
        result = director.apply(*arguments)
        assert [state["id"] for state in result.failed][0] == CONFIGURED
        comment = result.failed[0]["comment"]
        for words in ("keepalived refuses the new one: exit status 5", "Unknown keyword 'no_such_keyword'",
                      "mysql_ha:keepalived:global_defs"):  # fmt: skip
            assert words in comment
    assert (director.run("cat", CONF), director.table(), director.reloads()) == (file, table, reloads)
    director.pillar = good
    assert director.differences() == {}


@pytest.mark.long
def test_a_file_that_keepalived_has_not_read_is_read(director: Director) -> None:
    """As when a run was broken off between the file and the reload."""
    director.use(pillar())
    assert director.apply().ok
    reloads = director.reloads()
    director.run("cp", "--archive", CONF, "/run/good.conf")
    director.run("sed", "--in-place", "s/lvs_sched wrr/lvs_sched rr/", CONF)
    director.run("systemctl", "reload", "keepalived")
    wait_for("the other scheduler", lambda: director.table()[PROOF]["scheduler"] == "rr", 30, 0.3)
    director.run("cp", "--archive", "/run/good.conf", CONF)
    assert f"{PROOF}: it has the scheduler rr, not wrr" in director.differences()["keepalived"]
    assert set(director.brought()) == {LOADED}
    assert director.table()[PROOF]["scheduler"] == "wrr"
    assert director.reloads() == reloads + 2


@pytest.mark.long
def test_nothing_is_reloaded_without_a_change(director: Director) -> None:
    director.use(pillar())
    assert director.apply().ok
    reloads = director.reloads()
    director.run("chmod", "644", CONF)
    assert set(director.brought()) == {CONFIGURED}
    assert director.run("stat", "-c", "%a", CONF).strip() == "600"
    director.run("touch", CONF)
    director.settled()
    assert director.reloads() == reloads


@pytest.mark.long
def test_what_keepalived_takes_only_at_its_start_is_said(director: Director) -> None:
    director.use(changed(director.pillar, "keepalived", "global_defs", "disable_local_igmp", True))
    for _ in range(2):
        result = director.apply()
        assert [state["id"] for state in result.failed][0] == LOADED
        assert "takes these keywords only when it starts" in result.failed[0]["comment"]
        assert "disable_local_igmp" in result.failed[0]["comment"]
    director.run("systemctl", "restart", "keepalived")
    director.settled()
    director.use(pillar())
    director.apply()
    director.run("systemctl", "restart", "keepalived")
    director.wait_for(PROOF, {ONE: 2, TWO: 3, THREE: 1})
    director.wait_for(SORRY, {ONE: 1})
    director.wait_for(DYNAMIC, {ONE: 7})
    director.settled()


@pytest.mark.long
def test_while_keepalived_says_nothing_what_is_certain_is_put_right(director: Director) -> None:
    """Its process that checks servers hangs, so what it knows of them cannot be read."""
    director.call("ipvs.add_server", PROOF, DEAD)
    director.call("ipvs.edit_server", PROOF, ONE, weight=9)
    checker = director.run("cat", "/run/checkers.pid").strip()
    director.run("kill", "-STOP", checker)
    try:
        result = director.apply()
        assert result.ok, result.error or result.problems()
        assert set(ours(result)[VERIFIED]) == {f"{PROOF} -> {DEAD}:8080"}
        verified = next(state for state in result.states if state["id"] == VERIFIED)
        assert "could not be read" in verified["comment"]
    finally:
        director.run("kill", "-CONT", checker)
    assert set(director.brought()[VERIFIED]) == {f"{PROOF} -> {ONE}:8080"}
