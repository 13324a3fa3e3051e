"""Both dialects on real servers: configuration, accounts, TLS, and a replication that is careful."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from conftest import FirstRuns
from mysql_ha_lab import client, salt
from mysql_ha_lab.command import wait_for
from mysql_ha_lab.lab import Lab
from mysql_ha_lab.plan import ADDRESSES, DATABASES
from pillars import EXAMPLE, as_yaml
from test_1_first_run import ours

PYTHON = "/opt/salt/bin/python"
CA_FILE = "/etc/mysql/mysql_ha-tls/ca.pem"
MARK = "MARKED-7f3a"
CHANNELS = {"mysql1": {"host": "192.168.1.6", "port": 3306, "user": "repl"},
            "mysql2": {"host": "192.168.1.5", "port": 3306, "user": "repl"}}  # fmt: skip


class Databases:
    """The two databases of a lab, by what an operator does with them."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.flavor = lab.plan.database.pillar
        self.service = {"mysql": "mysql", "mariadb": "mariadb"}[self.flavor]
        self.config = {
            "mysql": "/etc/mysql/mysql.conf.d/zz-mysql_ha.cnf",
            "mariadb": "/etc/mysql/mariadb.conf.d/90-mysql_ha.cnf",
        }[self.flavor]

    def apply(self, *arguments: str, target: str = "mysql*", **options: Any) -> dict[str, salt.HostResult]:
        return salt.apply(self.lab, *arguments, target=target, report=False, **options)

    def applied(self) -> dict[str, salt.HostResult]:
        """A run that must succeed."""
        results = self.apply()
        for result in results.values():
            assert result.ok, result.error or result.problems()
        return results

    def failed(self, host: str = "mysql1") -> dict[str, Any]:
        """The state that fails first in a run; all others must wait for it."""
        return self.apply(target=host)[host].failed[0]

    def call(self, host: str, function: str, *words: Any) -> Any:
        text = [word if isinstance(word, str) else json.dumps(word) for word in words]
        return salt.call(self.lab, host, function, *text)[host]

    def sql(self, host: str, statements: str) -> str:
        return client.sql(self.lab, host, statements)

    def read(self, host: str, path: str) -> str:
        return self.lab.run(host, ["cat", path]).stdout

    @contextmanager
    def pillar(self, restore: bool = True, **database: Any) -> Iterator[None]:
        """Other keys below mysql_ha:database (and mysql_ha:secrets); afterwards all is as before, and runs."""
        pillar = copy.deepcopy(EXAMPLE)
        pillar["secrets"] |= database.pop("secrets", {})
        for key, value in database.items():
            pillar["database"][key] = {**pillar["database"][key], **value} if isinstance(value, dict) else value
        salt.set_pillar(self.lab, as_yaml(pillar))
        try:
            yield
        finally:
            salt.set_pillar(self.lab, as_yaml(EXAMPLE))
            if restore:
                self.applied()
                self.wait_for_channels()

    def wait_for_channels(self) -> None:
        def run() -> bool:
            found = salt.call(self.lab, "mysql*", "mysql_replication.status").values()
            return all(isinstance(one, dict) and one["receiving"] and one["applying"] for one in found)

        wait_for("both channels to run", run, 120, 1)

    def wait_until_equal(self) -> None:
        """Wait until both servers have the same transactions."""

        def equal() -> bool:
            mine, other = (self.call(host, "mysql_replication.server") for host in DATABASES)
            return self.call("mysql1", "mysql_replication.compare", mine, other)["relation"] == "equal"

        wait_for("the same transactions on both databases", equal, 120, 0.5)

    def compare(self, *words: str, status: int | None = None) -> dict[str, Any]:
        """What ``salt-run mysql_ha.compare`` says."""
        return salt.compare(self.lab, *words, status=status)

    def settled(self) -> None:
        """Wait until both replicate and have the same transactions; these alone do not prove the same rows."""
        self.wait_for_channels()
        self.wait_until_equal()
        assert self.compare(status=0)["rows"]

    def orchestrate(self, name: str) -> subprocess.CompletedProcess[str]:
        words = ["salt-run", "--out=json", "state.orchestrate", name]
        return self.lab.run("master", words, check=False, timeout=600)

    def uptime(self, host: str) -> int:
        return int(self.sql(host, "SHOW GLOBAL STATUS LIKE 'Uptime'").split()[1])


