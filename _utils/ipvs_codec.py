"""
The kernel's "IPVS" generic netlink family: how services, servers, daemons and counters are laid out. Knows nothing of
Salt.

Numbers and layouts: uapi/linux/ip_vs.h, net/netfilter/ipvs/ip_vs_ctl.c (the policies). Integers are in the host's byte
order; ports and an IPv4 netmask are in network order, a daemon's port is not.
"""

from __future__ import annotations

import operator
import socket
import struct
import sys
from typing import Any

import ipvs_model as model
from ipvs_model import Connections, Daemon, Server, ServerKey, Service, ServiceKey, Timeouts
from ipvs_netlink import ATTRIBUTE, NLA_TYPE_MASK, NetlinkError, attribute, attributes

NEW_SERVICE, SET_SERVICE, DEL_SERVICE, GET_SERVICE = 1, 2, 3, 4
NEW_DEST, SET_DEST, DEL_DEST, GET_DEST = 5, 6, 7, 8
NEW_DAEMON, DEL_DAEMON, GET_DAEMON = 9, 10, 11
SET_CONFIG, GET_CONFIG, GET_INFO, ZERO, FLUSH = 12, 13, 15, 16, 17
SERVICE, DEST, DAEMON = 1, 2, 3

_SVC_AF, _SVC_PROTOCOL, _SVC_ADDR, _SVC_PORT, _SVC_FWMARK, _SVC_SCHED = 1, 2, 3, 4, 5, 6
_SVC_FLAGS, _SVC_TIMEOUT, _SVC_NETMASK, _SVC_PE, _SVC_STATS64 = 7, 8, 9, 11, 12
_DEST_ADDR, _DEST_PORT, _DEST_METHOD, _DEST_WEIGHT, _DEST_UPPER, _DEST_LOWER = 1, 2, 3, 4, 5, 6
_DEST_ACTIVE, _DEST_INACTIVE, _DEST_PERSISTENT, _DEST_AF, _DEST_STATS64 = 7, 8, 9, 11, 12
_DEST_TUN_TYPE, _DEST_TUN_PORT, _DEST_TUN_FLAGS = 13, 14, 15
_DAEMON_STATE, _DAEMON_IFN, _DAEMON_ID, _DAEMON_MAXLEN = 1, 2, 3, 4
_DAEMON_GROUP, _DAEMON_GROUP6, _DAEMON_PORT, _DAEMON_TTL = 5, 6, 7, 8
STATES = {"master": 1, "backup": 2}
STATE_NAMES = {number: name for name, number in STATES.items()}
COUNTERS = {
    1: "connections", 2: "packets_in", 3: "packets_out", 4: "bytes_in", 5: "bytes_out",
    6: "connections_per_second", 7: "packets_in_per_second", 8: "packets_out_per_second",
    9: "bytes_in_per_second", 10: "bytes_out_per_second",
}  # fmt: skip
RATES = tuple(name for name in COUNTERS.values() if name.endswith("_per_second"))

_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")
_FLAGS = struct.Struct("=II")
# One attribute after another: length and number, value, padding.
_KEY_IPV4 = struct.Struct("=HHH2x HHH2x HH4s HH2s2x")
_KEY_IPV6 = struct.Struct("=HHH2x HHH2x HH16s HH2s2x")
_KEY_FWMARK = struct.Struct("=HHH2x HHI")
_SERVICE_END = struct.Struct("=HHII HHI HHI")
_DEST_IPV4 = struct.Struct("=HH4s HH2s2x HHH2x")
_DEST_IPV6 = struct.Struct("=HH16s HH2s2x HHH2x")
_DEST_END = struct.Struct("=HHI HHI HHI HHI")
_DEST_TUNNEL = struct.Struct("=HHB3x HH2s2x HHH2x")


# --- what is sent ---


def service_key(key: ServiceKey) -> bytes:
    """The attributes that name a service."""
    if key.fwmark:
        return _KEY_FWMARK.pack(6, _SVC_AF, key.family, 8, _SVC_FWMARK, key.fwmark)
    layout = _KEY_IPV4 if len(key.address) == 4 else _KEY_IPV6
    return layout.pack(
        6, _SVC_AF, key.family,
        6, _SVC_PROTOCOL, key.protocol,
        4 + len(key.address), _SVC_ADDR, key.address,
        6, _SVC_PORT, key.port.to_bytes(2, "big"),
    )  # fmt: skip


