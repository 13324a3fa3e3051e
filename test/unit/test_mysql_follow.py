"""When a replica is moved, and when it is left alone; the real servers are in the lab."""

import socket
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mysql_follow
import mysql_follow_unit
import mysql_handshake
import systemd_program
from mysql_client import SqlError
from mysql_follow import PATIENCE, PAUSE, Follower, Memory, is_due, is_lost, other, remember

MASTERS = {"mysql1": "192.168.1.5:3306", "mysql2": "192.168.1.6:3306"}
RUNNING = {"source": MASTERS["mysql1"], "receiving": True, "applying": True, "receiver_state": "Waiting",
           "receiver_error": "", "applier_error": "", "heartbeat": 0.25}  # fmt: skip
GONE = RUNNING | {"receiving": False, "receiver_state": "Connecting to source",
                  "receiver_error": "2003: error connecting"}  # fmt: skip


@pytest.mark.parametrize(("channel", "lost"), [
    (RUNNING, False),
    (GONE, True),
    (GONE | {"receiver_error": ""}, True),
    (GONE | {"receiver_error": "2013: lost connection"}, True),
    (None, False),
    # By an operator: both threads, or one of them.
    (GONE | {"receiver_state": "", "applying": False}, False),
    (GONE | {"receiver_state": ""}, False),
    (GONE | {"applying": False}, False),
    (GONE | {"applying": False, "applier_error": "1062: Duplicate entry"}, False),
    # The master is there and says no.
    (GONE | {"receiver_error": "1045: Access denied"}, False),
    (GONE | {"receiver_error": "2026: TLS/SSL error"}, False),
    (GONE | {"receiver_error": "1236: the binary log is gone"}, False),
])  # fmt: skip
def test_only_a_receiver_that_reaches_nobody_is_lost(channel, lost) -> None:
    assert is_lost(channel) is lost


def test_patience_and_pause() -> None:
    memory = remember(Memory(), GONE, 100)
    assert not is_due(memory, 100 + PATIENCE - 0.1)
    assert is_due(memory, 100 + PATIENCE)
    # It was there in between.
    memory = remember(remember(memory, RUNNING, 103), GONE, 104)
    assert not is_due(memory, 104 + PATIENCE - 0.1)
    # Somebody else has moved it just now.
    moved = GONE | {"source": MASTERS["mysql2"]}
    memory = remember(memory, moved, 110)
    assert not is_due(memory, 110 + PAUSE - 0.1)
    assert is_due(memory, 110 + PAUSE)


@given(st.lists(st.tuples(st.sampled_from(["mysql1", "mysql2"]), st.booleans(), st.floats(0.1, 3)), max_size=80))
def test_it_never_moves_twice_within_the_pause(looks) -> None:
    memory, now, moves = Memory(), 0.0, []
    for name, gone, step in looks:
        now += step
        memory = remember(memory, (GONE if gone else RUNNING) | {"source": MASTERS[name]}, now)
        if is_due(memory, now):
            moves.append(now)
            memory = Memory(MASTERS["mysql2" if name == "mysql1" else "mysql1"], now)
    assert all(later - earlier >= PAUSE for earlier, later in zip(moves, moves[1:], strict=False))


def test_the_other_master() -> None:
    assert other(MASTERS, MASTERS["mysql1"]) == "mysql2"
    assert other(MASTERS, MASTERS["mysql2"]) == "mysql1"
    assert other(MASTERS, "192.168.1.9:3306") is None


class World:
    """A replica's server, two masters, and a clock."""

    def __init__(self, flavor="mysql"):
        self.flavor, self.now, self.gone, self.source = flavor, 0.0, False, MASTERS["mysql1"]
        self.greetings = {"192.168.1.5": None, "192.168.1.6": True}
        self.closed, self.answers, self.done, self.said = "1", True, [], []
        self.follower = Follower(MASTERS, self.ask, lambda host, port, timeout: self.greetings[host],
                                 lambda: self.now, self.said.append)  # fmt: skip

    def ask(self, sql):
        if not self.answers:
            raise SqlError("ERROR 2002")
        if "@@version" in sql:
            return [{"version": "9.7.4" if self.flavor == "mysql" else "11.8.6-MariaDB"}]
        if sql.startswith("SHOW"):
            host, _, port = self.source.partition(":")
            first, second = ("Source", "Replica") if self.flavor == "mysql" else ("Master", "Slave")
            return [{
                f"{first}_Host": host, f"{first}_Port": port, f"{second}_SQL_Running": "Yes",
                f"{second}_IO_Running": "Connecting" if self.gone else "Yes", f"{second}_IO_State": "Connecting",
                "Last_IO_Errno": "2003" if self.gone else "0", "Slave_heartbeat_period": "0.250",
            }]  # fmt: skip
        if "HEARTBEAT" in sql and sql.startswith("SELECT"):
            return [{"heartbeat": "0.250"}]
        if "read_only" in sql:
            return [{"closed": self.closed}]
        self.done.append(sql)
        self.source, self.gone = MASTERS["mysql2"], False
        return []

    def pass_(self, seconds):
        end = self.now + seconds
        while self.now < end:
            self.now += 1
            self.follower.look()


@pytest.fixture(autouse=True)
def no_copy(monkeypatch, tmp_path):
    monkeypatch.setattr(mysql_follow, "COPYING", tmp_path / "copy.json")
    return tmp_path / "copy.json"


