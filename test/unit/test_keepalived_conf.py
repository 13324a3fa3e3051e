"""keepalived.conf as text: the whole file for two setups, and nothing in a pillar that gets out of its place."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

import keepalived_conf

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = yaml.safe_load((ROOT / "pillar.example").read_text(encoding="utf-8"))["mysql_ha"]

CLASSIC_LVS2 = """\
# Managed by Salt (mysql_ha): edits are overwritten, change the pillar and apply the state instead

global_defs {
    router_id shop_lvs2
    vrrp_version 2
    vrrp_garp_master_refresh 60
    lvs_sync_daemon eth0 inst shop id 51
    enable_script_security
}

vrrp_instance shop {
    state BACKUP
    interface eth0
    virtual_router_id 51
    priority 90
    advert_int 1
    authentication {
        auth_type PASS
        auth_pass 1111
    }
    virtual_ipaddress {
        192.168.1.100/32 dev eth0
    }
}

virtual_server 192.168.1.100 3306 {
    delay_loop 1
    lvs_sched wrr
    lvs_method DR
    protocol TCP
    real_server 192.168.1.5 3306 {
        weight 3
        TCP_CHECK {
            connect_timeout 1
            retry 1
            delay_before_retry 0.5
            warmup 0
        }
    }
    real_server 192.168.1.6 3306 {
        weight 3
        TCP_CHECK {
            connect_timeout 1
            retry 1
            delay_before_retry 0.5
            warmup 0
        }
    }
}
"""

UNICAST_LVS1 = """\
# Managed by Salt (mysql_ha): edits are overwritten, change the pillar and apply the state instead

global_defs {
    router_id shop_lvs1
    vrrp_version 3
    lvs_sync_daemon bond0.7 inst shop id 51
    enable_script_security
    vrrp_garp_master_refresh 30
    lvs_flush_on_stop VS
}

vrrp_instance shop {
    state BACKUP
    nopreempt
    interface bond0.7
    virtual_router_id 51
    priority 150
    advert_int 0.3
    unicast_src_ip 192.168.1.2
    unicast_peer {
        192.168.1.11
    }
    virtual_ipaddress {
        192.168.1.100/32 dev bond0.7
        192.168.1.101/32 dev bond0.7
    }
}

virtual_server 192.168.1.100 3306 {
    delay_loop 0.1
    lvs_sched wrr
    lvs_method DR
    protocol TCP
    real_server 192.168.1.5 3306 {
        weight 3
        TCP_CHECK {
            connect_timeout 1
            retry 1
            delay_before_retry 0.5
            warmup 0
        }
    }
    real_server 192.168.1.6 3306 {
        weight 1
        TCP_CHECK {
            connect_timeout 1
            retry 1
            delay_before_retry 0.5
            warmup 0
        }
    }
}

