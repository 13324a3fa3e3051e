"""The ipvs modules on a live kernel, with ipvsadm as the oracle. Most run in a network namespace of their own."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

import ipvs_model as model
import ipvs_rules as rules
import ipvs_text as text
from docstrings import cli_examples, public_functions
from ipvs_strategies import tables
from mysql_ha_lab import cluster as look
from mysql_ha_lab import salt
from mysql_ha_lab.command import wait_for
from mysql_ha_lab.identity import write
from mysql_ha_lab.lab import Lab
from mysql_ha_lab.plan import DIRECTORS, REPOSITORY

ORACLE = Path(__file__).parent / "guest/ipvs_oracle.py"
ORACLE_ON_HOST = "/usr/local/lib/lab/ipvs_oracle.py"
CALLS = Path(__file__).parent / "guest/salt_calls.py"
CALLS_ON_HOST = "/usr/local/lib/lab/salt_calls.py"
EXAMPLES = Path(__file__).parent / "guest/ipvs_examples.py"
EXAMPLES_ON_HOST = "/usr/local/lib/lab/ipvs_examples.py"
PYTHON = "/opt/salt/bin/python"
UTILS = "/var/cache/salt/minion/extmods/utils"
COUNT = int(os.environ.get("MYSQL_HA_TABLES", "200"))


def random_tables(count: int) -> list[dict[str, Any]]:
    """So many tables, the same each time."""
    found: list[dict[str, Any]] = []

    @settings(max_examples=count, phases=[Phase.generate], derandomize=True, database=None, deadline=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(tables)
    def collect(one: dict[str, Any]) -> None:
        found.append(copy.deepcopy(one))

    collect()
    return found


def capped(table: dict[str, Any]) -> dict[str, Any]:
    """The table without what ipvsadm 1.31 cannot build: weights above 65535."""
    found = copy.deepcopy(table)
    for service in found.values():
        for server in service["servers"].values():
            server["weight"] = min(server["weight"], 65535)
    return found


def as_ipvsadm_saves(table: dict[str, Any]) -> dict[str, Any]:
    """The table without what ipvsadm -S loses: thresholds, and the third flag of sh and mh."""
    found = copy.deepcopy(table)
    for service in found.values():
        if service["scheduler"] in ("sh", "mh") and "flag-3" in service.get("scheduler_flags", ()):
            service["scheduler_flags"].remove("flag-3")
        for server in service["servers"].values():
            server.pop("upper_threshold", None)
            server.pop("lower_threshold", None)
    return found


def by_service(saved: str) -> dict[str, list[str]]:
    """Saved lines by the service that they are about, in any order of services and servers."""
    lines: dict[str, list[str]] = {}
    for line in saved.splitlines():
        # Marks above 2^31-1 are printed as negative numbers, and "-b" without flags where only the third was set.
        whole = re.sub(r"(?<=-f )-\d+", lambda mark: str(int(mark[0]) + 2**32), line).removesuffix(" -b ")
        name = re.match(r"-[Aa] (-f \S+( -6)?|\S+ \S+)", whole)
        assert name, line
        lines.setdefault(name[1], []).append(whole)
    return {name: sorted(found) for name, found in lines.items()}


@pytest.fixture(scope="module")
def oracle(cluster: Lab) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Random tables, and what became of each on lvs1."""
    write(cluster.plan.host("lvs1").root / ORACLE_ON_HOST.lstrip("/"), ORACLE.read_text())
    given_tables = [capped(one) for one in random_tables(COUNT)]
    words = ["unshare", "--net", "env", f"PYTHONPATH={UTILS}", PYTHON, ORACLE_ON_HOST]
    said = cluster.run("lvs1", words, stdin=json.dumps({"tables": given_tables}), timeout=2400).stdout
    return list(zip(given_tables, map(json.loads, said.splitlines()), strict=True))


def test_the_kernel_refuses_nothing_that_our_rules_let_pass(oracle) -> None:
    for table, found in oracle:
        assert found["refused"] == [], table


def test_what_we_apply_is_what_ipvsadm_lists(oracle) -> None:
    for table, found in oracle:
        expected = text.save(rules.table(as_ipvsadm_saves(table)))
        assert by_service(found["listed"]) == by_service(expected)


def test_what_we_apply_is_whole(oracle) -> None:
    for table, found in oracle:
        assert found["left"] == 0, table


def test_what_ipvsadm_builds_from_our_text_is_what_we_list(oracle) -> None:
    for table, found in oracle:
        assert found["built"] == "", table
        assert rules.table(found["read"]) == rules.table(table)
        assert found["read"] == model.table_as_dict(rules.table(table))