# mariadb-10.11 takes its turn in `make test-long`.
FLAVORS = os.environ.get("MYSQL_HA_FLAVORS", "mariadb mysql").split()


@pytest.fixture(scope="module", params=FLAVORS)
def databases(request: pytest.FixtureRequest) -> Databases:
    """A running pair of each flavor."""
    lab, runs = request.getfixturevalue("pairs")(request.param)
    for result in runs.real.values():
        assert result.ok, result.error or result.problems()
    return Databases(lab)


class Writer:
    """An application's session that writes a row each few milliseconds, and says so if it ever loses it."""

    PROGRAM = """
import pymysql, select, sys
c = pymysql.connect(host=sys.argv[1], user="shop", password="shop-lab-only", database="shop", autocommit=True)
cursor = c.cursor()
cursor.execute("SELECT CONNECTION_ID()")
print(cursor.fetchone()[0], flush=True)
while not select.select([sys.stdin], [], [], 0.02)[0]:
    cursor.execute("INSERT INTO visits (at, note) VALUES (NOW(6), 'writer')")
    print(cursor.lastrowid, flush=True)
print("end", flush=True)
"""

    def __init__(self, lab: Lab, address: str) -> None:
        words = lab.host("client").command([PYTHON, "-u", "-c", self.PROGRAM, address])
        pipe = subprocess.PIPE
        self._run = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        assert self._run.stdout.readline().strip(), self._run.stderr.read()

    def acknowledged(self) -> list[str]:
        """The numbers of the rows that were acknowledged until the session broke, or was ended."""
        said, _ = self._run.communicate(timeout=60)
        return [line for line in said.splitlines() if line.isdigit()]

    def end(self) -> int:
        """How many rows were acknowledged; fails when the session broke."""
        said, error = self._run.communicate(timeout=60)
        *rows, last = said.splitlines()
        assert last == "end", error
        return len(rows)


# --- the first runs ---


@pytest.mark.parametrize("flavor", FLAVORS)
@pytest.mark.parametrize("host", DATABASES)
def test_from_empty(pairs: Callable[[str], tuple[Lab, FirstRuns]], flavor: str, host: str) -> None:
    _, runs = pairs(flavor)
    assert runs.test_mode[host].ok, runs.test_mode[host].error or runs.test_mode[host].problems()
    assert runs.real[host].ok, runs.real[host].error or runs.real[host].problems()
    assert ours(runs.test_mode[host]) == ours(runs.real[host])
    assert any(ours(runs.real[host]).values())
    assert not runs.second[host].changed
    assert all(state["result"] is True for state in runs.second_test_mode[host].states)


def test_rows_pass_both_ways_over_verified_tls(databases: Databases) -> None:
    for host in DATABASES:
        status = databases.call(host, "mysql_replication.status")
        assert (status["receiving"], status["applying"], status["gtid"]) == (True, True, True)
        assert (status["tls"], status["tls_verify"], status["heartbeat"]) == (True, True, 0.25)
        other = next(name for name in DATABASES if name != host)
        note = uuid.uuid4().hex
        databases.sql(host, f"INSERT INTO shop.visits (at, note) VALUES (NOW(6), '{note}')")
        query = f"SELECT COUNT(*) FROM shop.visits WHERE note = '{note}'"
        wait_for("the row", lambda query=query, other=other: databases.sql(other, query) == "1", 30)
    databases.wait_until_equal()
    for host, source in CHANNELS.items():
        if not databases.lab.plan.database.verifies_alone:
            source = source | {"ca_file": CA_FILE}
        assert databases.call(host, "mysql_replication.errant", source) == ""


