"""Generic netlink: messages and attributes from any bytes, and the transport against this machine's own kernel."""

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ipvs_netlink as nl


@given(st.dictionaries(st.integers(0, nl.NLA_TYPE_MASK), st.binary(max_size=300), max_size=20))
def test_attributes_round_trip(wanted: dict[int, bytes]) -> None:
    assert nl.attributes(b"".join(nl.attribute(number, value) for number, value in wanted.items())) == wanted


@given(st.binary(max_size=400))
def test_arbitrary_bytes_give_messages_or_the_codecs_own_error(data: bytes) -> None:
    try:
        nl.attributes(data)
    except nl.NetlinkError as error:
        assert str(error)
    try:
        for message in nl.messages(data):
            nl.generic_payload(message.payload)
            nl.error_number(message.payload)
    except nl.NetlinkError as error:
        assert str(error)


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
    assert caught.value.errno == errno.ENOENT


def test_of_many_commands_those_that_failed_are_named_by_their_place() -> None:
    name = nl.attribute(nl.CTRL_ATTR_FAMILY_NAME, b"nlctrl\0")
    unknown = nl.attribute(nl.CTRL_ATTR_FAMILY_NAME, b"NO_SUCH_FAMILY\0")
    with nl.Connection("nlctrl") as connection:
        wrong = {3, nl.BATCH - 1, nl.BATCH, 2 * nl.BATCH + 5}
        asked = [(nl.CTRL_CMD_GETFAMILY, unknown if place in wrong else name) for place in range(2 * nl.BATCH + 6)]
        assert connection.batch(asked) == dict.fromkeys(wrong, errno.ENOENT)
        # And the conversation goes on in step.
        assert connection.ask(nl.CTRL_CMD_GETFAMILY, name)
        assert connection.batch([]) == {}


class Played:
    """A socket that plays back datagrams."""

    def __init__(self, *datagrams: bytes) -> None:
        self.datagrams = list(datagrams)

    def send(self, data: bytes) -> None:
        pass

    def recvmsg_into(self, buffers: list[bytearray]) -> tuple[int, list[object], int, None]:
        data = self.datagrams.pop(0)
        buffers[0][: len(data)] = data
        return len(data), [], 0, None


def played(*datagrams: bytes) -> nl.Connection:
    connection = nl.Connection()
    connection._socket = Played(*datagrams)
    connection._family = 20
    return connection


def message(kind: int, sequence: int, payload: bytes = b"") -> bytes:
    return nl.MESSAGE.pack(nl.MESSAGE.size + len(payload), kind, 0, sequence, 0) + payload


def test_a_dump_with_others_messages_in_between() -> None:
    entry = nl.GENERIC.pack(1, 1, 0) + b"entry!!!"
    connection = played(
        message(20, 1, entry) + message(20, 99, entry), message(nl.NLMSG_NOOP, 1), message(20, 1, entry),
        message(nl.NLMSG_DONE, 98), message(nl.NLMSG_DONE, 1),
    )  # fmt: skip
    assert connection.dump(4) == [b"entry!!!", b"entry!!!"]


def test_a_lost_part_of_a_dump_is_an_error() -> None:
    with pytest.raises(nl.NetlinkError, match="lost data"):
        played(message(nl.NLMSG_OVERRUN, 1)).dump(4)


def test_a_truncated_dump_is_an_error() -> None:
    whole = message(20, 1, nl.GENERIC.pack(1, 1, 0) + b"entry!!!")
    with pytest.raises(nl.NetlinkError, match="truncated message"):
        played(whole + whole[:10]).dump(4)


def test_a_request_that_the_kernel_does_not_answer_is_eintr_and_no_wait() -> None:
    connection = played(*(message(nl.NLMSG_ERROR, sequence, bytes(20)) for sequence in (2, 3, 4)))
    with pytest.raises(nl.NetlinkError) as caught:
        connection.ask(11)
    assert caught.value.name == "EINTR"
    assert connection.ask(11) == []


def test_the_kernel_acknowledges_the_fence() -> None:
    with nl.Connection("nlctrl") as connection:
        connection._send(nl.noop(77))
        answer = next(message for message in connection._receive() if message.sequence == 77)
    assert (answer.kind, nl.error_number(answer.payload)) == (nl.NLMSG_ERROR, 0)
