"""Virtual addresses that no neighbour would ask for."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import keepalived_networks
from keepalived_data import PILLAR

ETH0 = {"eth0": ["192.0.2.2/255.255.255.0", "2001:db8::2/64", "fe80::2/64"]}


def changed(*path: Any) -> dict[str, Any]:
    found = copy.deepcopy(PILLAR)
    at = found
    for key in path[:-2]:
        at = at.setdefault(key, {})
    at[path[-2]] = path[-1]
    return found


def foreign(pillar: dict[str, Any], present: dict[str, list[str]] = ETH0) -> list[str]:
    return keepalived_networks.foreign_addresses(pillar, "lvs1", present)


def test_the_sentence_names_the_key_the_address_and_the_networks() -> None:
    assert foreign(changed("endpoints", "write", "address", "192.0.3.1")) == [
        "mysql_ha:endpoints:write: 192.0.3.1 is in none of the networks of eth0 on this host (192.0.2.0/24): nobody "
        "there asks for it, so it works only where a router sends its packets to the directors"
    ]


@pytest.mark.parametrize(
    "pillar",
    [
        PILLAR,
        changed("endpoints", "write", "address", "2001:db8::100"),
        changed("endpoints", "write", {"group": ["192.0.2.10-20 3306", "fwmark 7"], "serves": "all"}),
        # On any link, and what VRRP wants first of IPv6's (RFC 5798, section 5.2.9).
        changed("endpoints", "write", "address", "fe80::100"),
        # It brings its network along.
        changed("vrrp", "instances", "a", {"addresses": ["192.0.9.1/24"]}),
        changed("vrrp", "instances", "a", {"addresses": [{"address": "192.0.9.1", "interface": "eth7"}]}),
    ],
)
def test_nothing_to_say(pillar: dict[str, Any]) -> None:
    assert foreign(pillar) == []


@pytest.mark.parametrize(
    ("pillar", "place", "address"),
    [
        (changed("endpoints", "write", "address", "2001:db9::100"), "endpoints:write", "2001:db9::100"),
        (changed("endpoints", "write", {"group": ["192.0.2.10 3306", "192.0.4.1 3306"], "serves": "all"}),
         "endpoints:write", "192.0.4.1"),
        (changed("vrrp", "instances", "a", {"addresses": ["192.0.9.1"]}), "vrrp:instances:a:addresses", "192.0.9.1"),
        (changed("vrrp", "instances", "a", {"addresses": ["192.0.9.1/32"]}), "vrrp:instances:a:addresses", "192.0.9.1"),
    ],
)  # fmt: skip
def test_where_it_stands(pillar: dict[str, Any], place: str, address: str) -> None:
    (sentence,) = foreign(pillar)
    assert sentence.startswith(f"mysql_ha:{place}: {address} is in none of the networks of eth0")


def test_a_link_of_its_own_makes_no_network() -> None:
    present = {"eth0": ["fe80::2/64"]}
    assert foreign(changed("endpoints", "write", "address", "2001:db9::100"), present) == []


@pytest.mark.parametrize(
    "present",
    [
        {},
        {"eth0": []},
        {"eth1": ["192.0.9.1/24"]},
        # As clouds have it.
        {"eth0": ["192.0.9.1/32"]},
        {"eth0": ["2001:db8::2/64"]},
        # What keepalived has put there is a network of none but itself, and judges nothing.
        {"eth0": ["192.0.2.1/255.255.255.255"]},
    ],
)
def test_an_interface_without_a_network_is_not_judged(present: dict[str, list[str]]) -> None:
    assert foreign(PILLAR, present) == []


def test_any_network_of_the_interface_will_do() -> None:
    assert foreign(PILLAR, {"eth0": ["10.0.0.1/8", "192.0.2.9/28", "192.0.2.9/24"]}) == []


def test_many_are_not_told_one_by_one() -> None:
    pillar = changed("endpoints", "write", {"group": ["10.1.0.1-200 80"], "serves": "all"})
    found = foreign(pillar)
    assert len(found) == 11
    assert found[0].startswith("mysql_ha:endpoints:write: 10.1.0.1 ")
    assert found[-1] == "and 190 more such addresses"