# --- configuration ---


def configured(result: salt.HostResult) -> dict[str, Any]:
    """What the configuration's state said."""
    return next(state for state in result.states if state["function"] == "mysql_server.configured")


@pytest.mark.short_on("mysql")
def test_a_run_under_load_drops_no_connection_and_restarts_no_replication(databases: Databases) -> None:
    dump = "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'"
    before = databases.sql("mysql1", dump)
    assert before
    writer = Writer(databases.lab, "192.168.1.5")
    with databases.pillar(settings={"max_connections": 500, "long_query_time": 2.5}):
        results = databases.applied()
        for host in DATABASES:
            state = configured(results[host])
            assert state["changes"]["max_connections"]["new"] == "500"
            assert databases.sql(host, "SELECT @@GLOBAL.max_connections, @@GLOBAL.long_query_time") == "500\t2.500000"
            assert "max_connections = 500" in databases.read(host, databases.config)
        assert not any(result.changed for result in databases.applied().values())
    assert databases.sql("mysql1", dump) == before
    assert writer.end() > 20
    # What is no longer said is the server's default again.
    assert "max_connections" not in databases.read("mysql1", databases.config)
    assert databases.sql("mysql1", "SELECT @@GLOBAL.max_connections") == "151"


@pytest.mark.short_on("mysql")
def test_what_was_changed_by_hand_is_changed_back(databases: Databases) -> None:
    databases.sql("mysql1", "SET GLOBAL sync_binlog = 7")
    predicted = ours(databases.apply("test=True", target="mysql1")["mysql1"])
    done = ours(databases.apply(target="mysql1")["mysql1"])
    assert done == predicted
    assert {"sync_binlog": {"old": "7", "new": "1"}} in done.values()
    assert databases.sql("mysql1", "SELECT @@GLOBAL.sync_binlog") == "1"


WRONG_SETTINGS = [
    ({"max_connectionz": 100}, "unknown variable 'max_connectionz=100'"),
    ({"max_connections": 100000000}, "adjusted to 100000"),
    ({"max_connections": "100x"}, "Unknown suffix 'x'"),
    ({"binlog_row_image": "sometimes"}, "Error while setting value 'sometimes' to 'binlog"),
]


def test_the_server_refuses_settings_before_they_are_used(databases: Databases) -> None:
    before, uptime = databases.read("mysql1", databases.config), databases.uptime("mysql1")
    for setting, words in WRONG_SETTINGS:
        with databases.pillar(settings=setting, restore=False):
            state = databases.failed()
        assert state["function"] == "mysql_server.configured"
        assert words.lower() in state["comment"].lower()
        assert "nothing was changed" in state["comment"]
        assert databases.read("mysql1", databases.config) == before
    own = "gtid-mode" if databases.flavor == "mysql" else "gtid-domain-id"
    with databases.pillar(settings={own: 0}):
        assert "is refused, because this formula sets gtid_" in databases.failed()["comment"]
    assert databases.read("mysql1", databases.config) == before
    assert databases.uptime("mysql1") >= uptime


@pytest.mark.short_on("mariadb")
def test_a_setting_that_needs_a_restart_waits_for_it_and_the_orchestration_goes_one_by_one(
    databases: Databases,
) -> None:
    with databases.pillar(settings={"back_log": 77}):
        for _ in range(2):
            for result in databases.applied().values():
                state = configured(result)
                assert "Restart pending: back_log (running " in state["comment"]
        assert not result.changed
        assert databases.sql("mysql1", "SELECT @@GLOBAL.back_log") != "77"
        done = databases.orchestrate("mysql_ha.orch.restart")
        assert done.returncode == 0, done.stdout + done.stderr
        for host in DATABASES:
            assert databases.sql(host, "SELECT @@GLOBAL.back_log") == "77"
        assert databases.uptime("mysql1") > databases.uptime("mysql2")
        uptimes = [databases.uptime(host) for host in DATABASES]
        # Nothing is pending: nothing is restarted.
        done = databases.orchestrate("mysql_ha.orch.restart")
        assert done.returncode == 0, done.stdout + done.stderr
        assert all(databases.uptime(host) >= before for host, before in zip(DATABASES, uptimes, strict=True))
        for result in databases.applied().values():
            state = configured(result)
            assert state["comment"] == "The configuration is as specified."
    assert databases.orchestrate("mysql_ha.orch.restart").returncode == 0


