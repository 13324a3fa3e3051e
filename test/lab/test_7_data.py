"""Every way a database can start: from nothing, from a lost or broken disk, from another history; and interrupted."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from mysql_ha_lab import salt
from mysql_ha_lab.command import wait_for
from mysql_ha_lab.plan import DATABASES
from test_1_first_run import ours
from test_6_databases import Databases, Writer, databases  # noqa: F401 - a fixture

REPLICATING = "mysql_ha-database-replication-mysql_replication-replicating"
ROWS = 12288
# Random, so that a copy of it is of some size.
FILL = (
    """
DROP TABLE IF EXISTS shop.big;
CREATE TABLE shop.big (id BIGINT AUTO_INCREMENT PRIMARY KEY, pad VARBINARY(1100), KEY (pad(20)));
INSERT INTO shop.big (pad) VALUES (REPEAT(UUID(), 30)), (REPEAT(UUID(), 30)), (REPEAT(UUID(), 30));
"""
    + 12 * "INSERT INTO shop.big (pad) SELECT REPEAT(UUID(), 30) FROM shop.big;\n"
)


class Pair(Databases):
    """The two databases, and what becomes of their data."""

    folder = "/var/lib/mysql"

    def tables(self, host: str) -> dict[str, tuple[int, str]]:
        """How many rows each table of anybody's has, and their checksum."""
        tables = self.call(host, "mysql_checksum.tables")["tables"]
        return {name: (found["rows"], found["checksum"]) for name, found in tables.items()}

    def settled(self) -> dict[str, tuple[int, str]]:
        """Wait until both replicate and are equal in every row; the tables."""
        super().settled()
        return self.tables("mysql1")

    def stop(self, host: str) -> None:
        self.lab.run(host, ["systemctl", "stop", self.service])

    def shell(self, host: str, script: str) -> str:
        return self.lab.run(host, ["sh", "-c", script]).stdout.strip()

    def status(self, host: str) -> dict[str, Any] | None:
        return self.call(host, "mysql_data.status")

    def wait_for_end_of_copy(self) -> None:
        wait_for("the end of the copy", lambda: not (self.status("mysql2") or {"running": False})["running"], 120, 1)

    def insert(self, note: str) -> None:
        """A row on each side, under a number of its own."""
        for host in DATABASES:
            self.sql(host, f"INSERT INTO shop.visits (at, note) VALUES (NOW(6), '{note}')")

    def power_back(self, host: str) -> None:
        self.lab.boot(host)
        salt.wait_for_minions(self.lab)

    def replicating(self, host: str, result: salt.HostResult) -> dict[str, Any]:
        return next(state for state in result.states if state["id"] == REPLICATING)

    def rebuild(self, **asked: Any) -> Any:
        words = ["salt-run", "--out=json", "state.orchestrate", "mysql_ha.orch.rebuild",
                 f"pillar={json.dumps({'rebuild': asked})}"]  # fmt: skip
        return self.lab.popen("master", words)

    def discard(self, host: str) -> dict[str, int]:
        kept = self.call(host, "mysql_data.kept")
        for path in kept:
            assert self.call(host, "mysql_data.discard", path) == kept[path]
        return kept

    @contextmanager
    def without_mariadb_backup(self) -> Iterator[None]:
        """It is not on mysql2, and cannot be installed there."""
        pin = "/etc/apt/preferences.d/no-mariadb-backup"
        self.shell("mysql2", f"printf 'Package: mariadb-backup\\nPin: release *\\nPin-Priority: -1\\n' > {pin}; "
                   "dpkg --purge mariadb-backup")  # fmt: skip
        try:
            yield
        finally:
            self.shell("mysql2", f"rm {pin}")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """An application's writes into mysql1 meanwhile."""
        loop = "while :; do echo \"INSERT INTO shop.visits (at, note) VALUES (NOW(6), 'meanwhile');\"; sleep 0.05; done"
        client = self.lab.plan.database.client
        run = self.lab.popen("mysql1", ["sh", "-c", f"({loop}) | {client}"])
        try:
            yield
        finally:
            # The shell's own children do not end with it.
            self.lab.run("mysql1", ["pkill", "-f", "meanwhile"], check=False)
            run.communicate(timeout=60)


@pytest.fixture(scope="module")
def pair(databases: Databases) -> Iterator[Pair]:  # noqa: F811 - the fixture
    one = Pair(databases.lab)
    one.sql("mysql1", FILL)
    assert one.sql("mysql1", "SELECT COUNT(*) FROM shop.big") == str(ROWS)
    one.settled()
    yield one
    one.sql("mysql1", "DROP TABLE shop.big")
    one.settled()
    for host in DATABASES:
        one.discard(host)


