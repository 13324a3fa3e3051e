"""What the replication state decides; the servers behind it are in the lab."""

import pytest
from salt.exceptions import CommandExecutionError

NODES = {
    "lvs1": {"role": "director", "address": "192.168.1.2"},
    "mysql1": {"role": "database", "address": "192.168.1.5", "server_id": 1},
    "mysql2": {"role": "database", "address": "192.168.1.6", "server_id": 2},
}
RUNNING = {
    "source": "192.168.1.6:3306", "receiving": True, "applying": True, "receiver_state": "Waiting for master",
    "receiver_error": "", "applier_error": "", "gtid": True,
}  # fmt: skip
ALL = {"source": {"old": None, "new": "192.168.1.6:3306"}, "user": {"old": None, "new": "repl"}}


class World:
    """The execution module's answers, and what was asked of it that changes something."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.waited: list[int] = []
        self.server = {"server_id": 1, "server_uuid": "u1", "log_bin": True, "gtid_mode": True, "gtids": "",
                       "flavor": "mariadb", "version": "11.8.6", "verifies_alone": True, "tables": 0,
                       "purged": ""}  # fmt: skip
        self.peer = {"server_id": 2, "server_uuid": "u2", "gtids": "", "tables": 0, "purged": ""}
        self.status = dict(RUNNING)
        self.settled = dict(RUNNING)
        self.differences: dict = {}
        self.copy: dict | None = None
        self.started: dict | None = None  # what is settled after a start

    def functions(self) -> dict:
        def change(name):
            return lambda *_: self.done.append(name)

        answers = {
            "server": lambda: self.server,
            "peer": lambda _, wait: self.waited.append(wait) or self.peer,
            "status": lambda: self.status,
            "settled": lambda wait=30: self.settled,
            "differences": lambda *_, fresh=False: dict(ALL) if fresh else self.differences,
            "forget": lambda: "STOP REPLICA; RESET REPLICA ALL;",
            "replicate_from": change("replicate_from"),
            "start": self.start,
        }
        found = {f"mysql_replication.{name}": function for name, function in answers.items()}
        return found | {"mysql_data.status": lambda: self.copy, "mysql_data.copy_from": self.copy_from}

    def start(self, _source) -> None:
        self.done.append("start")
        self.settled = self.started or self.settled

    def copy_from(self, source, service, flavor, config, keep):
        self.done.append(f"copy_from keep={keep}")
        return {"bytes": 5 << 20, "seconds": 7, "kept": "/var/lib/mysql.before-1" if keep else "",
                "only_here": "1-1-9" if keep else ""}  # fmt: skip

    def fresh(self) -> None:
        """A server from empty."""
        self.status, self.differences = None, dict(ALL)


@pytest.fixture
def world():
    return World()


@pytest.fixture
def apply(load_module, world):
    def run(test=False, **arguments):
        module = load_module("states", "mysql_replication", __salt__=world.functions(), __opts__={"test": test})
        own = {"service": "mariadb", "flavor": "mariadb", "config": "/a.cnf"}
        return module.replicating("mysql1", NODES, 3306, "repl", **({"wait": 0, "server": own} | arguments))

    return run


def test_a_running_replication_is_not_touched(apply, world, test_mode) -> None:
    ret = apply(test_mode)
    assert (ret["result"], ret["changes"], world.done) == (True, {}, [])


def test_from_empty(apply, world) -> None:
    world.fresh()
    predicted = apply(test=True)
    assert predicted["result"] is None
    assert world.done == []
    done = apply()
    assert done["result"] is True
    assert done["changes"] == predicted["changes"]
    assert world.done == ["replicate_from"]


def test_a_peer_that_is_not_there_is_no_error(apply, world) -> None:
    world.fresh()
    world.peer = None
    ret = apply()
    assert ret["result"] is True
    assert "waiting for mysql2" in ret["comment"]
    assert (ret["changes"], world.done) == ({}, [])


def test_two_histories_are_not_joined(apply, world) -> None:
    world.fresh()
    world.server |= {"gtids": "1-1-5", "tables": 3}
    world.peer |= {"gtids": "2-2-3", "tables": 3}
    ret = apply()
    assert (ret["result"], ret["changes"], world.done) == (False, {}, [])
    assert "Not joined with mysql2: both servers hold transactions" in ret["comment"]
    assert "only on mysql1: 1-1-(1-5); only on mysql2: 2-2-(1-3)" in ret["comment"]
    assert "mysql_ha:database:seed: mysql1 (or mysql2)" in ret["comment"]


def test_the_pillar_decides_between_two_histories(apply, world) -> None:
    world.fresh()
    world.server |= {"gtids": "1-1-5", "tables": 3}
    world.peer |= {"gtids": "2-2-3", "tables": 3}
    waiting = apply(seed="mysql1")
    assert (waiting["result"], world.done) == (True, [])
    assert "waiting for mysql2 to take a copy of this server" in waiting["comment"]
    copied = apply(seed="mysql2")
    assert (copied["result"], world.done) == (True, ["copy_from keep=True", "replicate_from"])
    assert copied["changes"]["data"] == {"old": "kept aside", "new": "a copy of mysql2"}
    assert "What was here before is kept in /var/lib/mysql.before-1" in copied["comment"]
    assert "Only there are these transactions: 1-1-9." in copied["comment"]


def test_a_server_without_data_gets_a_copy(apply, world) -> None:
    world.fresh()
    world.peer |= {"gtids": "2-2-3", "tables": 3}
    ret = apply()
    assert (ret["result"], world.done) == (True, ["copy_from keep=False", "replicate_from"])
    assert ret["changes"]["data"] == {"old": None, "new": "a copy of mysql2"}
    assert ret["changes"]["source"] == ALL["source"]
    assert "A copy of mysql2 was made, 5 MiB in 7 s: mysql2 has data and this server has none." in ret["comment"]


def test_a_copy_that_was_interrupted_is_made_again(apply, world, test_mode) -> None:
    world.copy = {"phase": "copying"}
    ret = apply(test_mode)
    assert ret["result"] is (None if test_mode else True)
    assert world.done == ([] if test_mode else ["copy_from keep=False", "replicate_from"])
    assert ret["changes"]["data"] == {"old": None, "new": "a copy of mysql2"}


@pytest.mark.parametrize(
    ("peer", "sentence"),
    [
        ({"server_id": 1}, "both servers have the server_id 1"),
        ({"server_uuid": "u1"}, "both servers have the server_uuid u1, as copies of one machine do"),
    ],
)
def test_a_copy_of_this_server_is_not_joined(apply, world, peer, sentence) -> None:
    world.fresh()
    world.peer.update(peer)
    ret = apply()
    assert (ret["result"], ret["changes"], world.done) == (False, {}, [])
    assert sentence in ret["comment"]


@pytest.mark.parametrize(("here", "there"), [("1-1-5", "1-1-3"), ("1-1-3", "1-1-3,2-2-5"), ("1-1-5", "1-1-5")])
def test_a_server_that_has_all_of_the_other_is_joined(apply, world, here, there) -> None:
    world.fresh()
    world.server |= {"gtids": here, "tables": 3}
    world.peer |= {"gtids": there, "tables": 3}
    assert apply()["result"] is True
    assert world.done == ["replicate_from"]


def test_file_and_position_is_not_converted_by_itself(apply, world, test_mode) -> None:
    world.status["gtid"] = False
    world.differences = {"gtid": {"old": False, "new": True}}
    ret = apply(test_mode)
    assert (ret["result"], ret["changes"], world.done) == (False, {}, [])
    assert "by file and position" in ret["comment"]


def test_without_a_ca_some_servers_cannot_verify(apply, world, test_mode) -> None:
    world.server["verifies_alone"] = False
    ret = apply(test_mode)
    assert (ret["result"], world.done) == (False, [])
    assert "cannot verify its peer's certificate without a CA" in ret["comment"]
    assert apply(test_mode, ca_file="/ca.pem")["result"] is True
    assert apply(test_mode, tls=False)["result"] is True


def test_settings_are_only_changed_while_the_peer_is_there(apply, world) -> None:
    """What was received and not applied would be lost with it."""
    world.differences = {"heartbeat": {"old": 30.0, "new": 0.25}}
    world.peer = None
    ret = apply()
    assert (ret["result"], ret["changes"], world.done) == (True, {}, [])
    assert "only changed (heartbeat) while it does" in ret["comment"]


def test_tables_that_no_binary_log_has_are_not_joined_with_others(apply, world) -> None:
    world.fresh()
    world.server["tables"] = 3
    world.peer |= {"gtids": "2-2-3", "tables": 3}
    ret = apply()
    assert (ret["result"], world.done) == (False, [])
    assert "mysql1 has 3 tables that its binary log never had, and the other has data too" in ret["comment"]


@pytest.mark.parametrize("change", [{"server_id": 9}, {"log_bin": False}, {"gtid_mode": False}])
def test_a_server_without_its_configuration_is_not_restarted_but_told(apply, world, test_mode, change) -> None:
    world.server.update(change)
    ret = apply(test_mode)
    assert ret["result"] is False
    assert "Restart it in a quiet moment" in ret["comment"]
    assert world.done == []


def test_another_source_is_never_given_up(apply, world, test_mode) -> None:
    world.differences = {"source": {"old": "192.168.1.60:3306", "new": "192.168.1.6:3306"}}
    world.status["source"] = "192.168.1.60:3306"
    ret = apply(test_mode)
    assert ret["result"] is False
    assert "replicates from 192.168.1.60:3306, not from mysql2" in ret["comment"]
    assert world.done == []


@pytest.mark.parametrize("field", ["heartbeat", "tls", "password"])
def test_a_changed_password_or_option_reaches_the_channel(apply, world, field) -> None:
    world.differences = {field: {"old": "this", "new": "that"}}
    patience = {"heartbeat": 0, "tls": 7, "password": 7}[field]
    predicted = apply(test=True)
    assert (predicted["result"], world.done) == (None, [])
    done = apply(wait=7)
    assert done["result"] is True
    assert done["changes"] == predicted["changes"]
    assert world.done[-1] == "replicate_from"
    assert world.waited == [patience]


def test_a_stopped_replication_is_started(apply, world) -> None:
    world.status.update(receiving=False, applying=False, receiver_state="")
    predicted = apply(test=True)
    assert predicted["changes"] == {"running": {"old": False, "new": True}}
    assert world.done == []
    assert apply()["changes"] == predicted["changes"]
    assert world.done == ["start"]


def test_a_conflict_is_told_and_nothing_is_skipped(apply, world, test_mode) -> None:
    world.status.update(applying=False, applier_error="1062: Duplicate entry '7' for key 'PRIMARY'")
    ret = apply(test_mode)
    assert ret["result"] is False
    assert "1062: Duplicate entry '7'" in ret["comment"]
    assert world.done == []


def test_an_encryption_that_broke_off_once_is_looked_at_again(apply, world, test_mode) -> None:
    world.status.update(receiving=False, receiver_error="2026: SSL connection error")
    ret = apply(test_mode)
    assert (ret["result"], ret["changes"]) == (True, {})


def test_a_peer_that_is_down_right_now_is_no_error(apply, world, test_mode) -> None:
    world.status.update(receiving=False, receiver_state="Reconnecting", receiver_error="2003: Can't connect")
    ret = apply(test_mode)
    assert (ret["result"], ret["changes"]) == (True, {})
    assert "waiting for mysql2: 2003" in ret["comment"]


@pytest.mark.parametrize("error", [
    "1236: could not find next log", "1045: Access denied", "2026: SSL connection error: error:00000000",
])  # fmt: skip
def test_a_receiver_that_cannot_go_on_is_an_error(apply, world, test_mode, error) -> None:
    world.status.update(receiving=False, receiver_error=error)
    world.settled = world.status
    ret = apply(test_mode)
    assert ret["result"] is False
    assert error in ret["comment"]


@pytest.mark.parametrize("error", ["1236: purged", "13117: equal MySQL server UUIDs"])
def test_a_receiver_whose_source_was_mended_is_started_again_once(apply, world, error) -> None:
    world.status.update(receiving=False, receiver_state="", receiver_error=error)
    done = apply()
    assert (done["result"], world.done) == (True, ["start"])
    assert done["changes"] == {"running": {"old": False, "new": True}}
    world.settled = world.status
    failed = apply()
    assert (failed["result"], world.done) == (False, ["start", "start"])
    assert error in failed["comment"]


def test_a_peer_that_became_a_copy_of_this_server_meanwhile_is_joined(apply, world) -> None:
    """It was empty when this server was pointed at it, and has another binary log since."""
    world.fresh()
    world.settled = RUNNING | {"receiving": False, "receiver_state": "", "receiver_error": "1236: purged"}
    world.started = dict(RUNNING)
    ret = apply()
    assert (ret["result"], world.done) == (True, ["replicate_from", "start"])
    assert ret["changes"] == ALL


def test_a_server_that_is_not_installed_yet(apply, world, load_module) -> None:
    def fail():
        raise CommandExecutionError("MariaDB on mysql1: the client program 'mariadb' is not installed")

    functions = world.functions() | {"mysql_replication.server": fail}
    module = load_module("states", "mysql_replication", __salt__=functions, __opts__={"test": True})
    ret = module.replicating("mysql1", NODES, 3306, "repl")
    assert ret["result"] is None
    world.fresh()
    assert ret["changes"] == apply(test=True)["changes"]
    module.__opts__ = {"test": False}
    assert module.replicating("mysql1", NODES, 3306, "repl")["result"] is False


@pytest.fixture
def states(load_module):
    def build(functions, test=False):
        module = load_module("states", "mysql_replication", __opts__={"test": test})
        module.__salt__ = {f"mysql_replication.{name}": function for name, function in functions.items()}
        return module

    return build


def test_stopped(states) -> None:
    done = []
    now = dict(RUNNING)
    functions = {"status": lambda: now, "stop": lambda: done.append("stop")}
    predicted = states(functions, test=True).stopped("x")
    assert (predicted["result"], done) == (None, [])
    assert states(functions).stopped("x")["changes"] == predicted["changes"] == {"running": {"old": True, "new": False}}
    assert done == ["stop"]
    now.update(receiving=False, applying=False, receiver_state="")
    assert states(functions).stopped("x")["changes"] == {}


@pytest.mark.parametrize("closed", [True, False])
def test_read_only(states, closed) -> None:
    done = []
    functions = {"is_read_only": lambda: not closed, "set_read_only": done.append}
    predicted = states(functions, test=True).read_only("x", closed)
    assert (predicted["result"], done) == (None, [])
    assert states(functions).read_only("x", closed)["changes"] == predicted["changes"]
    assert done == [closed]
    assert states(functions).read_only("x", not closed)["changes"] == {}


def test_semi_sync_touches_only_what_is_said_and_otherwise(states) -> None:
    done = []
    now = {"source": False, "replica": True, "timeout": 4294967295}
    functions = {"semi_sync": lambda: now, "set_semi_sync": lambda **on: done.append(on)}
    assert states(functions).semi_sync("x", replica=True)["changes"] == {}
    ret = states(functions).semi_sync("x", source=True, replica=True)
    assert ret["changes"] == {"source": {"old": False, "new": True}}
    assert done == [{"source": True}]
    now.update(source=True, timeout=10000)
    ret = states(functions).semi_sync("x", source=True, replica=True)
    assert ret["changes"] == {"timeout": {"old": 10000, "new": "for ever"}}
    assert done[1:] == [{"source": True}]


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (None, "it replicates from nowhere"),
        (RUNNING | {"applying": False, "applier_error": "1062: Duplicate entry"}, "1062: Duplicate entry"),
        (RUNNING | {"receiving": False, "receiver_state": ""}, "it is stopped"),
    ],
)
def test_healthy_is_a_gate(states, now, why) -> None:
    ret = states({"settled": lambda _: now}).healthy("x")
    assert ret["result"] is False
    assert why in ret["comment"]
    assert states({"settled": lambda _: RUNNING}).healthy("x")["result"] is True
    assert states({"settled": lambda _: None}).healthy("x", alone=True)["result"] is True