# --- through Salt, on the running cluster ---

VIP = "192.168.1.102"
SERVICE = f"tcp {VIP}:3306"
MYSQL1, MYSQL2 = "192.168.1.5:3306", "192.168.1.6:3306"
BOTH = {MYSQL1: {"weight": 1}, MYSQL2: {"weight": 1}}


class Director:
    """The director that holds the VIPs, with one process of Salt's on it that answers calls."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.name = look.wait_for_holder(lab)
        write(lab.plan.host(self.name).root / CALLS_ON_HOST.lstrip("/"), CALLS.read_text())
        words = lab.host(self.name).command([PYTHON, "-u", CALLS_ON_HOST])
        self._run = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._answer() == {"returned": "ready"}

    def _answer(self) -> dict[str, Any]:
        return json.loads(self._run.stdout.readline())

    def _ask(self, function: str, arguments: tuple[Any, ...], options: dict[str, Any], test: bool | None) -> Any:
        asked = {"function": function, "arguments": arguments, "options": options, "test": test}
        self._run.stdin.write(json.dumps(asked) + "\n")
        self._run.stdin.flush()
        answer = self._answer()
        return answer.get("returned", answer.get("error"))

    def call(self, function: str, *arguments: Any, **options: Any) -> Any:
        """What a function of a module returned; the sentence, if it raised."""
        return self._ask(function, arguments, options, None)

    def state(self, function: str, name: str, *, test: bool = False, **options: Any) -> dict[str, Any]:
        """What one state of ours returned."""
        return self._ask(f"ipvs.{function}", (name,), options, test)

    def close(self) -> None:
        self._run.stdin.close()
        self._run.wait(30)


@pytest.fixture(scope="module")
def director(cluster: Lab):
    """The director, with addresses that lead to the databases by direct routing."""
    one = Director(cluster)
    hosts = {one.name: "eth0", "mysql1": "lo", "mysql2": "lo"}
    for host, interface in hosts.items():
        cluster.run(host, ["ip", "address", "replace", f"{VIP}/32", "dev", interface])
    # A director sees the end of a connection late; the shorter, the sooner a drain ends.
    one.call("ipvs.set_timeouts", tcp_fin=1)
    of_keepalived = one.call("ipvs.daemons")
    yield one
    one.call("ipvs.set_timeouts", tcp_fin=120)
    # keepalived does not see that its own was stopped, and without it the other director knows no session.
    for state in one.call("ipvs.daemons"):
        one.call("ipvs.stop_daemon", state)
    cluster.run(one.name, ["systemctl", "reload", "keepalived"])
    wait_for("keepalived's daemon", lambda: one.call("ipvs.daemons") == of_keepalived, 60, 0.5)
    one.close()
    for host, interface in hosts.items():
        cluster.run(host, ["ip", "address", "delete", f"{VIP}/32", "dev", interface], check=False)


@pytest.fixture
def static(director: Director):
    """A service of our own beside keepalived's."""
    assert director.call("ipvs.apply", {SERVICE: {"scheduler": "rr", "servers": BOTH}})["failed"] == {}
    yield director
    director.call("ipvs.apply", {}, purge=True, ignore=["192.168.1.100"])


class Session:
    """A database session of the client that stays open and answers each line with the server's number."""

    PROGRAM = """
import pymysql, sys
c = pymysql.connect(host=sys.argv[1], user="shop", password="shop-lab-only", read_timeout=20)
cursor = c.cursor()
for _ in sys.stdin:
    cursor.execute("SELECT @@server_id")
    print(cursor.fetchone()[0], flush=True)
"""

    def __init__(self, lab: Lab) -> None:
        words = lab.host("client").command([PYTHON, "-u", "-c", self.PROGRAM, VIP])
        self._run = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def server(self) -> str:
        """Which server answers right now; empty if the session has broken."""
        self._run.stdin.write("\n")
        self._run.stdin.flush()
        return self._run.stdout.readline().strip()

    def close(self) -> None:
        self._run.kill()
        self._run.communicate()


@pytest.fixture
def session(static: Director):
    one = Session(static.lab)
    yield one
    one.close()


@pytest.mark.parametrize("edit", [
    {"scheduler": "wlc"},
    {"persistence_timeout": 60},
    {"persistence_timeout": 0},
    {"scheduler": "sh", "scheduler_flags": ["sh-port"]},
], ids=str)  # fmt: skip
def test_a_session_survives_an_edit_of_its_service(static: Director, session: Session, edit: dict[str, Any]) -> None:
    server = session.server()
    assert server in ("1", "2")
    static.call("ipvs.edit_service", SERVICE, **edit)
    assert session.server() == server