@pytest.mark.short_on("mariadb")
def test_a_server_that_does_not_start_gets_its_old_configuration_back(databases: Databases) -> None:
    before = databases.read("mysql1", databases.config)
    untouched = databases.uptime("mysql2")
    with databases.pillar(settings={"innodb_log_group_home_dir": "/nowhere"}):
        databases.applied()
        done = databases.orchestrate("mysql_ha.orch.restart")
        assert done.returncode != 0
        assert "does not start" in done.stdout
        assert "/nowhere" in done.stdout
        assert "is back, and it runs" in done.stdout
        assert databases.read("mysql1", databases.config) == before
        assert "/nowhere" in databases.read("mysql1", databases.config + ".refused")
        # It stopped there: the other one was not tried.
        assert databases.uptime("mysql2") >= untouched
        databases.wait_for_channels()


@pytest.mark.short_on("mysql")
def test_a_full_disk_leaves_the_old_configuration(databases: Databases) -> None:
    folder = databases.config.rsplit("/", 1)[0]
    before = databases.read("mysql1", databases.config)
    fill = (
        f"cp -a {folder} /tmp/saved && mount -t tmpfs -o size=64k,mode=755 tmpfs {folder} "
        f"&& cp -a /tmp/saved/. {folder} && (cat /dev/zero > {folder}/full 2>/dev/null; true)"
    )
    databases.lab.run("mysql1", ["sh", "-c", fill])
    try:
        with databases.pillar(settings={"max_connections": 321}):
            state = databases.failed()
            assert "No space left on device" in state["comment"]
            assert databases.read("mysql1", databases.config) == before
            assert databases.lab.run("mysql1", ["ls", folder]).stdout.count(".part") == 0
            databases.lab.run("mysql1", ["umount", folder])
    finally:
        databases.lab.run("mysql1", ["sh", "-c", f"umount {folder} 2>/dev/null; rm -rf /tmp/saved"], check=False)


# --- certificates ---


def fingerprint(databases: Databases, host: str) -> str:
    """Of the certificate that a server shows."""
    return databases.call(host, "mysql_server.tls_fingerprint", ADDRESSES[host], "3306")


def test_a_ca_for_databases_that_had_none(databases: Databases) -> None:
    """From MariaDB's own way to verify to a CA: after a restart of each, without a moment of no verification."""
    if not databases.lab.plan.database.verifies_alone:
        pytest.skip("these had a CA from their first start on")
    salt.give_ca(databases.lab)
    for _ in range(2):
        for result in databases.applied().values():
            assert "Restart pending: " in configured(result)["comment"]
            assert "ssl_cert (running " in configured(result)["comment"]
    assert databases.call("mysql1", "mysql_replication.status")["ca_file"] == ""
    assert databases.orchestrate("mysql_ha.orch.restart").returncode == 0
    databases.applied()
    databases.wait_for_channels()
    for host in DATABASES:
        status = databases.call(host, "mysql_replication.status")
        assert (status["ca_file"], status["tls_verify"]) == (CA_FILE, True)
    assert not any(result.changed for result in databases.applied().values())