def service_named(key: ServiceKey) -> bytes:
    """What a command on a whole service carries."""
    return attribute(SERVICE, service_key(key))


def service_set(key: ServiceKey, service: Service) -> bytes:
    """What a command carries that makes or edits a service."""
    netmask = service.netmask
    if key.family == socket.AF_INET:
        netmask = int.from_bytes(netmask.to_bytes(4, "big"), sys.byteorder)
    nest = service_key(key) + attribute(_SVC_SCHED, service.scheduler.encode() + b"\0")
    nest += _SERVICE_END.pack(
        12, _SVC_FLAGS, service.flags, model.SETTABLE_FLAGS,
        8, _SVC_TIMEOUT, service.timeout,
        8, _SVC_NETMASK, netmask,
    )  # fmt: skip
    if service.engine:
        nest += attribute(_SVC_PE, service.engine.encode() + b"\0")
    return attribute(SERVICE, nest)


def server_named(service: bytes, key: ServerKey) -> bytes:
    """What the removal of a server carries; ``service`` is its service as ``service_named`` gives it."""
    return service + attribute(DEST, _server_key(key))


def server_set(service: bytes, key: ServerKey, server: Server) -> bytes:
    """What a command carries that makes or edits a server; ``service`` as above."""
    nest = _server_key(key) + _DEST_END.pack(
        8, _DEST_METHOD, server.method,
        8, _DEST_WEIGHT, server.weight,
        8, _DEST_UPPER, server.upper_threshold,
        8, _DEST_LOWER, server.lower_threshold,
    )  # fmt: skip
    if server.method == model.TUNNEL:
        nest += _DEST_TUNNEL.pack(
            5, _DEST_TUN_TYPE, server.tunnel,
            6, _DEST_TUN_PORT, server.tunnel_port.to_bytes(2, "big"),
            6, _DEST_TUN_FLAGS, server.tunnel_flags,
        )  # fmt: skip
    return service + attribute(DEST, nest)


def _server_key(key: ServerKey) -> bytes:
    layout, family = (_DEST_IPV4, socket.AF_INET) if len(key.address) == 4 else (_DEST_IPV6, socket.AF_INET6)
    return layout.pack(
        4 + len(key.address), _DEST_ADDR, key.address,
        6, _DEST_PORT, key.port.to_bytes(2, "big"),
        6, _DEST_AF, family,
    )  # fmt: skip


def timeouts_set(timeouts: Timeouts) -> bytes:
    """What the change of the timeouts carries; 0 keeps one."""
    return b"".join(attribute(number, _U32.pack(value)) for number, value in zip((4, 5, 6), timeouts, strict=True))


def daemon_set(daemon: Daemon) -> bytes:
    """What the start of a daemon carries; what is 0 or empty is left to the kernel."""
    nest = attribute(_DAEMON_STATE, _U32.pack(STATES[daemon.state]))
    nest += attribute(_DAEMON_IFN, daemon.interface.encode() + b"\0")
    nest += attribute(_DAEMON_ID, _U32.pack(daemon.sync_id))
    if daemon.max_length:
        nest += attribute(_DAEMON_MAXLEN, _U16.pack(daemon.max_length))
    if daemon.group:
        nest += attribute(_DAEMON_GROUP if len(daemon.group) == 4 else _DAEMON_GROUP6, daemon.group)
    if daemon.port:
        nest += attribute(_DAEMON_PORT, _U16.pack(daemon.port))
    if daemon.ttl:
        nest += attribute(_DAEMON_TTL, bytes([daemon.ttl]))
    return attribute(DAEMON, nest)


def daemon_named(state: str) -> bytes:
    """What the stop of a daemon carries."""
    return attribute(DAEMON, attribute(_DAEMON_STATE, _U32.pack(STATES[state])))


# --- what is received ---


