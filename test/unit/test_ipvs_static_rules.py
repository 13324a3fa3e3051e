"""The rules for static services: every sentence, together with endpoints and keepalived, and no traceback ever."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import ipvs_rules
import ipvs_static_rules
import keepalived_endpoint_rules
import keepalived_table
import mysql_ha_pillar
from ipvs_strategies import tables

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = yaml.safe_load((ROOT / "pillar.example").read_text(encoding="utf-8"))["mysql_ha"]
WEB, TWO = "tcp 192.168.1.102:80", "192.168.1.6"
SERVICE_KEYS = "scheduler, scheduler_flags, one_packet, persistence_timeout, persistence_netmask, persistence_engine"
SERVER_KEYS = "forward, weight, upper_threshold, lower_threshold, tunnel, tunnel_port, tunnel_flags"
NAMES = ipvs_rules.NAMES
A_MODULE = "1 to 15 of the characters a-z 0-9 _ -, a letter first"
A_HOST = "a host's address (not unspecified, multicast or broadcast)"
ENDPOINT = {"port": 80, "check": "tcp", "servers": {"one": {"address": "192.168.1.31"}}}


def pillar(services: Any = None, ipvs: Any = None, **sections: Any) -> dict[str, Any]:
    """The example with these static services, other keys of `ipvs`, and what `global_defs` and others say besides."""
    found = copy.deepcopy(EXAMPLE)
    found["ipvs"] = {"services": {} if services is None else services, **(ipvs or {})}
    for section, values in sections.items():
        place = found["keepalived"] if section == "global_defs" else found
        place[section] = {**place[section], **values}
    return found


def errors(*arguments: Any, **sections: Any) -> list[str]:
    return mysql_ha_pillar.errors(pillar(*arguments, **sections), "lvs1")


def server(**words: Any) -> dict[str, Any]:
    return {WEB: {"servers": {TWO: words}}}


# The services, and the whole sentence without "mysql_ha:ipvs:services".
WRONG_SERVICES = [
    ([], ": is a list; allowed: a mapping"),
    (None, ": is empty; allowed: a mapping"),
    ("tcp 192.168.1.102:80", ": is text; allowed: a mapping"),
    ({"tcp 192.168.1.102": {}}, f":tcp 192.168.1.102: is 'tcp 192.168.1.102'; allowed: {NAMES}"),
    ({"tcp 192.168.1.02:80": {}}, f":tcp 192.168.1.02:80: is 'tcp 192.168.1.02:80'; allowed: {NAMES}"),
    ({5: {}}, f":5: is 5; allowed: {NAMES}"),
    ({True: {}}, f":true: is true; allowed: {NAMES}"),
    ({"tcp\n192.168.1.102": {}}, f":'tcp\\n192.168.1.102': is 'tcp\\n192.168.1.102'; allowed: {NAMES}"),
    ({"tcp 192.168.1.102:" + "9" * 5000: {}},
     f":'tcp 192.168.1.102:{'9' * 42}'...: is 'tcp 192.168.1.102:{'9' * 42}'...; allowed: {NAMES}"),
    ({"tcp 224.0.0.18:80": {}}, f":tcp 224.0.0.18:80: is '224.0.0.18'; allowed: {A_HOST}"),
    ({"fwmark 0": {}}, ":fwmark 0: the fwmark is '0'; allowed: 1 to 4294967295"),
    ({WEB: "wlc"}, f":{WEB}: is text; allowed: a mapping with the keys {SERVICE_KEYS}, servers"),
    ({WEB: {"shceduler": "rr"}},
     f":{WEB}:shceduler: is an unknown key; allowed: {SERVICE_KEYS}, servers (did you mean scheduler?)"),
    ({WEB: {"scheduler": "w lc"}}, f":{WEB}:scheduler: is 'w lc'; allowed: {A_MODULE}"),
    ({WEB: {"scheduler": True}}, f":{WEB}:scheduler: is true; allowed: {A_MODULE}"),
    ({WEB: {"scheduler": {"a": {}}}}, f":{WEB}:scheduler: is a mapping; allowed: {A_MODULE}"),
    ({WEB: {"scheduler": "sh", "scheduler_flags": ["mh-port"]}}, f":{WEB}:scheduler_flags: is 'mh-port'; "
     "allowed: flag-1, flag-2, flag-3, sh-fallback, sh-port with the scheduler sh"),
    ({WEB: {"scheduler_flags": [1]}}, f":{WEB}:scheduler_flags: is a list; allowed: a list of words"),
    ({WEB: {"one_packet": True}}, f":{WEB}:one_packet: is true; allowed: only for udp and fwmark services"),
    ({WEB: {"persistence_timeout": -1}},
     f":{WEB}:persistence_timeout: is -1; allowed: 0 to 2678400 of seconds; 0 for none"),
    ({WEB: {"persistence_timeout": 10**5000}}, f":{WEB}:persistence_timeout: is a number of more than 20 digits; "
     "allowed: 0 to 2678400 of seconds; 0 for none"),
    ({WEB: {"persistence_netmask": 24}},
     f":{WEB}:persistence_netmask: is set without a persistence_timeout; allowed: both, or neither"),
    ({WEB: {"persistence_timeout": 9, "persistence_netmask": 33}}, f":{WEB}:persistence_netmask: is 33; "
     "allowed: 1 to 32 (a prefix length), or a mask such as 255.255.255.0"),
    ({"udp 192.168.1.102:0": {}}, ":udp 192.168.1.102:0:port: is 0; allowed: 1 to 65535, or 0 (every port) together "
     "with a persistence_timeout"),
    ({WEB: {"servers": [TWO]}}, f":{WEB}:servers: is a list; allowed: a mapping with names such as 192.168.1.5:3306"),
    ({WEB: {"servers": {"mysql2": {}}}}, f":{WEB}:servers:mysql2: is 'mysql2'; allowed: an address and a port, such as "
     "192.168.1.5:3306 or [2001:db8::5]:3306"),
    ({WEB: {"servers": {TWO: 3}}},
     f":{WEB}:servers:{TWO}: is a number; allowed: a mapping with the keys {SERVER_KEYS}"),
    (server(wieght=3),
     f":{WEB}:servers:{TWO}:wieght: is an unknown key; allowed: {SERVER_KEYS} (did you mean weight?)"),
    (server(weight=-1), f":{WEB}:servers:{TWO}:weight: is -1; allowed: 0 to 2147483647"),
    (server(weight=1.5), f":{WEB}:servers:{TWO}:weight: is 1.5; allowed: 0 to 2147483647"),
    (server(weight="9" * 5000), f":{WEB}:servers:{TWO}:weight: is '{'9' * 60}'...; allowed: 0 to 2147483647"),
    (server(forward="masq"), f":{WEB}:servers:{TWO}:forward: is 'masq'; allowed: dr, nat, tunnel"),
    (server(lower_threshold=5),
     f":{WEB}:servers:{TWO}:lower_threshold: is 5; allowed: at most the upper_threshold, which is 0"),
    (server(tunnel="gue"), f":{WEB}:servers:{TWO}:tunnel: is set without forward: tunnel; allowed: both, or neither"),
    (server(forward="tunnel", tunnel="gue"),
     f":{WEB}:servers:{TWO}:tunnel_port: is 0; allowed: 1 to 65535 with tunnel: gue, and none with ipip and gre"),
    ({WEB: {"servers": {"192.168.1.6:8080": {}}}}, f":{WEB}:servers:192.168.1.6:8080: has port 8080, and forward: dr "
     "leaves the port as the client sent it; allowed: 80, or forward: nat"),
    ({WEB: {"servers": {"2001:db8::6": {}}}}, f":{WEB}:servers:2001:db8::6: is of another address family than its "
     "service, which only forward: tunnel can reach; allowed: an ipv4 address"),
    ({WEB: {"servers": {"2001:db8::6": {"forward": "tunnel"}}}}, f":{WEB}:servers:2001:db8::6: is of another address "
     "family than its service, which Linux does not take together with mysql_ha:vrrp:sync_daemon; allowed: false "
     "there, or a server of the same family"),
    ({"fwmark 5": {}, "fwmark 5 ipv4": {}},
     ":fwmark 5 ipv4: is the same service as mysql_ha:ipvs:services:fwmark 5; allowed: each one once"),
    ({WEB: {"servers": {TWO: {}, f"{TWO}:80": {}}}}, f":{WEB}:servers:{TWO}:80: is the same server as "
     f"mysql_ha:ipvs:services:{WEB}:servers:{TWO}; allowed: each one once"),
    # keepalived has it already.
    ({"tcp 192.168.1.100:3306": {}}, ":tcp 192.168.1.100:3306: is the same service as mysql_ha:endpoints:write, which "
     "is keepalived's; allowed: one of both"),
]  # fmt: skip


@pytest.mark.parametrize(("services", "expected"), WRONG_SERVICES)
def test_one_wrong_service_gives_one_sentence(services: Any, expected: str) -> None:
    wrong = pillar()
    wrong["ipvs"]["services"] = services
    assert mysql_ha_pillar.errors(wrong, "lvs1") == [f"mysql_ha:ipvs:services{expected}"]


@pytest.mark.parametrize(("ipvs", "expected"), [
    ({"purge": "yes"}, "purge: is 'yes'; allowed: true, false"),
    ({"drain": 86401}, "drain: is 86401; allowed: a whole number of seconds from 0 to 86400"),
    ({"drain": True}, "drain: is true; allowed: a whole number of seconds from 0 to 86400"),
    ({"pruge": True}, "pruge: is an unknown key; allowed: services, purge, drain (did you mean purge?)"),
])  # fmt: skip
def test_the_keys_beside_services(ipvs: dict[str, Any], expected: str) -> None:
    assert errors(None, ipvs) == [f"mysql_ha:ipvs:{expected}"]


@pytest.mark.parametrize("section", [None, [], "x", 5, True])
def test_what_is_no_section(section: Any) -> None:
    found = mysql_ha_pillar.errors(pillar() | {"ipvs": section}, "lvs1")
    assert [error.startswith("mysql_ha:ipvs: is ") for error in found] == [True]


def test_all_errors_of_several_services_come_at_once() -> None:
    words = {"scheduler": 5, "scheduler_flags": ["x"], "persistence_timeout": "long", "persistence_netmask": 199,
             "one_packet": 1, "servers": {TWO: {"weight": -1, "upper_threshold": -1, "lower_threshold": 9, "tunnel": 7,
                                                "tunnel_port": 9},
                                          "192.168.1.7": {"forward": "x", "weight": -1, "tunnel": "gue"}}}  # fmt: skip
    found = errors({"tcp x": {}, "udp [2001:db8::1]:0": words, WEB: {"zzz": 1}})
    places = [error.removeprefix("mysql_ha:ipvs:services:").partition(": ")[0] for error in found]
    own = "udp [2001:db8::1]:0"
    expected = ["scheduler", "one_packet", "persistence_timeout", "persistence_netmask", f"servers:{TWO}:weight"]
    assert places[:5] == ["tcp x", *(f"{own}:{word}" for word in expected[:4])]
    assert f"{own}:{expected[4]}" in places
    assert f"{own}:servers:{TWO}:upper_threshold" in places
    assert f"{own}:servers:{TWO}:tunnel" in places
    assert f"{own}:servers:192.168.1.7:weight" not in places, (
        "nothing is said of a server that is reached nobody knows how"
    )
    assert places[-1] == f"{WEB}:zzz"


@pytest.mark.parametrize(("endpoint", "static", "place"), [
    ({"address": "192.168.1.102", **ENDPOINT}, WEB, "web"),
    ({"address": "2001:DB8:0::102", **ENDPOINT, "servers": {"one": {"address": "2001:db8::31"}}},
     "tcp [2001:db8::0:102]:80", "web"),
    ({"address": "192.168.1.102", **ENDPOINT, "protocol": "udp", "check": "ping"}, "udp 192.168.1.102:80", "web"),
    ({"fwmark": 5, "check": "ping", "servers": ENDPOINT["servers"]}, "fwmark 5", "web"),
    ({"fwmark": 5, "family": "ipv6", "check": "ping", "servers": {"one": {"address": "2001:db8::31"}}},
     "fwmark 5 ipv6", "web"),
    ({"group": ["192.168.1.110 80", "192.168.1.101-109 80"], "check": {"type": "tcp", "port": 80},
      "servers": ENDPOINT["servers"]}, WEB, "web:group:1"),
    ({"group": ["192.168.1.96/29 80", "fwmark 5"], "check": {"type": "tcp", "port": 80},
      "servers": ENDPOINT["servers"]}, "fwmark 5", "web:group:1"),
], ids=str)  # fmt: skip
def test_a_service_has_one_owner_however_it_is_spelled(endpoint: dict[str, Any], static: str, place: str) -> None:
    (error,) = errors({static: {}}, endpoints={"web": endpoint})
    assert error == (
        f"mysql_ha:ipvs:services:{static}: is the same service as mysql_ha:endpoints:{place}, which is keepalived's; "
        "allowed: one of both"
    )
    assert errors(None, endpoints={"web": endpoint}) == []


def test_another_service_at_the_same_address_is_another_one() -> None:
    others = {f"udp {WEB[4:]}": {}, "tcp 192.168.1.102:81": {}, "fwmark 5 ipv6": {}, "tcp [2001:db8::102]:80": {}}
    web = {"address": "192.168.1.102", **ENDPOINT}
    mark = {"fwmark": 5, "check": "ping", "servers": ENDPOINT["servers"]}
    assert errors(others, endpoints={"web": web, "mark": mark}) == []


def test_an_owner_is_found_in_an_endpoint_with_other_faults() -> None:
    found = errors({WEB: {}}, endpoints={"web": {"address": "192.168.1.102", "port": 80, "check": "nonsense"}})
    assert any(error.startswith(f"mysql_ha:ipvs:services:{WEB}: is the same service as") for error in found)
    assert not any("ipvs" in error for error in errors({WEB: {}}, endpoints={"web": {"address": "192.168.1.102"}}))


@pytest.mark.parametrize(("global_defs", "words"), [
    ({"lvs_flush": True}, "global_defs:lvs_flush has keepalived remove all there are when it starts"),
    ({"lvs_flush": None}, "global_defs:lvs_flush has keepalived remove all there are when it starts"),
    ({"lvs_flush_on_stop": True}, "global_defs:lvs_flush_on_stop has keepalived remove all there are when it stops"),
    ({"lvs_flush_on_stop": None}, "global_defs:lvs_flush_on_stop has keepalived remove all there are when it stops"),
    ({"lvs_flush_onstop": True}, "global_defs:lvs_flush_onstop has keepalived remove all there are when it stops"),
])  # fmt: skip
def test_keepalived_may_not_flush_what_is_not_its_own(global_defs: dict[str, Any], words: str) -> None:
    (error,) = errors({WEB: {}}, global_defs=global_defs)
    assert error.startswith(f"mysql_ha:ipvs:services: holds services, and mysql_ha:keepalived:{words}; allowed: ")
    assert errors(None, global_defs=global_defs) == []


@pytest.mark.parametrize("value", ["VS", " VS "])
def test_keepalived_may_flush_its_own(value: str) -> None:
    assert errors({WEB: {}}, global_defs={"lvs_flush_on_stop": value}) == []


GROUP = {"shop": {"group": ["192.168.1.110 80", "192.168.1.111 80"], "check": {"type": "tcp", "port": 80},
                  "servers": ENDPOINT["servers"]}}  # fmt: skip
MARKS = {"shop": GROUP["shop"] | {"group": ["fwmark 5", "fwmark 6"]}}


def test_no_purge_beside_marks_that_only_keepalived_knows() -> None:
    (error,) = errors(None, {"purge": True}, endpoints=GROUP, global_defs={"nftables_ipvs": True})
    assert error.startswith("mysql_ha:ipvs:purge: is true, and mysql_ha:keepalived:global_defs:nftables_ipvs has ")
    assert "mysql_ha:endpoints:shop," in error
    assert errors(None, {"purge": True}, endpoints=GROUP) == []
    assert errors(None, {"purge": True}, endpoints=MARKS, global_defs={"nftables_ipvs": True}) == []
    assert errors(None, {"purge": True}, global_defs={"nftables_ipvs": True}) == []
    assert errors(None, {}, endpoints=GROUP, global_defs={"nftables_ipvs": True}) == []


@pytest.mark.parametrize(("global_defs", "first"), [
    ({"nftables_ipvs": True}, 1000),
    ({"nftables_ipvs": "table", "nftables_ipvs_start_fwmark": 2000}, 2000),
    ({"nftables_ipvs": "table", "nftables_ipvs_start_fwmark": "2000"}, 2000),
    # keepalived forgets it.
    ({"nftables_ipvs_start_fwmark": 2000, "nftables_ipvs": "table"}, 1000),
])  # fmt: skip
def test_no_mark_that_keepalived_could_take(global_defs: dict[str, Any], first: int) -> None:
    wrong, right = f"fwmark {first} ipv6", f"fwmark {first - 1}"
    (error,) = errors({wrong: {}, right: {}, WEB: {}}, endpoints=GROUP, global_defs=global_defs)
    assert error.startswith(f"mysql_ha:ipvs:services:{wrong}: is one of the firewall marks from {first} on, of which ")
    assert error.endswith(f"take some for mysql_ha:endpoints:shop; allowed: 1 to {first - 1}")
    assert errors({wrong: {}}, endpoints=MARKS, global_defs=global_defs) == []


def test_other_families_need_no_sync_daemon() -> None:
    mixed = {WEB: {"servers": {"2001:db8::6": {"forward": "tunnel"}}}}
    assert errors(mixed, vrrp={"sync_daemon": False}) == []
    alone = pillar(mixed)
    del alone["nodes"]["lvs2"]
    assert mysql_ha_pillar.errors(alone, "lvs1") == []


def test_what_ipvs_list_shows_is_valid() -> None:
    shown = {
        WEB: {
            "scheduler": "wlc",
            "servers": {
                TWO: {
                    "forward": "dr",
                    "weight": 1,
                    "active_connections": 5,
                    "inactive_connections": 0,
                    "persistent_connections": 1,
                }
            },
        }
    }
    assert errors(shown) == []
    assert errors({WEB: None}) == errors({WEB: {"servers": {TWO: None}}}) == errors({WEB: {"servers": None}}) == []


@given(tables)
def test_every_table_that_can_work_is_valid(services: dict[str, Any]) -> None:
    assert errors(services, vrrp={"sync_daemon": False}) == []


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=3)
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.sets(st.integers(), max_size=2)
                        | st.dictionaries(SCALARS, inner, max_size=3), max_leaves=6)  # fmt: skip
WORDS = st.dictionaries(
    st.sampled_from([*ipvs_rules.SERVICE_WORDS, *ipvs_rules.SERVER_WORDS, "x"]) | SCALARS,
    st.sampled_from(["tunnel", "gue", "dr", "sh", 0, 1, True, ["csum"]]) | ANYTHING,
    max_size=5,
)
SERVICES = st.dictionaries(
    st.sampled_from([WEB, "udp 192.0.2.1:0", "fwmark 5", "fwmark 5 ipv4", "tcp 192.168.1.100:3306", "x"]) | SCALARS,
    st.builds(
        lambda own, servers: own | {"servers": servers},
        WORDS,
        st.dictionaries(st.sampled_from([TWO, f"{TWO}:80", "2001:db8::6"]) | SCALARS, WORDS | ANYTHING, max_size=3),
    )
    | ANYTHING,
    max_size=3,
)
PLACES = st.dictionaries(
    st.sampled_from(["a", "b"]) | SCALARS,
    st.dictionaries(
        st.sampled_from(["address", "port", "fwmark", "family", "group", "protocol", "servers"]),
        st.sampled_from(["192.168.1.102", 80, "ipv6", ["192.168.1.101-103 80", "fwmark 5"], "tcp"]) | ANYTHING,
    )
    | ANYTHING,
    max_size=3,
)


@given(SERVICES | ANYTHING, ANYTHING, PLACES | ANYTHING, ANYTHING)
def test_nothing_is_raised_whatever_the_pillar_holds(services: Any, other: Any, endpoints: Any, defs: Any) -> None:
    wrong: dict[str, Any] = copy.deepcopy(EXAMPLE)
    wrong["ipvs"] = {"services": services, "purge": other, "drain": other}
    wrong["endpoints"] = endpoints
    wrong["keepalived"]["global_defs"] = {"nftables_ipvs": True, "lvs_flush": other, "lvs_flush_on_stop": other,
                                          "nftables_ipvs_start_fwmark": defs}  # fmt: skip
    for section in (wrong, {"ipvs": other}, {"ipvs": {"services": services}, "endpoints": other, "vrrp": defs}):
        found = list(ipvs_static_rules.errors(section))
        for error in found:
            assert error.startswith("mysql_ha:ipvs")
            assert "; allowed: " in error
            assert error.isprintable()
    if isinstance(services, dict) and not any(":services" in error for error in found):
        ipvs_rules.table(services)


def test_deep_and_endless_values_are_told_in_a_word() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    endless: dict[str, Any] = {}
    endless["servers"] = endless
    for value in (deep, endless):
        found = errors({WEB: {"scheduler": value, "scheduler_flags": value, "servers": {TWO: {"weight": value}}}})
        assert len(found) == 2
        assert errors({WEB: value})


@pytest.mark.parametrize("endpoints", [
    EXAMPLE["endpoints"], GROUP, MARKS,
    {"a": {"address": "2001:db8::1", "port": 80, "servers": {"one": {"address": "2001:db8::31"}}},
     "b": {"fwmark": 7, "family": "ipv6", "servers": {"one": {"address": "2001:db8::31"}}},
     "c": {"address": "192.0.2.1", "port": 0, "persistence_timeout": 9, "servers": ENDPOINT["servers"]}},
], ids=str)  # fmt: skip
def test_the_places_of_endpoints_are_those_in_the_kernel(endpoints: dict[str, Any]) -> None:
    settings = EXAMPLE | {"endpoints": endpoints}
    names = {name for _, service in keepalived_endpoint_rules.places(settings) for name in service.names}
    assert {ipvs_rules.service_key(name) for name in names} == set(keepalived_table.asked(settings).wanted)
