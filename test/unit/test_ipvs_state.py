"""What the ipvs states return whatever the execution module says; the kernel itself is in the lab."""

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

CHANGES = {"weight": {"old": 1, "new": 3}}
SINGLE = [
    ("service_present", ("tcp 192.0.2.1:80",), "ipvs.ensure_service"),
    ("service_absent", ("tcp 192.0.2.1:80",), "ipvs.ensure_absent"),
    ("server_present", ("192.0.2.5", "tcp 192.0.2.1:80"), "ipvs.ensure_server"),
    ("server_absent", ("192.0.2.5", "tcp 192.0.2.1:80"), "ipvs.ensure_absent"),
    ("timeouts", ("short",), "ipvs.set_timeouts"),
    ("sync_daemon", ("master",), "ipvs.ensure_daemon"),
]


@pytest.fixture
def state(load_module):
    def make(function, answer, test=False):
        def call(*_, **__):
            if isinstance(answer, Exception):
                raise answer
            return answer

        return load_module("states", "ipvs", __opts__={"test": test}, __salt__={function: call})

    return make


@pytest.mark.parametrize(("function", "arguments", "called"), SINGLE)
@pytest.mark.parametrize(("test", "changes", "result"), [(False, {}, True), (True, {}, True), (False, CHANGES, True),
                                                         (True, CHANGES, None)])  # fmt: skip
def test_results_and_changes(state, function, arguments, called, test, changes, result) -> None:
    returned = getattr(state(called, changes, test), function)(*arguments)
    assert (returned["name"], returned["result"], returned["changes"]) == (arguments[0], result, changes)
    words = {(False, True): "is as specified.", (True, True): "has been changed.", (True, None): "would be changed."}
    assert returned["comment"].endswith(words[bool(changes), result])


@pytest.mark.parametrize(("function", "arguments", "called"), SINGLE)
@pytest.mark.parametrize("error", [CommandExecutionError("no"), SaltInvocationError("no")])
def test_no_state_raises(state, function, arguments, called, error) -> None:
    returned = getattr(state(called, error), function)(*arguments)
    assert (returned["result"], returned["changes"], returned["comment"]) == (False, {}, "no")


@pytest.mark.parametrize("error", [CommandExecutionError("no"), SaltInvocationError("no")])
def test_managed_does_not_raise(state, error) -> None:
    for function, test in (("ipvs.apply", False), ("ipvs.diff", True)):
        returned = state(function, error, test).managed("all", services={})
        assert (returned["result"], returned["changes"], returned["comment"]) == (False, {}, "no")


def test_managed_says_what_was_done_and_what_was_not(state) -> None:
    answer = {"changes": {"fwmark 5 ipv4": {"scheduler": {"old": None, "new": "wlc"}}}, "failed": {"x": "ENOENT: why"}}
    returned = state("ipvs.apply", answer).managed("all", services={})
    assert returned["result"] is False
    assert returned["comment"] == "1 entry changed; 1 entry not:\n  x: ENOENT: why"
    assert returned["changes"] == answer["changes"]


def test_managed_takes_a_table_or_one_service(state) -> None:
    returned = state("ipvs.apply", None).managed("fwmark 5", services={}, scheduler="rr")
    assert "scheduler: is set beside services; allowed: one of them" in returned["comment"]
    given = []
    module = state("ipvs.apply", None)
    module.__salt__["ipvs.apply"] = lambda wanted, **_: given.append(wanted) or {"changes": {}, "failed": {}}
    module.managed("fwmark 5", scheduler="rr", servers={"192.0.2.5": {}})
    assert given[0]["fwmark 5"]["servers"] == {"192.0.2.5": {}}
    assert given[0]["fwmark 5"]["scheduler"] == "rr"
