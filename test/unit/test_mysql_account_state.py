"""What the states of accounts and databases decide; the servers behind them are in the lab."""

import pytest
from salt.exceptions import CommandExecutionError

CHANGES = {"app@192.168.1.% password": {"old": "(hidden)", "new": "(hidden)"}}


@pytest.fixture
def states(load_module):
    def build(functions, test=False):
        module = load_module("states", "mysql_account", __opts__={"test": test})
        module.__salt__ = {f"mysql_account.{name}": function for name, function in functions.items()}
        return module

    return build


def fail(*_):
    raise CommandExecutionError("the database server on mysql1: no client program is installed")


def test_accounts_as_specified(states) -> None:
    ret = states({"differences": lambda *_: {}}).managed("x", "mysql", {})
    assert (ret["result"], ret["changes"]) == (True, {})


def test_the_run_does_what_test_mode_says(states) -> None:
    left = [CHANGES]
    functions = {"differences": lambda *_: left[-1], "make": lambda *_: left.append({})}
    predicted = states(functions, test=True).managed("x", "mysql", {})
    assert (predicted["result"], predicted["changes"], len(left)) == (None, CHANGES, 1)
    ret = states(functions).managed("x", "mysql", {})
    assert (ret["result"], ret["changes"]) == (True, CHANGES)


def test_what_the_server_did_not_take_is_no_change(states) -> None:
    ret = states({"differences": lambda *_: CHANGES, "make": lambda *_: None}).managed("x", "mysql", {})
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "did not take: app@192.168.1.% password" in ret["comment"]


def test_a_server_that_is_not_there_yet(states) -> None:
    def differences(accounts, replication, flavor=None):
        return CHANGES if flavor == "mysql" else fail()

    predicted = states({"differences": differences}, test=True).managed("x", "mysql", {})
    assert (predicted["result"], predicted["changes"]) == (None, CHANGES)
    assert states({"differences": differences}).managed("x", "mysql", {})["result"] is False


def test_databases(states) -> None:
    made = []
    functions = {"missing_databases": lambda names: [n for n in names if n != "old"], "make_databases": made.extend}
    predicted = states(functions, test=True).databases("x", ["old", "new"])
    assert (predicted["result"], made) == (None, [])
    ret = states(functions).databases("x", ["old", "new"])
    assert ret["changes"] == predicted["changes"] == {"new": {"old": None, "new": "present"}}
    assert made == ["new"]
    assert states(functions).databases("x", ["old"])["changes"] == {}
    assert states({"missing_databases": fail}).databases("x", [])["changes"] == {}


def test_databases_of_a_server_that_is_not_there_yet(states) -> None:
    predicted = states({"missing_databases": fail}, test=True).databases("x", ["new"])
    assert (predicted["result"], set(predicted["changes"])) == (None, {"new"})
    assert states({"missing_databases": fail}).databases("x", ["new"])["result"] is False
