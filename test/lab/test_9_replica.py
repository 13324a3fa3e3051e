"""A replica beside the two masters: its copy, its two masters in turn, and nothing that is ever written there."""

from __future__ import annotations

import copy
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from conftest import standing
from mysql_ha_lab import client, lan, salt
from mysql_ha_lab.command import wait_for
from mysql_ha_lab.lab import Lab
from mysql_ha_lab.plan import ADDRESSES, DIRECTORS, OPTIONAL, REPOSITORY
from pillars import EXAMPLE, as_yaml
from test_1_first_run import ours
from test_6_databases import FLAVORS, PYTHON, Databases, Writer

pytestmark = pytest.mark.long
NAME = "replica1"
ALL = "*[12]"  # both masters and the replica
FOLLOWING = "mysql_ha-replica-replication-mysql_replication-following"
# The receiver notices a silent master after 2 s, and waits 5; the rest is this machine's.
MOVED_SECONDS = 20
STEADY_SECONDS = 12


class Replica(Databases):
    """Two masters and a replica."""

    def pillar_of(self, **keys: Any) -> None:
        """What the replica's node says beside what it always says."""
        pillar = copy.deepcopy(EXAMPLE)
        pillar["nodes"][NAME] = {"role": "replica", "address": OPTIONAL[NAME], "server_id": 3,
                                 "replicates_from": "mysql1", **keys}  # fmt: skip
        # For how long a replica without data waits for its own master before it asks the other one.
        pillar["database"]["replication"]["wait"] = 20
        salt.set_pillar(self.lab, as_yaml(pillar))

    def run(self, *arguments: str, target: str = NAME) -> salt.HostResult:
        """A run on the replica, or on all; it must succeed."""
        results = self.apply(*arguments, target=target)
        for result in results.values():
            assert result.ok, result.error or result.problems()
        return results[NAME]

    def comment(self, result: salt.HostResult) -> str:
        return next(state["comment"] for state in result.states if state["id"] == FOLLOWING)

    def status(self) -> dict[str, Any]:
        return self.call(NAME, "mysql_replication.status")

    def source(self) -> str:
        """The master that the replica reads from, asked of the server itself."""
        words = "SHOW REPLICA STATUS" if self.flavor == "mysql" else "SHOW ALL SLAVES STATUS"
        said = self.sql(NAME, words)
        return next(host for host in ("mysql1", "mysql2") if ADDRESSES[host] in said.split("\t"))

    def moves(self) -> list[str]:
        """What the service said of moves since it was installed."""
        said = self.lab.run(NAME, ["journalctl", "--no-pager", "--output=cat", "--unit=mysql_ha-follow"]).stdout
        return [line for line in said.splitlines() if "this replica now follows" in line]

    def is_moved(self, master: str, began: float) -> float:
        """Wait until the replica reads from another master; the seconds since then."""
        wait_for(f"the replica to follow {master}", lambda: self.source() == master, 90, 0.1)
        return time.monotonic() - began

    def stays(self, master: str) -> None:
        """Watch for longer than the service waits."""
        end = time.monotonic() + STEADY_SECONDS
        while time.monotonic() < end:
            assert self.source() == master
            time.sleep(0.5)

    def write(self, host: str, note: str) -> None:
        self.sql(host, f"INSERT INTO shop.visits (at, note) VALUES (NOW(6), '{note}')")

    def has(self, note: str, host: str = NAME) -> bool:
        return self.sql(host, f"SELECT COUNT(*) FROM shop.visits WHERE note = '{note}'") != "0"

    def equal(self) -> None:
        """Every row is the same, as the runner sees it."""
        for master in ("mysql1", "mysql2"):
            words = ["salt-run", "--out=json", "mysql_ha.compare", f"[{master}, {NAME}]"]
            run = self.lab.run("master", words, check=False, timeout=600)
            assert json.loads(run.stdout)["result"] == "equal", run.stdout
            assert run.returncode == 0

    def shop(self, statement: str) -> str:
        """What the application is told on the replica: a value, or the number of an error."""
        program = (
            "import pymysql, sys\n"
            "try:\n"
            "    c = pymysql.connect(host=sys.argv[1], user='shop', password=sys.stdin.readline().strip())\n"
            "    q = c.cursor(); q.execute(sys.argv[2]); c.commit(); print(q.fetchone()[0])\n"
            "except pymysql.err.MySQLError as error:\n"
            "    print(error.args[0])\n"
        )
        words = [PYTHON, "-c", program, OPTIONAL[NAME], statement]
        return self.lab.run("client", words, stdin=client.PASSWORD + "\n").stdout.strip()

    @contextmanager
    def off(self, master: str) -> Iterator[float]:
        """A master without power meanwhile; the time at which it was lost."""
        self.lab.power_off(master)
        try:
            yield time.monotonic()
        finally:
            self.lab.boot(master)
            salt.wait_for_minions(self.lab)
            self.wait_for_channels()


