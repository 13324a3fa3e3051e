"""What the runner makes of its arguments, the master's pillar and the minions' answers; real ones are in the lab."""

import pytest

import mysql_compare

PAIR = {"mysql1": {"role": "database"}, "lvs1": {"role": "director"}, "mysql2": {"role": "database"}}


class Client:
    """Salt's client, with what the minions answer to whatever they are asked."""

    def __init__(self, answers) -> None:
        self.answers = answers
        self.calls = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def cmd(self, tgt, fun, **keywords):
        self.calls.append((tgt, fun, keywords))
        return self.answers


@pytest.fixture
def runner(load_module, monkeypatch):
    """``runner(nodes, answers)``: the runner on a master with these nodes in its pillar, and its client."""

    def make(nodes=PAIR, answers=None):
        client = Client(answers or {})
        module = load_module(
            "runners",
            "mysql_ha",
            __opts__={"id": "m_master"},
            __salt__={"pillar.show_pillar": lambda name: {"mysql_ha": {"nodes": nodes}} if name == "m_master" else {}},
            __context__={},
        )
        monkeypatch.setattr(module.salt.client, "get_local_client", lambda mopts: client)
        return module, client

    return make


NOTHING = {"ret": {"tables": {}, "objects": {}}, "retcode": 0}


def test_the_databases_of_the_masters_pillar_are_compared(runner) -> None:
    module, client = runner(answers={"mysql1": NOTHING, "mysql2": NOTHING})
    found = module.compare(databases=["shop"])
    assert (found["result"], found["retcode"], found["servers"]) == ("equal", 0, ["mysql1", "mysql2"])
    hosts, function, keywords = client.calls[0]
    assert (hosts, function) == (["mysql1", "mysql2"], "mysql_checksum.definitions")
    assert keywords["tgt_type"] == "list"
    assert keywords["kwarg"] == {"databases": ["shop"]}


@pytest.mark.parametrize(("result", "status"), [("equal", 0), ("different", 1), ("undecided", 2)])
def test_the_exit_status_and_what_an_orchestration_goes_by(runner, monkeypatch, result, status) -> None:
    module, _ = runner()
    monkeypatch.setattr(mysql_compare.Comparison, "run", lambda *_: {"result": result})
    assert module.compare()["retcode"] == status
    assert module.__context__["retcode"] == status


@pytest.mark.parametrize("nodes", [{}, None, [], {"a": None}, {"mysql1": {"role": "database"}}])
def test_a_pillar_without_two_databases_is_said(runner, nodes) -> None:
    found = runner(nodes)[0].compare()
    assert (found["result"], found["retcode"]) == ("not compared", 3)
    assert "The master's own pillar has no two databases in mysql_ha:nodes." in found["error"]


@pytest.mark.parametrize(("arguments", "words"), [
    ({"minions": ["a"]}, "minions: is ['a']; allowed: a list of two minion ids"),
    ({"minions": ["a", "a"]}, "minions: is ['a', 'a']; allowed: a list of two minion ids"),
    ({"minions": "a,b"}, "minions: is 'a,b'; allowed: a list of two minion ids"),
    ({"databases": "shop"}, "databases: is 'shop'; allowed: a list of names"),
    ({"databases": []}, "databases: is []; allowed: a list of names"),
    ({"rows": 99}, "rows: is 99; allowed: 100 to 1000000"),
    ({"pause": "5"}, "pause: is '5'; allowed: 0 to 60000"),
    ({"tries": True}, "tries: is True; allowed: 1 to 20"),
])  # fmt: skip
def test_a_wrong_argument_is_no_success(runner, arguments, words) -> None:
    module, client = runner()
    assert module.compare(**arguments) == {"result": "not compared", "error": words, "retcode": 3}
    assert client.calls == []


@pytest.mark.parametrize(("answer", "words"), [
    (None, "mysql2 did not answer to mysql_checksum.definitions"),
    (False, "mysql2 did not answer to mysql_checksum.definitions"),
    ({}, "mysql2 did not answer to mysql_checksum.definitions"),
    ({"ret": "ERROR: the server is away\nTraceback", "retcode": 1}, "mysql2: the server is away"),
    ({"ret": "'mysql_checksum.definitions' is not available.", "retcode": 254},
     "mysql2: 'mysql_checksum.definitions' is not available."),
])  # fmt: skip
def test_a_minion_that_does_not_answer_is_no_success(runner, answer, words) -> None:
    found = runner(answers={"mysql1": NOTHING, "mysql2": answer})[0].compare()
    assert (found["result"], found["error"], found["retcode"]) == ("not compared", words, 3)
