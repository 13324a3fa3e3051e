"""
What stands in the kernel's IPVS table: virtual services and their real servers, in the field's words.
Knows nothing of Salt.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ipvs_netlink
from ipvs_netlink import NetlinkError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PROTOCOLS = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp", socket.IPPROTO_SCTP: "sctp"}
FAMILIES = {socket.AF_INET: "ipv4", socket.AF_INET6: "ipv6"}
# uapi/linux/ip_vs.h, IP_VS_CONN_F_*; in the words of ipvsadm and keepalived.
METHODS = {0: "nat", 1: "local", 2: "tunnel", 3: "dr", 4: "bypass"}
METHOD_MASK = 0x7
TUNNELS = {0: "ipip", 1: "gue", 2: "gre"}
TUNNEL_FLAGS = {1: "csum", 2: "remcsum"}
# uapi/linux/ip_vs.h, IP_VS_SVC_F_*
PERSISTENT, ONE_PACKET = 0x1, 0x4
SCHEDULER_FLAGS = {0x8: "flag-1", 0x10: "flag-2", 0x20: "flag-3"}
NAMED_SCHEDULER_FLAGS = {
    "sh": {0x8: "sh-fallback", 0x10: "sh-port"},
    "mh": {0x8: "mh-fallback", 0x10: "mh-port"},
}
READ_TRIES = 5


@dataclass(frozen=True)
class Persistence:
    """Later connections of one client go to the same server. ``timeout`` in seconds."""

    timeout: int
    prefix: int
    engine: str


@dataclass(frozen=True)
class Server:
    """A real server, and how many connections it has right now."""

    address: Address
    port: int
    method: str
    weight: int
    upper_threshold: int
    lower_threshold: int
    active: int
    inactive: int
    persistent: int
    tunnel: str
    tunnel_port: int
    tunnel_flags: tuple[str, ...]

    @property
    def name(self) -> str:
        return endpoint(self.address, self.port)

    def as_dict(self) -> dict[str, Any]:
        """For people: what is unset is left out."""
        shown: dict[str, Any] = {
            "forward": self.method,
            "weight": self.weight,
            "active_connections": self.active,
            "inactive_connections": self.inactive,
        }
        optional = {
            "persistent_connections": self.persistent,
            "upper_threshold": self.upper_threshold,
            "lower_threshold": self.lower_threshold,
        }
        shown.update({key: value for key, value in optional.items() if value})
        if self.method == "tunnel":
            shown["tunnel"] = self.tunnel
            if self.tunnel_port:
                shown["tunnel_port"] = self.tunnel_port
            if self.tunnel_flags:
                shown["tunnel_flags"] = list(self.tunnel_flags)
        return shown


@dataclass(frozen=True)
class Service:
    """A virtual service with its real servers; named by protocol, address and port, or by fwmark and family."""

    protocol: str
    family: str
    address: Address | None
    port: int | None
    fwmark: int | None
    scheduler: str
    scheduler_flags: tuple[str, ...]
    one_packet: bool
    persistence: Persistence | None
    servers: tuple[Server, ...] = ()

    @property
    def name(self) -> str:
        """'tcp 192.168.1.100:3306', 'tcp [2001:db8::1]:3306' or 'fwmark 5 ipv6'."""
        if self.address is None or self.port is None:
            return f"fwmark {self.fwmark} {self.family}"
        return f"{self.protocol} {endpoint(self.address, self.port)}"

    def as_dict(self) -> dict[str, Any]:
        """For people: what is unset is left out."""
        shown: dict[str, Any] = {"scheduler": self.scheduler}
        if self.scheduler_flags:
            shown["scheduler_flags"] = list(self.scheduler_flags)
        if self.one_packet:
            shown["one_packet"] = True
        if self.persistence:
            shown["persistence_timeout"] = self.persistence.timeout
            if self.persistence.prefix != (32 if self.family == "ipv4" else 128):
                shown["persistence_prefix"] = self.persistence.prefix
            if self.persistence.engine:
                shown["persistence_engine"] = self.persistence.engine
        shown["servers"] = {server.name: server.as_dict() for server in self.servers}
        return shown


def endpoint(address: Address, port: int) -> str:
    """An address and a port in one string, IPv6 in brackets."""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def read() -> tuple[Service, ...]:
    """The whole table of this kernel (and network namespace). Raises NetlinkError.

    A dump from which others delete at the same time misses entries without a word, so the services are
    read until two readings in a row name the same ones.
    """
    with ipvs_netlink.Connection() as connection:
        before = ipvs_netlink.services(connection)
        for _ in range(READ_TRIES):
            table = [(raw, ipvs_netlink.destinations(connection, ipvs_netlink.service_key(raw))) for raw in before]
            after = ipvs_netlink.services(connection)
            if _keys(after) == _keys(before):
                break
            before = after
    return tuple(service(raw, servers) for raw, servers in table)


def _keys(raws: Iterable[dict[str, Any]]) -> set[bytes]:
    return {ipvs_netlink.service_key(raw) for raw in raws}


def service(raw: dict[str, Any], destinations: Iterable[dict[str, Any]] = ()) -> Service:
    """A service from the kernel's attributes. Raises NetlinkError for attributes that make none."""
    try:
        family, flags = raw["family"], raw["flags"]
        fwmark = raw.get("fwmark")
        protocol = "fwmark" if fwmark is not None else _named(PROTOCOLS, raw["protocol"])
        return Service(
            protocol=protocol,
            family=_named(FAMILIES, family),
            address=None if fwmark is not None else address(family, raw["address"]),
            port=None if fwmark is not None else raw["port"],
            fwmark=fwmark,
            scheduler=raw["scheduler"],
            scheduler_flags=_scheduler_flags(raw["scheduler"], flags),
            one_packet=bool(flags & ONE_PACKET),
            persistence=_persistence(raw) if flags & PERSISTENT else None,
            servers=tuple(server(one, family) for one in destinations),
        )
    except KeyError as error:
        raise NetlinkError(f"the kernel described a service without its {error.args[0]}") from error