def test_another_ca_reaches_running_servers_and_sessions_stay(databases: Databases) -> None:
    before = {host: fingerprint(databases, host) for host in DATABASES}
    uptimes = {host: databases.uptime(host) for host in DATABASES}
    writer = Writer(databases.lab, "192.168.1.5")
    salt.give_ca(databases.lab)
    predicted = {host: ours(result) for host, result in databases.apply("test=True").items()}
    assert {host: ours(result) for host, result in databases.applied().items()} == predicted
    assert not any(result.changed for result in databases.applied().values())
    databases.wait_for_channels()
    for host in DATABASES:
        assert fingerprint(databases, host) != before[host]
        assert databases.uptime(host) >= uptimes[host]
        # A new connection of the replication verifies with it.
        databases.call(host, "mysql_replication.stop")
        databases.call(host, "mysql_replication.start")
    databases.wait_for_channels()
    assert writer.end() > 20


def test_a_peer_with_a_certificate_of_another_ca_is_not_let_in(databases: Databases) -> None:
    databases.lab.run("mysql1", ["cp", "-L", CA_FILE, "/root/ca.pem"])
    other = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=other", "-keyout", "/root/other.key", "-out", "/root/other.pem"]  # fmt: skip
    databases.lab.run("mysql1", other)
    databases.call("mysql1", "mysql_replication.stop")
    target = databases.lab.run("mysql1", ["readlink", "-f", CA_FILE]).stdout.strip()
    databases.lab.run("mysql1", ["cp", "/root/other.pem", target])
    try:
        databases.call("mysql1", "mysql_replication.start")
        wait_for("the receiver's error", lambda: databases.call(
            "mysql1", "mysql_replication.status")["receiver_error"].startswith("2026:"), 60, 0.5)  # fmt: skip
        assert databases.call("mysql1", "mysql_replication.status")["receiving"] is False
        healthy = databases.call("mysql1", "state.single", "mysql_replication.healthy", "x")
        assert "does not replicate: 2026:" in next(iter(healthy.values()))["comment"]
        assert databases.call("mysql1", "mysql_replication.peer", CHANNELS["mysql1"] | {"ca_file": CA_FILE}) is None
    finally:
        databases.lab.run("mysql1", ["cp", "/root/ca.pem", target])
    databases.wait_for_channels()


# --- accounts and databases ---


def login(databases: Databases, host: str, user: str, password: str, query: str = "SELECT 1") -> str:
    """What a query says to an application on the client; the error, if it is not let in."""
    program = (
        "import pymysql, sys\n"
        "try:\n"
        "    c = pymysql.connect(host=sys.argv[1], user=sys.argv[2], password=sys.stdin.readline().strip())\n"
        "    q = c.cursor(); q.execute(sys.argv[3]); print(q.fetchone()[0])\n"
        "except pymysql.err.MySQLError as error:\n"
        "    print(error.args[0])\n"
    )
    words = [PYTHON, "-c", program, ADDRESSES[host], user, query]
    return databases.lab.run("client", words, stdin=password + "\n").stdout.strip()