def test_a_session_survives_new_servers_and_other_weights(static: Director) -> None:
    static.call("ipvs.delete_server", SERVICE, MYSQL2)
    session = Session(static.lab)
    try:
        assert session.server() == "1"
        static.call("ipvs.add_server", SERVICE, MYSQL2, weight=7)
        assert session.server() == "1"
        # Even with no share of new connections it keeps those that it has.
        assert static.call("ipvs.edit_server", SERVICE, MYSQL1, weight=0) == {"weight": {"old": 1, "new": 0}}
        assert session.server() == "1"
        other = Session(static.lab)
        assert other.server() == "2"
        other.close()
    finally:
        session.close()


def test_drain_waits_for_a_session_and_then_removes(static: Director) -> None:
    static.call("ipvs.delete_server", SERVICE, MYSQL2)
    session = Session(static.lab)
    assert session.server() == "1"
    try:
        kept = static.call("ipvs.drain", SERVICE, MYSQL1, timeout=2, delete=False)
        assert kept["left"] >= 1
        assert kept["deleted"] is False
        assert kept["changes"] == {"weight": {"old": 1, "new": 0}}
        assert session.server() == "1"
        session.close()
        done = static.call("ipvs.drain", SERVICE, MYSQL1, timeout=120)
        assert (done["left"], done["deleted"]) == (0, True)
        assert static.call("ipvs.get_service", SERVICE)["servers"] == {}
    finally:
        session.close()


def test_a_drain_tells_the_event_bus_how_it_goes(static: Director) -> None:
    static.call("ipvs.delete_server", SERVICE, MYSQL2)
    session = Session(static.lab)
    listener = static.lab.popen("master", ["salt-run", "state.event", "mysql_ha/ipvs/drain", "count=1"])
    try:
        assert session.server() == "1"

        def heard() -> bool:
            left = salt.call(static.lab, static.name, "ipvs.drain", SERVICE, MYSQL1, "timeout=1", "delete=False")
            assert left[static.name]["left"] >= 1, left
            return listener.poll() is not None

        # Whoever begins to listen late hears of the next drain.
        wait_for("an event of the drain", heard, 300)
        tag, _, said = listener.stdout.read().splitlines()[0].partition("\t")
        event = json.loads(said)
        assert tag == "mysql_ha/ipvs/drain"
        assert event["id"] == static.name
        assert event["data"]["draining"] == f"{SERVICE} -> {MYSQL1}"
        assert re.fullmatch(r"1 connections left, \d+ s to go", event["data"]["progress"])
    finally:
        listener.kill()
        listener.communicate()
        session.close()


def test_connections_and_counters_of_a_session(static: Director, session: Session) -> None:
    static.call("ipvs.zero", SERVICE)
    answered = session.server()
    (found,) = [one for one in static.call("ipvs.connections", address=VIP) if one["state"] == "ESTABLISHED"]
    assert found["server"] == {"1": MYSQL1, "2": MYSQL2}[answered]
    assert found["client"].startswith("192.168.1.30:")
    # The kernel adds its counters up every two seconds.
    wait_for("the counters", lambda: static.call("ipvs.stats", address=VIP)[SERVICE]["packets_in"], 30)
    counted = static.call("ipvs.stats", address=VIP)[SERVICE]
    assert counted["packets_out"] == 0, "direct routing: answers do not pass the director"
    assert counted["servers"][found["server"]]["bytes_in"] > 0
    assert "connections_per_second" in static.call("ipvs.rates", address=VIP)[SERVICE]