@pytest.fixture(scope="module", params=FLAVORS)
def replica(request: pytest.FixtureRequest) -> Iterator[Replica]:
    """Two masters with data and a replica that nothing was applied to yet."""
    flavor = request.param
    name = os.environ.get("MYSQL_HA_LAB_NAME", "test")[:3] + "r" + re.sub(r"\W", "", flavor)[-4:]
    with standing(Lab(name, flavor, without=DIRECTORS, also=[NAME])) as lab:
        one = Replica(lab)
        for result in one.apply().values():
            assert result.ok, result.error or result.problems()
        client.set_up(lab)
        one.pillar_of()

        def synced() -> bool:
            # The file server's list of files may be a second old.
            for kind in ("runners", "utils"):
                lab.run("master", ["salt-run", f"saltutil.sync_{kind}"])
            return lab.run("master", ["salt-run", "mysql_ha.compare", "[x]"], check=False).returncode == 3

        wait_for("the runner", synced, 30, 1)
        yield one
        salt.set_pillar(lab, (REPOSITORY / "pillar.example").read_text())


def test_a_new_replica_gets_a_copy_while_its_master_is_written(replica: Replica) -> None:
    replica.write("mysql1", "before the replica")
    writer = Writer(replica.lab, ADDRESSES["mysql1"])
    # The masters let the replica in.
    for result in replica.applied().values():
        assert [state["id"] for state in result.changed] == ["mysql_ha-database-accounts-mysql_account-managed"]
    predicted = replica.run("test=True")
    result = replica.run()
    assert writer.end() > 100
    assert set(ours(predicted)) == set(ours(result))
    changes = ours(result)[FOLLOWING]
    assert changes["data"] == {"old": None, "new": "a copy of mysql1"}
    assert changes["source"] == {"old": None, "new": "192.168.1.5:3306"}
    replica.equal()
    assert not replica.run(target=ALL).changed
    assert not replica.run("test=True").changed
    assert replica.lab.run(NAME, ["systemctl", "is-enabled", "mysql_ha-follow"]).stdout.strip() == "enabled"


def test_nothing_is_written_on_a_replica_also_after_a_restart(replica: Replica) -> None:
    before = replica.call(NAME, "mysql_replication.server")["gtids"]
    for _ in range(2):
        assert replica.shop("INSERT INTO shop.visits (at, note) VALUES (NOW(6), 'here')") == "1290"
        assert replica.shop("SELECT COUNT(*) > 0 FROM shop.visits") == "1"
        assert replica.call(NAME, "mysql_replication.is_read_only") is True
        replica.lab.run(NAME, ["systemctl", "restart", replica.service])
        wait_for("the replica", lambda: (replica.status() or {}).get("receiving"), 60, 0.5)
    assert replica.call(NAME, "mysql_replication.server")["gtids"] == before
    assert not replica.run().changed


