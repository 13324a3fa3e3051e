"""
The kernel's "IPVS" generic netlink family: messages, attributes, transport. Knows nothing of Salt, and of
IPVS only how its attributes are laid out; what they mean is in ipvs_model.

Layouts: netlink(7), uapi/linux/netlink.h, uapi/linux/genetlink.h, uapi/linux/ip_vs.h. All integers are in
the host's byte order unless an attribute says otherwise.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

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

CMD_NEW_SERVICE, CMD_GET_SERVICE, CMD_NEW_DEST, CMD_GET_DEST = 1, 4, 5, 8
ATTR_SERVICE, ATTR_DEST = 1, 2

MESSAGE = struct.Struct("=IHHII")  # length, type, flags, sequence, port
GENERIC = struct.Struct("=BBH")  # command, version, reserved
ATTRIBUTE = struct.Struct("=HH")  # length, type
ERROR = struct.Struct("=i")

# The largest dump part is 32 KiB; a smaller buffer loses the rest of a datagram without a word.
RECEIVE_BYTES = 64 * 1024
ANSWER_SECONDS = 10.0


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


def _integer(form: str) -> Callable[[bytes], int]:
    layout = struct.Struct(form)

    def decode(value: bytes) -> int:
        if len(value) != layout.size:
            raise NetlinkError(f"broken attribute: {len(value)} bytes where {layout.size} belong")
        return layout.unpack(value)[0]

    return decode


def _text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode("ascii", errors="replace")


def _statistics(value: bytes) -> dict[str, int]:
    return decode(value, STATISTICS)


U8, U16, U32, U64, BE16 = (_integer(form) for form in ("=B", "=H", "=I", "=Q", ">H"))


def _flags(value: bytes) -> int:
    if len(value) != 8:
        raise NetlinkError(f"broken flags: {len(value)} bytes where 8 belong")
    return struct.unpack("=II", value)[0]


Decoder = Callable[[bytes], Any]
STATISTICS: dict[int, tuple[str, Decoder]] = {
    1: ("connections", U64), 2: ("packets_in", U64), 3: ("packets_out", U64), 4: ("bytes_in", U64),
    5: ("bytes_out", U64), 6: ("connections_rate", U64), 7: ("packets_in_rate", U64),
    8: ("packets_out_rate", U64), 9: ("bytes_in_rate", U64), 10: ("bytes_out_rate", U64),
}  # fmt: skip
SERVICE: dict[int, tuple[str, Decoder]] = {
    1: ("family", U16), 2: ("protocol", U16), 3: ("address", bytes), 4: ("port", BE16), 5: ("fwmark", U32),
    6: ("scheduler", _text), 7: ("flags", _flags), 8: ("timeout", U32), 9: ("netmask", bytes),
    11: ("engine", _text), 12: ("statistics", _statistics),
}  # fmt: skip
DESTINATION: dict[int, tuple[str, Decoder]] = {
    1: ("address", bytes), 2: ("port", BE16), 3: ("method", U32), 4: ("weight", U32), 5: ("upper_threshold", U32),
    6: ("lower_threshold", U32), 7: ("active", U32), 8: ("inactive", U32), 9: ("persistent", U32),
    11: ("family", U16), 12: ("statistics", _statistics), 13: ("tunnel_type", U8), 14: ("tunnel_port", BE16),
    15: ("tunnel_flags", U16),
}  # fmt: skip


def decode(data: bytes, table: dict[int, tuple[str, Decoder]]) -> dict[str, Any]:
    """The attributes that ``table`` knows, by name; others (padding, newer kernels') are passed over."""
    return {
        name: decoder(value)
        for number, value in attributes(data).items()
        if number in table
        for name, decoder in [table[number]]
    }


# --- messages ---


def request(kind: int, command: int, payload: bytes, flags: int, sequence: int) -> bytes:
    """One generic netlink request."""
    body = GENERIC.pack(command, IPVS_VERSION, 0) + payload
    return MESSAGE.pack(MESSAGE.size + len(body), kind, NLM_F_REQUEST | flags, sequence, 0) + body


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

    def _resolve(self) -> int:
        name = attribute(CTRL_ATTR_FAMILY_NAME, self._family_name.encode() + b"\0")
        for reply in self._talk(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, name, NLM_F_ACK):
            found = attributes(reply)
            if CTRL_ATTR_FAMILY_ID in found:
                return U16(found[CTRL_ATTR_FAMILY_ID])
        raise NetlinkError(f"the kernel did not say which number the family {self._family_name} has")

    def _talk(self, kind: int, command: int, payload: bytes, flags: int) -> Iterator[bytes]:
        """Send one request and yield its replies, up to the end of the dump or the acknowledgement."""
        self._sequence += 1
        try:
            self._socket.send(request(kind, command, payload, flags, self._sequence))
        except OSError as error:
            raise NetlinkError(f"the kernel took no request: {error}", error.errno or 0) from error
        for message in self._receive():
            if message.sequence != self._sequence or message.kind == NLMSG_NOOP:
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


def services(connection: Connection) -> list[dict[str, Any]]:
    """The attributes of every virtual service."""
    return [decode(_nest(reply, ATTR_SERVICE), SERVICE) for reply in connection.dump(CMD_GET_SERVICE)]


def destinations(connection: Connection, key: bytes) -> list[dict[str, Any]]:
    """The attributes of every real server of the service with this key (see ``service_key``)."""
    replies: Iterable[bytes] = connection.dump(CMD_GET_DEST, attribute(ATTR_SERVICE, key))
    return [decode(_nest(reply, ATTR_DEST), DESTINATION) for reply in replies]


def service_key(service: dict[str, Any]) -> bytes:
    """The attributes that name a service: family and fwmark, or family, protocol, address and port."""
    key = attribute(1, struct.pack("=H", service["family"]))
    if "fwmark" in service:
        return key + attribute(5, struct.pack("=I", service["fwmark"]))
    return (
        key
        + attribute(2, struct.pack("=H", service["protocol"]))
        + attribute(3, service["address"])
        + attribute(4, struct.pack(">H", service["port"]))
    )


def _nest(reply: bytes, number: int) -> bytes:
    found = attributes(reply)
    if number not in found:
        raise NetlinkError(f"an answer of the kernel lacks attribute {number}")
    return found[number]