def test_every_state_predicts_does_and_then_leaves_alone(static: Director) -> None:
    for function, name, values in (
        ("service_present", "udp 192.168.9.1:53", {"scheduler": "rr", "one_packet": True}),
        ("service_present", "udp 192.168.9.1:53", {"scheduler": "wrr"}),
        ("server_present", "192.168.9.5", {"service": "udp 192.168.9.1:53", "weight": 0, "forward": "nat"}),
        ("server_present", "192.168.9.5", {"service": "udp 192.168.9.1:53", "weight": 5}),
        ("server_absent", "192.168.9.5", {"service": "udp 192.168.9.1:53", "drain": 5}),
        ("managed", "fwmark 7", {"scheduler": "mh", "servers": {"192.168.9.5": {"upper_threshold": 9}}}),
        ("managed", "one more", {"services": {"fwmark 7": {"servers": {"192.168.9.6": None}}}, "drain": 5}),
        ("service_absent", "fwmark 7", {"drain": 5}),
        ("service_absent", "udp 192.168.9.1:53", {}),
        ("timeouts", "long", {"tcp_fin": 60}),
        ("timeouts", "as before", {"tcp_fin": 1}),
        ("sync_daemon", "backup", {"interface": "eth0", "sync_id": 9}),
        ("sync_daemon", "backup", {"interface": "eth0", "sync_id": 10}),
        ("sync_daemon", "backup", {}),
    ):
        predicted = static.state(function, name, test=True, **values)
        done = static.state(function, name, **values)
        again = static.state(function, name, **values)
        assert (predicted["result"], done["result"], again["result"]) == (None, True, True), (function, done)
        assert predicted["changes"] == done["changes"] != {}
        assert again["changes"] == {}


def test_a_whole_table_with_what_is_keepalives(static: Director) -> None:
    """Purging is refused while keepalived runs, unless somebody says what is keepalived's."""
    wanted = {SERVICE: {"scheduler": "rr", "servers": BOTH}}
    refused = static.state("managed", "all", services=wanted, purge=True)
    assert refused["result"] is False
    assert "purge: is true while keepalived runs on this host" in refused["comment"]
    both = static.state("managed", "all", services=wanted, purge=True, ignore=["192.168.1.0/24"])
    assert f"ignore: covers what services holds as well: {SERVICE}" in both["comment"]
    static.call("ipvs.add_service", "fwmark 99")
    done = static.state("managed", "all", services=wanted, purge=True, ignore=["192.168.1.100"])
    assert done["changes"] == {"fwmark 99 ipv4": {"scheduler": {"old": "wlc", "new": None}}}
    assert set(static.call("ipvs.list")) == {"tcp 192.168.1.100:3306", SERVICE}


def test_a_failure_in_the_middle_reports_what_was_done_and_what_was_not(static: Director) -> None:
    static.call("ipvs.add_service", "fwmark 98")
    wanted = {
        "tcp 192.168.9.1:80": {"servers": {"192.168.9.5": {}}},
        "tcp 192.168.9.2:80": {"scheduler": "nosuch", "servers": {"192.168.9.5": {}}},
        SERVICE: {"scheduler": "rr", "servers": {MYSQL1: {"weight": 1}, "127.255.255.255": {}}},
    }
    done = static.state("managed", "all", services=wanted, purge=True, ignore=["192.168.1.100"])
    assert done["result"] is False
    assert set(done["changes"]) == {"tcp 192.168.9.1:80", "tcp 192.168.9.1:80 -> 192.168.9.5:80"}
    lines = done["comment"].splitlines()
    assert lines[0] == "2 entries changed; 5 entries not:"
    assert "  tcp 192.168.9.2:80 -> 192.168.9.5:80: its service could not be added" in lines
    assert f"  {SERVICE} -> 127.255.255.255:3306: EINVAL: the kernel finds it impossible" in done["comment"]
    # Nothing is removed while something could not be added: neither the server nor the service that nobody wants.
    kept = "kept, because something else could not be added or edited"
    assert {f"  {SERVICE} -> {MYSQL2}: {kept}", f"  fwmark 98 ipv4: {kept}"} <= set(lines)
    assert set(static.call("ipvs.get_service", SERVICE)["servers"]) == {MYSQL1, MYSQL2}


@pytest.mark.parametrize("service", [
    {"persistence_timeout": 60, "persistence_engine": "sip"},
    {"scheduler": "none"},
], ids=str)  # fmt: skip
def test_what_ipvsadm_has_no_random_tables_for(static: Director, service: dict[str, Any]) -> None:
    name = "udp 192.168.9.1:5060"
    static.call("ipvs.ensure_service", name, **service)
    found = static.call("ipvs.get_service", name)
    assert {word: found[word] for word in service} == service
    assert static.state("service_present", name, **service)["changes"] == {}
    assert text.save(text.parse(static.call("ipvs.save"))) == static.call("ipvs.save")


def test_the_largest_numbers(static: Director) -> None:
    largest = {"weight": 2147483647, "upper_threshold": 2147483647, "lower_threshold": 2147483647}
    marks = {"fwmark 4294967295 ipv4": {"servers": {"192.168.9.5": largest}},
             "fwmark 4294967295 ipv6": {"persistence_timeout": 2678400, "servers": {}}}  # fmt: skip
    assert static.call("ipvs.apply", marks)["failed"] == {}
    found = static.call("ipvs.list", fwmark=4294967295)
    assert found["fwmark 4294967295 ipv4"]["servers"]["192.168.9.5:0"].items() >= largest.items()
    assert found["fwmark 4294967295 ipv6"]["persistence_timeout"] == 2678400
    assert static.call("ipvs.diff", marks) == {}


