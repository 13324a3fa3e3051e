"""Backups on real servers: made while others write, proven by a restore, thinned out, interrupted, broken; a node made
again from one, which then has all rows, also those that only it ever wrote."""

from __future__ import annotations

import copy
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mysql_ha_lab import salt
from mysql_ha_lab.command import wait_for
from mysql_ha_lab.plan import DATABASES
from pillars import EXAMPLE, as_yaml
from test_1_first_run import ours
from test_6_databases import CHANNELS, FLAVORS, Databases, Writer

PLACE = "/var/backups/mysql_ha"
UNIT = "mysql_ha-backup"
METHODS = ("physical", pytest.param("logical", marks=pytest.mark.long))
# The server's program for a data directory from nothing.
INITIALISE = {
    "mariadb": "mariadb-install-db --user=mysql --auth-root-authentication-method=socket --skip-test-db",
    # Its root is then let in without a password, as the formula's by the socket.
    "mysql": "install -d -o mysql -g mysql -m 700 /var/lib/mysql; mysqld --initialize-insecure --user=mysql",
}


class Backups(Databases):
    """The databases of a lab, one of which makes backups."""

    def shell(self, host: str, line: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.lab.run(host, ["sh", "-c", line], check=check)

    @contextmanager
    def timed(self, **backup: Any) -> Iterator[None]:
        """Other keys below mysql_ha:database:backup in the pillar for a while; nothing is applied."""
        pillar = copy.deepcopy(EXAMPLE)
        pillar["database"]["backup"] |= {"enabled": True, "keep": 100} | backup
        # A peer that is away is not waited for as long as by default.
        pillar["database"]["replication"]["wait"] = 10
        salt.set_pillar(self.lab, as_yaml(pillar))
        try:
            yield
        finally:
            if backup:
                with self.timed():
                    pass

    def made(self, method: str = "physical", **words: Any) -> dict[str, Any]:
        """A backup on the reader, proven."""
        found = self.call("mysql2", "mysql_backup.run", f"method={method}", *(f"{k}={v}" for k, v in words.items()))
        assert isinstance(found, dict), found
        return found

    def listed(self) -> dict[str, Any]:
        return self.call("mysql2", "mysql_backup.list")

    def entries(self, place: str = PLACE) -> list[str]:
        return self.shell("mysql2", f"ls -A {place}").stdout.split()

    def insert(self, host: str, note: str) -> None:
        self.sql(host, f"INSERT INTO shop.visits (at, note) VALUES (NOW(6), '{note}')")

    def restoring(self, **words: Any) -> list[str]:
        """The orchestration's command."""
        pillar = json.dumps({"restore": {"node": "mysql1", **words}})
        return ["salt-run", "--out=json", "state.orchestrate", "mysql_ha.orch.restore", f"pillar={pillar}"]

    def restored(self, **words: Any) -> subprocess.CompletedProcess[str]:
        return self.lab.run("master", self.restoring(**words), check=False, timeout=900)

    def emptied(self, running: bool) -> None:
        """mysql1 loses its data: it is stopped without any, or runs with none."""
        self.shell(
            "mysql1", f"systemctl stop {self.service}; rm -rf /var/lib/mysql.*; mv /var/lib/mysql /var/lib/mysql.old"
        )
        if running:
            self.shell("mysql1", f"{INITIALISE[self.flavor]} && systemctl start {self.service}")

    def rows(self, host: str) -> str:
        return self.sql(host, "SELECT COUNT(*), SUM(CRC32(CONCAT_WS('|', id, at, note))) FROM shop.visits")


@pytest.fixture(scope="module", params=FLAVORS)
def backups(request: pytest.FixtureRequest) -> Iterator[Backups]:
    """A running pair of each flavor that makes backups; afterwards it makes none, and none are left."""
    found = Backups(request.getfixturevalue("pairs")(request.param)[0])
    found.applied()
    try:
        with found.timed():
            predicted = ours(found.apply("test=True", target="mysql2")["mysql2"])
            found.first = predicted, ours(found.applied()["mysql2"])
            yield found
    finally:
        salt.set_pillar(found.lab, as_yaml(EXAMPLE))
        found.applied()
        for host in DATABASES:
            found.shell(host, f"rm -rf {PLACE} /var/lib/mysql.*")
    assert not found.shell("mysql2", f"systemctl cat {UNIT}.timer", check=False).stdout


# --- by the timer ---


@pytest.mark.short_on("mariadb")
def test_the_timer_comes_by_a_run_that_says_so_beforehand(backups: Backups) -> None:
    predicted, done = backups.first
    assert predicted == done
    [changes] = [change for name, change in done.items() if name.endswith("scheduled")]
    assert changes["schedule"] == {"old": None, "new": "daily"}
    assert changes["timer"] == {"old": False, "new": True}
    assert not any(result.changed for result in backups.applied().values())
    # Only the reader makes them.
    assert backups.shell("mysql2", f"systemctl is-active {UNIT}.timer").stdout.strip() == "active"
    assert backups.shell("mysql1", f"systemctl is-active {UNIT}.timer", check=False).stdout.strip() == "inactive"


@pytest.mark.long
def test_a_schedule_that_systemd_does_not_know_is_refused(backups: Backups) -> None:
    with backups.timed(schedule="every noon"):
        state = backups.failed("mysql2")
    assert state["function"] == "mysql_backup.scheduled"
    assert "is 'every noon'; allowed: what systemd-analyze calendar knows" in state["comment"]
    assert "OnCalendar=daily" in backups.read("mysql2", f"/etc/systemd/system/{UNIT}.timer")


@pytest.mark.long
def test_the_timer_runs_without_the_master(backups: Backups) -> None:
    before = set(backups.listed())
    with backups.timed(schedule="*:*:0/20"):
        assert backups.apply(target="mysql2")["mysql2"].ok
    backups.lab.run("master", ["systemctl", "stop", "salt-master"])
    try:
        # systemd lets a timer be late by up to a minute.
        wait_for("a backup by the timer", lambda: [
            name for name in backups.entries() if name not in before
            and '"proven": "2' in backups.shell("mysql2", f"cat {PLACE}/{name}/backup.json", check=False).stdout
        ], 200, 2)  # fmt: skip
    finally:
        backups.lab.run("master", ["systemctl", "start", "salt-master"])
        salt.wait_for_minions(backups.lab)
    done = ours(backups.apply(target="mysql2")["mysql2"])
    [changes] = filter(None, done.values())
    assert changes == {"schedule": {"old": "*:*:0/20", "new": "daily"}}
    wait_for("the last run by the timer", lambda: not backups.call("mysql2", "mysql_backup.status")["running"], 60, 1)
    status = backups.call("mysql2", "mysql_backup.status")
    assert status["proven"] and status["proven_age"] < 300


@pytest.mark.long
def test_a_failed_backup_is_a_failed_unit(backups: Backups) -> None:
    """Two at once: the second one refuses."""
    holder = backups.lab.popen("mysql2", ["flock", f"{PLACE}/lock", "sleep", "60"])
    try:
        wait_for("the lock", lambda: backups.call("mysql2", "mysql_backup.status")["running"], 30)
        assert backups.shell("mysql2", f"systemctl start {UNIT}", check=False).returncode != 0
        words = backups.shell("mysql2", f"journalctl -q --no-pager -o cat -n 30 -u {UNIT}").stdout
        assert f"another backup, proof or restore is at work in {PLACE}" in words
        assert backups.shell("mysql2", f"systemctl is-failed {UNIT}").stdout.strip() == "failed"
    finally:
        backups.shell("mysql2", "pkill -x sleep; systemctl reset-failed", check=False)
        holder.communicate(timeout=60)
    wait_for("the lock to be free", lambda: not backups.call("mysql2", "mysql_backup.status")["running"], 30)


# --- by hand ---


@pytest.mark.parametrize("method", METHODS)
def test_a_backup_under_a_running_writer_is_proven(backups: Backups, method: str) -> None:
    writer = Writer(backups.lab, "192.168.1.5")
    before = backups.call("mysql2", "mysql_replication.server")
    made = backups.made(method)
    after = backups.call("mysql2", "mysql_replication.server")
    assert writer.end() > 20
    backups.wait_until_equal()
    position = {"flavor": backups.flavor, "gtids": made["gtids"]}
    assert backups.call("mysql2", "mysql_replication.compare", position, after)["relation"] in ("behind", "equal")
    assert backups.call("mysql2", "mysql_replication.compare", position, before)["relation"] in ("ahead", "equal")
    assert made["proven"] and made["tables"] > 10
    assert (made["method"], made["server_id"], made["flavor"]) == (method, 2, backups.flavor)
    assert backups.listed()[made["name"]] == {key: made[key] for key in made if key not in ("name", "removed")}
    # Nothing of it is anybody's but root's, and a server that was broken into cannot take it away.
    modes = backups.shell("mysql2", f"stat -c '%a %U:%G' {PLACE} {PLACE}/{made['name']}").stdout.split("\n")
    assert modes[:2] == ["710 root:mysql", "700 root:root"]
    # The proof has left neither a server nor a copy.
    assert "proof" not in backups.entries()
    assert backups.shell("mysql2", "pgrep -xc 'mariadbd|mysqld'").stdout.strip() == "1"
    found = backups.shell("mysql2", f"find {PLACE}/{made['name']} -type f -perm /007").stdout
    assert not found


@pytest.mark.long
def test_prune_keeps_the_newest_proven_one_and_what_is_not_ours(backups: Backups) -> None:
    proven = backups.made()["name"]
    newer = [backups.call("mysql2", "mysql_backup.create", "logical")["name"] for _ in range(2)]
    backups.shell("mysql2", f"mkdir {PLACE}/20200101T000000Z {PLACE}/mine")
    removed = backups.call("mysql2", "mysql_backup.prune", "keep=1")
    assert newer[0] in removed
    assert sorted(backups.listed()) == [proven, newer[1]]
    assert {"20200101T000000Z", "mine"} <= set(backups.entries())
    assert backups.call("mysql2", "mysql_backup.status")["proven"] == proven
    backups.shell("mysql2", f"rmdir {PLACE}/20200101T000000Z {PLACE}/mine")


@pytest.mark.long
def test_an_interrupted_backup_is_none_and_the_next_run_clears_it_away(backups: Backups) -> None:
    before = sorted(backups.listed())
    begun = f"ls -d {PLACE}/*.part 2>&- || [ $i = 3000 ]"
    backups.shell("mysql2", f"systemctl start --no-block {UNIT}; i=0; until {begun}; do i=$((i+1)); sleep 0.01; done; "
                  f"systemctl kill -s KILL {UNIT}")  # fmt: skip
    left = [name for name in backups.entries() if name.endswith(".part")]
    assert left, "it was killed too late"
    assert sorted(backups.listed()) == before
    made = backups.made()
    assert made["proven"]
    assert not [name for name in backups.entries() if name.endswith(".part")]
    backups.shell("mysql2", "systemctl reset-failed", check=False)


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_too_little_room_is_told_before_anything_is_written(backups: Backups, method: str) -> None:
    size = "20m" if method == "physical" else "4k"
    backups.shell("mysql2", f"mkdir -p /mnt/small && mount -t tmpfs -o size={size} none /mnt/small")
    try:
        said = backups.call("mysql2", "mysql_backup.create", method, "/mnt/small/backups")
        assert isinstance(said, str), said
        assert "too little room in /mnt/small/backups" in said
        assert "MiB are free" in said or "KiB are free" in said or " 0 B are free" in said
        assert "needs" in said and "Nothing was written" in said
        assert backups.entries("/mnt/small/backups") in (["lock"], [])
    finally:
        backups.shell("mysql2", "umount /mnt/small")


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_a_broken_backup_is_not_proven_and_says_why(backups: Backups, method: str) -> None:
    name = backups.made(method)["name"]
    file = "data/shop/visits.ibd" if method == "physical" else "dump.sql.zst"
    backups.shell("mysql2", f"truncate -s -1024 {PLACE}/{name}/{file}" if method == "logical"
                  else f"truncate -s 32768 {PLACE}/{name}/{file}")  # fmt: skip
    said = backups.call("mysql2", "mysql_backup.prove", name)
    assert isinstance(said, str), said
    assert f"the backup {name} is not proven:" in said
    record = backups.listed()[name]
    assert record["proven"] is None and record["refused"] in said
    assert backups.call("mysql2", "mysql_backup.status")["proven"] != name
    assert "proof" not in backups.entries()
    assert backups.shell("mysql2", "pgrep -xc 'mariadbd|mysqld'").stdout.strip() == "1"
    backups.shell("mysql2", f"rm -rf {PLACE}/{name}")


# --- restore ---


@pytest.mark.long
def test_a_node_with_data_is_not_restored_into(backups: Backups) -> None:
    backups.made()
    before = backups.rows("mysql1"), backups.uptime("mysql1")
    done = backups.restored(**{"from": "mysql2"})
    assert done.returncode != 0
    assert "A backup is only restored into an empty node, and its server holds data:" in done.stdout + done.stderr
    assert (backups.rows("mysql1"), backups.uptime("mysql1") >= before[1]) == (before[0], True)
    backups.shell("mysql1", f"systemctl stop {backups.service}")
    try:
        said = backups.call("mysql1", "mysql_backup.restore", "latest", backups.service, backups.config, "alone=true")
        assert "its server is stopped, and /var/lib/mysql holds" in said
    finally:
        backups.shell("mysql1", f"systemctl start {backups.service}")
        backups.wait_for_channels()


@pytest.mark.parametrize("method", METHODS)
def test_an_emptied_node_is_restored_and_joins_with_all_rows(backups: Backups, method: str) -> None:
    made = backups.made(method)
    mark = f"{method}-{time.time()}"
    # After the backup: only replication can bring these, and a server takes none from its peer that has its own id.
    backups.insert("mysql1", mark)
    backups.insert("mysql2", mark)
    backups.wait_until_equal()
    old = backups.call("mysql1", "mysql_replication.server")
    backups.emptied(running=method == "logical")
    writer = Writer(backups.lab, "192.168.1.6")
    done = backups.restored(**{"from": "mysql2", "backup": "latest"})
    assert writer.end() > 20
    assert done.returncode == 0, done.stdout + done.stderr
    backups.settled()
    assert backups.sql("mysql1", f"SELECT COUNT(*) FROM shop.visits WHERE note = '{mark}'") == "2"
    new, peer = (backups.call(host, "mysql_replication.server") for host in DATABASES)
    assert new["server_id"] == old["server_id"] == 1
    assert backups.flavor == "mariadb" or new["server_uuid"] not in (old["server_uuid"], peer["server_uuid"])
    assert backups.call("mysql2", "mysql_backup.find", "latest").endswith(made["name"])
    assert backups.call("mysql1", "mysql_backup.list")[made["name"]]["proven"] is None
    # What was restored can be copied and backed up in its turn.
    assert backups.call("mysql1", "mysql_data.is_copyable", backups.flavor) is True
    # Nothing was deleted, and nothing keeps the server closed.
    assert backups.shell("mysql1", "ls -d /var/lib/mysql.*").stdout.split()
    assert "restoring" not in backups.shell("mysql1", f"ls {Path(backups.config).parent}").stdout
    # Both ways, from then on.
    for host in DATABASES:
        backups.insert(host, f"{mark}-{host}")
    backups.settled()
    assert not any(result.changed for result in backups.applied().values())


@pytest.mark.short_on("mysql")
def test_a_restore_that_loses_power_is_done_by_the_next_one(backups: Backups) -> None:
    backups.made()
    mark = f"power-{time.time()}"
    for host in DATABASES:
        backups.insert(host, mark)
    backups.wait_until_equal()
    backups.emptied(running=True)
    run = backups.lab.popen("master", backups.restoring(**{"from": "mysql2"}))
    closed = Path(backups.config).parent / "zzz-mysql_ha-restoring.cnf"
    backups.shell("mysql1", f"i=0; until [ -e {closed} ] || [ $i = 18000 ]; do i=$((i+1)); sleep 0.01; done")
    backups.lab.power_off("mysql1")
    run.kill()
    run.communicate()
    backups.lab.boot("mysql1")
    salt.wait_for_minions(backups.lab)
    assert backups.shell("mysql1", f"ls {closed}").stdout, "it lost its power too early or too late"
    done = backups.restored(**{"from": "mysql2"})
    assert done.returncode == 0, done.stdout + done.stderr
    backups.settled()
    assert backups.sql("mysql1", f"SELECT COUNT(*) FROM shop.visits WHERE note = '{mark}'") == "2"
    assert not backups.shell("mysql1", f"ls {closed}", check=False).stdout
    assert not backups.shell("mysql1", "ls -d /var/lib/mysql.restoring", check=False).stdout


@pytest.mark.long
def test_a_node_without_its_peer_is_restored_alone_if_said_so(backups: Backups) -> None:
    if backups.flavor != "mariadb":
        pytest.skip("the same code for both flavors")
    name = backups.made()["name"]
    rows = backups.rows("mysql2")
    backups.emptied(running=False)
    backups.shell("mysql2", f"systemctl stop {backups.service}")
    try:
        said = backups.restored(**{"from": "mysql2"})
        assert said.returncode != 0
        words = ["latest", backups.service, backups.config, CHANNELS["mysql1"]]
        assert "and only there is what it wrote after the backup" in backups.call(
            "mysql1", "mysql_backup.why_not_restored", *words)  # fmt: skip
        done = backups.restored(**{"from": "mysql2", "backup": name, "alone": True})
        assert backups.rows("mysql1") == rows
    finally:
        backups.shell("mysql2", f"systemctl start {backups.service}")
    backups.applied()
    backups.settled()
    assert done.returncode == 0, done.stdout + done.stderr
