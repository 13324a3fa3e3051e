"""
Generic netlink: messages, attributes, transport. Knows nothing of Salt, and of IPVS only the family's name; how its
attributes are laid out is in ipvs_codec.

Layouts: netlink(7), uapi/linux/netlink.h, uapi/linux/genetlink.h. All integers are in the host's byte order.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

NETLINK_GENERIC = 16
GENL_ID_CTRL = 0x10
CTRL_CMD_GETFAMILY = 3
CTRL_ATTR_FAMILY_ID = 1
CTRL_ATTR_FAMILY_NAME = 2
IPVS_FAMILY = "IPVS"
IPVS_VERSION = 1

NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 1, 2, 3, 4
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLA_TYPE_MASK = 0x3FFF

MESSAGE = struct.Struct("=IHHII")  # length, type, flags, sequence, port
GENERIC = struct.Struct("=BBH")  # command, version, reserved
ATTRIBUTE = struct.Struct("=HH")  # length, type
ERROR = struct.Struct("=i")

# The largest dump part is 32 KiB; a smaller buffer loses the rest of a datagram without a word.
RECEIVE_BYTES = 64 * 1024
ANSWER_SECONDS = 10.0
# Each failure is answered by a datagram of its own, and the default receive buffer holds 256 of them.
BATCH = 200


class NetlinkError(Exception):
    """The kernel refused, or said something that cannot be understood.

    ``errno`` is the kernel's error number, or 0 for what is not the kernel's refusal.
    """

    def __init__(self, message: str, number: int = 0) -> None:
        super().__init__(message)
        self.errno = number

    @property
    def name(self) -> str:
        """The symbolic name of the error number, such as ESRCH; empty without one."""
        return errno.errorcode.get(self.errno, str(self.errno)) if self.errno else ""


class Message(NamedTuple):
    """One netlink message, its header taken apart."""

    kind: int
    flags: int
    sequence: int
    payload: bytes


# --- attributes ---


def attribute(number: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    length = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(length, number) + value + b"\0" * (-length % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in ``data`` by number, flags of the number removed; NetlinkError for a broken run."""
    found: dict[int, bytes] = {}
    place = 0
    while len(data) - place >= ATTRIBUTE.size:
        length, number = ATTRIBUTE.unpack_from(data, place)
        if length < ATTRIBUTE.size or place + length > len(data):
            raise NetlinkError(f"broken attribute at byte {place}: length {length}, {len(data) - place} bytes left")
        found[number & NLA_TYPE_MASK] = data[place + ATTRIBUTE.size : place + length]
        place += length + (-length % 4)
    return found


# --- messages ---


def request(kind: int, command: int, payload: bytes, flags: int, sequence: int) -> bytes:
    """One generic netlink request."""
    body = GENERIC.pack(command, IPVS_VERSION, 0) + payload
    return MESSAGE.pack(MESSAGE.size + len(body), kind, NLM_F_REQUEST | flags, sequence, 0) + body


def noop(sequence: int) -> bytes:
    """A request to do nothing, which the kernel acknowledges."""
    return MESSAGE.pack(MESSAGE.size, NLMSG_NOOP, NLM_F_REQUEST | NLM_F_ACK, sequence, 0)


def messages(data: bytes) -> Iterator[Message]:
    """The messages in one datagram; NetlinkError when they do not fill it properly."""
    place = 0
    while place < len(data):
        if len(data) - place < MESSAGE.size:
            raise NetlinkError(f"truncated message: {len(data) - place} bytes left, a header has {MESSAGE.size}")
        length, kind, flags, sequence, _ = MESSAGE.unpack_from(data, place)
        if length < MESSAGE.size or place + length > len(data):
            raise NetlinkError(f"truncated message: says {length} bytes, {len(data) - place} are there")
        yield Message(kind, flags, sequence, data[place + MESSAGE.size : place + length])
        place += length + (-length % 4)


def error_number(payload: bytes) -> int:
    """The error in an NLMSG_ERROR payload, positive; 0 is an acknowledgement."""
    if len(payload) < ERROR.size:
        raise NetlinkError(f"truncated error message of {len(payload)} bytes")
    return -ERROR.unpack_from(payload)[0]


def generic_payload(payload: bytes) -> bytes:
    """What follows the generic netlink header."""
    if len(payload) < GENERIC.size:
        raise NetlinkError(f"truncated generic netlink message of {len(payload)} bytes")
    return payload[GENERIC.size :]


# --- transport ---