def service_of(reply: bytes) -> tuple[ServiceKey, Service]:
    """A service from the kernel's description of it."""
    found = attributes(nest_of(reply, SERVICE))
    family = u16(found, _SVC_AF, "family")
    if family not in model.FAMILIES:
        raise NetlinkError(f"a service of the unknown address family {family}")
    if _SVC_FWMARK in found:
        key = ServiceKey(family, 0, b"", 0, u32(found, _SVC_FWMARK, "fwmark"))
    else:
        size = model.ADDRESS_SIZE[family]
        key = ServiceKey(
            family, u16(found, _SVC_PROTOCOL, "protocol"), part(found, _SVC_ADDR, "address", size),
            int.from_bytes(part(found, _SVC_PORT, "port", 2), "big"), 0,
        )  # fmt: skip
    flags = _FLAGS.unpack(part(found, _SVC_FLAGS, "flags", 8))[0] & model.SETTABLE_FLAGS
    timeout, netmask = 0, model.whole_netmask(family)
    if flags & model.PERSISTENT:
        timeout = u32(found, _SVC_TIMEOUT, "timeout")
        order = "big" if family == socket.AF_INET else sys.byteorder
        netmask = int.from_bytes(part(found, _SVC_NETMASK, "netmask", 4), order)
    return key, Service(text(found, _SVC_SCHED), flags, timeout, netmask, text(found, _SVC_PE))


def server_of(reply: bytes, service_family: int) -> tuple[ServerKey, Server, Connections]:
    """
    A server from the kernel's description of it. Kernels before 3.18 leave out its address family.

    Written for tables of tens of thousands: a kernel lays all its servers out alike, so one layout takes them apart in
    a single step, and is worked out again when the next one looks different.
    """
    layout = _layouts.get(len(reply))
    values = layout.take(reply) if layout else None
    if values is None:
        # Whatever else is in the reply, the layout is that of the nest alone.
        reply = attribute(DEST, nest_of(reply, DEST))
        layout = _layouts[len(reply)] = _Layout(reply)
        values = layout.take(reply)
        if values is None:
            raise NetlinkError("the kernel described a server in a way that is not understood")
    address, port, method, weight, upper, lower, active, inactive, persistent, family, kind, tunnel_port, flags = values
    size = model.ADDRESS_SIZE.get(family or service_family, 0)
    if not size or len(address) < size:
        raise NetlinkError(f"no address of family {family or service_family} in {len(address)} bytes")
    method &= model.METHOD_MASK
    tunnel = (kind, int.from_bytes(tunnel_port, "big"), flags) if method == model.TUNNEL else (0, 0, 0)
    return (
        ServerKey(address[:size], port[0] << 8 | port[1]),
        Server(method, weight, upper, lower, *tunnel),
        Connections(active, inactive, persistent),
    )


class _Layout:
    """Where everything stands in a description of a server, as one struct; made from one such description."""

    # Attribute: its format, and what stands for it where the kernel leaves it out (None: it must not).
    FIELDS: dict[int, tuple[str, Any]] = {
        _DEST_ADDR: ("s", None), _DEST_PORT: ("2s", None), _DEST_METHOD: ("I", None), _DEST_WEIGHT: ("I", None),
        _DEST_UPPER: ("I", None), _DEST_LOWER: ("I", None), _DEST_ACTIVE: ("I", None), _DEST_INACTIVE: ("I", None),
        _DEST_PERSISTENT: ("I", None), _DEST_AF: ("H", 0), _DEST_TUN_TYPE: ("B", 0), _DEST_TUN_PORT: ("2s", b"\0\0"),
        _DEST_TUN_FLAGS: ("H", 0),
    }  # fmt: skip

    def __init__(self, reply: bytes) -> None:
        data = reply[ATTRIBUTE.size :]
        form, places = ["=HH"], {}
        place, count = 0, 2
        while len(data) - place >= ATTRIBUTE.size:
            length, number = ATTRIBUTE.unpack_from(data, place)
            if length < ATTRIBUTE.size or place + length > len(data):
                raise NetlinkError(f"broken attribute at byte {place}: length {length}, {len(data) - place} bytes left")
            form.append("HH")
            count += 2
            size = length - ATTRIBUTE.size
            kind = self.FIELDS.get(number & NLA_TYPE_MASK, ("", None))[0]
            if kind == "s":
                kind = f"{size}s"
            if kind and struct.calcsize(f"={kind}") == size:
                form.append(kind)
                places[number & NLA_TYPE_MASK] = count
                count += 1
            elif kind:
                raise NetlinkError(f"broken attribute: {size} bytes where {struct.calcsize(f'={kind}')} belong")
            else:
                form.append(f"{size}x")
            padding = min(-length % 4, len(data) - place - length)
            form.append(f"{padding}x")
            place += length + padding
        missing = [number for number, (_, other) in self.FIELDS.items() if other is None and number not in places]
        if missing:
            raise NetlinkError(f"the kernel described a server without its attribute {missing[0]}")
        self._form = struct.Struct("".join(form))
        values = self._form.unpack_from(reply)
        headers = [index for index in range(count) if index not in places.values()]
        self._headers = operator.itemgetter(*headers)
        self._expected = self._headers(values)
        defaults = [(number, other) for number, (_, other) in self.FIELDS.items() if number not in places]
        # What is left out is read from behind the end.
        self._extra = tuple(other for _, other in defaults)
        behind = {number: count + index for index, (number, _) in enumerate(defaults)}
        self._values = operator.itemgetter(*(places.get(number, behind.get(number)) for number in self.FIELDS))

    def take(self, reply: bytes) -> tuple[Any, ...] | None:
        """The values in the order of FIELDS; None if this is not the layout of the reply."""
        values = self._form.unpack_from(reply)
        if self._headers(values) != self._expected:
            return None
        return self._values(values + self._extra if self._extra else values)


