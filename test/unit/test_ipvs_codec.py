"""The kernel's layouts, against bytes laid out by hand and against any bytes; the kernel itself is in the lab."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ipvs_codec as codec
import ipvs_model as model
import ipvs_rules as rules
from ipvs_netlink import NetlinkError, attribute, attributes
from ipvs_strategies import tables

VIP = bytes([192, 168, 1, 100])
MYSQL1 = bytes([192, 168, 1, 5])
KEY = model.ServiceKey(socket.AF_INET, 6, VIP, 3306, 0)


def u16(number: int, value: int) -> bytes:
    return attribute(number, struct.pack("=H", value))


def u32(number: int, value: int) -> bytes:
    return attribute(number, struct.pack("=I", value))


# The service tcp 192.168.1.100:3306, wrr, as uapi/linux/ip_vs.h lays it out.
SERVICE_PARTS = {
    1: u16(1, 2), 2: u16(2, 6), 3: attribute(3, VIP + bytes(12)), 4: attribute(4, b"\x0c\xea"),
    6: attribute(6, b"wrr\0"), 7: attribute(7, struct.pack("=II", 2, 0xFFFFFFFF)), 8: u32(8, 0),
    9: attribute(9, b"\xff\xff\xff\xff"),
}  # fmt: skip
SERVER_PARTS = {
    1: attribute(1, MYSQL1 + bytes(12)), 2: attribute(2, b"\x0c\xea"), 3: u32(3, 3), 4: u32(4, 3), 5: u32(5, 9),
    6: u32(6, 4), 7: u32(7, 1), 8: u32(8, 2), 9: u32(9, 0), 10: attribute(10, bytes(60)), 11: u16(11, 2),
}  # fmt: skip


def service_reply(**changes: bytes) -> bytes:
    return attribute(codec.SERVICE, b"".join({**SERVICE_PARTS, **changes}.values()))


def server_reply(parts: dict[int, bytes]) -> bytes:
    return attribute(codec.DEST, b"".join(parts.values()))


def test_a_service_is_decoded() -> None:
    assert codec.service_of(service_reply()) == (KEY, model.Service("wrr", 0, 0, model.WHOLE_IPV4, ""))


def test_a_server_is_decoded() -> None:
    key, server, connections = codec.server_of(server_reply(SERVER_PARTS), socket.AF_INET)
    assert key == model.ServerKey(MYSQL1, 3306)
    assert server == model.Server(model.DR, 3, 9, 4, 0, 0, 0)
    assert connections == model.Connections(1, 2, 0)


def test_a_server_without_a_family_has_its_services() -> None:
    parts = {number: part for number, part in SERVER_PARTS.items() if number != 11}
    assert codec.server_of(server_reply(parts), socket.AF_INET)[0].address == MYSQL1


def test_a_tunnels_options_are_decoded_and_those_of_others_are_not() -> None:
    tunnel = {**SERVER_PARTS, 3: u32(3, 2), 13: attribute(13, b"\1"), 14: attribute(14, b"\x17\xc0"), 15: u16(15, 1)}
    assert codec.server_of(server_reply(tunnel), 2)[1] == model.Server(model.TUNNEL, 3, 9, 4, model.GUE, 6080, 1)
    assert codec.server_of(server_reply({**tunnel, 3: u32(3, 3)}), 2)[1] == model.Server(model.DR, 3, 9, 4, 0, 0, 0)


def test_unknown_attributes_are_passed_over() -> None:
    assert codec.service_of(service_reply(new=attribute(99, b"new"))) == codec.service_of(service_reply())
    parts = {99: attribute(99, b"new"), **SERVER_PARTS}
    assert codec.server_of(server_reply(parts), 2) == codec.server_of(server_reply(SERVER_PARTS), 2)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 7])
def test_a_service_that_lacks_something_is_an_error(number: int) -> None:
    parts = b"".join(part for other, part in SERVICE_PARTS.items() if other != number)
    with pytest.raises(NetlinkError, match="lacks its"):
        codec.service_of(attribute(codec.SERVICE, parts))


@pytest.mark.parametrize("number", range(1, 10))
def test_a_server_that_lacks_something_is_an_error(number: int) -> None:
    with pytest.raises(NetlinkError):
        codec.server_of(server_reply({other: part for other, part in SERVER_PARTS.items() if other != number}), 2)


def test_statistics_have_64_bits_and_may_be_padded() -> None:
    counters = attribute(11, b"") + attribute(4, struct.pack("=Q", 2**40)) + attribute(6, struct.pack("=Q", 7))
    reply = attribute(codec.SERVICE, b"".join(SERVICE_PARTS.values()) + attribute(12, counters))
    assert codec.statistics_of(reply, codec.SERVICE) == {"bytes_in": 2**40, "connections_per_second": 7}
    assert codec.statistics_of(service_reply(), codec.SERVICE) == {}


def test_the_key_of_a_service_is_what_the_kernel_wants() -> None:
    assert attributes(codec.service_key(KEY)) == {
        1: struct.pack("=H", 2), 2: struct.pack("=H", 6), 3: VIP, 4: b"\x0c\xea"}  # fmt: skip
    mark = model.ServiceKey(socket.AF_INET6, 0, b"", 0, 2**32 - 1)
    assert attributes(codec.service_key(mark)) == {1: struct.pack("=H", 10), 5: b"\xff\xff\xff\xff"}


def test_netmasks_are_in_network_order_for_ipv4_and_a_prefix_for_ipv6() -> None:
    service = model.Service("rr", model.PERSISTENT, 300, 0xFFFFFF00, "")
    nest = attributes(attributes(codec.service_set(KEY, service))[codec.SERVICE])
    assert nest[9] == b"\xff\xff\xff\x00"
    key6 = model.ServiceKey(socket.AF_INET6, 6, b" \x01\r\xb8" + bytes(11) + b"\1", 80, 0)
    nest = attributes(attributes(codec.service_set(key6, service._replace(netmask=64)))[codec.SERVICE])
    assert nest[9] == struct.pack("=I", 64)


@given(tables)
def test_what_is_sent_is_what_the_kernel_would_tell(wanted: dict) -> None:
    """The kernel's replies have the layout of our requests, with counters and addresses of 16 bytes."""
    for key, entry in rules.table(wanted).items():
        assert codec.service_of(codec.service_set(key, entry.service)) == (key, entry.service)
        for own, server in entry.servers.items():
            sent = attributes(codec.server_set(codec.service_named(key), own, server))
            nest = sent[codec.DEST] + u32(7, 1) + u32(8, 2) + u32(9, 3)
            told = codec.server_of(attribute(codec.DEST, nest), key.family)
            assert told == (own, server, model.Connections(1, 2, 3))


@given(st.binary(max_size=300), st.sampled_from([codec.SERVICE, codec.DEST, codec.DAEMON]))
def test_arbitrary_bytes_give_values_or_the_codecs_own_error(data: bytes, number: int) -> None:
    for reply in (data, attribute(number, data)):
        for decode in (
            codec.service_of, codec.daemon_of, codec.info_of, codec.timeouts_of,
            lambda given: codec.server_of(given, socket.AF_INET),
            lambda given: codec.statistics_of(given, codec.SERVICE),
        ):  # fmt: skip
            try:
                decode(reply)
            except NetlinkError as error:
                assert str(error)


@given(st.integers(0, 200), st.data())
def test_a_truncated_description_is_never_taken_for_another(length: int, data: st.DataObject) -> None:
    for reply, decode in (
        (server_reply(SERVER_PARTS), lambda given: codec.server_of(given, 2)),
        (service_reply(), codec.service_of),
    ):
        nest = attributes(reply)[codec.DEST if decode is not codec.service_of else codec.SERVICE]
        cut = attribute(codec.DEST if decode is not codec.service_of else codec.SERVICE, nest[: min(length, len(nest))])
        try:
            found = decode(cut)
        except NetlinkError:
            continue
        assert found[0] == decode(reply)[0]