virtual_server 192.168.1.101 3306 {
    delay_loop 0.1
    lvs_sched sh
    lvs_method DR
    protocol TCP
    real_server 192.168.1.5 3306 {
        weight 3
        TCP_CHECK {
            connect_timeout 1
            retry 1
            delay_before_retry 0.5
            warmup 0
        }
    }
    real_server 192.168.1.6 3306 {
        weight 1
        TCP_CHECK {
            connect_timeout 1
            retry 1
            delay_before_retry 0.5
            warmup 0
        }
    }
}
"""


def settings() -> dict[str, Any]:
    """Return the settings of the example."""
    return copy.deepcopy(EXAMPLE)


def classic() -> dict[str, Any]:
    """Return the setup of the LVS tutorials: multicast, password, one-second adverts, the higher priority wins."""
    result = settings()
    result["nodes"]["lvs1"]["priority"] = 100
    result["nodes"]["lvs2"]["priority"] = 90
    result["vrrp"].update(version=2, advert_interval=1, preempt=True, unicast=False)
    result["secrets"]["vrrp"] = "1111"
    return result


def unicast() -> dict[str, Any]:
    """Return a setup with everything that the classic one lacks."""
    result = settings()
    result["nodes"]["lvs1"]["interface"] = "bond0.7"
    del result["nodes"]["mysql2"]["weight"]
    result["checks"]["interval"] = 0.1
    result["keepalived"]["global_defs"] = {
        "enable_script_security": True,
        "vrrp_garp_master_refresh": 30,
        "lvs_flush_on_stop": "VS",
    }
    read = {**result["endpoints"]["write"], "address": "192.168.1.101", "scheduler": "sh"}
    result["endpoints"]["read"] = read
    del result["endpoints"]["write"]["scheduler"]
    return result


def test_the_classic_setup() -> None:
    assert keepalived_conf.render(classic(), "lvs2", {"vrrp": "1111"}) == CLASSIC_LVS2


def test_the_classic_setup_on_the_first_director() -> None:
    expected = CLASSIC_LVS2.replace("lvs2", "lvs1").replace("BACKUP", "MASTER").replace("priority 90", "priority 100")
    assert keepalived_conf.render(classic(), "lvs1", {"vrrp": "1111"}) == expected


def test_the_unicast_setup() -> None:
    assert keepalived_conf.render(unicast(), "lvs1", {"vrrp": "ignored"}) == UNICAST_LVS1


SCRIPT = {"script": "/usr/bin/true"}


@pytest.mark.parametrize(("changes", "user"), [
    ({}, None),
    ({"checks": {"type": "misc", **SCRIPT}}, "keepalived_script"),
    ({"scripts": {"gateway": SCRIPT}}, "keepalived_script"),
    ({"extra": {"vrrp_script gateway": SCRIPT}}, "keepalived_script"),
    ({"global_defs": {"startup_script": "/usr/bin/true"}}, "keepalived_script"),
    ({"global_defs": {"notify_fifo": "/run/k", "notify_fifo_script": "/usr/bin/true"}}, "keepalived_script"),
    ({"global_defs": {"notify_fifo": "/run/k"}}, "keepalived_script"),
    ({"global_defs": {"script_user": "root"}, "scripts": {"gateway": SCRIPT}}, "root"),
    ({"global_defs": {"script_user": "nobody nogroup"}}, "nobody nogroup"),
    ({"version": "2.2.7", "scripts": {"gateway": SCRIPT}}, "root"),
    ({"version": "2.2.8", "scripts": {"gateway": SCRIPT}}, "keepalived_script"),
], ids=str)  # fmt: skip
def test_programs_run_without_rights_and_only_if_root_alone_can_change_them(changes: Any, user: str | None) -> None:
    found = settings()
    found["keepalived"] |= {key: changes[key] for key in ("version", "global_defs", "extra") if key in changes}
    found["vrrp"] |= {key: changes[key] for key in ("scripts",) if key in changes}
    if "checks" in changes:
        found["endpoints"]["write"]["check"] = changes["checks"]
    lines = [line.strip() for line in keepalived_conf.render(found, "lvs1").splitlines()]
    assert lines.count("enable_script_security") == 1
    said = [line.removeprefix("script_user ") for line in lines if line.startswith("script_user ")]
    assert said == ([user] if user else [])
    # keepalived goes by the user that was named before the program.
    first = min((number for number, line in enumerate(lines) if "/usr/bin/true" in line), default=len(lines))
    assert not user or lines.index(f"script_user {user}") < first or "global_defs" in changes


def test_version_2_without_a_password() -> None:
    text = keepalived_conf.render(classic(), "lvs2")
    assert "auth" not in text


def test_a_director_alone_has_no_peer_to_name() -> None:
    alone = settings()
    del alone["nodes"]["lvs2"]
    assert "unicast" not in keepalived_conf.render(alone, "lvs1")


def test_an_address_with_several_endpoints_is_held_once() -> None:
    twice = settings()
    twice["endpoints"]["again"] = {**twice["endpoints"]["write"], "port": 3307}
    text = keepalived_conf.render(twice, "lvs1")
    assert text.count("192.168.1.100/32") == 1
    assert text.count("real_server 192.168.1.5 3307 {") == 1


def test_equal_settings_give_equal_text() -> None:
    assert keepalived_conf.render(settings(), "lvs1") == keepalived_conf.render(settings(), "lvs1")


@pytest.mark.parametrize("node", ["mysql1", "elsewhere"])
def test_only_directors_have_a_configuration(node: str) -> None:
    with pytest.raises(ValueError, match="is not a director in mysql_ha:nodes"):
        keepalived_conf.render(settings(), node)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "1"), (1.0, "1"), (0.5, "0.5"), (1e-06, "0.000001"), (40.95, "40.95"), (3600, "3600"), (100, "100")],
)
def test_numbers_have_no_exponent(value: float, text: str) -> None:
    tried = settings()
    tried["checks"]["interval"] = value
    assert f"    delay_loop {text}\n" in keepalived_conf.render(tried, "lvs1")


@pytest.mark.parametrize("value", [True, None, "1", float("nan"), float("inf"), 10**15, [1]])
def test_what_is_no_number_is_refused(value: Any) -> None:
    tried = settings()
    tried["checks"]["interval"] = value
    with pytest.raises(ValueError, match="not a number"):
        keepalived_conf.render(tried, "lvs1")


# Every place of the settings that ends up in the file as text.
PLACES = (
    ("cluster",),
    ("interface",),
    ("endpoints", "write", "address"),
    ("endpoints", "write", "scheduler"),
    ("nodes", "lvs1", "address"),
    ("nodes", "lvs2", "address"),
    ("nodes", "mysql1", "address"),
    ("nodes", "mysql1", "weight"),
    ("nodes", "lvs1", "interface"),
    ("nodes", "lvs1", "priority"),
    ("vrrp", "virtual_router_id"),
    ("vrrp", "version"),
    ("vrrp", "advert_interval"),
    ("checks", "interval"),
    ("checks", "retries"),
    ("keepalived", "global_defs", "smtp_server"),
)
BREAKERS = [
    "}",
    "{",
    "#",
    "!",
    '"',
    "$A",
    "@x",
    "~SEQ",
    "\\",
    "\n",
    "\r",
    "\t",
    "\0",
    "\x7f",
    "\x85",
    "\u2028",
    "é",
]


def put(place: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return the settings with one value changed."""
    result = settings()
    section = result
    for key in place[:-1]:
        section = section[key]
    section[place[-1]] = value
    return result


