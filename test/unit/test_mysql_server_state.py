"""What the server's states decide; the servers behind them are in the lab."""

import pytest
from salt.exceptions import CommandExecutionError

FOUND = {"file": {}, "running": {}, "pending": {}, "overridden": {}}
CHANGE = {"max_connections": {"old": "151", "new": "500"}}


@pytest.fixture
def states(load_module):
    def build(functions, test=False):
        module = load_module("states", "mysql_server", __opts__={"test": test, "id": "mysql2"})
        module.__salt__ = functions
        return module

    return build


def configured(states, found, refused=(), left=None, test=False, options=None):
    done = []
    functions = {
        "mysql_server.options": lambda *_: options or {"max_connections": 500},
        "mysql_server.compare": lambda *_: FOUND | found,
        "mysql_server.check": lambda *_: list(refused),
        "mysql_server.write": lambda path, values, secret: done.append(("write", secret)),
        "mysql_server.set_running": lambda changes: done.append(("set", changes)) or (left or {}),
    }
    module = states(functions, test)
    return module.configured("/etc/x.cnf", "mysql", {"server_id": 1}, 3306, {}), done


def test_what_is_as_specified_is_left_alone(states) -> None:
    ret, done = configured(states, {})
    assert (ret["result"], ret["changes"], done) == (True, {}, [])


@pytest.mark.parametrize("found", [{"file": CHANGE}, {"running": CHANGE}, {"file": CHANGE, "running": CHANGE}], ids=str)
def test_the_run_does_what_test_mode_says(states, found) -> None:
    predicted, done = configured(states, found, test=True)
    assert (predicted["result"], done) == (None, [])
    ret, done = configured(states, found)
    assert (ret["result"], ret["changes"]) == (True, predicted["changes"]) == (True, CHANGE)
    assert [step for step, _ in done] == [{"file": "write", "running": "set"}[kind] for kind in found]


@pytest.mark.parametrize("test", [False, True])
def test_what_the_server_refuses_is_not_written(states, test) -> None:
    ret, done = configured(states, {"file": CHANGE}, ["unknown variable 'x=1'"], test=test)
    assert (ret["result"], ret["changes"], done) == (False, {}, [])
    assert "unknown variable 'x=1'" in ret["comment"]


def test_what_waits_for_a_restart_is_told_and_no_change(states) -> None:
    ret, done = configured(
        states, {"pending": {"back_log": {"old": "80", "new": "77"}, "gone": {"old": "1", "new": None}}}
    )
    assert (ret["result"], ret["changes"], done) == (True, {}, [])
    assert "back_log (running 80, specified 77), gone (running 1, no longer specified)" in ret["comment"]
    assert "mysql_ha.orch.restart" in ret["comment"]


def test_what_the_running_server_refuses_is_told(states) -> None:
    ret, _ = configured(states, {"running": CHANGE}, left={"max_connections": "ERROR 1232"})
    assert ret["result"] is False
    assert "max_connections: ERROR 1232" in ret["comment"]


def test_what_set_persist_overrides_is_told(states) -> None:
    ret, _ = configured(states, {"overridden": CHANGE})
    assert ret["result"] is False
    assert "RESET PERSIST max_connections;" in ret["comment"]


def test_values_that_may_be_secrets_are_neither_shown_nor_readable(states) -> None:
    secret = {"wsrep_sst_auth": {"old": None, "new": "me:hunter2"}}
    ret, done = configured(states, {"file": secret, "pending": secret}, options={"wsrep_sst_auth": "me:hunter2"})
    assert "hunter2" not in str(ret)
    assert ret["changes"] == {"wsrep_sst_auth": {"old": None, "new": "(hidden)"}}
    assert done == [("write", True)]


@pytest.mark.parametrize(("installed", "masked", "changes"), [
    ("/usr/sbin/mysqld", False, {}), ("", True, {}), ("", False, {"held": {"old": False, "new": True}}),
])  # fmt: skip
@pytest.mark.parametrize("test", [False, True])
def test_only_a_server_that_is_not_installed_is_held(states, installed, masked, changes, test) -> None:
    done = []
    functions = {
        "mysql_server.binary": lambda _: installed,
        "service.masked": lambda name, runtime: masked,
        "service.mask": lambda name, runtime: done.append(name),
    }
    ret = states(functions, test).held("mysql", "mysql")
    assert ret["changes"] == changes
    assert ret["result"] is (None if changes and test else True)
    assert done == (["mysql"] if changes and not test else [])