def test_a_wiped_database_gets_everything_again_while_the_other_serves(pair: Pair) -> None:
    before = pair.settled()
    pair.stop("mysql2")
    pair.shell("mysql2", f"rm -rf {pair.folder}")
    with pair.writing():
        predicted = pair.apply("test=True", target="mysql2")["mysql2"]
        result = pair.apply(target="mysql2")["mysql2"]
        assert result.ok, result.error or result.problems()
        pair.applied()
    said = pair.replicating("mysql2", result)
    assert said["changes"]["data"] == {"old": None, "new": "a copy of mysql1"}
    assert "mysql1 has data and this server has none" in said["comment"]
    folder = {"folder": {"old": None, "new": pair.folder}}
    for one in (predicted, result):
        assert ours(one)["mysql_ha-database-service-mysql_data-present"] == folder
    after = pair.settled()
    assert after["shop.big"] == before["shop.big"]
    assert after["shop.visits"] != before["shop.visits"]
    # Numbers go on where they were, on both sides.
    pair.insert("after")
    pair.settled()
    assert not any(one.changed for one in pair.applied().values())
    assert pair.status("mysql2") is None


def interrupted(pair: Pair, phase: str, done: int) -> None:
    """Wait until a copy on mysql2 is that far."""

    def is_there() -> bool:
        record = json.loads(pair.shell("mysql2", "cat /var/lib/mysql_ha/copy.json 2>/dev/null || echo null"))
        return record is not None and record["phase"] == phase and record["done"] >= done

    wait_for(f"the copy to be {phase}", is_there, 240, 0.1)


# How a rebuild is made, whose power fails, and when.
INTERRUPTIONS = [
    ("files", "mysql2", "copying", 1 << 20),
    pytest.param("dump", "mysql2", "copying", 1 << 20, marks=pytest.mark.long),
    *(pytest.param(how, "mysql1", "copying", 1 << 20, marks=pytest.mark.long) for how in ("files", "dump")),
    *(
        pytest.param(how, host, phase, 0, marks=pytest.mark.long)
        for how in ("files", "dump")
        for host in DATABASES
        for phase in ("keeping", "settling")
    ),
]


@pytest.mark.parametrize(("how", "victim", "phase", "done"), INTERRUPTIONS)
def test_a_copy_that_loses_power_in_the_middle_begins_again(
    pair: Pair, how: str, victim: str, phase: str, done: int
) -> None:
    """A rebuild, so that there is something to lose; the power of either host fails."""
    if how == "dump" and pair.flavor == "mysql":
        pytest.skip("MySQL's files are always copied")
    # MariaDB's files come in while the old server serves.
    serves = pair.flavor == "mariadb" and how == "files" and phase == "copying"
    pair.sql("mysql2", "INSERT INTO shop.visits (at, note) VALUES (NOW(6), 'before the rebuild')")
    before = pair.settled()
    with pair.without_mariadb_backup() if how == "dump" else nullcontext():
        run = pair.rebuild(node="mysql2", limit=2)
        interrupted(pair, "receiving" if serves else phase, done)
        pair.lab.power_off(victim)
        run.kill()
        run.communicate()
        pair.power_back(victim)
        if victim == "mysql1":
            # The copy ends with its source, and stays closed.
            pair.wait_for_end_of_copy()
        record = pair.status("mysql2")
        port = pair.shell("client", "timeout 5 bash -c '</dev/tcp/192.168.1.6/3306' 2>&1; echo $?")[-1]
        if serves:
            assert (record or {"phase": "receiving"})["phase"] == "receiving"
            assert port == "0"
        elif record is not None and record["phase"] == "keeping" and port == "0":
            # Recorded, and not closed yet: what serves is all that it had.
            assert pair.tables("mysql2") == before
        elif record is not None and record["phase"] != "opening":
            # Nobody is led to half of the data.
            assert port == "1"
        for _ in range(2):
            pair.applied()
    assert pair.settled() == before
    assert pair.status("mysql2") is None
    assert not any(one.changed for one in pair.applied().values())
    assert pair.shell("mysql2", f"ls -d {pair.folder}.part-* 2>/dev/null || true") == ""
    kept = pair.discard("mysql2")
    if serves:
        assert kept == {}
        return
    assert len(kept) == 1
    assert next(iter(kept.values())) > 10 << 20
    assert pair.call("mysql2", "mysql_data.kept") == {}


