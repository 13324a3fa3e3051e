"""The formula's first contact with minions of a real master. Roles are only applied in test mode: this is no lab."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def minions(minion):
    minion("web1")
    minion("mysql1")
    minion("lvs1")
    minion("frozen", autoload_dynamic_modules=False)


def by_function(answer):
    """{state function: what it said}, in order."""
    assert isinstance(answer, dict), answer
    return {
        ".".join((tag.split("_|-")[0], tag.split("_|-")[3])): state
        for tag, state in sorted(answer.items(), key=lambda item: item[1]["__run_num__"])
    }


def test_a_minion_without_a_role_is_told_so_and_gets_our_modules_in_the_same_run(call) -> None:
    assert "ipvs.list" not in call("web1", "sys.list_functions", "ipvs")
    first = by_function(call("web1", "state.apply", "mysql_ha"))
    assert list(first) == ["test.nop", "mysql_ha.pillar_valid", "test.show_notification"]
    assert "modules.ipvs" in first["test.nop"]["name"]
    assert "nothing to do on web1" in first["test.show_notification"]["comment"]
    assert "ipvs.list" in call("web1", "sys.list_functions", "ipvs")
    second = by_function(call("web1", "state.apply", "mysql_ha"))
    assert list(second) == ["mysql_ha.pillar_valid", "test.show_notification"]
    assert not any(state["changes"] for state in second.values())


@pytest.mark.parametrize(("name", "predicted"), [("mysql1", "mysql_replication.replicating"),
                                                 ("lvs1", "keepalived.configured")])  # fmt: skip
def test_the_first_test_mode_predicts_on_a_bare_minion(call, name, predicted) -> None:
    states = by_function(call(name, "state.apply", "mysql_ha", "test=True"))
    assert states["mysql_ha.pillar_valid"]["result"] is True
    assert states[predicted]["result"] is None
    assert states[predicted]["changes"]
    assert not any(state["result"] is False for state in states.values())


def test_a_site_that_syncs_by_itself_is_left_to_it(call) -> None:
    answer = call("frozen", "state.apply", "mysql_ha")
    assert "mysql_ha.pillar_valid" in str(answer)
    assert "not found" in str(answer)
    assert "modules.ipvs" in call("frozen", "saltutil.sync_all")["modules"]
    assert "nothing to do on frozen" in str(call("frozen", "state.apply", "mysql_ha"))


def test_a_wrong_pillar_is_one_sentence_in_both_modes(call) -> None:
    wrong = "pillar={mysql_ha: {schema: 7}}"
    for mode in ([], ["test=True"]):
        states = by_function(call("mysql1", "state.apply", "mysql_ha", wrong, *mode))
        check = states.pop("mysql_ha.pillar_valid")
        assert "mysql_ha:schema: is 7" in check["comment"]
        assert not any(state["changes"] for state in states.values())


def test_a_minion_without_a_pillar_of_ours_has_nothing_to_do(call, pillar_root) -> None:
    top = pillar_root / "top.sls"
    before = top.read_text()
    top.write_text("base: {}\n")
    try:
        states = by_function(call("web1", "state.apply", "mysql_ha"))
    finally:
        top.write_text(before)
    assert all(state["result"] is True for state in states.values())
    assert "nothing to do on web1" in states["test.show_notification"]["comment"]