REFUSALS = """
import json, subprocess, sys
import ipvs_kernel as kernel, ipvs_model as model, ipvs_rules as rules
from ipvs_plan import ADD, DELETE, EDIT, Change
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
key, other = rules.service_key("tcp 192.0.2.1:80"), rules.service_key("tcp 192.0.2.2:80")
own, gone = rules.server_key("192.0.2.5", key), rules.server_key("192.0.2.6", key)
six = rules.server_key("2001:db8::5", key)
service = rules.service(key, {}, "")
plain = model.Server(model.DR, 1, 0, 0, 0, 0, 0)
tunnel = model.Server(model.TUNNEL, 1, 0, 0, 0, 0, 0)
with kernel.Ipvs() as ipvs:
    ipvs.make([Change(ADD, key, None, None, service), Change(ADD, key, own, None, plain),
               Change(ADD, key, six, None, tunnel)])
    said = [refusal.sentence for refusal in ipvs.make([
        Change(ADD, key, None, None, service),
        Change(EDIT, other, None, service, service),
        Change(DELETE, other, None, service, None),
        Change(ADD, key, own, None, plain),
        Change(EDIT, key, gone, plain, plain),
        Change(DELETE, key, gone, plain, None),
        Change(EDIT, key, own, plain, plain._replace(upper_threshold=5, lower_threshold=9)),
        Change(EDIT, other, own, plain, plain),
        Change(ADD, key, rules.server_key("2001:db8::6", key), None, plain),
        Change(ADD, rules.service_key("tcp [2001:db8::1]:80"), None, None, service),
    ]).refused]
    try:
        ipvs.start_daemon(model.Daemon("master", "lo", 0, 0, b"", 0, 0))
    except kernel.IpvsError as error:
        said.append(str(error))
print(json.dumps(said))
"""


def test_every_refusal_of_the_kernel_has_its_meaning(cluster: Lab) -> None:
    """Those too that our rules do not let come to it."""
    words = ["unshare", "--net", "env", f"PYTHONPATH={UTILS}", PYTHON, "-c", REFUSALS]
    server, missing = "tcp 192.0.2.1:80 -> 192.0.2.5:80", "tcp 192.0.2.1:80 -> 192.0.2.6:80"
    assert json.loads(cluster.run("lvs1", words).stdout) == [
        "Cannot add the service tcp 192.0.2.1:80: EEXIST: there is such a service already",
        "Cannot edit the service tcp 192.0.2.2:80: ESRCH: there is no such service",
        "Cannot delete the service tcp 192.0.2.2:80: ESRCH: there is no such service",
        f"Cannot add the server {server}: EEXIST: the service has such a server already",
        f"Cannot edit the server {missing}: ENOENT: the service has no such server",
        f"Cannot delete the server {missing}: ENOENT: the service has no such server",
        f"Cannot edit the server {server}: ERANGE: a weight or threshold is out of range, or the lower threshold above "
        "the upper one",
        "Cannot edit the server tcp 192.0.2.2:80 -> 192.0.2.5:80: ESRCH: there is no such service",
        "Cannot add the server tcp 192.0.2.1:80 -> [2001:db8::6]:80: EINVAL: the kernel finds it impossible: to this "
        "host's routes it is no host's address, or it is of another address family while a synchronisation daemon runs",
        "Cannot add the service tcp [2001:db8::1]:80: EINVAL: the kernel finds a setting of it impossible",
        "Cannot start the master daemon on lo: EINVAL: the kernel finds a setting of it impossible, or there are "
        "servers of another address family than their service",
    ]


def test_daemons_with_all_their_options(static: Director) -> None:
    options = {"interface": "eth0", "sync_id": 255, "max_length": 1000, "group": "224.0.0.99", "port": 9999, "ttl": 7}
    assert static.state("sync_daemon", "master", **options)["result"] is True
    try:
        assert static.call("ipvs.daemons") == {"master": options}
        again = static.call("ipvs.start_daemon", "master", "eth0")
        assert "Cannot start the master daemon on eth0: EEXIST: it runs already" in again
    finally:
        static.call("ipvs.stop_daemon", "master")