def test_an_applications_account_and_database_from_the_pillar(databases: Databases) -> None:
    databases.wait_until_equal()
    before = [databases.call(host, "mysql_replication.server")["gtids"] for host in DATABASES]
    account = {"hosts": ["192.168.1.%"], "grants": {"app.*": ["SELECT", "INSERT"]}}
    with databases.pillar(accounts={"app": account}, databases=["app"], secrets={"accounts": {"app": "first-secret"}}):
        predicted = {host: ours(result) for host, result in databases.apply("test=True").items()}
        assert {host: ours(result) for host, result in databases.applied().items()} == predicted
        assert not any(result.changed for result in databases.applied().values())
        for host in DATABASES:
            assert login(databases, host, "app", "first-secret", "SELECT DATABASE() IS NULL") == "1"
            assert login(databases, host, "app", "second-secret") == "1045"
            assert login(databases, host, "app", "first-secret", "SELECT COUNT(*) FROM shop.visits") == "1142"
    account["grants"] = {"app.*": ["SELECT"], "shop.visits": ["SELECT"]}
    with databases.pillar(accounts={"app": account}, databases=["app"], secrets={"accounts": {"app": "second-secret"}}):
        changes = {field: change for changes in map(ours, databases.applied().values())
                   for found in changes.values() for field, change in found.items()}  # fmt: skip
        assert changes["app@192.168.1.% password"] == {"old": "(hidden)", "new": "(hidden)"}
        assert changes["app@192.168.1.% grants on app.*"]["new"] == ["SELECT"]
        for host in DATABASES:
            assert login(databases, host, "app", "first-secret") == "1045"
            assert int(login(databases, host, "app", "second-secret", "SELECT COUNT(*) FROM shop.visits")) >= 0
    with databases.pillar(accounts={"app": account | {"absent": True}}):
        databases.applied()
        for host in DATABASES:
            assert login(databases, host, "app", "second-secret") in ("1045", "1130")
            assert "app" in databases.sql(host, "SHOW DATABASES").split()
            databases.sql(host, "SET sql_log_bin = 0; DROP DATABASE app")
    # None of it is in a binary log.
    after = [databases.call(host, "mysql_replication.server")["gtids"] for host in DATABASES]
    assert after == before


def test_another_replication_password_reaches_accounts_and_channels(databases: Databases) -> None:
    with databases.pillar(secrets={"replication": "another-secret"}):
        databases.applied()
        databases.wait_for_channels()
        assert not any(result.changed for result in databases.applied().values())
        # A new connection needs it too.
        for host in DATABASES:
            databases.call(host, "mysql_replication.stop")
            databases.call(host, "mysql_replication.start")
        databases.wait_for_channels()


# --- replication ---


@pytest.mark.short_on("mysql")
def test_conflicting_rows_stop_the_replication_and_everything_tells(databases: Databases) -> None:
    sql = databases.sql
    sql("mysql1", "CREATE TABLE IF NOT EXISTS shop.conflict (id INT PRIMARY KEY, note VARCHAR(20))")
    wait_for("the table", lambda: "conflict" in sql("mysql2", "SHOW TABLES FROM shop"), 30)
    for host in DATABASES:
        assert databases.call(host, "state.single", "mysql_replication.stopped", "x")
    for host in DATABASES:
        sql(host, f"INSERT INTO shop.conflict VALUES (1, 'of {host}')")
    for host in DATABASES:
        databases.call(host, "mysql_replication.start")
    try:
        for host in DATABASES:
            wait_for("the applier to stop", lambda host=host: databases.call(
                host, "mysql_replication.status")["applier_error"], 30, 0.5)  # fmt: skip
            status = databases.call(host, "mysql_replication.status")
            assert status["applying"] is False
            assert status["applier_error"].startswith(("1062:", "1032:"))
            assert "Duplicate entry '1'" in status["applier_error"] or databases.flavor == "mysql"
        for arguments in ([], ["test=True"]):
            for result in databases.apply(*arguments).values():
                assert [state["function"] for state in result.failed] == ["mysql_replication.replicating"]
                assert "has stopped: 1062" in result.failed[0]["comment"]
                assert not result.changed
        for host in DATABASES:
            assert sql(host, "SELECT note FROM shop.conflict WHERE id = 1") == f"of {host}"
            assert databases.call(host, "mysql_replication.status")["applying"] is False
    finally:
        for host in DATABASES:
            sql(host, "SET sql_log_bin = 0; DELETE FROM shop.conflict")
            databases.call(host, "mysql_replication.start")
    databases.wait_for_channels()
    sql("mysql1", "DROP TABLE shop.conflict")
    databases.wait_until_equal()


