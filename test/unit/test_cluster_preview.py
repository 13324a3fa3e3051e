"""Files that nodes would write, and how they are held against those that are there."""

import copy

import pytest
import yaml

import cluster_preview
import keepalived_conf
import mysql_settings
from mysql_ha_lab.plan import REPOSITORY

EXAMPLE = yaml.safe_load((REPOSITORY / "pillar.example").read_text())
CONF, CNF = "/etc/keepalived/keepalived.conf", "/etc/mysql/90.cnf"
DATABASE = {"flavor": "mysql", "node": {"server_id": 1, "address": "192.168.1.5"}, "port": 3306,
            "settings": {"x_password": "SeCrEt", "max_connections": 5}, "tls": None}  # fmt: skip


def render(sls, node):
    """What the SLS would come to."""
    given = {"name": CONF, "settings": EXAMPLE["mysql_ha"]} if "director" in sls else {"name": CNF, **DATABASE}
    state = "keepalived.configured" if "director" in sls else "mysql_server.configured"
    return {"include": ["x"], "an-id": {state: [{key: value} for key, value in given.items()]}}


@pytest.fixture
def files():
    made = cluster_preview.Files(render)
    for name in ("lvs1", "lvs2", "mysql1"):
        made.add(name, EXAMPLE)
    return made


def test_the_text_is_what_the_states_write(files) -> None:
    director = keepalived_conf.render(EXAMPLE["mysql_ha"], "lvs1", {})
    options = mysql_settings.options(*(DATABASE[key] for key in ("flavor", "node", "port", "settings")))
    database = mysql_settings.render(options)
    assert files.files["lvs1"] == {CONF: director}
    assert files.files["mysql1"] == {CNF: database.replace("SeCrEt", "(hidden)")}
    assert "(hidden)" in files.files["mysql1"][CNF]


def test_the_password_of_version_2_is_hidden() -> None:
    pillar = copy.deepcopy(EXAMPLE)
    pillar["mysql_ha"]["vrrp"] |= {"version": 2, "advert_interval": 1}
    pillar["mysql_ha"]["secrets"]["vrrp"] = "SeCrEt"
    given = {"settings": {key: value for key, value in pillar["mysql_ha"].items() if key != "secrets"}}
    text = cluster_preview.text("keepalived.configured", given, "lvs1", pillar)
    assert "auth_pass <hidden>" in text
    assert "SeCrEt" not in text


def test_a_wrong_pillar_makes_no_file_and_an_arbiter_has_none() -> None:
    made = cluster_preview.Files(render)
    pillar = copy.deepcopy(EXAMPLE)
    pillar["mysql_ha"]["nodes"]["third"] = {"role": "arbiter", "address": "192.168.1.9"}
    made.add("third", pillar)
    pillar["mysql_ha"]["schema"] = 7
    made.add("lvs1", pillar)
    made.add("mysql1", None)
    assert (made.files, made.errors) == ({}, {})
    assert made.notes == ["third has no file of this formula's, in the role arbiter"]


@pytest.mark.parametrize(("raised", "said"), [
    (ValueError("this"), "no file can be made of its pillar: this"),
    (RuntimeError("SeCrEt"), "salt://mysql_ha/director/config.sls cannot be rendered on the master (RuntimeError)"),
])  # fmt: skip
def test_what_cannot_be_rendered_is_a_sentence(raised, said) -> None:
    def fail(sls, node):
        raise raised

    made = cluster_preview.Files(fail)
    made.add("lvs1", EXAMPLE)
    assert made.join({"result": "ok", "nodes": ["lvs1"]}) == {
        "result": "wrong", "nodes": ["lvs1"], "errors": {"lvs1": [said]}}  # fmt: skip


@pytest.mark.parametrize("rendered", [None, {}, {"include": ["x"]}, {"a": {"other.state": []}}])
def test_an_sls_that_declares_no_such_file(rendered) -> None:
    with pytest.raises(ValueError, match="declares no keepalived.configured"):
        cluster_preview.arguments(rendered, "keepalived.configured")


def compared(files, **answers):
    """What comes of these answers to the first question; and of False to whether a file is there, unless given."""
    asked = []

    def ask(hosts, function, path):
        asked.append((tuple(hosts), function, path))
        if function == "file.file_exists":
            return {host: answers[f"{host}_exists"] for host in hosts}
        return {host: answers[host] for host in hosts if host in answers}

    files.compare(ask)
    return files.join({"result": "ok", "nodes": ["lvs1", "lvs2", "mysql1"]}), asked


def test_hosts_are_asked_together_and_lines_are_held_against_each_other(files) -> None:
    new, cnf = files.files["lvs1"][CONF], files.files["mysql1"][CNF]
    found, asked = compared(files, lvs1=(new, 0), lvs2=(new, 0), mysql1=(cnf.replace("= 5", "= 4"), 0))
    assert asked == [(("lvs1", "lvs2"), "keepalived.current", CONF), (("mysql1",), "mysql_server.current", CNF)]
    assert found["result"] == "ok"
    assert found["files"]["lvs1"][CONF] == "no difference"
    assert "-    priority 150\n+    priority 100" in found["files"]["lvs2"][CONF]
    assert "-max_connections = 4\n+max_connections = 5" in found["files"]["mysql1"][CNF]


NOT_THERE = ("'keepalived.current' is not available.", 254)


def test_a_host_that_cannot_say_what_it_has_is_named(files) -> None:
    found, asked = compared(files, lvs1=NOT_THERE, lvs1_exists=(False, 1), lvs2=NOT_THERE, lvs2_exists=(True, 0))
    assert asked[1] == (("lvs1", "lvs2"), "file.file_exists", CONF)
    assert found["notes"] == [f"lvs1 has no {CONF} yet"]
    assert found["files"]["lvs1"][CONF].startswith("--- (no file)\n")
    assert found["unanswered"] == [
        "lvs2 has no keepalived.current yet: salt lvs2 saltutil.sync_all",
        "mysql1 did not answer",
    ]
    assert list(found["files"]) == ["lvs1"]
    assert found["result"] == "incomplete"


def test_a_file_that_cannot_be_read(files) -> None:
    found, _ = compared(files, lvs1=("ERROR: denied", 1), lvs2=(None, 0), mysql1=(5, 0))
    assert found["unanswered"] == [
        f"lvs1 cannot read its {CONF}: salt lvs1 keepalived.current {CONF}",
        f"mysql1 cannot read its {CNF}: salt mysql1 mysql_server.current {CNF}",
    ]


@pytest.mark.parametrize(("old", "new", "said"), [
    ("a\n", "a\n", "no difference"),
    ("a", "a\n", "the same lines, ended otherwise"),
    (None, "a\n", "--- (no file)\n+++ /x (from the pillar)\n@@ -0,0 +1 @@\n+a"),
    ("b\n", "a\n", "--- /x (as it is)\n+++ /x (from the pillar)\n@@ -1 +1 @@\n-b\n+a"),
])  # fmt: skip
def test_a_difference_is_shown_by_line(old, new, said) -> None:
    assert cluster_preview.difference("/x", old, new) == said


@pytest.mark.parametrize(("line", "shown"), [
    ("x_password = a = b\n", "x_password = (hidden)\n"),
    ("# X-PASSWD=a\n", "# X-PASSWD= (hidden)\n"),
    ("skip_password\n", "skip_password\n"),
    ("port = 3306", "port = 3306"),
])  # fmt: skip
def test_an_option_that_can_be_a_secret_is_hidden(line, shown) -> None:
    assert mysql_settings.redact(line) == shown
