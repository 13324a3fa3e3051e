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
    "receiver_error": "", "applier_error": "",
}  # fmt: skip
ALL = {"source": {"old": None, "new": "192.168.1.6:3306"}, "user": {"old": None, "new": "repl"}}


class World:
    """The execution module's answers, and what was asked of it that changes something."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.server = {"server_id": 1, "log_bin": True, "gtids": "", "unlogged_tables": 0}
        self.peer = {"server_id": 2, "gtids": ""}
        self.status = dict(RUNNING)
        self.settled = dict(RUNNING)
        self.wrong_accounts: list[str] = []
        self.differences: dict = {}
        self.reason = ""

    def functions(self) -> dict:
        def change(name):
            return lambda *_: self.done.append(name)

        answers = {
            "server": lambda: self.server,
            "peer": lambda *_, wait: self.peer,
            "status": lambda: self.status,
            "settled": lambda: self.settled,
            "wrong_accounts": lambda *_: self.wrong_accounts,
            "differences": lambda *_, fresh=False: dict(ALL) if fresh else self.differences,
            "why_not_joined": lambda *_: self.reason,
            "make_accounts": change("make_accounts"),
            "replicate_from": change("replicate_from"),
            "start": change("start"),
        }
        return {f"mysql_replication.{name}": function for name, function in answers.items()}

    def fresh(self) -> None:
        """A server from empty."""
        self.status, self.differences, self.wrong_accounts = None, dict(ALL), ["192.168.1.5", "192.168.1.6"]


@pytest.fixture
def world():
    return World()


@pytest.fixture(params=[False, True], ids=["real", "test"])
def test_mode(request):
    return request.param


@pytest.fixture
def apply(load_module, world):
    def run(test=False, **arguments):
        module = load_module("states", "mysql_replication", __salt__=world.functions(), __opts__={"test": test})
        return module.replicating("mysql1", NODES, 3306, "repl", **({"wait": 0} | arguments))

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
    assert world.done == ["make_accounts", "replicate_from"]


def test_a_peer_that_is_not_there_is_no_error(apply, world) -> None:
    world.fresh()
    world.peer = None
    ret = apply()
    assert ret["result"] is True
    assert "waiting for mysql2" in ret["comment"]
    assert set(ret["changes"]) == {"account"}
    assert world.done == ["make_accounts"]


def test_two_histories_are_not_joined(apply, world) -> None:
    world.fresh()
    world.reason = "both servers hold transactions that the other lacks"
    ret = apply()
    assert ret["result"] is False
    assert "Not joined with mysql2: both servers hold" in ret["comment"]
    assert "replicate_from" not in world.done


def test_tables_that_no_binary_log_has_are_not_joined(apply, world, test_mode) -> None:
    world.fresh()
    world.server["unlogged_tables"] = 3
    ret = apply(test_mode)
    assert ret["result"] is False
    assert "3 tables" in ret["comment"]
    assert "replicate_from" not in world.done


@pytest.mark.parametrize("change", [{"server_id": 9}, {"log_bin": False}])
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


@pytest.mark.parametrize("cause", ["differences", "account", "denied"])
def test_a_changed_password_or_option_reaches_the_channel(apply, world, cause) -> None:
    if cause == "differences":
        world.differences = {"tls": {"old": "No", "new": "Yes"}}
    elif cause == "account":
        world.wrong_accounts = ["192.168.1.6"]
    else:
        world.status.update(receiving=False, receiver_error="1045: Access denied")
    predicted = apply(test=True)
    assert (predicted["result"], world.done) == (None, [])
    done = apply()
    assert done["result"] is True
    assert done["changes"] == predicted["changes"]
    assert world.done[-1] == "replicate_from"


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


def test_a_peer_that_is_down_right_now_is_no_error(apply, world, test_mode) -> None:
    world.status.update(receiving=False, receiver_state="Reconnecting", receiver_error="2003: Can't connect")
    ret = apply(test_mode)
    assert (ret["result"], ret["changes"]) == (True, {})
    assert "waiting for mysql2: 2003" in ret["comment"]


def test_a_receiver_that_cannot_go_on_is_an_error(apply, world, test_mode) -> None:
    world.status.update(receiving=False, receiver_error="1236: could not find next log")
    ret = apply(test_mode)
    assert ret["result"] is False
    assert "1236" in ret["comment"]


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