def test_read_only_stopped_and_semi_sync_as_states(databases: Databases) -> None:
    def single(function: str, *words: str, test: bool = False) -> dict[str, Any]:
        found = databases.call("mysql2", "state.single", f"mysql_replication.{function}", "x", *words, f"test={test}")
        return next(iter(found.values()))

    before = databases.call("mysql2", "mysql_replication.server")["gtids"]
    for function, words, undo in (
        ("read_only", [], ["closed=False"]),
        ("semi_sync", ["source=True", "replica=True"], ["source=False", "replica=False"]),
    ):
        predicted = single(function, *words, test=True)
        assert predicted["result"] is None
        assert single(function, *words)["changes"] == predicted["changes"]
        again = single(function, *words)
        assert (again["result"], again["changes"]) == (True, {})
        if function == "read_only":
            said = login(databases, "mysql2", "shop", client.PASSWORD, "INSERT INTO shop.visits (note) VALUES ('x')")
            assert said == "1290"
        else:
            now = databases.call("mysql2", "mysql_replication.semi_sync")
            assert (now["source"], now["replica"]) == (True, True)
            assert now["timeout"] > 4 * 10**9
        assert single(function, *undo)["result"] is True
    assert databases.call("mysql2", "mysql_replication.server")["gtids"] == before
    stopped = single("stopped")
    assert stopped["changes"] == {"running": {"old": True, "new": False}}
    assert single("stopped")["changes"] == {}
    started = databases.apply(target="mysql2")["mysql2"]
    assert ours(started)["mysql_ha-database-replication-mysql_replication-replicating"] == {
        "running": {"old": False, "new": True}}  # fmt: skip
    databases.wait_for_channels()


def test_semi_sync_acknowledges(databases: Databases) -> None:
    try:
        databases.call("mysql1", "mysql_replication.set_semi_sync", "source=True")
        databases.call("mysql2", "mysql_replication.set_semi_sync", "replica=True")
        wait_for("a replica that acknowledges", lambda: databases.call(
            "mysql1", "mysql_replication.semi_sync")["replicas"] == 1, 30, 0.5)  # fmt: skip
        databases.sql("mysql1", "INSERT INTO shop.visits (at, note) VALUES (NOW(6), 'acknowledged')")
        assert databases.call("mysql1", "mysql_replication.semi_sync")["source_active"] is True
    finally:
        databases.call("mysql1", "mysql_replication.set_semi_sync", "source=False")
        databases.call("mysql2", "mysql_replication.set_semi_sync", "replica=False")
    databases.wait_for_channels()


def test_file_and_position_is_refused_with_an_explanation(databases: Databases) -> None:
    by_file = {
        "mysql": "STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION = 0; START REPLICA",
        "mariadb": "STOP SLAVE; CHANGE MASTER TO MASTER_USE_GTID = no; START SLAVE",
    }
    back = {
        "mysql": "STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION = 1; START REPLICA",
        "mariadb": "STOP SLAVE; CHANGE MASTER TO MASTER_USE_GTID = slave_pos; START SLAVE",
    }
    databases.sql("mysql2", by_file[databases.flavor])
    try:
        state = databases.failed("mysql2")
        assert "by file and position" in state["comment"]
        assert databases.call("mysql2", "mysql_replication.status")["gtid"] is False
    finally:
        databases.sql("mysql2", back[databases.flavor])
    databases.wait_for_channels()


@pytest.mark.short_on("mariadb")
def test_without_tls_only_when_it_is_said(databases: Databases) -> None:
    with databases.pillar(replication={"tls": False}):
        databases.applied()
        databases.wait_for_channels()
        assert not any(result.changed for result in databases.applied().values())
        for host in DATABASES:
            assert databases.call(host, "mysql_replication.status")["tls"] is False
    for host in DATABASES:
        assert databases.call(host, "mysql_replication.status")["tls"] is True


# --- secrets ---

