"""What the backups' states decide; the servers and the timers behind them are in the lab."""

import pytest
from salt.exceptions import CommandExecutionError

CHANGES = {"schedule": {"old": None, "new": "daily"}, "timer": {"old": False, "new": True}}
NODES = {
    "mysql1": {"role": "database", "address": "192.168.1.5"},
    "lvs1": {"role": "director", "address": "192.168.1.2"},
    "mysql2": {"role": "database", "address": "192.168.1.6"},
}
WORDS = {"service": "mariadb", "config": "/etc/x.cnf", "directory": "/b", "nodes": NODES, "port": 3306, "user": "repl"}


@pytest.fixture
def states(load_module):
    def build(functions, test=False):
        module = load_module("states", "mysql_backup", __opts__={"test": test})
        module.__salt__ = {f"mysql_backup.{name}": function for name, function in functions.items()}
        return module

    return build


def scheduled(states, changes, test=False):
    done = []
    module = states({"units": lambda *words: {"words": words}, "timer_differences": lambda _: dict(changes),
                     "set_timer": lambda wanted, directory: done.append((wanted, directory))}, test)  # fmt: skip
    return module.scheduled("/b", "logical", "daily", 3, False), done


def test_a_timer_that_is_as_specified_is_left_alone(states) -> None:
    ret, done = scheduled(states, {})
    assert (ret["result"], ret["changes"], done) == (True, {}, [])


def test_the_run_does_what_test_mode_says(states) -> None:
    predicted, done = scheduled(states, CHANGES, test=True)
    assert (predicted["result"], predicted["changes"], done) == (None, CHANGES, [])
    ret, done = scheduled(states, CHANGES)
    assert (ret["result"], ret["changes"]) == (True, CHANGES)
    assert done == [({"words": ("/b", "logical", "daily", 3, False)}, "/b")]


@pytest.mark.parametrize("test", [True, False])
def test_a_schedule_that_is_refused_is_no_traceback(states, test) -> None:
    def units(*_):
        raise CommandExecutionError("schedule: is 'x'")

    ret = states({"units": units}, test).scheduled("/b")
    assert (ret["result"], ret["changes"], ret["comment"]) == (False, {}, "schedule: is 'x'")


@pytest.mark.parametrize(("changes", "test", "result", "removed"), [
    ({}, False, True, []), (CHANGES, True, None, []), (CHANGES, False, True, [None]),
])  # fmt: skip
def test_a_timer_that_is_not_wanted_goes(states, changes, test, result, removed) -> None:
    done = []
    module = states({"timer_differences": lambda _: dict(changes), "set_timer": done.append}, test)
    ret = module.unscheduled("x")
    assert (ret["result"], ret["changes"], done) == (result, changes, removed)


def restored(states, refused="", test=False, node="mysql1", **words):
    done = []

    def restore(*arguments):
        done.append(arguments)
        return {"backup": "/b/20261124T030000Z", "before": "/var/lib/mysql.before-x", "seconds": 6.2}

    module = states({"why_not_restored": lambda *_: refused, "restore": restore}, test)
    return module.restored("latest", node=node, **WORDS, **words), done


def test_a_restore_asks_the_other_database(states) -> None:
    ret, done = restored(states)
    assert ret["result"] is True
    assert "What was there before is now /var/lib/mysql.before-x" in ret["comment"]
    [(name, _, _, source, alone, directory, _)] = done
    assert (name, source["host"], source["user"], alone, directory) == ("latest", "192.168.1.6", "repl", False, "/b")
    predicted, done = restored(states, test=True)
    assert (predicted["result"], predicted["changes"], done) == (None, ret["changes"], [])


def test_a_restore_alone_asks_nobody(states) -> None:
    _, [(_, _, _, source, alone, *_)] = restored(states, alone=True)
    assert (source, alone) == (None, True)


@pytest.mark.parametrize("test", [True, False])
def test_what_would_be_refused_is_refused_in_test_mode_too(states, test) -> None:
    ret, done = restored(states, refused="Nothing was changed.", test=test)
    assert (ret["result"], ret["changes"], ret["comment"], done) == (False, {}, "Nothing was changed.", [])


def test_a_node_that_has_no_peer_is_told(states) -> None:
    module = states({})
    ret = module.restored("latest", node="mysql1", **(WORDS | {"nodes": {"mysql1": NODES["mysql1"]}}))
    assert (ret["result"], ret["comment"]) == (False, "mysql1 is not one of two databases among mysql1.")
