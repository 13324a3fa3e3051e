"""
What stands in the kernel's IPVS table, and the field's words for it. Knows nothing of Salt or of netlink.

A table maps the key of each virtual service to an ``Entry``: what the service is set to and its real servers. Values
are kept as the kernel has them (numbers, packed addresses), so that tables of any size compare quickly; ``as_dict``
and ``name`` put them into words. Numbers and names: uapi/linux/ip_vs.h, ipvsadm(8).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

PROTOCOLS = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp", socket.IPPROTO_SCTP: "sctp"}
FAMILIES = {socket.AF_INET: "ipv4", socket.AF_INET6: "ipv6"}
ADDRESS_SIZE = {socket.AF_INET: 4, socket.AF_INET6: 16}
FAMILY_OF_SIZE = {size: family for family, size in ADDRESS_SIZE.items()}
NO_PORT = 0

# IP_VS_CONN_F_*: how packets reach a real server
NAT, LOCAL, TUNNEL, DR, BYPASS = 0, 1, 2, 3, 4
METHODS = {NAT: "nat", LOCAL: "local", TUNNEL: "tunnel", DR: "dr", BYPASS: "bypass"}
METHOD_MASK = 0x7
IPIP, GUE, GRE = 0, 1, 2
TUNNELS = {IPIP: "ipip", GUE: "gue", GRE: "gre"}
CSUM, REMCSUM = 1, 2
TUNNEL_FLAGS = {CSUM: "csum", REMCSUM: "remcsum"}

# IP_VS_SVC_F_*; HASHED (2) is the kernel's own affair
PERSISTENT, ONE_PACKET = 0x1, 0x4
SETTABLE_FLAGS = 0x3D
SCHEDULER_FLAGS = {0x8: "flag-1", 0x10: "flag-2", 0x20: "flag-3"}
NAMED_SCHEDULER_FLAGS = {
    "sh": {0x8: "sh-fallback", 0x10: "sh-port"},
    "mh": {0x8: "mh-fallback", 0x10: "mh-port"},
}
WHOLE_IPV4 = 0xFFFFFFFF
WHOLE_IPV6 = 128

Words = dict[str, Any]


class ServiceKey(NamedTuple):
    """What names a virtual service: protocol, address and port, or a firewall mark (then the others are empty)."""

    family: int
    protocol: int
    address: bytes
    port: int
    fwmark: int

    @property
    def name(self) -> str:
        """'tcp 192.168.1.100:3306', 'tcp [2001:db8::1]:3306' or 'fwmark 5 ipv6'."""
        if self.fwmark:
            return f"fwmark {self.fwmark} {FAMILIES[self.family]}"
        return f"{PROTOCOLS.get(self.protocol, self.protocol)} {endpoint(self.address, self.port)}"

    @property
    def protocol_name(self) -> str:
        return "fwmark" if self.fwmark else PROTOCOLS.get(self.protocol, str(self.protocol))


class ServerKey(NamedTuple):
    """What names a real server within its service."""

    address: bytes
    port: int

    @property
    def name(self) -> str:
        return endpoint(self.address, self.port)

    @property
    def family(self) -> int:
        return FAMILY_OF_SIZE[len(self.address)]


class Service(NamedTuple):
    """What a virtual service is set to. ``timeout`` (seconds) and ``netmask`` matter only with PERSISTENT in ``flags``.

    ``netmask`` is a mask of 32 bits for IPv4 and a prefix length for IPv6, as in the kernel.
    """

    scheduler: str
    flags: int
    timeout: int
    netmask: int
    engine: str

    def as_dict(self, family: int) -> Words:
        """In words; what is at its default (but the scheduler) is left out."""
        words: Words = {"scheduler": self.scheduler}
        names = scheduler_flag_names(self.scheduler)
        flags = [name for bit, name in names.items() if self.flags & bit]
        if flags:
            words["scheduler_flags"] = flags
        if self.flags & ONE_PACKET:
            words["one_packet"] = True
        if self.flags & PERSISTENT:
            words["persistence_timeout"] = self.timeout
            if self.netmask != whole_netmask(family):
                words["persistence_netmask"] = netmask_words(family, self.netmask)
        if self.engine:
            words["persistence_engine"] = self.engine
        return words


class Server(NamedTuple):
    """What a real server is set to."""

    method: int
    weight: int
    upper_threshold: int
    lower_threshold: int
    tunnel: int
    tunnel_port: int
    tunnel_flags: int

    def as_dict(self) -> Words:
        """In words; what is at its default (but method and weight) is left out."""
        words: Words = {"forward": METHODS.get(self.method, str(self.method)), "weight": self.weight}
        if self.upper_threshold:
            words["upper_threshold"] = self.upper_threshold
        if self.lower_threshold:
            words["lower_threshold"] = self.lower_threshold
        if self.method == TUNNEL:
            words["tunnel"] = TUNNELS.get(self.tunnel, str(self.tunnel))
            if self.tunnel_port:
                words["tunnel_port"] = self.tunnel_port
            flags = [name for bit, name in TUNNEL_FLAGS.items() if self.tunnel_flags & bit]
            if flags:
                words["tunnel_flags"] = flags
        return words


class Connections(NamedTuple):
    """How many connections a real server has right now. DR and tunnels see a connection's end late (FIN timeout)."""

    active: int
    inactive: int
    persistent: int

    @property
    def total(self) -> int:
        return self.active + self.inactive + self.persistent

    def as_dict(self) -> Words:
        words: Words = {"active_connections": self.active, "inactive_connections": self.inactive}
        if self.persistent:
            words["persistent_connections"] = self.persistent
        return words