def test_a_replica_follows_the_other_master_and_is_moved_back(
    replica: Replica, record_property: Callable[[str, object], None]
) -> None:
    """Also when it has what the other master never got: the two are cut off from each other first."""
    moves = len(replica.moves())
    one, other = (replica.lab.plan.host(name) for name in ("mysql1", "mysql2"))
    lan.cut(replica.lab.plan, one, other)
    replica.write("mysql1", "for the replica alone")
    wait_for("the row on the replica", lambda: replica.has("for the replica alone"), 30)
    assert not replica.has("for the replica alone", "mysql2")
    with replica.off("mysql1") as began:
        lan.heal(replica.lab.plan, one, other)
        took = replica.is_moved("mysql2", began)
        record_property(f"{replica.flavor} moved after", f"{took:.1f} s")
        print(f"\n{replica.flavor}: moved {took:.1f} s after the loss of power")
        assert took < MOVED_SECONDS
        writer = Writer(replica.lab, ADDRESSES["mysql2"])
        replica.write("mysql2", "after the move")
        wait_for("the row of the other master", lambda: replica.has("after the move"), 30)
        assert writer.end() > 0
        said = replica.moves()[moves:]
        assert len(said) == 1
        assert re.fullmatch(r"mysql1 \(192\.168\.1\.5:3306\) has not been reached for \d+ s: this replica now follows "
                            r"mysql2 \(192\.168\.1\.6:3306\)\.", said[0])  # fmt: skip
        now = replica.status()
        assert (now["user"], now["tls"], now["tls_verify"], now["gtid"]) == ("repl", True, True, True)
        result = replica.run()
        assert not result.changed
        assert "The replication from mysql2 runs. It is not moved back: mysql1" in replica.comment(result)
    # It does not go back by itself.
    replica.stays("mysql2")
    expected = {FOLLOWING: {"source": {"old": "192.168.1.6:3306", "new": "192.168.1.5:3306"}}}
    for arguments in (["test=True"], []):
        changes = ours(replica.run(*arguments))
        assert {key: value for key, value in changes.items() if value} == expected
    assert not replica.run().changed
    replica.wait_until_equal()
    replica.equal()
    assert len(replica.moves()) == moves + 1


def test_a_replica_that_an_operator_stopped_is_not_moved(replica: Replica) -> None:
    replica.call(NAME, "mysql_replication.stop")
    with replica.off("mysql1"):
        replica.stays("mysql1")
        # Whoever starts it again lets it move.
        replica.call(NAME, "mysql_replication.start")
        replica.is_moved("mysql2", time.monotonic())
    assert "Moved from mysql2 to mysql1." in replica.comment(replica.run())


def test_the_pillar_names_another_master(replica: Replica) -> None:
    expected = {FOLLOWING: {"source": {"old": "192.168.1.5:3306", "new": "192.168.1.6:3306"}}}
    replica.pillar_of(replicates_from="mysql2")
    try:
        for arguments in (["test=True"], []):
            changes = ours(replica.run(*arguments))
            assert {key: value for key, value in changes.items() if value} == expected
        assert not replica.run().changed
    finally:
        replica.pillar_of()
    replica.run()
    assert replica.source() == "mysql1"


def test_what_somebody_wrote_on_a_replica_is_told_and_the_way_out_works(replica: Replica) -> None:
    replica.sql(NAME, "SET GLOBAL read_only = OFF; INSERT INTO shop.visits (at, note) VALUES (NOW(6), 'errant')")
    result = replica.apply(target=NAME)[NAME]
    state = next(state for state in result.failed if state["id"] == FOLLOWING)
    assert "This replica has transactions that no master has (" in state["comment"]
    assert "pillar='{rebuild: {node: replica1, from: mysql1}}'" in state["comment"]
    # It was closed again at once.
    assert replica.call(NAME, "mysql_replication.is_read_only") is True
    words = ["salt-run", "state.orchestrate", "mysql_ha.orch.rebuild", "pillar={rebuild: {node: replica1}}"]
    run = replica.lab.run("master", words, check=False, timeout=600)
    assert run.returncode == 0, run.stdout
    assert "A copy of mysql1 was made" in run.stdout
    (kept,) = replica.call(NAME, "mysql_data.kept")
    replica.call(NAME, "mysql_data.discard", kept)
    assert not replica.run().changed
    replica.equal()
    assert not replica.has("errant")


def test_a_replica_that_lost_its_data_gets_them_again(replica: Replica) -> None:
    """From its other master, while its own is gone."""
    replica.lab.run(NAME, ["sh", "-c", f"systemctl stop {replica.service}; rm -rf /var/lib/mysql"])
    with replica.off("mysql1"):
        result = replica.run()
        assert ours(result)[FOLLOWING]["data"] == {"old": None, "new": "a copy of mysql2"}
        assert replica.source() == "mysql2"
    assert "Moved from mysql2 to mysql1." in replica.comment(replica.run())
    replica.equal()