# Of the two only this process has its turn until it waits, so each daemon is stopped before it began.
STOPPED_AT_ONCE = """
import os
import ipvs_kernel, ipvs_model as model
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
with ipvs_kernel.Ipvs() as ipvs:
    for state in ("master", "backup") * 20:
        ipvs.start_daemon(model.Daemon(state, "eth0", 0, 0, b"", 0, 0))
        ipvs.stop_daemon(state)
    print(ipvs.daemons())
"""


def test_a_daemon_is_stopped_before_it_has_begun(static: Director) -> None:
    """The kernel does that, and answers nothing."""
    words = ["env", f"PYTHONPATH={UTILS}", PYTHON, "-c", STOPPED_AT_ONCE]
    assert static.lab.run(static.name, words).stdout.strip() == "{}"


# --- the cases of Salt's removed lvs, lvs_service and lvs_server ---


def test_a_weight_is_not_taken_for_one_that_begins_alike(static: Director) -> None:
    static.call("ipvs.edit_server", SERVICE, MYSQL1, weight=10)
    done = static.state("server_present", MYSQL1, service=SERVICE, weight=1)
    assert done["changes"] == {"weight": {"old": 10, "new": 1}}


def test_a_scheduler_is_not_taken_for_one_that_begins_alike(static: Director) -> None:
    static.call("ipvs.edit_service", SERVICE, scheduler="lblcr")
    assert static.state("service_present", SERVICE, scheduler="lblc")["changes"] == {
        "scheduler": {"old": "lblcr", "new": "lblc"}}  # fmt: skip


def test_an_address_is_not_taken_for_one_that_begins_alike(static: Director) -> None:
    static.call("ipvs.add_server", SERVICE, "192.168.1.55")
    assert static.call("ipvs.get_server", SERVICE, "192.168.1.5")["weight"] == 1
    assert static.state("server_absent", "192.168.1.5", service=SERVICE)["result"] is True
    assert static.call("ipvs.get_server", SERVICE, "192.168.1.5") is None
    assert static.call("ipvs.get_server", SERVICE, "192.168.1.55")["weight"] == 1


def test_a_weight_of_zero_is_a_weight(static: Director) -> None:
    assert static.state("server_present", MYSQL1, service=SERVICE, weight=0)["changes"] == {
        "weight": {"old": 1, "new": 0}}  # fmt: skip
    assert static.call("ipvs.get_server", SERVICE, MYSQL1)["weight"] == 0
    assert static.state("server_present", "192.168.9.7", service=SERVICE, weight=0)["result"] is True
    assert static.call("ipvs.get_server", SERVICE, "192.168.9.7")["weight"] == 0


@pytest.mark.parametrize("test", [True, False])
def test_present_and_absent_where_it_is_so_already(static: Director, test: bool) -> None:
    for function, name, values in (
        ("service_present", SERVICE, {}),
        ("service_present", SERVICE, {"scheduler": "rr"}),
        ("server_present", MYSQL1, {"service": SERVICE, "forward": "dr", "weight": 1}),
        ("service_absent", "tcp 192.168.9.1:80", {}),
        ("server_absent", "192.168.9.5", {"service": SERVICE}),
        ("server_absent", "192.168.9.5", {"service": "tcp 192.168.9.1:80"}),
    ):
        done = static.state(function, name, test=test, **values)
        assert (done["result"], done["changes"]) == (True, {}), (function, name)
        assert done["comment"].endswith("is as specified.")


def test_a_server_whose_service_is_missing(static: Director) -> None:
    done = static.state("server_present", "192.168.9.5", service="tcp 192.168.9.1:80")
    assert (done["result"], done["changes"]) == (False, {})
    assert "there is no service tcp 192.168.9.1:80" in done["comment"]


def test_zero_of_one_service(static: Director) -> None:
    assert static.call("ipvs.zero", SERVICE) is True


def test_save_and_restore_through_salt(static: Director) -> None:
    before = static.call("ipvs.list")
    static.call("ipvs.edit_server", SERVICE, MYSQL1, upper_threshold=100, lower_threshold=50)
    saved = static.call("ipvs.save")
    assert "-x 100 -y 50" in saved
    write(static.lab.plan.host(static.name).root / "var/lib/ipvs.saved", saved)
    static.call("ipvs.delete_server", SERVICE, MYSQL2)
    static.call("ipvs.edit_server", SERVICE, MYSQL1, upper_threshold=0, lower_threshold=0)
    done = static.call("ipvs.restore", path="/var/lib/ipvs.saved", ignore=[])
    assert done["failed"] == {}
    assert set(done["changes"]) == {f"{SERVICE} -> {MYSQL1}", f"{SERVICE} -> {MYSQL2}"}
    assert static.call("ipvs.save") == saved
    wrong = static.call("ipvs.restore", "-A -t 192.168.9.1:80 -s rr -z", ignore=[])
    assert "line 1: -z: is no option of a saved table" in wrong
    assert set(static.call("ipvs.list")) == set(before)


