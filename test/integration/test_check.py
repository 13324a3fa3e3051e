"""``salt-run mysql_ha.check`` and ``mysql_ha.preview`` on a real master: what they say of pillars, and never show."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import keepalived_conf
import mysql_settings
from salt_fixtures import EXAMPLE

# In each place where a pillar can hold a secret, by right or by a slip.
MARK = "MaRkEd"
TOP = "base:\n" + "".join(
    f"  '{name}':\n    - {file}\n"
    for name, file in (
        ("lvs1", "cluster"), ("lvs2", "lvs2"), ("mysql1", "cluster"), ("mysql2", "mysql2"), ("web9", "other"),
        ("*master", "own"))
)  # fmt: skip


@pytest.fixture(scope="module")
def pillars(tmp_path_factory):
    """``pillars(lvs2=...)``: from now on these minions get that instead of pillar.example."""
    root = tmp_path_factory.mktemp("pillars")

    def give(cluster=EXAMPLE, **others):
        (root / "top.sls").write_text(TOP)
        for name in ("cluster", "lvs2", "mysql2", "other", "own"):
            given = others.get(name, {"other": 1} if name == "other" else cluster)
            (root / f"{name}.sls").write_text(given if isinstance(given, str) else yaml.safe_dump(given))

    give.root = root
    give()
    return give


@pytest.fixture(scope="module")
def run(salt_factories, file_root, pillars):
    """``run("check", ...)``: what the runner returns, its exit status, and all that was printed on the way."""
    daemon = salt_factories.salt_master_daemon(
        "checkmaster",
        overrides={
            "open_mode": True,
            "file_roots": {"base": [str(file_root)]},
            "pillar_roots": {"base": [str(pillars.root)]},
            "fileserver_list_cache_time": 1,
        },
    )
    with daemon.started(), daemon.salt_minion_daemon("lvs1").started():
        client = daemon.salt_run_cli(timeout=180)
        # A first sync may miss a file.
        for _ in range(2):
            client.run("saltutil.sync_all")

        def ask(function, *words, **options):
            done = client.run(f"mysql_ha.{function}", *words, **options)
            assert isinstance(done.data, dict), done
            return done.data, done.returncode

        def printed(function, *words):
            """All of it as a person would see it, and what Salt says to somebody who looks for faults."""
            program = [Path(sys.executable).parent / "salt-run", "-c", Path(daemon.config_file).parent, "-l", "debug"]
            done = subprocess.run(
                [*program, f"mysql_ha.{function}", *words], capture_output=True, text=True, timeout=180
            )
            return done.stdout + done.stderr

        ask.master, ask.printed = daemon, printed
        yield ask


def changed(*path, to):
    """pillar.example with one other value."""
    pillar = copy.deepcopy(EXAMPLE)
    place = pillar["mysql_ha"]
    for step in path[:-1]:
        place = place.setdefault(step, {})
    place[path[-1]] = to
    return pillar


def test_the_example_is_right_and_only_one_minion_was_ever_there(run, pillars) -> None:
    pillars()
    found, status = run("check")
    assert (found["result"], found["retcode"], status) == ("ok", 0, 0)
    assert found["nodes"] == ["lvs1", "lvs2", "mysql1", "mysql2"]
    assert "no grains of lvs2, mysql1, mysql2 yet" in found["notes"][0]


def test_what_is_wrong_for_all_is_said_once_and_the_rest_by_node(run, pillars) -> None:
    pillars(changed("schema", to=7), mysql2=changed("schema", to=7) | {"x": 1}, lvs2=changed("vrrp", to=[]))
    found, status = run("check")
    assert (found["result"], status) == ("wrong", 1)
    assert found["errors"]["lvs1, mysql1, mysql2"] == ["mysql_ha:schema: is 7; allowed: 1"]
    assert found["errors"]["lvs2"] == ["mysql_ha:vrrp: is a list; allowed: a mapping"]
    pillars(changed("schema", to=7))
    assert run("check")[0]["errors"] == {"all nodes": ["mysql_ha:schema: is 7; allowed: 1"]}


def test_pillars_that_differ_name_the_first_key(run, pillars) -> None:
    pillars(lvs2=changed("vrrp", "virtual_router_id", to=52))
    found, status = run("check")
    assert (found["result"], status, "errors" in found) == ("wrong", 1, False)
    most = f"{run.master.config['id']}, lvs1, mysql1, mysql2"
    assert found["differences"] == [f"mysql_ha:vrrp:virtual_router_id: is 51 for {most}, and 52 for lvs2"]


def test_each_node_is_previewed_from_its_own_pillar(run, pillars) -> None:
    pillars(lvs2=changed("vrrp", to={"virtual_router_id": 52}), mysql2=changed("database", "settings", to={"a_b": 5}))
    found, status = run("preview")
    assert (found["result"], status) == ("wrong", 1)
    files = {name: text for name, paths in found["files"].items() for text in paths.values()}
    assert [files[name].count("virtual_router_id 52") for name in ("lvs1", "lvs2")] == [0, 1]
    assert [files[name].count("a_b = 5") for name in ("mysql1", "mysql2")] == [0, 1]


def test_a_preview_is_what_the_minion_itself_would_write(run, pillars) -> None:
    pillars(changed("checks", "interval", to=7))
    call = run.master.salt_cli(timeout=180)
    call.run("saltutil.refresh_pillar", minion_tgt="lvs1", _timeout=60)
    low = call.run("state.show_low_sls", "mysql_ha.director.config", minion_tgt="lvs1").data
    chunk = next(one for one in low if (one["state"], one["fun"]) == ("keepalived", "configured"))
    assert "delay_loop 7" in run("preview", "lvs1")[0]["files"]["lvs1"][chunk["name"]]
    assert run("preview", "lvs1")[0]["files"]["lvs1"][chunk["name"]] == keepalived_conf.render(
        chunk["settings"], "lvs1"
    )


def test_a_node_without_a_pillar_of_ours(run, pillars) -> None:
    pillars(mysql2={"other": 1})
    found, status = run("check")
    assert (found["result"], status) == ("wrong", 1)
    missing = "mysql_ha: is missing in the pillar of this minion; allowed: the pillar's top.sls gives it"
    assert found["errors"] == {"mysql2": [missing]}
    assert run("check", "[web9, lvs1]")[0]["errors"]["web9"]
    assert list(run("preview")[0]["files"]) == ["lvs1", "lvs2", "mysql1"]


@pytest.mark.parametrize("function", ["check", "preview"])
def test_a_master_without_a_pillar_says_what_to_do(run, pillars, function) -> None:
    pillars(own={"other": 1})
    found, status = run(function)
    assert (found["result"], found["retcode"], status) == ("not checked", 3, 3)
    assert "Give `mysql_ha` to '*_master' too" in found["error"]
    assert run("check", "[lvs1, mysql1]")[0]["result"] == "ok"
    assert run(function, "nodes='*'" if function == "check" else "'*'")[1] == 3


def test_a_pillar_that_cannot_be_rendered_is_no_traceback(run, pillars) -> None:
    pillars(mysql2=f"mysql_ha:\n  secrets: {{replication: {MARK}\n{{% bad")
    for function in ("check", "preview"):
        found, status = run(function)
        assert (found["result"], status) == ("wrong", 1)
        why = "the master cannot make all of its pillar (Rendering SLS 'mysql2' failed); the master's log says why"
        assert found["errors"]["mysql2"] == [why]
        assert MARK not in json.dumps(found)


def test_no_secret_is_ever_shown(run, pillars) -> None:
    """One of each kind, right and wrong, equal and not; and a slip that has one where none belongs."""
    one, other = copy.deepcopy(EXAMPLE), copy.deepcopy(EXAMPLE)
    for pillar, number in ((one, 1), (other, 2)):
        ours = pillar["mysql_ha"]
        ours["vrrp"] = {"version": 2, "advert_interval": 1}
        ours["secrets"] = {
            "replication": f"{MARK}-replication{number}",
            "vrrp": f"{MARK}{number}",
            "accounts": {"shop": f"{MARK}-account{number}", f"{MARK}-slip{number}": None},
            "tls_ca": f"{MARK}-ca{number}",
            "tls_ca_key": f"{MARK}-key{number}",
            f"{MARK}-slip{number}": None,
        }
        ours["database"] = {
            "settings": {"loose_x_password": f"{MARK}-setting{number}"},
            "accounts": {"shop": {"hosts": ["%"], "grants": {"shop.*": ["SELECT"]}, "password": f"{MARK}{number}"}},
        }
        ours["replication"] = f"{MARK}-misplaced{number}"
    pillars(one, lvs2=other, mysql2=other)
    found, status = run("check")
    assert (found["result"], status) == ("wrong", 1)
    for key in ("vrrp", "replication", "accounts:shop", "tls_ca", "tls_ca_key"):
        assert any(f"mysql_ha:secrets:{key}: differs (hidden)" in sentence for sentence in found["differences"])
    for function in ("check", "preview"):
        assert MARK not in json.dumps(run(function)[0])
        assert MARK not in run.printed(function)
    for pillar in (one, other):
        del pillar["mysql_ha"]["replication"], pillar["mysql_ha"]["database"]["accounts"]
        pillar["mysql_ha"]["secrets"] = {key: pillar["mysql_ha"]["secrets"][key] for key in ("replication", "vrrp")}
    pillars(one, lvs2=other, mysql2=other)
    assert MARK not in run.printed("preview") + run.printed("preview", "diff=True")
    texts = [text for paths in run("preview")[0]["files"].values() for text in paths.values()]
    assert len(texts) == 4
    assert [text.count("auth_pass <hidden>") for text in texts[:2]] == [1, 1]
    assert [text.count("loose_x_password = (hidden)") for text in texts[2:]] == [1, 1]


def test_a_host_without_a_file_and_one_that_does_not_answer(run, pillars) -> None:
    pillars()
    found, status = run("preview", "[lvs1, mysql1]", diff=True)
    assert (found["result"], found["retcode"], status) == ("incomplete", 2, 2)
    assert found["unanswered"] == ["mysql1 did not answer"]
    assert "lvs1 has no /etc/keepalived/keepalived.conf yet" in found["notes"]
    (text,) = found["files"]["lvs1"].values()
    assert text.startswith("--- (no file)\n+++ /etc/keepalived/keepalived.conf (from the pillar)\n")
    assert keepalived_conf.HEADER in text
    assert mysql_settings.HEADER not in text