def server(raw: dict[str, Any], service_family: int) -> Server:
    """A real server from the kernel's attributes. Kernels before 3.18 leave out its address family."""
    try:
        flags = raw.get("tunnel_flags", 0)
        return Server(
            address=address(raw.get("family", service_family), raw["address"]),
            port=raw["port"],
            method=_named(METHODS, raw["method"] & METHOD_MASK),
            weight=raw["weight"],
            upper_threshold=raw["upper_threshold"],
            lower_threshold=raw["lower_threshold"],
            active=raw["active"],
            inactive=raw["inactive"],
            persistent=raw["persistent"],
            tunnel=_named(TUNNELS, raw.get("tunnel_type", 0)),
            tunnel_port=raw.get("tunnel_port", 0),
            tunnel_flags=tuple(name for bit, name in TUNNEL_FLAGS.items() if flags & bit),
        )
    except KeyError as error:
        raise NetlinkError(f"the kernel described a server without its {error.args[0]}") from error


def address(family: int, data: bytes) -> Address:
    """An address as the kernel sends it: 16 bytes for both families, or 4 for IPv4."""
    size = 4 if family == socket.AF_INET else 16
    if family not in FAMILIES or len(data) < size:
        raise NetlinkError(f"no address of family {family} in {len(data)} bytes")
    return ipaddress.ip_address(bytes(data[:size]))


def _named(names: dict[int, str], number: int) -> str:
    return names.get(number, str(number))


def _scheduler_flags(scheduler: str, flags: int) -> tuple[str, ...]:
    names = SCHEDULER_FLAGS | NAMED_SCHEDULER_FLAGS.get(scheduler, {})
    return tuple(name for bit, name in names.items() if flags & bit)


def _persistence(raw: dict[str, Any]) -> Persistence:
    """The netmask is a mask in network order for IPv4, a prefix length in host order for IPv6."""
    if len(raw["netmask"]) != 4:
        raise NetlinkError(f"a netmask of {len(raw['netmask'])} bytes")
    if raw["family"] == socket.AF_INET:
        prefix = int.from_bytes(raw["netmask"], "big").bit_count()
    else:
        (prefix,) = struct.unpack("=I", raw["netmask"])
    return Persistence(raw["timeout"], prefix, raw.get("engine", ""))