@pytest.mark.parametrize(("words", "sentence"), [
    (["ipvs.add_service", SERVICE], f"Cannot add the service {SERVICE}: EEXIST: there is such a service already"),
    (["ipvs.add_service", "tcp 192.168.9.9:80", "nosuch"], "ENOENT: this kernel has no scheduler nosuch"),
    (["ipvs.edit_service", "tcp 192.168.9.9:80", "rr"], "There is no service tcp 192.168.9.9:80"),
    (["ipvs.delete_service", "fwmark 9"], "There is no service fwmark 9 ipv4"),
    (["ipvs.zero", "fwmark 9"], "Cannot zero the counters of fwmark 9 ipv4: ESRCH: there is no such service"),
    (["ipvs.add_server", SERVICE, MYSQL1], "EEXIST: the service has such a server already"),
    (["ipvs.add_server", "fwmark 9", "192.168.9.5"], "ESRCH: there is no such service"),
    (["ipvs.add_server", SERVICE, "127.255.255.255"], "EINVAL: the kernel finds it impossible"),
    (["ipvs.edit_server", SERVICE, "192.168.9.5", "dr"], f"has no server 192.168.9.5:3306; it has: {MYSQL1}, "),
    (["ipvs.drain", SERVICE, "192.168.9.5"], f"{SERVICE} has no server 192.168.9.5:3306"),
    (["ipvs.start_daemon", "master", "nosuch0"], "ENODEV: there is no such interface"),
    (["ipvs.stop_daemon", "backup"], "Cannot stop the backup daemon: ESRCH: it does not run"),
    (["ipvs.start_daemon", "both", "eth0"], "state: is 'both'; allowed: master, backup"),
    (["ipvs.set_timeouts", 0], "tcp: is 0; allowed: 1 to 2147483 of seconds"),
    (["ipvs.apply", 5], "services: is 5; allowed: a mapping"),
])  # fmt: skip
def test_errors_say_what_was_asked_and_what_it_means(static: Director, words: list[Any], sentence: str) -> None:
    assert sentence in str(static.call(*words))