class Connection:
    """A conversation with the kernel's IPVS, for as long as a ``with`` block lasts.

    Raises NetlinkError; with ``errno`` ENOENT when this kernel has no IPVS loaded, EPERM without
    CAP_NET_ADMIN in the initial user namespace (which even reading needs).
    """

    def __init__(self, family: str = IPVS_FAMILY) -> None:
        self._family_name = family
        self._family = 0
        self._sequence = 0
        self._buffer = bytearray(RECEIVE_BYTES)

    def __enter__(self) -> Connection:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_GENERIC)
            self._socket.bind((0, 0))
        except OSError as error:
            raise NetlinkError(f"no netlink socket: {error}", error.errno or 0) from error
        self._socket.settimeout(ANSWER_SECONDS)
        try:
            self._family = self._resolve()
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def dump(self, command: int, payload: bytes = b"") -> list[bytes]:
        """Everything that a GET command lists, each entry as its attributes."""
        return list(self._talk(self._family, command, payload, NLM_F_DUMP))

    def ask(self, command: int, payload: bytes = b"") -> list[bytes]:
        """One command's answer; NetlinkError with the kernel's error number when it refuses."""
        return list(self._talk(self._family, command, payload, NLM_F_ACK, fenced=True))

    def batch(self, requests: Sequence[tuple[int, bytes]]) -> dict[int, int]:
        """
        Many commands in few messages to the kernel, in order; the error numbers of those that were refused, by place.

        The kernel goes on after a refusal. Only the last of each part asks for an acknowledgement: failures are
        answered anyway.
        """
        refused: dict[int, int] = {}
        for start in range(0, len(requests), BATCH):
            part = requests[start : start + BATCH]
            first = self._sequence + 1
            self._sequence += len(part)
            last = len(part) - 1
            data = b"".join(
                request(self._family, command, payload, NLM_F_ACK if place == last else 0, first + place)
                for place, (command, payload) in enumerate(part)
            )
            self._send(data)
            for message in self._receive():
                place = message.sequence - first
                if message.kind != NLMSG_ERROR or not 0 <= place <= last:
                    continue
                number = error_number(message.payload)
                if number:
                    refused[start + place] = number
                if place == last:
                    break
        return refused

    def _resolve(self) -> int:
        name = attribute(CTRL_ATTR_FAMILY_NAME, self._family_name.encode() + b"\0")
        for reply in self._talk(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, name, NLM_F_ACK):
            found = attributes(reply)
            if CTRL_ATTR_FAMILY_ID in found:
                return int.from_bytes(found[CTRL_ATTR_FAMILY_ID], sys.byteorder)
        raise NetlinkError(f"the kernel did not say which number the family {self._family_name} has")

    def _talk(self, kind: int, command: int, payload: bytes, flags: int, fenced: bool = False) -> Iterator[bytes]:
        """
        Send one request and yield its replies, up to the end of the dump or the acknowledgement.

        The kernel does not answer a request whose handler was interrupted (netlink_rcv_skb in af_netlink.c). The
        fence, a message that does nothing and is acknowledged, tells that from an answer that is to come: EINTR.
        """
        self._sequence += 1
        sequence = self._sequence
        data = request(kind, command, payload, flags, sequence)
        if fenced:
            self._sequence += 1
            data += noop(self._sequence)
        self._send(data)
        for message in self._receive():
            if fenced and message.sequence == self._sequence:
                raise NetlinkError(os.strerror(errno.EINTR), errno.EINTR)
            if message.sequence != sequence or message.kind == NLMSG_NOOP:
                continue
            if message.kind == NLMSG_DONE:
                return
            if message.kind == NLMSG_OVERRUN:
                raise NetlinkError("the kernel lost data (NLMSG_OVERRUN)")
            if message.kind == NLMSG_ERROR:
                number = error_number(message.payload)
                if number:
                    raise NetlinkError(os.strerror(number), number)
                return
            yield generic_payload(message.payload)

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise NetlinkError(f"the kernel took no request: {error}", error.errno or 0) from error

    def _receive(self) -> Iterator[Message]:
        while True:
            try:
                size, _, flags, _ = self._socket.recvmsg_into([self._buffer])
            except TimeoutError as error:
                raise NetlinkError(f"no answer from the kernel within {ANSWER_SECONDS:g} s") from error
            except OSError as error:
                raise NetlinkError(f"no answer from the kernel: {error}", error.errno or 0) from error
            if flags & socket.MSG_TRUNC:
                raise NetlinkError(f"an answer of the kernel was larger than {RECEIVE_BYTES} bytes")
            yield from messages(bytes(self._buffer[:size]))