SAMPLER = """
import glob, os, sys, time
end = time.time() + 600
seen = set()
while time.time() < end and os.path.exists("/run/lab-sampling"):
    for place in glob.glob("/proc/[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                with open(place + "/" + name, "rb") as file:
                    text = file.read()
            except OSError:
                continue
            if sys.argv[1].encode() in text and int(place[6:]) != os.getpid() and text not in seen:
                seen.add(text)
                print(text, flush=True)
print("sampled", flush=True)
"""
# Where anybody on the host may read, and the job cache, logs and binary logs whoever may read them.
SEARCH = """
find / -xdev -type f -newer /root/before -perm -o=r ! -path '/proc/*' ! -path '/sys/*' ! -path '/srv/pillar/*' \\
    -exec grep -laF "$MARK" {} + 2>/dev/null
grep -rlaF "$MARK" /var/log /var/cache/salt/master/jobs /var/cache/salt/minion /tmp 2>/dev/null
for log in /var/lib/mysql/binlog.[0-9]* /var/lib/mysql/relay-bin.[0-9]*; do grep -laF "$MARK" "$log" 2>/dev/null; done
journalctl --no-pager -q -o cat | grep -aF "$MARK" | head -3
true
"""


@pytest.mark.short_on("mysql")
def test_secrets_are_found_nowhere(databases: Databases) -> None:
    lab = databases.lab
    secrets = {"replication": f"{MARK}-replication", "accounts": {"app": f"{MARK}-app"}}
    account = {"hosts": ["192.168.1.%"], "grants": {"app.*": ["SELECT"]}}
    for host in (*DATABASES, "master"):
        lab.run(host, ["touch", "/root/before", "/run/lab-sampling"])
    samplers = {host: lab.popen(host, [PYTHON, "-c", SAMPLER, MARK]) for host in (*DATABASES, "master")}
    events = lab.popen("master", ["timeout", "600", "salt-run", "state.event"])
    said = []
    try:
        with databases.pillar(accounts={"app": account}, databases=["app"], secrets=secrets):
            words = ["salt-call", "-l", "debug", "state.apply", "mysql_ha", "queue=True"]
            other = lab.popen("mysql2", words)
            for more in ([], ["test=True"]):
                done = lab.run("mysql1", [*words, *more], check=False)
                said += [done.stdout, done.stderr]
            said += other.communicate()
            said.append(json.dumps([result.states for result in databases.applied().values()]))
            databases.wait_for_channels()
            assert login(databases, "mysql1", "app", f"{MARK}-app") == "1"
            for host in DATABASES:
                databases.call(host, "mysql_account.differences", {"app": account})
        # And what is said when it fails: a statement with a password, refused by the server.
        databases.sql("mysql1", "SET GLOBAL read_only = ON" if databases.flavor == "mariadb" else
                      "SET GLOBAL super_read_only = ON")  # fmt: skip
        try:
            again = {"replication": f"{MARK}-again"}
            with databases.pillar(restore=False, replication={"wait": 1}, secrets=again):
                said.append(json.dumps([result.states for result in databases.apply().values()]))
        finally:
            databases.sql("mysql1", "SET GLOBAL read_only = OFF")
        databases.applied()
        databases.wait_for_channels()
    finally:
        for host in samplers:
            lab.run(host, ["rm", "-f", "/run/lab-sampling"])
        sampled = {host: run.communicate(timeout=60)[0] for host, run in samplers.items()}
        lab.run("master", ["pkill", "-f", "state.event"], check=False)
        heard = events.communicate()[0]
        for host in DATABASES:
            databases.sql(
                host, "SET sql_log_bin = 0; DROP DATABASE IF EXISTS app; DROP USER IF EXISTS 'app'@'192.168.1.%'"
            )
    assert "mysql_replication" in heard
    assert MARK not in heard
    for text in said:
        assert len(text) > 100
        assert MARK not in text, text[max(0, text.find(MARK) - 300) : text.find(MARK) + 100]
    for host, text in sampled.items():
        assert text == "sampled\n", host
        found = lab.run(host, ["env", f"MARK={MARK}", "sh", "-c", SEARCH]).stdout
        assert found == "", f"{host}: {found}"


def test_after_all_of_this_both_hold_the_same_rows(databases: Databases) -> None:
    databases.settled()
