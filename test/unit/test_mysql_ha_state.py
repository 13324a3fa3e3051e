"""The first state of every run, and the module behind it."""

import yaml
from salt.exceptions import CommandExecutionError

from salt_fixtures import REPOSITORY

EXAMPLE = yaml.safe_load((REPOSITORY / "pillar.example").read_text())


def test_all_errors_come_at_once(load_module) -> None:
    errors = ["mysql_ha:schema: is 2; allowed: 1", "mysql_ha:nodes: is []; allowed: a mapping"]
    state = load_module("states", "mysql_ha", __salt__={"mysql_ha.pillar_errors": lambda: errors})
    ret = state.pillar_valid("x")
    assert (ret["result"], ret["changes"]) == (False, {})
    assert all(f"\n  {error}" in ret["comment"] for error in errors)


def test_a_pillar_that_can_work(load_module) -> None:
    state = load_module("states", "mysql_ha", __salt__={"mysql_ha.pillar_errors": list})
    assert state.pillar_valid("x")["result"] is True


def test_a_module_that_fails_is_no_traceback(load_module) -> None:
    def fail():
        raise CommandExecutionError("no pillar")

    state = load_module("states", "mysql_ha", __salt__={"mysql_ha.pillar_errors": fail})
    assert "no pillar" in state.pillar_valid("x")["comment"]


def test_a_module_that_cannot_be_imported_is_no_traceback(load_module) -> None:
    ret = load_module("states", "mysql_ha", __salt__={}).pillar_valid("x")
    assert ret["result"] is False
    assert "'mysql_ha.pillar_errors' is not loaded" in ret["comment"]


def test_the_module_judges_this_minions_pillar(load_module) -> None:
    grains = {"id": "mysql1"}
    assert load_module("modules", "mysql_ha", __pillar__=EXAMPLE, __grains__=grains).pillar_errors() == []
    assert load_module("modules", "mysql_ha", __pillar__={}, __grains__=grains).pillar_errors() == []
    assert load_module("modules", "mysql_ha", __pillar__={"mysql_ha": None}, __grains__=grains).pillar_errors()
