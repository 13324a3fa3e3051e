"""What is said of the pillars of a whole cluster; nothing is raised and no secret shown, whatever they hold."""

import copy

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cluster_check
import mysql_ha_pillar
from mysql_ha_lab.plan import REPOSITORY

EXAMPLE = yaml.safe_load((REPOSITORY / "pillar.example").read_text())
NODES = ["lvs1", "lvs2", "mysql1", "mysql2"]
SECRET = "SeCrEt-not-to-be-seen"


def changed(*path, to, pillar=EXAMPLE):
    """A pillar with one other value; ``to=None`` takes it out."""
    found = copy.deepcopy(pillar)
    place = found["mysql_ha"]
    for step in path[:-1]:
        place = place.setdefault(step, {})
    if to is None:
        place.pop(path[-1], None)
    else:
        place[path[-1]] = to
    return found


def cluster(**others):
    """The pillar of each node: the example, but for those that are given."""
    return {name: others.get(name, EXAMPLE) for name in [*NODES, *(name for name in others if name not in NODES)]}


def test_equal_and_valid_pillars_are_right() -> None:
    assert cluster_check.findings(cluster(m_master=EXAMPLE), "m_master") == {"result": "ok", "nodes": NODES}


def test_an_error_of_all_is_said_once_and_others_below_those_that_have_it() -> None:
    wrong = changed("schema", to=7)
    assert cluster_check.errors(dict.fromkeys(NODES, wrong)) == {"all nodes": ["mysql_ha:schema: is 7; allowed: 1"]}
    assert cluster_check.errors(cluster(lvs2=wrong, mysql1=wrong)) == {
        "lvs2, mysql1": ["mysql_ha:schema: is 7; allowed: 1"]
    }
    assert cluster_check.errors({"lvs1": wrong}) == {"lvs1": ["mysql_ha:schema: is 7; allowed: 1"]}


def test_the_master_is_no_node_and_what_is_wrong_only_there_is_said() -> None:
    wrong = changed("schema", to=7)
    said = ["mysql_ha:schema: is 7; allowed: 1"]
    assert cluster_check.errors(cluster(m=wrong), "m") == {"m (the master itself)": said}
    assert cluster_check.errors(dict.fromkeys([*NODES, "m"], wrong), "m") == {"all nodes": said}
    assert cluster_check.errors(cluster(m={}), "m") == {}


@pytest.mark.parametrize(("whole", "sentence"), [
    ({}, "mysql_ha: is missing in the pillar of this minion; allowed: the pillar's top.sls gives it"),
    (None, "its pillar is empty and no mapping"),
    ({"_errors": ["Rendering SLS 'a.b' failed, render error:\nx: " + SECRET]},
     "the master cannot make all of its pillar (Rendering SLS 'a.b' failed); the master's log says why"),
    ({"_errors": ["Specified SLS 'x' in environment 'base' is not available on the salt master"]},
     "the master cannot make all of its pillar (Specified SLS 'x' in environment 'base' is not available); "
     "the master's log says why"),
    ({"_errors": SECRET}, "the master cannot make all of its pillar; the master's log says why"),
    (changed("nodes", "web1", to={"role": "arbiter", "address": "192.168.1.9"}), None),
    (EXAMPLE, "mysql_ha:nodes: does not list web1, which has this pillar and thus nothing to do"),
])  # fmt: skip
def test_a_minion_without_a_pillar_that_works(whole, sentence) -> None:
    said = cluster_check.problems(whole, "web1")
    assert SECRET not in str(said)
    if sentence is None:
        assert said == []
    else:
        assert sentence in said


def test_a_rule_that_raises_is_a_sentence_without_a_value(monkeypatch) -> None:
    monkeypatch.setattr(mysql_ha_pillar, "errors", lambda *_: {}[SECRET])
    assert cluster_check.problems(EXAMPLE, "lvs1") == [
        "mysql_ha: cannot be checked (KeyError); please report this as a fault"
    ]


