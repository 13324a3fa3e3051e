"""Backups in their directory, what is kept, units, positions, and a transfer; the servers are in the lab."""

import json
import os
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mysql_backup_copy
import mysql_backup_jobs
import mysql_backup_transfer
import mysql_backup_units
import mysql_backups
import mysql_client
import mysql_private
from mysql_backups import BackupError
from mysql_client import SqlError

NAMES = ["20261120T030000Z", "20261121T030000Z", "20261122T030000Z", "20261123T030000Z"]


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A directory for backups of whoever runs the tests."""
    monkeypatch.setattr(mysql_backups.os, "chown", lambda *_: None)
    place = tmp_path / "backups"
    mysql_backups.prepare(place, os.getgid())
    return place


def put(directory, name, proven=None, **more):
    record = {"format": 1, "method": "physical", "proven": proven} | more
    (directory / name).mkdir()
    mysql_backups.write(directory / name, record)
    return directory / name


# --- names and records ---


@given(st.integers(0, 4000000000))
def test_a_name_says_its_time_and_sorts_by_it(moment) -> None:
    name = mysql_backups.name_at(moment)
    assert mysql_backups.NAME.fullmatch(name)
    assert mysql_backups.time_of(name) == moment
    assert mysql_backups.name_at(moment + 1) > name


def test_only_whole_backups_of_ours_are_listed(directory) -> None:
    put(directory, NAMES[0])
    put(directory, NAMES[1] + ".part")
    (directory / NAMES[2]).mkdir()
    put(directory, "mine")
    put(directory, NAMES[3], format=2)
    (directory / "20200101T000000Z").symlink_to(directory / NAMES[0])
    assert list(mysql_backups.listed(directory)) == [NAMES[0]]
    assert mysql_backups.listed(directory / "nowhere") == {}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', '{"format": 1, "method": "other"}'])
def test_what_is_no_record_is_told(directory, text) -> None:
    (directory / NAMES[0]).mkdir()
    (directory / NAMES[0] / "backup.json").write_text(text)
    with pytest.raises(BackupError, match="is no record of a backup"):
        mysql_backups.read(directory / NAMES[0])


def test_backups_are_found_by_name_by_words_and_by_path(directory) -> None:
    put(directory, NAMES[0], proven="2026-11-20T03:01:00Z")
    put(directory, NAMES[1])
    assert mysql_backups.find(directory, "latest").name == NAMES[1]
    assert mysql_backups.find(directory, "proven").name == NAMES[0]
    assert mysql_backups.find(directory, NAMES[0]).name == NAMES[0]
    assert mysql_backups.find(directory / "other", str(directory / NAMES[1])) == directory / NAMES[1]
    with pytest.raises(BackupError, match=f"no backup '../x' in .*; there are: {NAMES[0]}, {NAMES[1]}"):
        mysql_backups.find(directory, "../x")
    with pytest.raises(BackupError, match="is no backup of mysql_ha"):
        mysql_backups.find(directory, str(directory / "nowhere"))


def test_a_record_is_only_root_s(directory) -> None:
    place = put(directory, NAMES[0])
    assert (place / "backup.json").stat().st_mode & 0o777 == 0o600
    assert sorted(one.name for one in place.iterdir()) == ["backup.json"]


# --- what is kept ---


def backups(*proven):
    return {name: {"proven": "2026-11-24T03:00:00Z" if index in proven else None} for index, name in enumerate(NAMES)}


@pytest.mark.parametrize(("found", "keep", "gone"), [
    (backups(), 10, []),
    (backups(), 2, NAMES[:2]),
    (backups(0, 1), 2, NAMES[:1]),
    (backups(0), 1, NAMES[1:3]),
    (backups(3), 1, NAMES[:3]),
    ({}, 1, []),
])  # fmt: skip
def test_the_oldest_go_but_not_the_newest_proven_one(found, keep, gone) -> None:
    assert mysql_backups.surplus(found, keep) == gone


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 14))
def test_whatever_is_removed_a_proven_one_stays(proven, keep) -> None:
    found = {mysql_backups.name_at(day * 86400): {"proven": "x" if one else None} for day, one in enumerate(proven)}
    left = [name for name in found if name not in mysql_backups.surplus(found, keep)]
    assert any(found[name]["proven"] for name in left) == any(proven)
    assert min(keep, len(found)) <= len(left) <= keep + 1
    assert list(found)[len(found) - min(keep, len(found)) :] == left[len(left) - min(keep, len(found)) :]


def test_pruning_removes_what_interrupted_runs_left_and_nothing_else(directory) -> None:
    for name in NAMES:
        put(directory, name)
    put(directory, "mine")
    (directory / "proof").mkdir()
    (directory / "20261124T030000Z.part").mkdir()
    (directory / "notes.part").mkdir()
    assert mysql_backup_jobs.prune(directory, 1) == NAMES[:3]
    assert sorted(one.name for one in directory.iterdir()) == [NAMES[3], "lock", "mine", "notes.part"]


def test_the_status_is_the_age_of_the_backup_and_not_of_its_proof() -> None:
    now = mysql_backups.time_of(NAMES[3]) + 60
    assert mysql_backups.status(backups(2), now) == {
        "backups": 4, "newest": NAMES[3], "newest_age": 60, "proven": NAMES[2], "proven_age": 86460}  # fmt: skip
    nothing = mysql_backups.status({}, now)
    assert (nothing["backups"], nothing["newest_age"], nothing["proven_age"]) == (0, None, None)


# --- one at a time, and room for it ---


def test_a_second_one_is_told_who_holds_the_lock(directory) -> None:
    assert not mysql_backups.is_locked(directory)
    with mysql_backups.locked(directory):
        assert mysql_backups.is_locked(directory)
        with (
            pytest.raises(BackupError, match=f"is at work in .*: process {os.getpid()}, since 20"),
            mysql_backups.locked(directory),
        ):
            pass
    assert not mysql_backups.is_locked(directory)


def test_a_program_that_still_writes_holds_the_lock(directory) -> None:
    with mysql_backups.locked(directory) as lock:
        writer = subprocess.Popen(["sleep", "0.4"], pass_fds=(lock,))
    assert mysql_backups.is_locked(directory)
    writer.wait()
    assert not mysql_backups.is_locked(directory)


def test_too_little_room_is_told_with_both_figures(directory) -> None:
    mysql_backups.need_room(directory, 1, "nothing")
    with pytest.raises(
        BackupError, match=r"what needs 1\.1 TiB \(1\.0 TiB and a tenth more\), and .*B are free"
    ) as said:
        found = os.statvfs(directory)
        assert found.f_bavail * found.f_frsize < 1 << 40, "this machine has too much room for this test"
        mysql_backups.need_room(directory, 1 << 40, "what")
    assert "Nothing was written" in str(said.value)


def test_logs_are_no_part_of_the_data(tmp_path) -> None:
    for name, size in [("binlog.000001", 10), ("ibdata1", 3), ("shop/binlog.ibd", 5), ("#innodb_redo/1", 7)]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    assert mysql_backups.tree_size(tmp_path) == 25
    assert mysql_backups.tree_size(tmp_path, ("binlog.", "#innodb_redo")) == 8


def test_a_program_that_fails_is_told_in_its_own_words() -> None:
    assert mysql_backups.run(["echo", "yes"]) == "yes\n"
    with pytest.raises(BackupError, match="exit status 3 from sh: one; two"):
        mysql_backups.run(["sh", "-c", "echo one >&2; echo two >&2; exit 3"])
    with pytest.raises(BackupError, match="not installed: nowhere-1 or nowhere-2"):
        mysql_backups.program("nowhere-1", "nowhere-2")


SERVER = mysql_backup_copy.Server("mariadb", "11.8.6-MariaDB", 2, "1-1-5", Path("/nowhere"), "/nowhere", {}, ())


@pytest.fixture
def created(directory, monkeypatch):
    """``created(physical)``: a backup that is made by a function, of a server that is not there."""

    def create(physical):
        monkeypatch.setattr(mysql_private, "group", os.getgid)
        monkeypatch.setattr(mysql_backup_copy, "server", lambda: SERVER)
        monkeypatch.setattr(mysql_backup_copy, "physical", physical)
        return mysql_backup_jobs.create(directory, "physical")

    return create


def test_a_backup_gets_its_name_when_it_is_whole(directory, created) -> None:
    def physical(_, place, lock):
        assert place.name.endswith(".part") and place.name.removesuffix(".part") not in mysql_backups.listed(directory)
        (place / "data").write_bytes(b"x" * 5)
        return "1-1-9,2-2-3"

    name, record = created(physical)
    assert mysql_backups.listed(directory) == {name: record}
    assert (record["bytes"], record["binlog_state"], record["proven"]) == (5, "1-1-9,2-2-3", None)
    assert created(physical)[0] > name, "two in one second have names of their own"


@pytest.mark.parametrize("failure", [BackupError("no"), OSError(28, "No space left"), SqlError("gone"), SystemExit()])
def test_a_backup_that_fails_leaves_nothing_that_fills_the_disk(directory, created, failure) -> None:
    def physical(_, place, lock):
        (place / "data").write_bytes(b"x" * 5)
        raise failure

    with pytest.raises(BackupError if isinstance(failure, SqlError) else type(failure)):
        created(physical)
    assert [one.name for one in directory.iterdir()] == ["lock"]


# --- positions ---


@pytest.mark.parametrize(("state", "position", "merged"), [
    ("", "", ""),
    ("1-1-5", "1-1-9,2-2-4", "1-1-9,2-2-4"),
    ("1-1-9,1-2-3", "1-1-9", "1-2-3,1-1-9"),
    ("1-1-9,1-2-3,2-2-7", "1-2-12,2-2-8", "1-1-9,1-2-12,2-2-8"),
    ("1-1-9", "", "1-1-9"),
])  # fmt: skip
def test_a_binlog_state_has_each_server_and_the_newest_of_a_domain_last(state, position, merged) -> None:
    assert mysql_backup_jobs.merged_state(state, position) == merged


@pytest.mark.parametrize(("text", "pattern", "position"), [
    (b"-- SET GLOBAL gtid_slave_pos='1-1-4,2-2-9';", mysql_backup_copy._POSITION, b"1-1-4,2-2-9"),
    (b"SET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ 'b43a:1-8,\nb35b:1';", mysql_backup_copy._PURGED, b"b43a:1-8,\nb35b:1"),
    (b"SET @@GLOBAL.GTID_PURGED='b43a:1-8';", mysql_backup_copy._PURGED, b"b43a:1-8"),
])  # fmt: skip
def test_dumps_say_their_position(text, pattern, position) -> None:
    assert pattern.search(text)[1] == position


RECORD = {"flavor": "mysql", "version": "9.7.4-2", "method": "physical"}


@pytest.mark.parametrize(("record", "version", "flavor", "words"), [
    (RECORD, "9.7.4-2", "mysql", ""),
    (RECORD, "9.7.9", "mysql", ""),
    (RECORD, "9.7.3", "mysql", "newer than this host's"),
    (RECORD, "9.8.0", "mysql", "only a server of the same series"),
    (RECORD | {"method": "logical"}, "9.8.0", "mysql", ""),
    (RECORD | {"method": "logical"}, "8.4.2", "mysql", "newer than this host's"),
    (RECORD, "11.8.6-MariaDB", "mariadb", "it is one of mysql"),
])  # fmt: skip
def test_a_backup_is_restored_by_a_server_that_can_read_it(record, version, flavor, words) -> None:
    said = mysql_backup_jobs.unfit(record, version, flavor)
    assert words in said if words else not said


def test_an_interrupted_restore_is_known_by_its_option_file(tmp_path) -> None:
    where = mysql_backup_jobs.Target(tmp_path / "mysql", tmp_path / "90-mysql_ha.cnf")
    assert mysql_backup_jobs.restoring(where) is None
    mysql_backup_jobs._close(where, tmp_path / NAMES[0], tmp_path / "mysql.before-x", 4294967295, 7)
    assert mysql_backup_jobs.restoring(where) == (str(tmp_path / NAMES[0]), str(tmp_path / "mysql.before-x"))
    text = where.closed.read_text()
    assert "skip_networking = ON" in text and "server_id = 4294967294\n" in text
    assert where.closed.name > where.config.name, "the server reads it after the formula's own"
    mysql_backup_jobs._close(where, tmp_path / NAMES[0], None, 1, 2)
    assert mysql_backup_jobs.restoring(where) == (str(tmp_path / NAMES[0]), "")


def test_a_restored_server_gets_its_position_once_even_after_an_interruption(tmp_path, monkeypatch) -> None:
    """A second time would throw away what it has replicated since."""
    said = []
    monkeypatch.setattr(mysql_client, "local", said.append)
    where = mysql_backup_jobs.Target(tmp_path / "mysql", tmp_path / "90-mysql_ha.cnf")
    place = put(tmp_path, NAMES[0], flavor="mariadb", gtids="1-1-9", binlog_state="1-2-3,1-1-9")
    mysql_backup_jobs._close(where, place, None, 1, 2)
    mysql_backup_jobs.set_position(where)
    mysql_backup_jobs.set_position(where)
    [statements] = said
    assert statements.splitlines() == ["RESET MASTER;", "SET GLOBAL gtid_binlog_state = '1-2-3,1-1-9';",
                                       "SET GLOBAL gtid_slave_pos = '1-1-9';"]  # fmt: skip
    assert mysql_backup_jobs.restoring(where) == (str(place), "")


class Interruption(BaseException):
    """The power fails."""


class Node:
    """A node whose directories are real, and power that fails before the step that is asked for."""

    def __init__(self, tmp_path, monkeypatch, had: bool) -> None:
        self.where = mysql_backup_jobs.Target(tmp_path / "mysql", tmp_path / "90-mysql_ha.cnf")
        self.running, self.steps, self.fails_at, self.starts = had, 0, None, True
        if had:
            self.where.data.mkdir()
            (self.where.data / "former").touch()
        for name in ("rename", "unlink", "write_text"):
            monkeypatch.setattr(Path, name, self.before(getattr(Path, name)))
        self.service = mysql_backup_jobs.Service(self.before(self.start), self.before(self.stop), lambda: self.running)
        monkeypatch.setattr(mysql_client, "local", self.local)
        monkeypatch.setattr(mysql_backup_jobs, "build", self.build)

    def before(self, function):
        def stepped(*words, **more):
            self.steps += 1
            if self.steps == self.fails_at:
                self.running = False
                raise Interruption
            return function(*words, **more)

        return stepped

    def build(self, _place, _record, data, _lock) -> None:
        data.mkdir()
        (data / "restored").touch()

    def start(self) -> None:
        assert self.where.data.exists()
        if self.is_restored() and not self.starts:
            raise BackupError("it does not start")
        self.running = True

    def stop(self) -> None:
        self.running = False

    def boot(self) -> None:
        """The host comes back, and its server if it can."""
        self.fails_at = None
        self.running = self.where.data.exists() and (self.starts or not self.is_restored())

    def is_restored(self) -> bool:
        return (self.where.data / "restored").exists()

    def local(self, _sql) -> None:
        assert self.running and self.is_restored() and self.where.closed.exists()
        (self.where.data / "positioned").touch()

    def restore(self, place) -> bool:
        """As mysql_backup.restore does, up to the catching up; whether it went on with what was there."""
        goes_on = mysql_backup_jobs.restoring(self.where) and mysql_backup_jobs.resume(self.where, self.service)
        if not goes_on:
            assert (self.where.data / "former").exists() or not self.where.data.exists()
            assert not self.where.closed.exists()
            mysql_backup_jobs.restore(place, self.where, self.service, 1, 2, None)
        return goes_on


@pytest.mark.parametrize("had", [True, False])
@pytest.mark.parametrize("at", range(1, 9))
def test_a_restore_that_is_interrupted_anywhere(tmp_path, monkeypatch, had, at) -> None:
    place = put(tmp_path, NAMES[0], flavor="mariadb", gtids="1-1-9", binlog_state="1-1-9")
    node = Node(tmp_path, monkeypatch, had)
    monkeypatch.setattr(mysql_backup_jobs.copies, "restored_size", lambda *_: 0)
    node.fails_at = at
    try:
        node.restore(place)
        interrupted = False
    except Interruption:
        interrupted = True
    assert interrupted == (at <= (6 if had else 5)), "all steps were tried"
    node.boot()
    node.restore(place)
    assert node.running and node.is_restored()
    assert (node.where.data / "positioned").exists()
    assert node.where.closed.exists(), "until it has caught up"
    assert len(list(tmp_path.glob("mysql.before-*/former"))) == had
    mysql_backup_jobs.open_up(node.where, node.service)
    assert node.running and not node.where.closed.exists()


@pytest.mark.parametrize("had", [True, False])
@pytest.mark.parametrize("at", range(1, 13))
def test_a_restore_that_fails_and_is_interrupted_anywhere(tmp_path, monkeypatch, had, at) -> None:
    """Restored data on which no server starts are kept, and the node is as it was."""
    place = put(tmp_path, NAMES[0], flavor="mariadb", gtids="1-1-9", binlog_state="1-1-9")
    node = Node(tmp_path, monkeypatch, had)
    node.starts, node.fails_at = False, at
    monkeypatch.setattr(mysql_backup_jobs.copies, "restored_size", lambda *_: 0)
    try:
        with pytest.raises(BackupError, match="it does not start"):
            node.restore(place)
        assert at > (10 if had else 7), "all steps were tried"
    except Interruption:
        node.boot()
        with pytest.raises(BackupError, match="it does not start"):
            node.restore(place)
    assert not node.where.closed.exists()
    assert (node.where.data / "former").exists() == node.where.data.exists() == had
    assert node.running == had
    assert list(tmp_path.glob("mysql.failed-*/restored"))


@pytest.mark.parametrize(("profiles", "confined"), [
    ("/usr/sbin/mysqld (enforce)\n", True),
    ("/usr/sbin/mysqld (complain)\n", False),
    ("/usr/sbin/mysqld-akonadi (enforce)\n/usr/bin/man (enforce)\n", False),
    (None, False),
])  # fmt: skip
def test_a_server_that_apparmor_confines_is_started_without_its_profile(
    tmp_path, monkeypatch, profiles, confined
) -> None:
    monkeypatch.setattr(mysql_private, "PROFILES", tmp_path / "profiles")
    monkeypatch.setattr(mysql_private.shutil, "which", lambda *_, **__: "/usr/bin/aa-exec")
    if profiles is not None:
        (tmp_path / "profiles").write_text(profiles)
    words = mysql_private._confined("/usr/sbin/mysqld")
    assert words == (["/usr/bin/aa-exec", "-p", "unconfined", "--"] if confined else []) + ["/usr/sbin/mysqld"]


# --- units ---

ARGUMENTS = ("/opt/salt/bin/salt-call", "/var/backups/mysql_ha", "physical", "daily", 7, True)


def test_units_run_without_master_and_pillar() -> None:
    units = mysql_backup_units.units(*ARGUMENTS)
    [command] = re.findall(r"^ExecStart=(.*)$", units["mysql_ha-backup.service"], flags=re.MULTILINE)
    assert command.split()[:3] == ["/opt/salt/bin/salt-call", "--local", "--retcode-passthrough"]
    assert "--pillar-root=/nonexistent" in command
    assert command.endswith("mysql_backup.run directory=/var/backups/mysql_ha method=physical keep=7 prove=true")
    assert "OnCalendar=daily\nPersistent=true" in units["mysql_ha-backup.timer"]


def test_differences_are_told_in_the_pillars_words(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(mysql_backup_units, "UNITS", tmp_path)
    assert mysql_backup_units.installed() == {}
    wanted = mysql_backup_units.units(*ARGUMENTS)
    assert mysql_backup_units.differences({}, wanted)["schedule"] == {"old": None, "new": "daily"}
    mysql_backup_units.install(wanted)
    assert mysql_backup_units.installed() == wanted
    assert mysql_backup_units.differences(wanted, wanted) == {}
    other = mysql_backup_units.units(*ARGUMENTS[:3], "weekly", 9, False)
    assert mysql_backup_units.differences(wanted, other) == {
        "schedule": {"old": "daily", "new": "weekly"}, "keep": {"old": "7", "new": "9"},
        "prove": {"old": "true", "new": "false"}}  # fmt: skip
    (tmp_path / "mysql_ha-backup.service").write_text(wanted["mysql_ha-backup.service"] + "# by hand\n")
    assert list(mysql_backup_units.differences(mysql_backup_units.installed(), wanted)) == ["mysql_ha-backup.service"]
    mysql_backup_units.install({})
    assert list(tmp_path.iterdir()) == []


# --- transfer ---


@pytest.fixture
def introduced(tmp_path, monkeypatch):
    """One host that is both sides: its certificate."""
    monkeypatch.setattr(mysql_backup_transfer, "FOLDER", tmp_path / "transfer")
    return mysql_backup_transfer.introduce()


def transferred(directory, target, place, port, certificates):
    """What both sides say."""
    said = {}

    def receive():
        try:
            said["received"] = mysql_backup_transfer.receive(target, os.getgid(), "127.0.0.1", port, certificates[0])
        except BackupError as error:
            said["received"] = error

    thread = threading.Thread(target=receive)
    thread.start()
    time.sleep(0.2)
    try:
        said["sent"] = mysql_backup_transfer.send(directory, place, "127.0.0.1", port, certificates[1])
    except BackupError as error:
        said["sent"] = error
    thread.join()
    return said


def test_a_backup_arrives_whole_and_is_to_be_proven_anew(directory, tmp_path, introduced, unused_tcp_port) -> None:
    place = put(directory, NAMES[0], proven="2026-11-20T03:01:00Z")
    (place / "data").mkdir()
    (place / "data" / "big").write_bytes(os.urandom(3 << 20))
    said = transferred(directory, tmp_path / "there", place, unused_tcp_port, [introduced, introduced])
    assert said["received"] == (NAMES[0], said["sent"])
    there = tmp_path / "there" / NAMES[0]
    assert (there / "data" / "big").read_bytes() == (place / "data" / "big").read_bytes()
    record = json.loads((there / "backup.json").read_text())
    assert (record["proven"], record["proven_there"]) == (None, "2026-11-20T03:01:00Z")
    assert not mysql_backup_transfer.FOLDER.exists(), "keys are for one transfer"
    again = mysql_backup_transfer.introduce()
    said = transferred(directory, tmp_path / "there", place, unused_tcp_port, [again, again])
    assert said == {"received": (NAMES[0], 0), "sent": 0}


def test_nobody_else_is_let_in(directory, tmp_path, introduced, unused_tcp_port, monkeypatch) -> None:
    monkeypatch.setattr(mysql_backup_transfer.pinned_tls, "MEET_SECONDS", 2)
    stranger = mysql_backup_transfer.introduce()
    mine = mysql_backup_transfer.introduce()
    place = put(directory, NAMES[0])
    said = transferred(directory, tmp_path / "there", place, unused_tcp_port, [stranger, mine])
    assert "no sender came" in str(said["received"])
    assert "broke off" in str(said["sent"])
    assert mysql_backups.listed(tmp_path / "there") == {}


@pytest.fixture
def unused_tcp_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