@pytest.mark.short_on("mysql")
def test_a_copy_whose_source_is_gone_is_given_up(pair: Pair) -> None:
    pair.sql("mysql1", "DELETE FROM shop.visits WHERE note = 'alone'")
    before = pair.settled()
    with pair.without_mariadb_backup() if pair.flavor == "mariadb" else nullcontext():
        run = pair.rebuild(node="mysql2", limit=2)
        interrupted(pair, "copying", 1 << 20)
        said = pair.call("mysql2", "mysql_data.abandon")
        assert "a copy is being made already" in said
        pair.lab.power_off("mysql1")
        try:
            run.kill()
            run.communicate()
            pair.wait_for_end_of_copy()
            record = pair.status("mysql2")
            assert pair.call("mysql2", "mysql_data.abandon") == {"restored": record["kept"]}
            # It serves again, with all that it had, and takes writes, while the other one is away.
            assert pair.tables("mysql2") == before
            pair.sql("mysql2", "INSERT INTO shop.visits (at, note) VALUES (NOW(6), 'alone')")
            assert pair.call("mysql2", "mysql_data.kept") == {}
            assert "there is nothing to give up" in pair.call("mysql2", "mysql_data.abandon")
        finally:
            pair.power_back("mysql1")
    for _ in range(2):
        pair.applied()
    pair.settled()
    assert pair.sql("mysql1", "SELECT COUNT(*) FROM shop.visits WHERE note = 'alone'") == "1"


def test_a_rebuild_under_writes(pair: Pair) -> None:
    """MariaDB's old server serves until the other one's files have come in, and what it acknowledges is on both."""
    before = pair.settled()
    own = Writer(pair.lab, "192.168.1.6")
    with pair.writing():
        run = pair.rebuild(node="mysql2", limit=20)
        if pair.flavor == "mariadb":
            interrupted(pair, "receiving", 1)
            assert pair.sql("mysql2", "SELECT COUNT(*) FROM shop.big") == str(ROWS)
            assert json.loads(pair.shell("mysql2", "cat /var/lib/mysql_ha/copy.json"))["phase"] == "receiving"
        said, error = run.communicate(timeout=600)
    assert run.returncode == 0, said + error
    assert {"mariadb": ", by mariadb-backup. ", "mysql": ", by the clone plugin. "}[pair.flavor] in said
    after = pair.settled()
    assert after["shop.big"] == before["shop.big"]
    assert after["shop.visits"] != before["shop.visits"]
    rows = own.acknowledged()
    assert len(rows) > (50 if pair.flavor == "mariadb" else 0)
    for host in DATABASES:
        assert pair.sql(host, f"SELECT COUNT(*) FROM shop.visits WHERE id IN ({','.join(rows)})") == str(len(rows))
    # Numbers go on where they were, on both sides, also those that the rebuilt one wrote before.
    pair.insert("after the rebuild")
    pair.settled()
    assert not any(one.changed for one in pair.applied().values())
    assert len(pair.discard("mysql2")) == 1
    for host in DATABASES:
        assert pair.shell(host, "ls -d /run/mysql_ha-copy 2>/dev/null || true") == ""


@pytest.mark.long
def test_without_mariadb_backup_a_rebuild_makes_a_dump(pair: Pair) -> None:
    if pair.flavor == "mysql":
        pytest.skip("MySQL's files are copied by its plugin")
    before = pair.settled()
    with pair.without_mariadb_backup():
        run = pair.rebuild(node="mysql2")
        said, error = run.communicate(timeout=600)
    assert run.returncode == 0, said + error
    assert ", by a dump. It was no stream of mariadb-backup: mariadb-backup is not installed on mysql2." in said
    assert pair.settled() == before
    assert len(pair.discard("mysql2")) == 1


@pytest.mark.long
def test_a_database_that_cannot_recover_is_rebuilt_and_what_it_had_is_kept(pair: Pair) -> None:
    before = pair.settled()
    pair.stop("mysql2")
    pair.shell("mysql2", f"dd if=/dev/urandom of={pair.folder}/ibdata1 bs=1M count=4 conv=notrunc 2>/dev/null")
    failed = pair.failed("mysql2")
    assert f"{pair.service} does not start: " in failed["comment"]
    assert "pillar='{rebuild: {node: mysql2}}'" in failed["comment"]
    run = pair.rebuild(node="mysql2")
    said, error = run.communicate(timeout=600)
    assert run.returncode == 0, said + error
    assert "A copy of mysql1 was made" in said
    assert "is kept in /var/lib/mysql.before-" in said
    assert pair.settled() == before
    assert len(pair.discard("mysql2")) == 1


