"""
The rules for what stands together in ``mysql_ha:endpoints``: ports, families, weights, services that are the same.

Plain Python that knows nothing of Salt. No function here raises. An endpoint comes here resolved, from those of its
values that are right each by itself (``keepalived_endpoint_rules``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import keepalived_checks
import keepalived_endpoints
from keepalived_checks import MAX_INT
from keepalived_endpoint_conf import METHODS
from keepalived_endpoints import DEFAULT_DATABASE_PORT, RealServer, Service, VirtualServer
from keepalived_values import plain_address, version_of
from pillar_rules import ADDRESS, PORT, Rule, check_value, label, one_of, part, whole
from pillar_words import is_whole, literal

ROOT = "mysql_ha"
TUNNELS = ("ipip", "gue", "gre")
TUNNEL_FLAGS = ("csum", "remcsum")
_WAYS = {"dr": "direct routing", "tunnel": "a tunnel"}
_VERSIONS = {"ipv4": "an IPv4 address", "ipv6": "an IPv6 address"}
# Checks that follow something that VRRP has a name for: the key, and where the names are.
_TRACKED = {"file": ("track_file", "files"), "bfd": ("name", "bfds")}


FORWARD: Mapping[str, Rule] = {
    "forward": one_of(*METHODS),
    "tunnel": one_of(*TUNNELS),
    "tunnel_port": PORT,
    "tunnel_flags": Rule(
        f"a list with one of {', '.join(TUNNEL_FLAGS)}, or an empty one",
        # keepalived reads several, and keeps the last.
        lambda value: (
            isinstance(value, (list, tuple)) and len(value) <= 1 and all(item in TUNNEL_FLAGS for item in value)
        ),
    ),
}


class Known:
    """What all endpoints are looked at with, and what was seen in those before."""

    def __init__(self, pillar: Mapping[Any, Any], owners: Mapping[str, str]) -> None:
        self.version = version_of(pillar)
        self.owners = {ip_address(address): path for address, path in owners.items()}
        self.nodes = {name: dict(node) for name, node in part(pillar, "nodes").items() if isinstance(node, Mapping)}
        for node in self.nodes.values():
            if not is_whole(node.get("weight"), 0, MAX_INT):
                node.pop("weight", None)
        usable = {name: node for name, node in self.nodes.items() if ADDRESS.accepts(node.get("address"))}
        port = part(pillar, "database").get("port", DEFAULT_DATABASE_PORT)
        self.database_port = port if PORT.accepts(port) else None
        self.settings = {
            "nodes": usable,
            "database": {} if self.database_port is None else {"port": self.database_port},
        }
        vrrp = part(pillar, "vrrp")
        self.tracked = {section: part(vrrp, section) for _, section in _TRACKED.values()}
        self.services: dict[str, str] = {}
        self.vips: dict[IPv4Address | IPv6Address, str] = {}
        self.reals: dict[IPv4Address | IPv6Address, str] = {}


def accepted(entry: Mapping[Any, Any], rules: Mapping[str, Rule]) -> dict[str, Any]:
    """Return the values that are right."""
    return {key: entry[key] for key, rule in rules.items() if key in entry and rule.accepts(entry[key])}


def netmask_rule(family: str) -> Rule:
    """Return the rule for the mask under which clients are remembered."""
    if family == "ipv6":
        return whole(1, 128)

    def accepts(value: object) -> bool:
        address = plain_address(value)
        return is_whole(value, 1, 32) or (address is not None and address.version == 4 and int(address) > 0)

    return Rule("a mask such as 255.255.255.0, or a prefix length from 1 to 32", accepts)


def joined(path: str, entry: Mapping[Any, Any], server: VirtualServer, known: Known) -> Iterator[str]:
    """Say what fits together badly in one endpoint, and with those before."""
    yield from _collisions(path, server, known)
    yield from _protocol(path, entry, server)
    yield from _persistence(path, entry, server)
    yield from _tunnel(path, entry, server.forward.method)
    yield from _database_port(path, server, known)
    yield from _ranges(path, server, known)
    yield from _families(path, server, known)
    for real in server.servers:
        own = f"{path}:servers:{label(real.name)}"
        if "address" in real.given:
            known.reals.setdefault(ip_address(real.address), f"{own}:address")
        if real.name in part(entry, "servers"):
            yield from _tunnel(own, part(part(entry, "servers"), real.name), real.forward.method, server)
            yield from _own_port(own, real, server)
            yield from _thresholds(own, real)
    if server.sorry is not None:
        yield from _tunnel(f"{path}:sorry_server", part(entry, "sorry_server"), server.sorry.forward.method, server)
        yield from _own_port(f"{path}:sorry_server", server.sorry, server)
    yield from _twice(path, server)
    yield from _weights(path, entry, server)
    yield from _checked(path, server, known)


def _collisions(path: str, server: VirtualServer, known: Known) -> Iterator[str]:
    """Say how the places of an endpoint collide with the addresses of nodes and with earlier endpoints."""
    for index, service in enumerate(server.services):
        if server.kind == "group":
            own, verb = f"{path}:group:{index}", "holds"
        else:
            own, verb = f"{path}:{server.kind}", "is"
        told = False
        for address in map(ip_address, service.addresses):
            known.vips.setdefault(address, own)
            if address in known.owners and not told:
                told = True
                shown = repr(str(address)) if server.kind == "group" else literal(server.given["address"])
                yield f"{own}: {verb} {shown}, as is {known.owners[address]}; allowed: another one"
        yield from _same_service(path, own, verb, server, service, known)


def _same_service(
    path: str, own: str, verb: str, server: VirtualServer, service: Service, known: Known
) -> Iterator[str]:
    """Say that an earlier endpoint has the same service."""
    told = False
    for name in service.names:
        first = known.services.setdefault(name, path if server.kind != "group" else own)
        if first in (path, own) or told:
            # A group that overlaps itself has the same path only for the same member.
            continue
        told = True
        if server.kind == "address":
            yield (
                f"{path}: is at {service.first} port {service.port}, as is {first};"
                " allowed: an address and port of its own"
            )
        elif server.kind == "fwmark":
            yield f"{own}: is {service.fwmark}, as is that of {first}; allowed: a mark of its own"
        else:
            yield f"{own}: {verb} {name}, as does {first}; allowed: each service once"


def _protocol(path: str, entry: Mapping[Any, Any], server: VirtualServer) -> Iterator[str]:
    """Say what does not go with the protocol, or with firewall marks."""
    marked = [service for service in server.services if service.fwmark]
    if not server.services:
        return
    if "protocol" in server.given and not server.protocol:
        yield (
            f"{path}:protocol: is {literal(server.given['protocol'])}, and a firewall mark stands for any protocol; "
            "allowed: none"
        )
    if server.one_packet and server.protocol not in ("udp", ""):
        yield f"{path}:one_packet: is true with the protocol {server.protocol}; allowed: only with udp, or a fwmark"
    if server.given.get("ha_suspend") is True and marked:
        yield f"{path}:ha_suspend: is true with a fwmark, which has no address to wait for; allowed: without fwmarks"


def _persistence(path: str, entry: Mapping[Any, Any], server: VirtualServer) -> Iterator[str]:
    """Say what is wrong with how clients are remembered."""
    mask = f"{path}:persistence_netmask"
    if "persistence_netmask" in entry:
        if server.kind == "group":
            yield f"{mask}: is given with a group, of which keepalived ignores it; allowed: none"
        elif server.services:
            yield from check_value(mask, entry["persistence_netmask"], netmask_rule(server.family))
    for key in ("persistence_netmask", "persistence_engine"):
        if key in server.given and "persistence_timeout" not in entry:
            yield f"{path}:{key}: is given without a persistence_timeout; allowed: both, or neither"
    if server.given.get("persistence_engine") == "sip" and server.services and server.protocol not in ("udp", ""):
        yield (
            f"{path}:persistence_engine: is 'sip' with the protocol {server.protocol}; "
            "allowed: only with udp, or a fwmark"
        )
    if server.kind == "group" and "persistence_timeout" not in entry:
        for index, service in enumerate(server.services):
            if not service.fwmark and not service.port:
                yield (
                    f"{path}:group:{index}: has no port, which stands for all ports; "
                    "allowed: a port, or a persistence_timeout"
                )


def _tunnel(path: str, entry: Mapping[Any, Any], method: str, server: VirtualServer | None = None) -> Iterator[str]:
    """Say what is wrong with the words for a tunnel."""
    given = accepted(entry, FORWARD)
    words = [key for key in ("tunnel", "tunnel_port", "tunnel_flags") if key in given]
    if method != "tunnel":
        if words:
            yield f"{path}:{words[0]}: is given with forward: {method}; allowed: only with forward: tunnel"
        return
    default = keepalived_endpoints.Forward("dr") if server is None else server.forward
    forward = keepalived_endpoints.forwarding(given, default)
    if forward == default or any(key in entry and key not in given for key in FORWARD):
        return
    if forward.tunnel == "gue" and not forward.tunnel_port:
        yield f"{path}:tunnel_port: is missing with tunnel: gue; allowed: {PORT.allowed}"
    if forward.tunnel != "gue" and forward.tunnel_port:
        yield f"{path}:tunnel_port: is given with tunnel: {forward.tunnel}; allowed: only with tunnel: gue"
    allowed = {"ipip": (), "gre": ("csum",)}.get(forward.tunnel, TUNNEL_FLAGS)
    for flag in forward.tunnel_flags:
        if flag not in allowed:
            usable = f"{', '.join(allowed) or 'none'} with tunnel: {forward.tunnel}"
            yield f"{path}:tunnel_flags: are {flag}; allowed: {usable}"


def _database_port(path: str, server: VirtualServer, known: Known) -> Iterator[str]:
    """Say that databases are not reached at the port of an endpoint, since it cannot be changed on the way."""
    port = server.given.get("port")
    if server.kind != "address" or not port or known.database_port in (None, port):
        return
    for real in server.servers:
        node = known.nodes.get(real.name, {})
        if node.get("role") in ("database", "replica") and real.forward.method in _WAYS and "port" not in real.given:
            yield (
                f"{path}:port: is {port}, and {_WAYS[real.forward.method]} cannot change it to {ROOT}:database:port;"
                f" allowed: {known.database_port}"
            )
            return


def _ranges(path: str, server: VirtualServer, known: Known) -> Iterator[str]:
    """Say which ranges the databases do not take packets for: each has its addresses by single units of systemd."""
    reached = [
        real.name
        for real in server.servers
        if known.nodes.get(real.name, {}).get("role") == "database" and real.forward.method in _WAYS
    ]
    for index, service in enumerate(server.services):
        if reached and service.first != service.last:
            yield (
                f"{path}:group:{index}: is a range, and {label(reached[0])} takes packets for single addresses only; "
                "allowed: each address by itself, or forward: nat"
            )


def _own_port(path: str, real: RealServer, server: VirtualServer) -> Iterator[str]:
    """Say that a server has another port than its service, which only NAT can change."""
    if "port" not in real.given or real.forward.method == "nat" or not server.services:
        return
    ports = {service.port for service in server.services}
    if ports != {real.port}:
        port = next(iter(ports)) if len(ports) == 1 else 0
        yield (
            f"{path}:port: is {real.port}, and {_WAYS[real.forward.method]} leaves the port as the client sent it;"
            f" allowed: {port or 'none'}, or forward: nat"
        )


def _families(path: str, server: VirtualServer, known: Known) -> Iterator[str]:
    """Say which servers cannot be reached from an address of another family."""
    families = {service.family for service in server.services}
    if len(families) > 1 and any(real.forward.method != "tunnel" for real in server.servers):
        yield f"{path}:group: holds both IPv4 and IPv6, which only forward: tunnel can serve; allowed: one of them"
        return
    told = False
    reals = [*server.servers, *([server.sorry] if server.sorry is not None else [])]
    for real in reals:
        address = ip_address(real.address)
        other = [family for family in families if family != keepalived_endpoints.FAMILIES[address.version]]
        own = f"{path}:{'sorry_server' if real is server.sorry else f'servers:{label(real.name)}'}:address"
        if other and real.forward.method != "tunnel":
            if "address" in real.given:
                yield (
                    f"{own}: is {literal(real.given['address'])}, of another family than the endpoint, which only "
                    f"forward: tunnel can reach; allowed: {_VERSIONS[other[0]]}"
                )
            elif not told:
                told = True
                yield (
                    f"{path}:{server.kind}: is of another family than the address of {label(real.name)} in "
                    f"{ROOT}:nodes, which only forward: tunnel can reach; allowed: an IPv4 one, or forward: tunnel"
                )


def _thresholds(path: str, real: RealServer) -> Iterator[str]:
    """Say that a server would come back before it is full."""
    if real.lower_threshold > real.upper_threshold:
        yield (
            f"{path}:lower_threshold: is {real.lower_threshold}; "
            f"allowed: at most upper_threshold, which is {real.upper_threshold or 'not given'}"
        )


def _twice(path: str, server: VirtualServer) -> Iterator[str]:
    """Say which servers are the same, and that the sorry server is one of them and behaves otherwise."""
    first: dict[tuple[str, int], RealServer] = {}
    for real in server.servers:
        other = first.setdefault((real.address, real.port), real)
        if other is not real:
            yield (
                f"{path}:servers:{label(real.name)}: is {_shown(real)}, as is {path}:servers:{label(other.name)};"
                " allowed: each server once"
            )
    sorry = server.sorry
    if sorry is not None:
        same = first.get((sorry.address, sorry.port))
        if same is not None and same.inhibit != sorry.inhibit:
            yield (
                f"{path}:sorry_server:inhibit: is {literal(sorry.inhibit)}, and the same server has inhibit_on_failure:"
                f" {literal(same.inhibit)} as {path}:servers:{label(same.name)}; allowed: {literal(same.inhibit)}"
            )


def _shown(real: RealServer) -> str:
    """Return a server in words."""
    return keepalived_endpoints.endpoint(real.address, real.port) if real.port else real.address


def _weights(path: str, entry: Mapping[Any, Any], server: VirtualServer) -> Iterator[str]:
    """Say that the servers of an endpoint are never enough, or that it can never be said that they are too few."""
    if not server.servers or len(part(entry, "servers")) != len(server.given["servers"]):
        return
    total = sum(real.weight for real in server.servers)
    if not total:
        # What the nodes say by themselves is told there.
        if any("weight" in real.given or real.name in server.given["servers"] for real in server.servers):
            yield f"{path}: gives every server the weight 0; allowed: a weight above 0 for at least one"
        return
    if any(key in entry and key not in server.given for key in ("quorum", "hysteresis")):
        return
    quorum = server.given.get("quorum", 1)
    if quorum > total:
        yield f"{path}:quorum: is {quorum}; allowed: at most the sum of the servers' weights, which is {total}"
    if server.given.get("hysteresis", 0) >= quorum:
        yield f"{path}:hysteresis: is {server.given['hysteresis']}; allowed: less than quorum, which is {quorum}"


def _checked(path: str, server: VirtualServer, known: Known) -> Iterator[str]:
    """Say which checks cannot work with the servers that they are for; of one that several share, once."""
    told: set[str] = set()
    # Without its place nothing is known of the servers' ports.
    for real in server.servers if server.services else ():
        is_own = "check" in real.given
        own = f"{path}:servers:{label(real.name)}:check" if is_own else f"{path}:check"
        for problem in _check_problems(own, real.given["check"] if is_own else server.given.get("check"), real, known):
            if problem not in told:
                told.add(problem)
                yield problem


def _check_problems(path: str, given: object, real: RealServer, known: Known) -> Iterator[str]:
    """Say what is wrong with the checks of a server, as it is for this one."""
    followed: list[object] = []
    version = ip_address(real.address).version
    for index, check in enumerate(keepalived_checks.each(given)):
        own, name = f"{path}:{index}" if isinstance(given, (list, tuple)) else path, check["type"]
        if keepalived_checks.CHECKS[name].needs_port and not real.port and "port" not in check:
            allowed = f"a mapping with type: {name} and a port"
            yield f"{own}: is {name!r}, and the server has no port of its own; allowed: {allowed}"
        source = plain_address(check.get("bind_address"))
        if source is not None and "address" not in check and source.version != version:
            shown = literal(check["bind_address"])
            yield f"{own}:bind_address: is {shown}, of another family than the server; allowed: an IPv{version} address"
        if name in _TRACKED:
            key, section = _TRACKED[name]
            names = [item for item in known.tracked[section] if isinstance(item, str)]
            if check[key] not in names:
                allowed = f"one of {ROOT}:vrrp:{section}: {', '.join(map(label, names)) or 'there are none'}"
                yield f"{own}:{key}: is {literal(check[key])}; allowed: {allowed}"
            elif name == "bfd" and check[key] in followed:
                yield f"{own}:{key}: is {literal(check[key])} a second time; allowed: each one once"
            followed.append(check[key])


def vips_of_servers(known: Known) -> Iterator[str]:
    """Say which servers have the address of an endpoint."""
    for address, path in known.reals.items():
        if address in known.vips:
            yield f"{path}: is '{address}', as is {known.vips[address]}; allowed: another one"