_layouts: dict[int, _Layout] = {}


def statistics_of(reply: bytes, nest: int) -> dict[str, int]:
    """The 64-bit counters and rates in a description of a service or server; empty before Linux 4.1."""
    found = attributes(nest_of(reply, nest))
    counters = found.get(_SVC_STATS64 if nest == SERVICE else _DEST_STATS64)
    if counters is None:
        return {}
    return {COUNTERS[number]: whole(value, 8) for number, value in attributes(counters).items() if number in COUNTERS}


def timeouts_of(reply: bytes) -> Timeouts:
    found = attributes(reply)
    return Timeouts(u32(found, 4, "tcp timeout"), u32(found, 5, "tcp_fin timeout"), u32(found, 6, "udp timeout"))


def daemon_of(reply: bytes) -> Daemon:
    found = attributes(nest_of(reply, DAEMON))
    state = u32(found, _DAEMON_STATE, "state")
    group = found.get(_DAEMON_GROUP, found.get(_DAEMON_GROUP6, b""))
    if len(group) not in model.FAMILY_OF_SIZE:
        raise NetlinkError(f"a multicast group of {len(group)} bytes")
    return Daemon(
        STATE_NAMES.get(state, str(state)), text(found, _DAEMON_IFN), u32(found, _DAEMON_ID, "sync id"),
        optional(found, _DAEMON_MAXLEN), group, optional(found, _DAEMON_PORT), optional(found, _DAEMON_TTL),
    )  # fmt: skip


def info_of(reply: bytes) -> tuple[str, int]:
    """The version of the kernel's IPVS, and how many rows its table of connections has."""
    found = attributes(reply)
    version = u32(found, 1, "version")
    return f"{version >> 16}.{version >> 8 & 0xFF}.{version & 0xFF}", u32(found, 2, "connection table size")


# --- parts ---


def nest_of(reply: bytes, number: int) -> bytes:
    """The nested attributes of this number."""
    # In most replies they are all there is.
    if len(reply) >= 4:
        length, found = ATTRIBUTE.unpack_from(reply)
        if length == len(reply) and found & NLA_TYPE_MASK == number:
            return reply[4:]
    return part(attributes(reply), number, f"attribute {number}")


def part(found: dict[int, bytes], number: int, name: str, size: int | None = None) -> bytes:
    """One attribute, cut to a size; addresses come in 16 bytes whatever their family."""
    value = found.get(number)
    if value is None or (size is not None and len(value) < size):
        raise NetlinkError(f"the kernel's description lacks its {name}")
    return value if size is None else value[:size]


def u16(found: dict[int, bytes], number: int, name: str) -> int:
    return _U16.unpack(part(found, number, name, 2))[0]


def u32(found: dict[int, bytes], number: int, name: str) -> int:
    return _U32.unpack(part(found, number, name, 4))[0]


def optional(found: dict[int, bytes], number: int) -> int:
    """A number of any size, 0 if the kernel says nothing of it."""
    return int.from_bytes(found.get(number, b""), sys.byteorder)


def whole(value: bytes, size: int) -> int:
    """A number of just this size."""
    if len(value) != size:
        raise NetlinkError(f"broken attribute: {len(value)} bytes where {size} belong")
    return int.from_bytes(value, sys.byteorder)


def text(found: dict[int, bytes], number: int) -> str:
    return found.get(number, b"").split(b"\0", 1)[0].decode("ascii", errors="replace")