@pytest.mark.parametrize(("path", "to", "sentence"), [
    (("vrrp", "virtual_router_id"), 52,
     "mysql_ha:vrrp:virtual_router_id: is 51 for lvs1, mysql1, mysql2, and 52 for lvs2"),
    (("vrrp", "virtual_router_id"), None,
     "mysql_ha:vrrp:virtual_router_id: is 51 for lvs1, mysql1, mysql2, and left out for lvs2"),
    (("vrrp", "virtual_router_id"), "51",
     "mysql_ha:vrrp:virtual_router_id: is set (hidden) for"),
    (("vrrp", "preempt"), 0, "mysql_ha:vrrp:preempt: "),
    (("interface",), "eth1", "mysql_ha:interface: is 'eth0' for lvs1, mysql1, mysql2, and 'eth1' for lvs2"),
    (("nodes", "lvs2", "priority"), 99, "mysql_ha:nodes:lvs2:priority: is 100 for lvs1, mysql1, mysql2, and 99"),
    (("database", "databases"), ["shop"],
     "mysql_ha:database:databases: is a list of 0 for lvs1, mysql1, mysql2, and a list of 1 for lvs2"),
    (("database", "settings"), {"x": SECRET},
     "mysql_ha:database:settings:x: is left out for lvs1, mysql1, mysql2, and set (hidden) for lvs2"),
    (("keepalived", "global_defs"), {"smtp_auth": SECRET},
     "mysql_ha:keepalived:global_defs:smtp_auth: is left out for"),
    (("replication_password",), SECRET, "mysql_ha:replication_password: is left out for"),
    (("misplaced",), SECRET, "mysql_ha:misplaced: is left out for lvs1, mysql1, mysql2, and set (hidden) for lvs2"),
    (("nodes",), dict(reversed(EXAMPLE["mysql_ha"]["nodes"].items())),
     "mysql_ha:nodes: lvs2 has them in another order than lvs1, mysql1, mysql2"),
])  # fmt: skip
def test_a_difference_names_the_key_and_both_values_but_no_secret(path, to, sentence) -> None:
    said = cluster_check.differences(cluster(lvs2=changed(*path, to=to)))
    assert len(said) == 1
    assert SECRET not in str(said)
    if "is set (hidden) for" in sentence:
        assert said[0] == "mysql_ha:vrrp:virtual_router_id: differs between lvs1, mysql1, mysql2 and lvs2 (hidden)"
    else:
        assert said[0].startswith(sentence)


def test_the_first_difference_of_each_group_is_named_and_the_others_counted() -> None:
    one = changed("interface", to="eth1", pillar=changed("checks", "interval", to=2, pillar=changed("schema", to=2)))
    said = cluster_check.differences(cluster(lvs2=one, mysql2=changed("cluster", to="other")))
    assert said == [
        "mysql_ha:schema: differs between lvs1, mysql1 and lvs2 (hidden); 2 more keys differ",
        "mysql_ha:cluster: is 'shop' for lvs1, mysql1, and 'other' for mysql2",
    ]


@pytest.mark.parametrize(("key", "node", "to", "sentence"), [
    ("replication", "mysql2", SECRET, "mysql_ha:secrets:replication: differs (hidden) between mysql1 and mysql2"),
    ("replication", "mysql2", None,
     "mysql_ha:secrets:replication: is set (hidden) for mysql1, and left out for mysql2"),
    ("replication", "lvs2", SECRET, None),
    ("replication", "lvs2", None, None),
    ("vrrp", "lvs2", SECRET, "mysql_ha:secrets:vrrp: is set (hidden) for lvs2, and left out for lvs1"),
    ("vrrp", "mysql2", SECRET, None),
    ("tls_ca", "mysql1", SECRET, "mysql_ha:secrets:tls_ca: is set (hidden) for mysql1, and left out for mysql2"),
    ("accounts", "mysql1", {SECRET: SECRET}, None),
])  # fmt: skip
def test_secrets_are_compared_between_those_that_share_them(key, node, to, sentence) -> None:
    said = cluster_check.differences(cluster(**{node: changed("secrets", key, to=to)}))
    assert said == ([] if sentence is None else [sentence])