@pytest.mark.parametrize(("runs", "enabled"), [(True, True), (False, True), (True, False), (False, False)])
def test_running(states, runs, enabled) -> None:
    done = []
    functions = {
        "mysql_server.answers": lambda: runs,
        "service.enabled": lambda _: enabled,
        "service.masked": lambda name, runtime: runtime and not runs,
        "service.unmask": lambda name, runtime: done.append("unmask"),
        "service.enable": lambda _: done.append("enable"),
        "mysql_server.start": lambda name, wait: done.append("start"),
    }
    predicted = states(functions, test=True).running("mysql")
    assert done == []
    ret = states(functions).running("mysql")
    assert ret["changes"] == predicted["changes"]
    assert set(ret["changes"]) == ({"running"} if not runs else set()) | ({"enabled"} if not enabled else set())
    assert done == ([] if runs else ["unmask"]) + ([] if enabled else ["enable"]) + ([] if runs else ["start"])


def test_a_server_that_does_not_start_is_told_in_its_own_words(states) -> None:
    def fail(*_):
        raise CommandExecutionError("mysql does not start: No space left")

    functions = {
        "mysql_server.answers": lambda: False,
        "service.enabled": lambda _: True,
        "service.masked": lambda name, runtime: False,
        "mysql_server.start": fail,
    }
    ret = states(functions).running("mysql")
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "No space left" in ret["comment"]
    assert "mysql_ha.orch.rebuild pillar='{rebuild: {node: mysql2}}'" in ret["comment"]


@pytest.mark.parametrize(("found", "result", "done"), [
    ({}, True, []),
    ({"pending": CHANGE}, True, ["restart"]),
    ({"file": CHANGE, "pending": CHANGE}, False, []),
])  # fmt: skip
def test_a_restart_only_for_what_waits_for_it(states, found, result, done) -> None:
    did = []
    functions = {
        "mysql_server.options": lambda *_: {},
        "mysql_server.compare": lambda *_: FOUND | found,
        "mysql_server.restart": lambda *_: did.append("restart"),
    }
    arguments = ("/etc/x.cnf", "mysql", "mysql", {}, 3306, {})
    predicted = states(functions, test=True).restarted(*arguments)
    assert did == []
    ret = states(functions).restarted(*arguments)
    assert (ret["result"], did) == (result, done)
    assert ret["changes"] == predicted["changes"] == (CHANGE if done else {})


@pytest.mark.parametrize(("shown", "variable", "changes"), [
    ("aa", "/cert.pem", False), ("bb", "/cert.pem", True), ("bb", "/other.pem", False),
])  # fmt: skip
def test_a_new_certificate_is_loaded(states, shown, variable, changes) -> None:
    now = [shown]
    functions = {
        "mysql_data.status": lambda: None,
        "mysql_server.variable": lambda _: variable,
        "mysql_server.tls_fingerprint": lambda *_: now[0],
        "mysql_tls.info": lambda _: {"fingerprint": "AA"},
        "mysql_server.reload_tls": lambda: now.append(now.__setitem__(0, "aa")),
    }
    arguments = ("x", "/cert.pem", "192.168.1.5", 3306)
    predicted = states(functions, test=True).tls_loaded(*arguments)
    assert now == [shown]
    ret = states(functions).tls_loaded(*arguments)
    assert ret["result"] is True
    assert bool(ret["changes"]) is bool(predicted["changes"]) is changes
    assert (len(now) == 2) is changes


def test_a_certificate_that_is_about_to_be_made_is_predicted_to_be_loaded(states) -> None:
    functions = {
        "mysql_data.status": lambda: None,
        "mysql_server.variable": lambda _: "/cert.pem",
        "mysql_server.tls_fingerprint": lambda *_: "aa",
        "mysql_tls.info": lambda _: {"fingerprint": "aa"},
        "mysql_tls.differences": lambda **made: {"not_after": made},
    }
    ret = states(functions, test=True).tls_loaded("x", "/cert.pem", "192.168.1.5", 3306, {"address": "192.168.1.5"})
    assert (ret["result"], set(ret["changes"])) == (None, {"certificate"})