@pytest.mark.long
def test_a_rebuild_needs_two_databases_by_name(pair: Pair) -> None:
    for asked in ({}, {"node": "mysql9"}, {"node": "mysql2", "from": "mysql2"}, {"node": "mysql2", "limit": "fast"}):
        run = pair.rebuild(**asked)
        said, _ = run.communicate(timeout=120)
        assert run.returncode != 0
        assert "Nothing was changed. Say which database is rebuilt" in said
    assert pair.call("mysql2", "mysql_data.kept") == {}


@pytest.mark.short_on("mariadb")
def test_two_histories_are_refused_until_the_pillar_names_one(pair: Pair) -> None:
    pair.settled()
    forget = pair.call("mysql1", "mysql_replication.forget")
    for host in DATABASES:
        pair.sql(host, forget)
    for host in DATABASES:
        pair.sql(host, f"INSERT INTO shop.visits (at, note) VALUES (NOW(6), 'only on {host}')")
    for host, result in pair.apply().items():
        state = result.failed[0]
        assert (
            f"Not joined with {'mysql2' if host == 'mysql1' else 'mysql1'}: both servers hold transactions"
            in state["comment"]
        )
        assert "mysql_ha:database:seed: " in state["comment"]
    with pair.pillar(restore=False, seed="mysql1"):
        for _ in range(2):
            pair.applied()
        pair.settled()
        assert not any(one.changed for one in pair.applied().values())
    for host in DATABASES:
        notes = pair.sql(host, "SELECT DISTINCT note FROM shop.visits WHERE note LIKE 'only on%'")
        assert notes == "only on mysql1"
    # The loser's row is not lost either.
    (kept,) = pair.call("mysql2", "mysql_data.kept")
    assert "only on mysql2" in pair.shell("mysql2", f"grep -aoh 'only on mysql2' {kept}/binlog.0* | head -1")
    pair.discard("mysql2")


@pytest.mark.short_on("mariadb")
def test_data_that_no_binary_log_ever_had_is_adopted(pair: Pair) -> None:
    """A server from before its binary log, and an empty one beside it."""
    before = pair.settled()
    pair.stop("mysql2")
    pair.shell("mysql2", f"rm -rf {pair.folder}")
    reset = "RESET BINARY LOGS AND GTIDS" if pair.flavor == "mysql" else "RESET MASTER; SET GLOBAL gtid_slave_pos = ''"
    pair.sql("mysql1", f"{pair.call('mysql1', 'mysql_replication.forget')} {reset}")
    assert pair.call("mysql1", "mysql_replication.server")["gtids"] == ""
    for _ in range(2):
        pair.applied()
    assert pair.settled() == before
    pair.insert("adopted")
    pair.settled()


@pytest.mark.long
def test_what_cannot_be_copied_is_told_before_anything_is_changed(pair: Pair) -> None:
    pair.sql("mysql1", "CREATE TABLE shop.other (id INT) ENGINE = MyISAM")
    pair.settled()
    try:
        uptime = pair.uptime("mysql2")
        run = pair.rebuild(node="mysql2")
        said, _ = run.communicate(timeout=300)
        assert run.returncode != 0
        assert "1 tables on 192.168.1.5:3306 are not InnoDB's" in said
        assert pair.uptime("mysql2") >= uptime
        assert pair.status("mysql2") is None
    finally:
        pair.sql("mysql1", "DROP TABLE shop.other")
    pair.settled()


@pytest.mark.long
def test_a_disk_that_was_copied_from_the_other_one_is_told_what_to_do(pair: Pair) -> None:
    """A machine that was cloned, as one does with virtual ones: same data, same server_uuid, same source."""
    before = pair.settled()
    for host in DATABASES:
        pair.stop(host)
    mine, other = (pair.lab.plan.host(host).root / pair.folder.lstrip("/") for host in ("mysql2", "mysql1"))
    pair.shell("mysql2", f"mv {pair.folder} {pair.folder}.own")
    subprocess.run(["cp", "-a", str(other), str(mine)], check=True)
    for host in DATABASES:
        pair.shell(host, f"systemctl start {pair.service}")
    assert "This server replicates from 192.168.1.6:3306, not from mysql1" in pair.failed("mysql2")["comment"]
    pair.sql("mysql2", pair.call("mysql2", "mysql_replication.forget"))
    if pair.flavor == "mysql":
        assert "as copies of one machine do: stop the copy, remove auto.cnf" in pair.failed("mysql2")["comment"]
        pair.stop("mysql2")
        pair.shell("mysql2", f"rm {pair.folder}/auto.cnf; systemctl start {pair.service}")
    pair.applied()
    assert pair.settled() == before
    assert not any(one.changed for one in pair.applied().values())
    pair.insert("copied")
    pair.settled()
    pair.shell("mysql2", f"rm -r {pair.folder}.own")
