"""The codec against bytes laid out by hand, and the transport against this machine's own kernel."""

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ipvs_netlink as nl

# The service tcp 192.168.1.100:3306, wrr, as uapi/linux/ip_vs.h lays it out (little-endian machine).
SERVICE = (
    b"\x06\x00\x01\x00" + struct.pack("=H", 2) + b"\0\0"  # AF
    b"\x06\x00\x02\x00" + struct.pack("=H", 6) + b"\0\0"  # PROTOCOL
    b"\x14\x00\x03\x00" + bytes([192, 168, 1, 100]) + bytes(12)  # ADDR, 16 bytes
    + b"\x06\x00\x04\x00" + bytes([0x0C, 0xEA]) + b"\0\0"  # PORT, network order
    b"\x08\x00\x06\x00" + b"wrr\0"  # SCHED_NAME
    b"\x0c\x00\x07\x00" + struct.pack("=II", 2, 0xFFFFFFFF)  # FLAGS, mask
    + b"\x08\x00\x08\x00" + struct.pack("=I", 0)  # TIMEOUT
    + b"\x08\x00\x09\x00" + b"\xff\xff\xff\xff"  # NETMASK
)  # fmt: skip


def test_a_service_is_decoded() -> None:
    assert nl.decode(SERVICE, nl.SERVICE) == {
        "family": 2, "protocol": 6, "address": bytes([192, 168, 1, 100]) + bytes(12), "port": 3306,
        "scheduler": "wrr", "flags": 2, "timeout": 0, "netmask": b"\xff\xff\xff\xff",
    }  # fmt: skip


def test_unknown_attributes_are_passed_over() -> None:
    assert nl.decode(SERVICE + nl.attribute(99, b"new"), nl.SERVICE) == nl.decode(SERVICE, nl.SERVICE)


def test_statistics_have_64_bits_and_may_be_padded() -> None:
    nest = nl.attribute(11, b"") + nl.attribute(4, struct.pack("=Q", 2**40))
    assert nl.decode(nl.attribute(12, nest), nl.SERVICE) == {"statistics": {"bytes_in": 2**40}}


def test_the_key_of_a_service_is_what_the_kernel_wants() -> None:
    raw = nl.decode(SERVICE, nl.SERVICE)
    assert nl.attributes(nl.service_key(raw)) == {
        1: struct.pack("=H", 2), 2: struct.pack("=H", 6), 3: raw["address"], 4: b"\x0c\xea"}  # fmt: skip
    assert nl.attributes(nl.service_key({"family": 10, "fwmark": 2**32 - 1})) == {
        1: struct.pack("=H", 10), 5: b"\xff\xff\xff\xff"}  # fmt: skip


@given(st.dictionaries(st.integers(0, nl.NLA_TYPE_MASK), st.binary(max_size=300), max_size=20))
def test_attributes_round_trip(wanted: dict[int, bytes]) -> None:
    assert nl.attributes(b"".join(nl.attribute(number, value) for number, value in wanted.items())) == wanted


@given(st.binary(max_size=400))
def test_arbitrary_bytes_give_values_or_the_codecs_own_error(data: bytes) -> None:
    for table in (nl.SERVICE, nl.DESTINATION, nl.STATISTICS):
        try:
            nl.decode(data, table)
        except nl.NetlinkError as error:
            assert str(error)
    try:
        for message in nl.messages(data):
            nl.generic_payload(message.payload)
            nl.error_number(message.payload)
    except nl.NetlinkError as error:
        assert str(error)


@given(st.integers(1, len(SERVICE) - 1))
def test_a_truncated_service_is_never_taken_for_a_whole_one(length: int) -> None:
    try:
        found = nl.decode(SERVICE[:length], nl.SERVICE)
    except nl.NetlinkError:
        return
    assert len(found) < 8


def test_truncated_messages_are_told() -> None:
    whole = nl.request(20, 4, b"", nl.NLM_F_DUMP, 7)
    assert [message.sequence for message in nl.messages(whole * 3)] == [7, 7, 7]
    with pytest.raises(nl.NetlinkError, match="truncated message"):
        list(nl.messages(whole[:-1]))
    with pytest.raises(nl.NetlinkError, match="truncated message: 5 bytes left"):
        list(nl.messages(whole + b"12345"))


def test_a_message_of_length_zero_does_not_hang() -> None:
    with pytest.raises(nl.NetlinkError, match="says 0 bytes"):
        list(nl.messages(bytes(32)))


def test_errors_have_the_kernels_names() -> None:
    assert nl.error_number(struct.pack("=i", -errno.ESRCH) + bytes(16)) == errno.ESRCH
    assert nl.error_number(bytes(20)) == 0
    assert nl.NetlinkError("", errno.ESRCH).name == "ESRCH"
    assert nl.NetlinkError("").name == ""


# Every Linux kernel has the family "nlctrl", so the transport meets a real one here.


def test_the_kernel_resolves_a_family_and_lists_all() -> None:
    with nl.Connection("nlctrl") as connection:
        names = {nl.attributes(entry)[nl.CTRL_ATTR_FAMILY_NAME] for entry in connection.dump(nl.CTRL_CMD_GETFAMILY)}
    assert b"nlctrl\0" in names


def test_an_unknown_family_is_enoent() -> None:
    with pytest.raises(nl.NetlinkError) as caught, nl.Connection("NO_SUCH_FAMILY"):
        pass
    assert caught.value.name == "ENOENT"
