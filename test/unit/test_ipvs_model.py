"""A table in words."""

import socket

import pytest

import ipvs_model as model
import ipvs_rules as rules


def shown(name: str, **words: object) -> dict[str, object]:
    key = rules.service_key(name)
    return rules.service(key, words, name).as_dict(key.family)


def test_a_plain_service_shows_nothing_superfluous() -> None:
    table = rules.table({"tcp 192.168.1.100:3306": {"scheduler": "wrr", "servers": {"192.168.1.5": {"weight": 3}}}})
    assert model.table_as_dict(table) == {
        "tcp 192.168.1.100:3306": {"scheduler": "wrr", "servers": {
            "192.168.1.5:3306": {"forward": "dr", "weight": 3}}}}  # fmt: skip


def test_connections_are_shown_where_they_are_known() -> None:
    table = rules.table({"tcp 192.168.1.100:3306": {"servers": {"192.168.1.5": {}}}})
    key = next(iter(table))
    known = {(key, next(iter(table[key].servers))): model.Connections(1, 2, 3)}
    server = model.table_as_dict(table, known)[key.name]["servers"]["192.168.1.5:3306"]
    assert server == {"forward": "dr", "weight": 1, "active_connections": 1, "inactive_connections": 2,
                      "persistent_connections": 3}  # fmt: skip


@pytest.mark.parametrize("name", ["tcp 192.168.1.100:3306", "udp [2001:db8::1]:53", "sctp 192.0.2.1:0",
                                  "fwmark 4294967295 ipv4", "fwmark 1 ipv6"])  # fmt: skip
def test_names_are_read_as_they_are_shown(name: str) -> None:
    assert rules.service_key(name).name == name


@pytest.mark.parametrize(("scheduler", "flags"), [
    ("sh", ["sh-fallback", "sh-port"]), ("mh", ["mh-port"]), ("wrr", ["flag-1", "flag-3"]),
])  # fmt: skip
def test_scheduler_flags_have_the_schedulers_words(scheduler: str, flags: list[str]) -> None:
    words = shown("tcp 192.0.2.1:80", scheduler=scheduler, scheduler_flags=flags)
    assert words == {"scheduler": scheduler, "scheduler_flags": flags}


def test_persistence_in_both_families() -> None:
    assert shown("tcp 192.0.2.1:80", persistence_timeout=300, persistence_netmask=24) == {
        "scheduler": "wlc", "persistence_timeout": 300, "persistence_netmask": "255.255.255.0"}  # fmt: skip
    assert shown("tcp [2001:db8::1]:80", persistence_timeout=300, persistence_netmask=64) == {
        "scheduler": "wlc", "persistence_timeout": 300, "persistence_netmask": 64}  # fmt: skip
    assert shown("tcp 192.0.2.1:80", persistence_timeout=300, persistence_netmask="255.0.255.0") == {
        "scheduler": "wlc", "persistence_timeout": 300, "persistence_netmask": "255.0.255.0"}  # fmt: skip


def test_an_unknown_number_is_shown_as_it_is() -> None:
    assert model.Server(9, 1, 0, 0, 0, 0, 0).as_dict() == {"forward": "9", "weight": 1}
    assert model.ServiceKey(socket.AF_INET, 132, bytes([192, 0, 2, 1]), 80, 0).name == "sctp 192.0.2.1:80"
    assert model.ServiceKey(socket.AF_INET, 1, bytes([192, 0, 2, 1]), 80, 0).name == "1 192.0.2.1:80"
