"""A copy that is interrupted anywhere: what was there is kept, what came after it stays. The servers are in the lab."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from mysql_backups import BackupError
from mysql_copy_stream import Prepared
from pinned_tls import MeetingError

SOURCE = {"host": "192.168.1.5", "port": 3306, "user": "repl"}
THERE = {"flavor": "mariadb", "tables": 3, "gtids": "1-1-5", "other_engines": 0, "data_bytes": 1000,
         "purged": "", "server_id": 1}  # fmt: skip
# What the other server has once its files have been copied: the last one was written here, meanwhile.
LATER = "1-1-6,2-2-9"
STREAM = {"address": "192.168.1.6", "port": 4444, "certificate": "..."}


class Interruption(Exception):  # noqa: N818 - not an error of the code under test
    """The power fails."""


class Host:
    """A server of which only the data directory is real, and power that fails at the step that is asked for."""

    def __init__(self, folder: Path, closed: Path) -> None:
        self.folder, self.closed = folder, closed
        self.steps, self.fails_at, self.fails_once_open = 0, None, False
        self.runs = True
        self.met = True
        self.does_not_start = False
        self.gtids = LATER
        self.is_replica = False
        self.applier_error = ""
        self.is_gone, self.goes_away = False, False

    def step(self) -> None:
        self.steps += 1
        if self.fails_at == self.steps:
            self.runs = False
            raise Interruption

    def stop(self, _service) -> None:
        self.step()
        self.runs = False
        self.step()

    def start(self, _service, _wait) -> None:
        self.step()
        assert self.folder.is_dir()
        if self.does_not_start:
            raise CommandExecutionError("mariadb does not start")
        self.runs = True
        if not self.closed.exists():
            # An application writes as soon as it can.
            (self.folder / "written").touch()
            if self.fails_once_open:
                self.runs = False
                raise Interruption
        self.step()

    def initialise(self, _flavor, folder) -> None:
        self.step()
        Path(folder).mkdir(exist_ok=True)
        self.step()
        (Path(folder) / "system").touch()
        self.step()

    def peer(self, _source) -> dict | None:
        if self.closed.exists():
            return None if self.is_gone else THERE | {"gtids": LATER}
        return THERE

    def local(self, sql, *_):
        self.step()
        if "RESET MASTER" in sql:
            assert not self.is_replica, "its position has moved"
            self.gtids = "1-1-6"
        self.step()
        return []

    def replicate_from(self, _source) -> None:
        self.step()
        assert "server_id = 4294967294\n" in self.closed.read_text(), "it would not get back what it wrote itself"
        self.is_replica = True
        self.step()
        if self.goes_away:
            self.is_gone = True
        elif not self.applier_error:
            self.gtids = LATER
        self.step()

    def receive(self, part, *_) -> None:
        assert not self.closed.exists(), "it serves meanwhile"
        self.step()
        if not self.met:
            raise MeetingError("no sender came")
        part.mkdir()
        self.step()
        (part / "copied").touch()
        self.step()

    def prepare(self, part, _lock) -> Prepared:
        assert not self.closed.exists(), "it serves meanwhile"
        self.step()
        return Prepared(part, "1-1-6")

    def copy(self, record, *_) -> None:
        assert self.closed.exists(), "nobody else may reach half of a copy"
        self.step()
        (self.folder / "copied").touch()
        record["done"] = 1000
        self.step()


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path / "mysql", tmp_path / "conf.d" / "zzz-mysql_ha-copying.cnf")


@pytest.fixture
def module(load_module, tmp_path, host, monkeypatch):
    functions = {
        "mysql_replication.peer": host.peer,
        "mysql_replication.replicate_from": host.replicate_from,
        "mysql_replication.server": lambda: {"gtids": host.gtids},
        "mysql_replication.status": lambda: {"applier_error": host.applier_error, "receiving": not host.is_gone},
        "mysql_replication.set_read_only": lambda _: None,
        "mysql_replication.errant": lambda _, wait: "",
        "mysql_server.answers": lambda: host.runs,
        "mysql_server.start": host.start,
        "service.stop": host.stop,
    }
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "90-mysql_ha.cnf").write_text("[mysqld]\nserver_id = 2\n")
    loaded = load_module("modules", "mysql_data", __salt__=functions)
    for name, value in {
        "RECORD": tmp_path / "state" / "copy.json",
        "LOCK": tmp_path / "state" / "copy.lock",
        "folder": lambda _: str(host.folder),
        "initialise": host.initialise,
        "_dump": host.copy,
        "_prove": lambda *_: host.step(),
        "_check": lambda *_: None,
    }.items():
        monkeypatch.setattr(loaded, name, value)
    monkeypatch.setattr(loaded.mysql_copy_stream, "receive", host.receive)
    monkeypatch.setattr(loaded.mysql_copy_stream, "prepare", host.prepare)
    monkeypatch.setattr(loaded.mysql_copy_stream, "turn_away", lambda *_: None)
    monkeypatch.setattr(loaded.mysql_client, "local", host.local)
    monkeypatch.setattr(loaded, "CATCH_UP_SECONDS", 0.01)
    return loaded


def copy(module, tmp_path, keep: bool, stream: dict | None = None) -> dict:
    config = str(tmp_path / "conf.d" / "90-mysql_ha.cnf")
    return module.copy_from(SOURCE, "mariadb", "mariadb", config, keep=keep, stream=stream)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("at", range(1, 24))
def test_a_copy_that_is_interrupted_anywhere(module, host, tmp_path, keep, at) -> None:
    host.folder.mkdir()
    (host.folder / ("original" if keep else "system")).touch()
    host.fails_at = at
    try:
        copy(module, tmp_path, keep)
        interrupted = False
    except Interruption:
        interrupted = True
        was_written = (host.folder / "written").exists()
        if was_written:
            assert not host.closed.exists()
        if keep and not module.status():
            assert (host.folder / "original").exists()
            assert not host.closed.exists(), "closed, and nobody knows why"
        host.fails_at = None
        copy(module, tmp_path, keep and module.status() is None)
    if at > 20:
        assert not interrupted, "all steps were tried"
    assert (host.folder / "copied").exists()
    assert (host.folder / "written").exists()
    assert not host.closed.exists()
    assert module.status() is None
    kept = list(tmp_path.glob("mysql.before-*"))
    assert [(path / "original").exists() for path in kept] == ([True] if keep else [])
    assert not list(tmp_path.glob("mysql.part-*"))


@pytest.mark.parametrize("again", [STREAM, None], ids=["the orchestration again", "a plain run"])
@pytest.mark.parametrize("at", range(1, 30))
def test_a_stream_that_is_interrupted_anywhere(module, host, tmp_path, at, again) -> None:
    """Until all has come in nothing is changed; from then on the next run goes on, without the stream."""
    host.folder.mkdir()
    (host.folder / "original").touch()
    host.fails_at = at
    interrupted, closed = False, False
    try:
        assert copy(module, tmp_path, True, STREAM)["by"] == "stream"
    except Interruption:
        interrupted, host.fails_at = True, None
        record = module.status()
        closed = module.mysql_copy.is_closed(record)
        if not closed:
            assert (host.folder / "original").exists()
            assert not host.closed.exists()
            # A run of state.apply meanwhile: only the disk is freed.
            assert bool(module.leftovers(str(host.folder))) == any(tmp_path.glob("mysql.part-*"))
            module.sweep(str(host.folder))
            assert module.status() is None
            assert not list(tmp_path.glob("mysql.part-*"))
        assert not module.leftovers(str(host.folder)), "what the next run needs is none"
        host.runs = not closed
        made = copy(module, tmp_path, not closed, again)
        if closed:
            assert made["by"] in ("stream", ""), "it is not made twice"
    if at > 28:
        assert not interrupted, "all steps were tried"
    assert (host.folder / "copied").exists()
    assert (host.folder / "written").exists()
    assert not host.closed.exists()
    assert module.status() is None
    if not interrupted or closed:
        assert host.gtids == LATER, "it has what was written here while the copy came in"
    (kept,) = tmp_path.glob("mysql.before-*")
    assert (kept / "original").exists()
    assert not list(tmp_path.glob("mysql.part-*"))


@pytest.mark.parametrize("at", range(1, 23))
def test_a_stream_that_was_interrupted_anywhere_can_be_given_up(module, host, tmp_path, at) -> None:
    host.folder.mkdir()
    (host.folder / "original").touch()
    host.fails_at = at
    with pytest.raises(Interruption):
        copy(module, tmp_path, True, STREAM)
    host.fails_at = None
    if module.status() is None or module.status()["phase"] == "opening":
        return
    module.abandon()
    assert (host.folder / "original").exists()
    assert not (host.folder / "copied").exists()
    assert not host.closed.exists()
    assert module.status() is None
    assert {path.name for path in tmp_path.iterdir()} == {"mysql", "conf.d", "state"}


def test_a_server_that_has_no_data_directory_gets_what_came_in(module, host, tmp_path) -> None:
    host.runs = False
    assert copy(module, tmp_path, True, STREAM)["by"] == "stream"
    assert (host.folder / "copied").exists()
    assert not list(tmp_path.glob("mysql.before-*"))


def test_hosts_that_do_not_meet_make_do_with_a_dump(module, host, tmp_path) -> None:
    host.folder.mkdir()
    (host.folder / "original").touch()
    host.met = False
    made = copy(module, tmp_path, True, STREAM)
    assert (made["by"], made["why"]) == ("dump", "no sender came")


def test_a_stream_that_breaks_changes_nothing(module, host, tmp_path, monkeypatch) -> None:
    host.folder.mkdir()
    (host.folder / "original").touch()

    def receive(part, *_) -> None:
        part.mkdir()
        raise BackupError("the stream to this host broke off")

    monkeypatch.setattr(module.mysql_copy_stream, "receive", receive)
    with pytest.raises(CommandExecutionError, match=r"broke off. Nothing was changed"):
        copy(module, tmp_path, True, STREAM)
    assert (module.status(), host.runs) == (None, True)
    assert {path.name for path in tmp_path.iterdir()} == {"mysql", "conf.d", "state"}


def test_what_came_in_and_does_not_start_is_not_tried_again(module, host, tmp_path) -> None:
    host.folder.mkdir()
    (host.folder / "original").touch()
    host.does_not_start = True
    with pytest.raises(CommandExecutionError, match="does not start"):
        copy(module, tmp_path, True, STREAM)
    assert (module.status()["phase"], module.status()["prepared"]) == ("copying", None)
    host.does_not_start = False
    assert copy(module, tmp_path, False)["by"] == "dump"
    (kept,) = tmp_path.glob("mysql.before-*")
    assert (kept / "original").exists()


def test_what_came_in_and_does_not_catch_up_is_not_tried_again(module, host, tmp_path) -> None:
    host.folder.mkdir()
    (host.folder / "original").touch()
    host.applier_error = "1062: Duplicate entry"
    with pytest.raises(CommandExecutionError, match=r"get 2-2-.* from 192.168.1.5:3306: 1062: Duplicate"):
        copy(module, tmp_path, True, STREAM)
    assert (module.status()["phase"], module.status()["prepared"]) == ("copying", None)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_source_that_goes_away_before_all_has_come_is_waited_for(module, host, tmp_path, when) -> None:
    host.folder.mkdir()
    (host.folder / "original").touch()
    host.is_gone, host.goes_away = when == "before", when == "meanwhile"
    with pytest.raises(CommandExecutionError, match="gone"):
        copy(module, tmp_path, True, STREAM)
    assert host.closed.exists()
    assert (module.status()["phase"], bool(module.status()["prepared"])) == ("settling", True)
    host.is_gone, host.goes_away = False, False
    assert copy(module, tmp_path, False)["by"] == "stream"
    assert host.gtids == LATER


@pytest.mark.parametrize("at", [6, 9], ids=["beside the data directory", "in its place"])
def test_what_came_in_too_long_ago_is_made_anew(module, host, tmp_path, monkeypatch, at) -> None:
    """Its source has deleted the binary logs from there on."""
    host.folder.mkdir()
    (host.folder / "original").touch()
    host.fails_at = at
    with pytest.raises(Interruption):
        copy(module, tmp_path, True, STREAM)
    assert module.status()["prepared"]
    host.fails_at = None
    monkeypatch.setitem(
        module.__salt__, "mysql_replication.peer", lambda _: THERE | {"gtids": "1-1-9", "purged": "1-1-8"}
    )
    assert copy(module, tmp_path, False)["by"] == "dump"
    (kept,) = tmp_path.glob("mysql.before-*")
    assert (kept / "original").exists()
    assert not list(tmp_path.glob("mysql.part-*"))


def test_what_was_written_after_the_opening_is_never_copied_over(module, host, tmp_path) -> None:
    host.folder.mkdir()
    (host.folder / "original").touch()
    host.fails_once_open = True
    with pytest.raises(Interruption):
        copy(module, tmp_path, True)
    # The power failed when applications were let in already, and before the record was gone.
    assert (host.folder / "written").exists()
    assert module.status()["phase"] == "opening"
    (host.folder / "important").touch()
    host.fails_once_open = False
    # Its source may be away by now, or not be fit to be copied any more.
    module.__salt__["mysql_replication.peer"] = lambda _: None
    copy(module, tmp_path, False)
    assert (host.folder / "important").exists()
    assert module.status() is None


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("at", range(1, 14))
@pytest.mark.parametrize("copied_to", range(3, 9))
@pytest.mark.parametrize("then", ["abandon", "copy"])
def test_giving_up_a_copy_is_interrupted_anywhere(module, host, tmp_path, keep, at, copied_to, then) -> None:
    host.folder.mkdir()
    (host.folder / ("original" if keep else "system")).touch()
    host.fails_at = copied_to
    with pytest.raises(Interruption):
        copy(module, tmp_path, keep)
    assert module.status()["phase"] in ("keeping", "copying", "settling")
    host.steps, host.fails_at = 0, at
    try:
        module.abandon()
    except Interruption:
        if (host.folder / "written").exists():
            (host.folder / "important").touch()
        if not (host.folder / "original").exists() and keep:
            assert list(tmp_path.glob("mysql.before-*/original"))
    important = (host.folder / "important").exists()
    host.fails_at = None
    begun = module.status()
    if begun is not None and then == "abandon":
        module.abandon()
    elif begun is not None:
        try:
            copy(module, tmp_path, keep=False)
        except CommandExecutionError as error:
            assert "is now: apply again" in str(error)
    assert module.status() is None
    assert not host.closed.exists()
    assert (host.folder / "important").exists() == important
    if not (host.folder / "copied").exists():
        assert (host.folder / "original").exists() == keep
        assert (host.folder / "written").exists()
        assert not list(tmp_path.glob("mysql.before-*"))
    elif keep:
        assert list(tmp_path.glob("mysql.before-*/original"))
    assert not list(tmp_path.glob("mysql.part-*"))


def test_only_what_was_begun_and_is_not_complete_is_given_up(module, host, tmp_path) -> None:
    with pytest.raises(CommandExecutionError, match="no copy was begun here"):
        module.abandon()
    host.folder.mkdir()
    (host.folder / "original").touch()
    host.fails_once_open = True
    with pytest.raises(Interruption):
        copy(module, tmp_path, True)
    with pytest.raises(CommandExecutionError, match="the copy is complete"):
        module.abandon()


def test_a_rebuild_of_a_server_without_data_is_given_up_too(module, host, tmp_path) -> None:
    host.fails_at = 8
    with pytest.raises(Interruption):
        copy(module, tmp_path, True)
    assert module.status()["kept"] == ""
    host.fails_at = None
    assert module.abandon() == {"restored": ""}
    assert (host.folder / "system").exists() and (host.folder / "written").exists()
    assert module.status() is None


def test_what_a_copy_would_go_back_to_is_not_discarded(module, host, tmp_path) -> None:
    host.folder.mkdir()
    (host.folder / "original").touch()
    host.fails_at = 8
    with pytest.raises(Interruption):
        copy(module, tmp_path, True)
    kept = module.status()["kept"]
    with pytest.raises(CommandExecutionError, match="complete it or give it up"):
        module.discard(kept, str(host.folder))
    # Somebody did it by hand: half of a copy is not taken for what was here before.
    (Path(kept) / "original").unlink()
    Path(kept).rmdir()
    host.fails_at = None
    with pytest.raises(CommandExecutionError, match="is gone: there is nothing to go back to"):
        module.abandon()
    assert host.closed.exists()


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        ({"flavor": "mysql"}, "192.168.1.5:3306 runs mysql, and this server is mariadb"),
        ({"tables": 0, "gtids": ""}, "192.168.1.5:3306 holds nothing: a copy of it would replace data by nothing"),
        ({"gtids": ""}, "192.168.1.5:3306 has tables from before its binary log: apply mysql_ha there"),
        ({"other_engines": 2}, "2 tables on 192.168.1.5:3306 are not InnoDB's"),
        ({"data_bytes": 1 << 60}, "a copy of 192.168.1.5:3306 may need"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_changed(load_module, tmp_path, there, sentence) -> None:
    loaded = load_module("modules", "mysql_data")
    loaded._check(SOURCE, THERE, "mariadb", str(tmp_path / "mysql"))
    with pytest.raises(CommandExecutionError, match=re.escape(sentence)):
        loaded._check(SOURCE, THERE | there, "mariadb", str(tmp_path / "mysql"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flavor", ["mariadb", "mysql"])
@pytest.mark.parametrize(
    ("server", "begins"),
    [
        ({"tables": 3, "gtids": "", "log_bin": True}, True),
        ({"tables": 3, "gtids": "1-1-1", "log_bin": True}, False),
        ({"tables": 0, "gtids": "", "log_bin": True}, False),
        ({"tables": 3, "gtids": "", "log_bin": False}, False),
    ],
)
def test_tables_from_before_the_binary_log_begin_it(load_module, monkeypatch, flavor, server, begins) -> None:
    loaded = load_module("modules", "mysql_data", __salt__={"mysql_replication.server": lambda: server})
    said = []

    def local(sql):
        said.append(sql)
        return [{"name": "clone"}]

    monkeypatch.setattr(loaded.mysql_client, "program", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(loaded.mysql_client, "local", local)
    assert loaded.is_copyable(flavor) is not begins
    loaded.make_copyable(flavor)
    assert [sql for sql in said if "binary_log" in sql] == ([loaded._FIRST_TRANSACTION] if begins else [])


class Cloning:
    """A server that clones, and waits for its source until it is told to stop."""

    def __init__(self, receiving: str) -> None:
        self.receiving, self.killed, self.asked = receiving, threading.Event(), 0

    def local(self, sql: str) -> list[dict]:
        if "clone_progress" in sql:
            self.asked += 1
            if self.receiving == "0" and self.asked == 3:
                self.killed.set()
            return [{"done": "5", "estimate": "10", "receiving": self.receiving}]
        if sql.startswith("KILL QUERY 7;"):
            self.killed.set()
            return []
        return [{"process": "7"}]


@pytest.fixture
def telling(load_module, monkeypatch, tmp_path):
    loaded = load_module("modules", "mysql_data", __salt__={"event.send": lambda *_: None})
    monkeypatch.setattr(loaded, "RECORD", tmp_path / "copy.json")
    monkeypatch.setattr(loaded, "IDLE_SECONDS", 0)
    return loaded


@pytest.mark.parametrize(("receiving", "code", "lost"), [("1", 1317, True), ("1", 2013, False), ("0", 1317, False)])
def test_a_clone_is_ended_when_its_source_is_gone(telling, monkeypatch, receiving, code, lost) -> None:
    server = Cloning(receiving)
    monkeypatch.setattr(telling.mysql_client, "local", server.local)
    gone = telling.SqlError("the connection is lost")

    def idle():
        raise gone

    def work():
        assert server.killed.wait(30)
        raise telling.SqlError("ended", code)

    record = {"source": "192.168.1.5:3306", "phase": "copying", "done": 0, "of": 0}
    if lost:
        with pytest.raises(telling.SqlError, match="the connection is lost"):
            telling._while_telling(record, work, idle)
    else:
        # Complete all the same; or with nothing to come from the source, which may then be silent.
        assert telling._while_telling(record, work, idle).code == code
    assert (record["done"], record["of"]) == (5, 10)


def test_a_source_is_only_given_up_when_it_is_silent_three_times_in_a_row(telling, monkeypatch) -> None:
    away = telling.SqlError("away")
    answers = [away, away, [{"there": "2"}], away, away, away, away, [{"there": "0"}]]

    def remote(*_):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(telling.mysql_client, "remote", remote)
    monkeypatch.setattr(telling, "_password", lambda: "x")
    idle = telling._patience(SOURCE)
    for _ in range(5):
        idle()
    for why in ("away", "away", "the connection is lost"):
        with pytest.raises(telling.SqlError, match=why):
            idle()
