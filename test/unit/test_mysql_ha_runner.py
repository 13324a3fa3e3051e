"""What the runner makes of its arguments, the master's pillar and the minions' answers; real ones are in the lab."""

import pytest
import yaml
from salt.exceptions import CommandExecutionError

import mysql_compare
from mysql_ha_lab.plan import REPOSITORY

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


EXAMPLE = yaml.safe_load((REPOSITORY / "pillar.example").read_text())


@pytest.fixture
def checker(load_module):
    """``checker(lvs2=...)``: the runner on a master that gives these pillars, and the example to others."""

    def make(**pillars):
        def show(name):
            if isinstance(pillars.get(name), Exception):
                raise pillars[name]
            return pillars.get(name, EXAMPLE)

        salt = {"pillar.show_pillar": show, "cache.grains": lambda names, tgt_type: {"lvs1": {"os_family": "Debian"}}}
        return load_module("runners", "mysql_ha", __opts__={"id": "m_master"}, __salt__=salt, __context__={})

    return make


def test_all_nodes_of_the_masters_pillar_are_checked(checker) -> None:
    module = checker()
    found = module.check()
    assert (found["result"], found["retcode"], module.__context__["retcode"]) == ("ok", 0, 0)
    assert found["nodes"] == ["lvs1", "lvs2", "mysql1", "mysql2"]
    assert found["notes"] == [
        "the master knows no grains of lvs2, mysql1, mysql2 yet; what their pillar gives by grains is missing here, "
        "and their files are made as for Debian"
    ]


def test_a_wrong_pillar_and_one_that_raises_end_with_1(checker) -> None:
    module = checker(lvs2=RuntimeError("SeCrEt"))
    found = module.check()
    assert (found["result"], found["retcode"], module.__context__["retcode"]) == ("wrong", 1, 1)
    assert found["errors"] == {"lvs2": ["the master cannot make all of its pillar; the master's log says why"]}
    assert [checker().check(it)["nodes"] for it in (["lvs1"], "lvs1", 5)] == [["lvs1"], ["lvs1"], ["5"]]


@pytest.mark.parametrize("nodes", [[], "*", ["*"], ["../x"], [True], {"lvs1": 1}, ["lvs1", None]])
def test_nodes_that_are_no_minion_ids_are_refused(checker, nodes) -> None:
    for function in ("check", "preview"):
        found = getattr(checker(), function)(nodes)
        assert (found["result"], found["retcode"]) == ("not checked", 3)
        assert found["error"].startswith("nodes: holds something else than minion ids")


def test_a_master_that_knows_no_nodes_checks_nothing(checker) -> None:
    found = checker(m_master={}).check()
    assert (found["result"], found["retcode"]) == ("not checked", 3)
    assert "Give `mysql_ha` to '*_master' too" in found["error"]


def test_a_fault_is_no_traceback_and_shows_no_value(checker) -> None:
    module = checker()
    module.__salt__["cache.grains"] = lambda *_, **__: {}["SeCrEt"]
    assert module.check() == {"result": "not checked", "error": "KeyError, a fault; please report it", "retcode": 3}


class Answering:
    """Salt's client with an answer, silence, and what Salt says of silence."""

    def cmd(self, hosts, function, arguments, **_):
        return {"a": {"ret": "text", "retcode": 0}, "b": False,
                "c": {"out": "no_return", "ret": "Minion did not return.", "retcode": 1}}  # fmt: skip


def test_only_real_answers_count(checker) -> None:
    assert checker()._answers(Answering(), ["a", "b", "c"], "keepalived.current", "/x") == {"a": ("text", 0)}


@pytest.mark.parametrize(("module", "line", "shown"), [
    ("keepalived", "auth_pass SeCrEt\n", "auth_pass <hidden>\n"),
    ("mysql_server", "x_password = SeCrEt\n", "x_password = (hidden)\n"),
])  # fmt: skip
def test_what_a_host_has_is_told_without_secrets(load_module, tmp_path, module, line, shown) -> None:
    place = tmp_path / "file"
    current = load_module("modules", module).current
    assert current(str(place)) is None
    place.write_text(line)
    assert current(str(place)) == shown
    with pytest.raises(CommandExecutionError, match="cannot be read"):
        current(str(tmp_path))


# --- hand_over ---

KEPT = {
    "version": "2.3.4",
    "identity": "0123456789abcdef",
    "platform": "Debian-13 x86_64",
    "size": 3,
    "installed": True,
}


@pytest.mark.parametrize(("answers", "result", "words"), [
    ({}, "not handed over", "lvs1 did not answer to source_build.kept"),
    ({"lvs1": {"ret": "Minion did not return", "out": "no_return"}}, "not handed over", "lvs1 did not answer"),
    ({"lvs1": {"ret": "ERROR: it cannot be read\nmore", "retcode": 1}}, "not handed over", "lvs1: it cannot be read"),
    ({"lvs1": {"ret": [], "retcode": 0}}, "not handed over", "lvs1 keeps no build of keepalived"),
    ({name: {"ret": [KEPT], "retcode": 0} for name in ("lvs1", "lvs2")}, "handed over", ""),
])  # fmt: skip
def test_a_build_is_handed_over(runner, answers, result, words) -> None:
    module, client = runner(answers=answers)
    found = module.hand_over("keepalived", "lvs1", "lvs2")
    assert (found["result"], found["retcode"]) == (result, 0 if result == "handed over" else 3)
    assert words in found.get("error", "")
    assert (client.calls[0][:2], client.calls[0][2]["arg"]) == (("lvs1", "source_build.kept"), ["keepalived"])


@pytest.mark.parametrize("hosts", [("*", "lvs2"), ("lvs1", None), ("lvs1", "a b")])
def test_a_build_goes_to_a_minion_that_is_named(runner, hosts) -> None:
    module, client = runner()
    found = module.hand_over("keepalived", *hosts)
    assert (found["result"], client.calls) == ("not handed over", [])
    assert "allowed: a minion id" in found["error"]