def test_the_password_of_an_account_that_differs_is_named_by_the_account() -> None:
    both = changed("database", "accounts", to={"shop": {"hosts": ["%"]}})
    one, other = (changed("secrets", "accounts", to={"shop": f"{SECRET}{n}"}, pillar=both) for n in (1, 2))
    given_ = {"lvs1": both, "lvs2": both, "mysql1": one, "mysql2": other}
    assert cluster_check.differences(given_) == [
        "mysql_ha:secrets:accounts:shop: differs (hidden) between mysql1 and mysql2"
    ]


def test_all_nodes_are_found_from_the_masters_pillar_and_from_each_other() -> None:
    more = changed("nodes", "mysql3", to={"role": "replica"})
    asked = []

    def ask(name):
        asked.append(name)
        if name == "mysql3":
            raise RuntimeError(SECRET)
        return {"m": EXAMPLE, "mysql2": more}.get(name, EXAMPLE)

    found, master = cluster_check.cluster("m", ask)
    assert (list(found), master, asked) == (["m", *NODES, "mysql3"], "m", ["m", *NODES, "mysql3"])
    assert cluster_check.problems(found["mysql3"], "mysql3") == [
        "the master cannot make all of its pillar; the master's log says why"
    ]
    assert cluster_check.cluster("lvs1", ask)[1] is None


@pytest.mark.parametrize("own", [{}, None, {"mysql_ha": {"nodes": []}}, {"mysql_ha": {"nodes": {"../x": {}, 1: {}}}}])
def test_a_master_that_knows_no_nodes_is_said(own) -> None:
    with pytest.raises(ValueError, match="The master's own pillar has no mysql_ha:nodes"):
        cluster_check.cluster("m", lambda _: own)


def test_a_pillar_that_refers_to_itself_has_an_end() -> None:
    one, other = {"a": 1}, {"a": 1}
    for tree in (one, other):
        tree["x"] = tree["y"] = tree
    assert cluster_check.differences({"a": {"mysql_ha": one}, "b": {"mysql_ha": other}}) == []
    other["a"] = 2
    assert len(cluster_check.differences({"a": {"mysql_ha": one}, "b": {"mysql_ha": other}})) == 1


scalars = st.none() | st.booleans() | st.integers(-5, 70000) | st.floats() | st.text(max_size=12) | st.just(SECRET)
anything = st.recursive(
    scalars | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*mysql_ha_pillar._TOP_KEYS, *NODES, "role", "accounts"]) | scalars, inner)
    ),
    max_leaves=12,
)
somewhere = st.builds(
    lambda path, to: changed(*path, to=to),
    st.sampled_from([(key,) for key in EXAMPLE["mysql_ha"]] + [("nodes", "lvs1"), ("secrets", "vrrp"), ("vrrp", "x")]),
    anything,
)


@given(pillars=st.dictionaries(st.sampled_from([*NODES, "m", "web1"]),
                               anything | somewhere | st.builds(lambda it: {"mysql_ha": it}, anything)))  # fmt: skip
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_is_raised_whatever_the_pillars_hold(pillars) -> None:
    found = cluster_check.findings(pillars, "m")
    assert found["result"] in ("ok", "wrong")
    assert yaml.safe_dump(found)
    assert all("\n" not in sentence for said in found.get("errors", {}).values() for sentence in said)
    for name, whole in pillars.items():
        cluster_check.gather([name], lambda _, whole=whole: whole, onwards=True)


@given(first=st.text("abcXYZ019", min_size=8, max_size=30), second=anything,
       key=st.sampled_from(["vrrp", "replication", "tls_ca", "tls_ca_key", "accounts", "unknown"]))  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_no_secret_is_shown_whatever_it_is_and_whoever_has_it(first, second, key) -> None:
    both = changed("database", "accounts", to={"shop": {}})
    one = changed("secrets", key, to={"shop": SECRET} if key == "accounts" else SECRET + first, pillar=both)
    pillars = cluster(lvs1=one, mysql1=one, mysql2=changed("secrets", key, to=second, pillar=both))
    assert SECRET not in str(cluster_check.findings(pillars))