class Entry(NamedTuple):
    """A virtual service with its real servers."""

    service: Service
    servers: dict[ServerKey, Server]


Table = dict[ServiceKey, Entry]
ConnectionsTable = dict[tuple[ServiceKey, ServerKey], Connections]


class Timeouts(NamedTuple):
    """For how many seconds the kernel remembers an idle connection."""

    tcp: int
    tcp_fin: int
    udp: int


class Daemon(NamedTuple):
    """A synchronisation daemon. ``group`` is packed."""

    state: str
    interface: str
    sync_id: int
    max_length: int
    group: bytes
    port: int
    ttl: int

    def as_dict(self) -> Words:
        return {
            "interface": self.interface,
            "sync_id": self.sync_id,
            "max_length": self.max_length,
            "group": address_words(self.group),
            "port": self.port,
            "ttl": self.ttl,
        }


def entry_as_dict(
    key: ServiceKey, entry: Entry, connections: Mapping[tuple[ServiceKey, ServerKey], Connections] | None = None
) -> Words:
    """A service with its servers in words; with how many connections they have, if that is given."""
    words = entry.service.as_dict(key.family)
    servers = {}
    for server_key, server in entry.servers.items():
        shown = server.as_dict()
        if connections is not None and (now := connections.get((key, server_key))) is not None:
            shown.update(now.as_dict())
        servers[server_key.name] = shown
    words["servers"] = servers
    return words


def table_as_dict(
    table: Table, connections: Mapping[tuple[ServiceKey, ServerKey], Connections] | None = None
) -> dict[str, Words]:
    """A whole table in words, by name."""
    return {key.name: entry_as_dict(key, entry, connections) for key, entry in sorted(table.items(), key=_by_name)}


def _by_name(item: tuple[ServiceKey, Entry]) -> str:
    return item[0].name


def scheduler_flag_names(scheduler: str) -> dict[int, str]:
    """The words for the three flags of a scheduler."""
    return SCHEDULER_FLAGS | NAMED_SCHEDULER_FLAGS.get(scheduler, {})


def endpoint(address: bytes, port: int) -> str:
    """An address and a port in one string, IPv6 in brackets."""
    words = address_words(address)
    return f"[{words}]:{port}" if len(address) == 16 else f"{words}:{port}"


def address_words(address: bytes) -> str:
    """A packed address in its usual spelling."""
    return socket.inet_ntop(FAMILY_OF_SIZE[len(address)], address)


def whole_netmask(family: int) -> int:
    """The netmask under which every client is remembered by its own address."""
    return WHOLE_IPV4 if family == socket.AF_INET else WHOLE_IPV6


def netmask_words(family: int, netmask: int) -> str | int:
    """'255.255.255.0' for IPv4, a prefix length for IPv6."""
    return socket.inet_ntop(socket.AF_INET, netmask.to_bytes(4, "big")) if family == socket.AF_INET else netmask