@pytest.mark.parametrize("breaker", BREAKERS)
@pytest.mark.parametrize("place", PLACES, ids=":".join)
def test_a_value_that_could_leave_its_place_is_refused(place: tuple[str, ...], breaker: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        keepalived_conf.render(put(place, f"a{breaker}b"), "lvs1")


@pytest.mark.parametrize("breaker", [*BREAKERS, " "])
def test_a_password_that_could_leave_its_place_is_refused_unseen(breaker: str) -> None:
    with pytest.raises(ValueError, match="hidden") as caught:
        keepalived_conf.render(classic(), "lvs1", {"vrrp": f"MARK{breaker}b"})
    assert "MARK" not in str(caught.value)


@pytest.mark.parametrize(
    "keyword",
    ["include", "includea", "includem", "router_id", "vrrp_strict", "notification_email", "a b", "A", "", 5],
)
def test_keywords_that_change_more_than_a_line_are_refused(keyword: Any) -> None:
    with pytest.raises(ValueError, match="not a keyword"):
        keepalived_conf.render(put(("keepalived", "global_defs"), {keyword: True}), "lvs1")


@pytest.mark.parametrize("value", ["", "   ", "x" * 513, False, ["a"]])
def test_values_of_global_defs_that_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"keepalived\.conf|longer than"):
        keepalived_conf.render(put(("keepalived", "global_defs"), {"smtp_server": value}), "lvs1")


def shape(text: str) -> tuple[int, int, int]:
    """Return what must not depend on the values: the number of lines, and of blocks opened and closed."""
    return text.count("\n"), text.count("{"), text.count("}")


@given(
    st.sampled_from([place for place in PLACES if place != PLACES[-1]]),
    st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.text('ab#!{}"$@~\\ \n\t')),
)
@example(("cluster",), "a\n}\nvrrp_script x {")
def test_no_value_changes_the_shape_of_the_file(place: tuple[str, ...], value: Any) -> None:
    try:
        text = keepalived_conf.render(put(place, value), "lvs1")
    except ValueError:
        return
    assert shape(text) == shape(keepalived_conf.render(settings(), "lvs1"))
    assert text.splitlines()[1:] == [line for line in text.split("\n")[1:-1] if "#" not in line and "!" not in line]


@given(st.dictionaries(st.text("abc_01 \n{", max_size=8), st.one_of(st.text(), st.integers(), st.floats(), st.none())))
def test_each_global_keyword_is_one_line(given_globals: dict[str, Any]) -> None:
    try:
        text = keepalived_conf.render(put(("keepalived", "global_defs"), given_globals), "lvs1")
    except ValueError:
        return
    lines, opened, closed = shape(keepalived_conf.render(settings(), "lvs1"))
    assert shape(text) == (lines + len(given_globals), opened, closed)


@given(st.text(st.characters(codec="ascii"), max_size=8))
def test_a_password_changes_nothing_but_its_line_and_is_hidden(password: str) -> None:
    try:
        text = keepalived_conf.render(classic(), "lvs2", {"vrrp": password})
    except ValueError:
        return
    if password:
        assert keepalived_conf.redact(text) == CLASSIC_LVS2.replace("auth_pass 1111", "auth_pass <hidden>")


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("        auth_pass 1111\n    }\n", "        auth_pass <hidden>\n    }\n"),
        (
            "-        auth_pass 1111\n+        auth_pass 2 2",
            "-        auth_pass <hidden>\n+        auth_pass <hidden>",
        ),
        (
            'authentication { auth_type PASS auth_pass "a b" }\n',
            "authentication { auth_type PASS auth_pass <hidden>\n",
        ),
        ("auth_pass\t1111", "auth_pass\t<hidden>"),
        ("no password here\n", "no password here\n"),
    ],
)
def test_redact(text: str, hidden: str) -> None:
    assert keepalived_conf.redact(text) == hidden
