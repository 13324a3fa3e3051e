"""From the kernel's attributes to services in the field's words."""

import ipaddress
import socket
import struct
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ipvs_model
import ipvs_netlink

TCP = {
    "family": socket.AF_INET, "protocol": 6, "address": bytes([192, 168, 1, 100]) + bytes(12), "port": 3306,
    "scheduler": "wrr", "flags": 2, "timeout": 0, "netmask": b"\xff\xff\xff\xff",
}  # fmt: skip
MYSQL1 = {
    "address": bytes([192, 168, 1, 5]) + bytes(12), "port": 3306, "method": 3, "weight": 3, "upper_threshold": 0,
    "lower_threshold": 0, "active": 1, "inactive": 2, "persistent": 0, "family": socket.AF_INET,
}  # fmt: skip


def test_a_plain_service_shows_nothing_superfluous() -> None:
    service = ipvs_model.service(TCP, [MYSQL1])
    assert service.name == "tcp 192.168.1.100:3306"
    assert service.as_dict() == {"scheduler": "wrr", "servers": {"192.168.1.5:3306": {
        "forward": "dr", "weight": 3, "active_connections": 1, "inactive_connections": 2}}}  # fmt: skip


def test_ipv6_stands_in_brackets() -> None:
    address = ipaddress.ip_address("2001:db8::1").packed
    raw = TCP | {"family": socket.AF_INET6, "address": address, "netmask": struct.pack("=I", 128)}
    assert ipvs_model.service(raw).name == "tcp [2001:db8::1]:3306"


@pytest.mark.parametrize(
    ("family", "name"), [(socket.AF_INET, "fwmark 4294967295 ipv4"), (socket.AF_INET6, "fwmark 4294967295 ipv6")]
)
def test_a_firewall_mark_names_its_family(family: int, name: str) -> None:
    raw = {"family": family, "fwmark": 2**32 - 1, "scheduler": "rr", "flags": 0, "timeout": 0, "netmask": bytes(4)}
    assert ipvs_model.service(raw).name == name


@pytest.mark.parametrize(("family", "netmask", "prefix"), [
    (socket.AF_INET, b"\xff\xff\xff\x00", 24),
    (socket.AF_INET, b"\xff\xff\xff\xff", 32),
    (socket.AF_INET6, struct.pack("=I", 64), 64),
])  # fmt: skip
def test_the_netmask_of_persistence(family: int, netmask: bytes, prefix: int) -> None:
    raw = TCP | {"family": family, "flags": 1, "timeout": 300, "netmask": netmask, "engine": "sip"}
    assert ipvs_model.service(raw).persistence == ipvs_model.Persistence(300, prefix, "sip")


def test_a_timeout_without_persistence_is_not_shown() -> None:
    assert ipvs_model.service(TCP | {"timeout": 300}).persistence is None


@pytest.mark.parametrize(("scheduler", "flags", "names"), [
    ("sh", 0x18, ("sh-fallback", "sh-port")), ("mh", 0x10, ("mh-port",)), ("wrr", 0x28, ("flag-1", "flag-3")),
    ("rr", 0, ()),
])  # fmt: skip
def test_scheduler_flags_have_the_schedulers_words(scheduler: str, flags: int, names: tuple[str, ...]) -> None:
    assert ipvs_model.service(TCP | {"scheduler": scheduler, "flags": flags}).scheduler_flags == names


def test_a_tunnel_shows_its_options() -> None:
    raw = MYSQL1 | {"method": 2, "tunnel_type": 1, "tunnel_port": 6080, "tunnel_flags": 1, "upper_threshold": 9}
    assert ipvs_model.server(raw, socket.AF_INET).as_dict() == {
        "forward": "tunnel", "weight": 3, "active_connections": 1, "inactive_connections": 2, "upper_threshold": 9,
        "tunnel": "gue", "tunnel_port": 6080, "tunnel_flags": ["csum"]}  # fmt: skip


def test_a_server_without_a_family_has_its_services() -> None:
    raw = {key: value for key, value in MYSQL1.items() if key != "family"}
    assert ipvs_model.server(raw, socket.AF_INET).name == "192.168.1.5:3306"


@pytest.mark.parametrize("field", ["family", "protocol", "address", "port", "scheduler", "flags"])
def test_a_service_that_lacks_a_field_is_an_error_that_names_it(field: str) -> None:
    raw = {key: value for key, value in TCP.items() if key != field}
    with pytest.raises(ipvs_netlink.NetlinkError, match=field):
        ipvs_model.service(raw)


@given(st.integers(0, 2**16 - 1), st.binary(max_size=20))
def test_nonsense_addresses_are_errors(family: int, data: bytes) -> None:
    try:
        address = ipvs_model.address(family, data)
    except ipvs_netlink.NetlinkError:
        return
    assert address.packed == data[: len(address.packed)]


def test_a_service_that_a_dump_missed_is_seen_by_reading_again(monkeypatch: pytest.MonkeyPatch) -> None:
    other = TCP | {"port": 3307}
    readings = iter([[TCP], [TCP, other], [TCP, other]])

    @contextmanager
    def no_connection():
        yield None

    monkeypatch.setattr(ipvs_netlink, "Connection", no_connection)
    monkeypatch.setattr(ipvs_netlink, "services", lambda _: next(readings))
    monkeypatch.setattr(ipvs_netlink, "destinations", lambda *_: [])
    assert [one.port for one in ipvs_model.read()] == [3306, 3307]