def test_every_cli_example_runs(cluster: Lab) -> None:
    functions = public_functions(REPOSITORY / "_modules/ipvs.py")
    examples = {function.name.removesuffix("_"): cli_examples(function) for function in functions}
    write(cluster.plan.host("lvs1").root / EXAMPLES_ON_HOST.lstrip("/"), EXAMPLES.read_text())
    words = ["unshare", "--net", PYTHON, EXAMPLES_ON_HOST]
    done = cluster.run("lvs1", words, stdin=json.dumps(examples), check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert set(said) == {example for some in examples.values() for example in some}
    for example, returned in said.items():
        if isinstance(returned, dict) and "failed" in returned:
            assert returned["failed"] == {}, example


def test_a_minion_that_may_not_says_so_in_one_sentence(cluster: Lab) -> None:
    """Without CAP_NET_ADMIN, and in a user namespace of its own, where root is not root to the kernel."""
    call_words = ["/opt/salt/bin/salt-call", "--local", "--out=yaml", "ipvs.list"]
    for wrapper in (["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"],
                    ["unshare", "--user", "--map-root-user", "--net"]):  # fmt: skip
        done = cluster.run("lvs1", [*wrapper, *call_words], check=False)
        assert (
            "this needs CAP_NET_ADMIN outside of any user namespace, that is, root on the host itself"
            in done.stdout + done.stderr
        )
        assert "Traceback" not in done.stdout + done.stderr


def test_two_runs_at_once_end_in_the_wanted_table(static: Director) -> None:
    """Both build the same big table from nothing; whoever comes second finds entries of the other, and goes on."""
    wanted = {f"tcp 10.9.{number // 250}.{number % 250 + 1}:80": {"servers": {"192.168.9.5": {}, "192.168.9.6": {}}}
              for number in range(600)}  # fmt: skip
    program = (
        "import json, sys, ipvs_kernel, ipvs_rules, ipvs_plan\n"
        "wanted = ipvs_rules.table(json.load(sys.stdin))\n"
        "with ipvs_kernel.Ipvs() as ipvs:\n"
        "    done = ipvs_kernel.apply(ipvs, lambda present: ipvs_plan.changes(wanted, present))\n"
        "print(json.dumps([len(done.done), [refusal.sentence for refusal in done.refused]]))\n"
    )
    words = static.lab.host(static.name).command(["env", f"PYTHONPATH={UTILS}", PYTHON, "-c", program])
    runs = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for run in runs:
            run.stdin.write(json.dumps(wanted))
            run.stdin.close()
        said = [json.loads(run.stdout.read()) for run in runs]
        assert [refused for _, refused in said] == [[], []]
        listed = static.call("ipvs.list")
        assert set(wanted) <= set(listed)
        assert all(len(listed[name]["servers"]) == 2 for name in wanted)
    finally:
        for run in runs:
            run.wait()
        static.call("ipvs.apply", {}, purge=True, scope=["10.9.0.0/16"], ignore=[])
    assert set(static.call("ipvs.list")) == {"tcp 192.168.1.100:3306", SERVICE}


def test_in_batches_of_one_and_over_ssh(static: Director) -> None:
    wanted = json.dumps({"fwmark 8 ipv4": {"servers": {"192.168.9.5": {"weight": 2}}}})
    try:
        words = ["salt", "-b", "1", "--out=json", "--static", "lvs*", "ipvs.apply", wanted]
        said = json.loads(static.lab.run("master", words).stdout)
        for director in DIRECTORS:
            assert said[director]["failed"] == {}
            assert set(said[director]["changes"]) == {"fwmark 8 ipv4", "fwmark 8 ipv4 -> 192.168.9.5:0"}
        salt.allow_ssh(static.lab, *DIRECTORS)
        over_ssh = static.lab.run("master", ["salt-ssh", "-i", "--out=json", "--static", "lvs1", "ipvs.diff", wanted])
        assert json.loads(over_ssh.stdout)["lvs1"] == {}
        # state.single over ssh looks for the state on the master, so it is a file.
        sls = {"all": {"ipvs.managed": [{"services": json.loads(wanted)}]}}
        write(static.lab.plan.host("master").root / "srv/lab/one_service.sls", json.dumps(sls))
        ssh = ["salt-ssh", "-i", "--out=json", "--static", "lvs1", "state.apply", "one_service"]
        (returned,) = json.loads(static.lab.run("master", ssh).stdout)["lvs1"].values()
        assert (returned["result"], returned["changes"]) == (True, {})
        master = ["salt", "--out=json", "--static", "lvs1", "state.apply", "one_service"]
        (returned,) = json.loads(static.lab.run("master", master).stdout)["lvs1"].values()
        assert (returned["result"], returned["changes"]) == (True, {})
        local = ["salt-call", "--local", "--out=json", "state.single", "ipvs.managed", "name=all", f"services={wanted}"]
        (returned,) = json.loads(static.lab.run("lvs1", local).stdout)["local"].values()
        assert (returned["result"], returned["changes"]) == (True, {})
    finally:
        salt.call(static.lab, "lvs*", "ipvs.ensure_absent", "fwmark 8")


def test_one_changed_weight_is_one_message_whatever_the_size(cluster: Lab) -> None:
    """The kernel's own count of commands would be best; sendmsg and the plan stand in for it."""
    wanted = {f"fwmark {mark}": {"servers": {f"192.168.9.{one}": {} for one in range(1, 11)}} for mark in range(1, 301)}
    before, after = rules.table(wanted), copy.deepcopy(wanted)
    after["fwmark 150"]["servers"]["192.168.9.5"] = {"weight": 9}
    program = (
        "import json, sys, ipvs_kernel, ipvs_netlink, ipvs_plan, ipvs_rules, subprocess\n"
        "subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)\n"
        "before, after = map(ipvs_rules.table, json.load(sys.stdin))\n"
        "sent = []\n"
        "real = ipvs_netlink.Connection.batch\n"
        "def batch(self, requests):\n"
        "    sent.append(len(requests))\n"
        "    return real(self, requests)\n"
        "ipvs_netlink.Connection.batch = batch\n"
        "with ipvs_kernel.Ipvs() as ipvs:\n"
        "    for wanted in (before, before, after, after):\n"
        "        ipvs_kernel.apply(ipvs, lambda present: ipvs_plan.changes(wanted, present, True))\n"
        "print(json.dumps(sent))\n"
    )
    words = ["unshare", "--net", "env", f"PYTHONPATH={UTILS}", PYTHON, "-c", program]
    sent = json.loads(cluster.run("lvs1", words, stdin=json.dumps([wanted, after])).stdout)
    assert sent == [len(before) * 11, 1]
