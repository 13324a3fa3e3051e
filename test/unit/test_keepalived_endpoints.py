"""Endpoints as plain data and as text: where each value comes from, and what keepalived and the kernel are told."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import ipvs_rules
import keepalived_conf
import keepalived_endpoint_conf
import keepalived_endpoints
import mysql_ha_pillar

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = yaml.safe_load((ROOT / "pillar.example").read_text(encoding="utf-8"))["mysql_ha"]
PAGE = (ROOT / "docs" / "directors.md").read_text(encoding="utf-8")
SHOWN = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def settings(text: str) -> dict[str, Any]:
    """Return the example with other endpoints, given as YAML; they are right."""
    result = {**copy.deepcopy(EXAMPLE), "endpoints": yaml.safe_load(text)}
    # One director, so that servers may be of another family, and with the example's address to hold.
    del result["nodes"]["lvs2"]
    beside = {**result, "endpoints": {**EXAMPLE["endpoints"], **result["endpoints"]}}
    assert mysql_ha_pillar.errors(beside) == []
    return result


def virtual_server(text: str) -> list[str]:
    """Return the lines of one endpoint with the checks left out."""
    found = keepalived_endpoint_conf.blocks(settings(text))
    return [line.strip() for lines in found for line in lines]


def test_the_table_of_the_example() -> None:
    assert keepalived_endpoints.table(EXAMPLE) == {
        "tcp 192.168.1.100:3306": {
            "scheduler": "wrr",
            "servers": {
                "192.168.1.5:3306": {"forward": "dr", "weight": 3},
                "192.168.1.6:3306": {"forward": "dr", "weight": 3},
            },
        }
    }
    assert keepalived_endpoints.sorry_table(EXAMPLE) == {}


def test_the_table_has_all_services_of_a_group_and_no_sorry_server() -> None:
    given = settings("""
        g:
          group: ['192.168.1.110 80', '192.168.1.111-112 443', fwmark 7]
          servers:
            drained: {address: 10.0.0.5, weight: 0}
            a: {address: 10.0.0.7, port: 8080, forward: nat, upper_threshold: 9, lower_threshold: 5}
          check: none
          scheduler: sh
          scheduler_flags: [sh-port]
          persistence_timeout: 60
          sorry_server: {address: 10.0.0.9}
    """)
    table = keepalived_endpoints.table(given)
    assert list(table) == [
        "tcp 192.168.1.110:80",
        "tcp 192.168.1.111:443",
        "tcp 192.168.1.112:443",
        "fwmark 7 ipv4",
    ]
    nat = {"forward": "nat", "weight": 1, "upper_threshold": 9, "lower_threshold": 5}
    for name, port in zip(table, (80, 443, 443, 0), strict=True):
        assert table[name] == {
            "scheduler": "sh",
            "scheduler_flags": ["sh-port"],
            "persistence_timeout": 60,
            "servers": {f"10.0.0.5:{port}": {"forward": "dr", "weight": 0}, "10.0.0.7:8080": nat},
        }
    assert keepalived_endpoints.sorry_table(given)["tcp 192.168.1.111:443"] == {
        "10.0.0.9:443": {"forward": "dr", "weight": 1}
    }
    assert keepalived_endpoints.addresses(given["endpoints"]["g"]) == [
        "192.168.1.110",
        "192.168.1.111",
        "192.168.1.112",
    ]


def test_the_table_is_one_that_the_ipvs_states_take() -> None:
    given = settings("""
        six:
          address: 2001:DB8::100
          port: 53
          protocol: udp
          one_packet: true
          persistence_timeout: 60
          persistence_netmask: 64
          persistence_engine: sip
          forward: tunnel
          tunnel: gue
          tunnel_port: 6080
          tunnel_flags: [csum]
          check: ping
          servers: {a: {address: '2001:db8::5'}, b: {address: 10.0.0.5, tunnel: ipip}}
        mark:
          fwmark: 5
          persistence_timeout: 9
          persistence_netmask: 24
          check: ping
          servers: {a: {address: 10.0.0.5}}
    """)
    table = keepalived_endpoints.table(given)
    ipvs_rules.table(table)
    assert table["udp [2001:db8::100]:53"]["servers"] == {
        "[2001:db8::5]:53": {
            "forward": "tunnel",
            "weight": 1,
            "tunnel": "gue",
            "tunnel_port": 6080,
            "tunnel_flags": ["csum"],
        },
        "10.0.0.5:53": {"forward": "tunnel", "weight": 1, "tunnel": "ipip"},
    }
    assert table["fwmark 5 ipv4"]["persistence_netmask"] == "255.255.255.0"


def test_a_database_by_nat_is_reached_at_its_own_port() -> None:
    found = virtual_server("{w: {address: 192.168.1.101, port: 3310, serves: all, check: none, forward: nat}}")
    assert found == [
        "virtual_server 192.168.1.101 3310 {",
        "delay_loop 1",
        "lvs_sched wrr",
        "lvs_method NAT",
        "protocol TCP",
        "real_server 192.168.1.5 3306 {",
        "weight 3",
        "}",
        "real_server 192.168.1.6 3306 {",
        "weight 3",
        "}",
        "}",
    ]


def test_what_a_server_says_goes_before_what_its_node_says() -> None:
    found = virtual_server("""
        w:
          address: 192.168.1.101
          port: 3306
          serves: all
          check: none
          inhibit_on_failure: true
          servers: {other: {address: 10.0.0.7}, mysql2: {weight: 0, inhibit_on_failure: false}}
    """)
    assert found[5:] == [
        "inhibit_on_failure",
        "real_server 192.168.1.5 3306 {",
        "weight 3",
        "}",
        "real_server 192.168.1.6 3306 {",
        "weight 0",
        "inhibit_on_failure false",
        "}",
        "real_server 10.0.0.7 3306 {",
        "weight 1",
        "}",
        "}",
    ]


def test_a_firewall_mark_with_everything_in_the_order_that_keepalived_needs() -> None:
    found = virtual_server("""
        m:
          fwmark: 5
          family: ipv6
          scheduler: mh
          scheduler_flags: [mh-port]
          forward: tunnel
          tunnel: gre
          persistence_timeout: 60
          persistence_netmask: 64
          quorum_up: /bin/true  a
          sorry_server: {address: '::1', forward: nat, port: 81, inhibit: true}
          check: none
          servers: {a: {address: 10.0.0.5}}
    """)
    assert found == [
        "virtual_server fwmark 5 {",
        "ip_family inet6",
        "delay_loop 1",
        "lvs_sched mh",
        "mh-port",
        "lvs_method TUN type gre",
        "persistence_timeout 60",
        "persistence_granularity 64",
        'quorum_up "/bin/true a"',
        "sorry_server ::1 81",
        "sorry_server_inhibit",
        "sorry_server_lvs_method NAT",
        "real_server 10.0.0.5 0 {",
        "weight 1",
        "}",
        "}",
    ]


def test_a_group_has_a_block_of_its_own() -> None:
    found = virtual_server("""
        g:
          group: ['192.168.1.110', 192.168.1.111-112 443, 192.168.1.128/31 80, fwmark 7]
          persistence_timeout: 60
          check: none
          servers: {a: {address: 10.0.0.5}}
    """)
    assert found[:8] == [
        "virtual_server_group g {",
        "192.168.1.110",
        "192.168.1.111-192.168.1.112 443",
        "192.168.1.128-192.168.1.129 80",
        "fwmark 7 inet",
        "}",
        "virtual_server group g {",
        "delay_loop 1",
    ]


def test_times_come_from_the_check_the_endpoint_and_the_pillar() -> None:
    found = virtual_server("""
        w:
          address: 192.168.1.110
          port: 80
          checks: {interval: 9, retries: 3}
          check: [tcp, {type: misc, script: /bin/x, interval: 7, retries: 5}]
          servers: {a: {address: 10.0.0.5}}
    """)
    assert found[1] == "delay_loop 9"
    assert found[7:] == [
        "TCP_CHECK {",
        "connect_timeout 1",
        "retry 3",
        "delay_before_retry 0.5",
        "warmup 0",
        "}",
        "MISC_CHECK {",
        'misc_path "/bin/x"',
        "retry 5",
        "delay_before_retry 0.5",
        "warmup 0",
        "delay_loop 7",
        "}",
        "}",
        "}",
    ]


def test_a_regular_expression_is_written_so_that_it_stays_in_its_line() -> None:
    found = virtual_server("""
        w:
          address: 192.168.1.110
          port: 80
          check: {type: http, urls: [{path: /, regex: '^a{1,2} #"x"\\$!'}]}
          servers: {a: {address: 10.0.0.5}}
    """)
    assert r'regex "^a\1731,2\175 \043\042x\042\134\044\041"' in found


@pytest.mark.parametrize("shown", SHOWN, ids=range(len(SHOWN)))
def test_what_the_page_shows_is_right(shown: dict[str, Any]) -> None:
    endpoints = {**EXAMPLE["endpoints"], **shown["endpoints"]}
    tried = {**copy.deepcopy(EXAMPLE), "endpoints": endpoints}
    assert mysql_ha_pillar.errors(tried) == []
    assert keepalived_conf.render(tried, "lvs1", tried["secrets"]).count("\nvirtual_server ") == len(endpoints)
    keepalived_endpoints.table(tried)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"address": 5, "port": 80},
        {"address": "a", "port": 80},
        {"address": "fe80::1%eth0", "port": 80},
        {"group": "192.168.1.1 80"},
        {"group": ["x"]},
        {"address": "192.168.1.1", "port": 80, "scheduler_flags": "sh-port"},
        {"address": "192.168.1.1", "port": 80, "forward": "local"},
    ],
)
def test_what_is_no_endpoint_is_not_written(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        keepalived_endpoint_conf.blocks({**copy.deepcopy(EXAMPLE), "endpoints": {"e": given}})