@pytest.mark.parametrize("flavor", ["mysql", "mariadb"])
def test_it_is_moved_once_and_says_so(flavor) -> None:
    world = World(flavor)
    world.pass_(10)
    world.gone = True
    world.pass_(60)
    assert len(world.done) == 1
    assert "HOST = '192.168.1.6'" in world.done[0]
    assert "HEARTBEAT_PERIOD = 0.25" in world.done[0]
    assert "PASSWORD" not in world.done[0]
    assert world.said == ["mysql1 (192.168.1.5:3306) has not been reached for 5 s: this replica now follows mysql2 "
                          "(192.168.1.6:3306)."]  # fmt: skip


@pytest.mark.parametrize(("change", "sentence"), [
    ({"greetings": {"192.168.1.5": True, "192.168.1.6": True}}, "mysql1 answers, though replication"),
    ({"greetings": {"192.168.1.5": False, "192.168.1.6": True}}, "mysql1 answers, though replication"),
    ({"greetings": {"192.168.1.5": None, "192.168.1.6": None}}, "mysql2 does not answer either"),
    ({"greetings": {"192.168.1.5": None, "192.168.1.6": False}}, "mysql2 does not answer either"),
    ({"closed": "0"}, "this server takes writes"),
    ({"source": "192.168.1.9:3306"}, "is no master of this cluster"),
    ({"answers": False}, "The database server here does not answer"),
])  # fmt: skip
def test_it_is_left_alone_and_the_reason_is_told_once(change, sentence) -> None:
    world = World()
    world.gone = True
    for name, value in change.items():
        setattr(world, name, value)
    world.pass_(60)
    assert world.done == []
    assert len(world.said) == 1
    assert sentence in world.said[0]


def test_nothing_is_done_while_a_copy_is_made(no_copy) -> None:
    no_copy.write_text("{}")
    world = World()
    world.gone = True
    world.pass_(60)
    assert (world.done, world.said) == ([], [])
    no_copy.unlink()
    world.pass_(10)
    assert len(world.done) == 1


@contextmanager
def server(packet):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            connection, _ = listening.accept()
            with connection:
                connection.sendall(packet)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(5)


@pytest.mark.parametrize(("packet", "greets"), [
    (b"\x03\x00\x00\x00\x0a9\x00", True),
    (b"\x04\x00\x00\x00\xff\x10\x04#", False),
    (b"", None),
    (b"\x20\x00\x00\x00\x0a", None),
])  # fmt: skip
def test_a_greeting(packet, greets) -> None:
    with server(packet) as port:
        assert mysql_handshake.greeting("127.0.0.1", port, 5) is greets


def test_a_server_that_accepts_and_says_nothing_does_not_greet() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert mysql_handshake.greeting("127.0.0.1", listening.getsockname()[1], 0.2) is None
        port = listening.getsockname()[1]
    assert mysql_handshake.greeting("127.0.0.1", port, 0.2) is None


# --- the service ---


def test_the_service_has_all_that_its_program_imports(tmp_path, monkeypatch) -> None:
    """The program runs with its own files alone."""
    import subprocess

    monkeypatch.setattr(systemd_program, "FOLDER", tmp_path / "lib")
    monkeypatch.setattr(systemd_program, "UNITS", tmp_path)
    wanted = mysql_follow_unit.files(sys.executable, MASTERS)
    assert set(systemd_program.differences(mysql_follow_unit.installed(), wanted)) == set(wanted)
    systemd_program.install(wanted)
    assert systemd_program.differences(mysql_follow_unit.installed(), wanted) == {}
    changed = mysql_follow_unit.files(sys.executable, MASTERS | {"mysql2": "192.168.1.9:3306"})
    unit = str(tmp_path / mysql_follow_unit.SERVICE)
    assert systemd_program.differences(mysql_follow_unit.installed(), changed) == {
        unit: {"old": "another one", "new": "as specified"}
    }
    assert "mysql1=192.168.1.5:3306 mysql2=192.168.1.6:3306" in wanted[unit]
    program = tmp_path / "lib" / "mysql_follow.py"
    done = subprocess.run([sys.executable, "-sE", str(program), "--help"], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    assert "NAME=HOST:PORT" in done.stdout


def test_an_upgrade_of_salt_leaves_the_interpreters_name(tmp_path) -> None:
    versioned = tmp_path / "python3.10"
    versioned.touch()
    assert systemd_program.python(str(versioned)) == str(versioned)
    (tmp_path / "python3").symlink_to(versioned)
    assert systemd_program.python(str(versioned)) == str(Path(tmp_path, "python3"))


@pytest.mark.parametrize("test", [False, True])
def test_the_state_says_what_it_does(load_module, test) -> None:
    done, found = [], {"running": {"old": False, "new": True}}
    functions = {"mysql_follow.differences": lambda masters: done.append(masters) or found,
                 "mysql_follow.install": lambda masters: done.append("install")}  # fmt: skip
    state = load_module("states", "mysql_follow", __salt__=functions, __opts__={"test": test})
    nodes = {"lvs1": {"role": "director", "address": "192.168.1.2"},
             "mysql1": {"role": "database", "address": "192.168.1.5"},
             "mysql2": {"role": "database", "address": "192.168.1.6"},
             "replica1": {"role": "replica", "address": "192.168.1.7"}}  # fmt: skip
    ret = state.running("x", nodes, 3306)
    assert (ret["result"], ret["changes"]) == (None if test else True, {"running": {"old": False, "new": True}})
    assert done == [MASTERS] if test else [MASTERS, "install"]
    found.clear()
    assert state.running("x", nodes, 3306)["changes"] == {}
