"""
The endpoints of the pillar as plain data: virtual servers with their services, real servers and checks.

Plain Python that knows nothing of Salt. Here, and nowhere else, it is decided where an address, a port, a weight or a
way of forwarding comes from when the pillar leaves it out. ``table`` says the same in the words of the ``ipvs`` states
(``ipvs_rules.table``), so that what the kernel has can be compared with what the pillar asks for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any, NamedTuple

from keepalived_values import plain_address
from pillar_rules import part
from pillar_words import is_whole, literal

DEFAULT_SCHEDULER = "wrr"
DEFAULT_METHOD = "dr"
DEFAULT_PROTOCOL = "tcp"
DEFAULT_DATABASE_PORT = 3306
FAMILIES = {4: "ipv4", 6: "ipv6"}
MAX_FWMARK = 4294967295
#: What a member of a group may look like.
GROUP_MEMBERS = (
    "ADDRESS [PORT], FIRST-LAST [PORT], NETWORK/PREFIX [PORT] or fwmark NUMBER [ipv4|ipv6], "
    "such as '192.168.1.101-110 443'"
)
_FAMILY_WORDS = {"ipv4": "ipv4", "inet": "ipv4", "ipv6": "ipv6", "inet6": "ipv6"}
_LAST_PART = {4: re.compile(r"[0-9]{1,3}"), 6: re.compile(r"[0-9a-fA-F]{1,4}")}
# keepalived counts through a range in the last part of an address only, and never ends if the range goes beyond it
# (ipvs_group_range_cmd in keepalived/check/ipvswrapper.c). The last part of IPv6 would be 65536 addresses.
_SMALLEST_PREFIX = {4: 24, 6: 120}


class Service(NamedTuple):
    """One service of the kernel's table, or as many as a range has addresses."""

    family: str
    protocol: str
    """Empty with a firewall mark, which stands for any protocol."""
    first: IPv4Address | IPv6Address | None
    """``None`` with a firewall mark."""
    last: IPv4Address | IPv6Address | None
    port: int
    """0 for all ports."""
    fwmark: int

    @property
    def addresses(self) -> list[str]:
        """All addresses of the range."""
        if self.first is None or self.last is None:
            return []
        return [str(self.first + offset) for offset in range(int(self.last) - int(self.first) + 1)]

    @property
    def names(self) -> list[str]:
        """As the ``ipvs`` states name it: 'tcp 192.168.1.100:3306', 'tcp [2001:db8::1]:3306' or 'fwmark 5 ipv6'."""
        if self.fwmark:
            return [f"fwmark {self.fwmark} {self.family}"]
        return [f"{self.protocol} {endpoint(address, self.port)}" for address in self.addresses]

    @property
    def words(self) -> str:
        """A line of a group in keepalived.conf."""
        if self.fwmark:
            return f"fwmark {self.fwmark} {'inet6' if self.family == 'ipv6' else 'inet'}"
        return f"{self.first}{'' if self.last == self.first else f'-{self.last}'}{f' {self.port}' if self.port else ''}"


class Forward(NamedTuple):
    """How packets reach a real server."""

    method: str
    tunnel: str = ""
    tunnel_port: int = 0
    tunnel_flags: tuple[str, ...] = ()


class RealServer(NamedTuple):
    """A real server, or a sorry server."""

    name: str
    address: str
    port: int
    """0: as the client sent it."""
    weight: int
    forward: Forward
    upper_threshold: int
    lower_threshold: int
    inhibit: bool
    """Whether it stays in the table, with the weight 0, while its checks fail."""
    checks: tuple[Mapping[str, Any], ...]
    """Each with its ``type``, and with the times that hold for it."""
    given: Mapping[str, Any]
    """What the pillar says of it."""


class VirtualServer(NamedTuple):
    """An endpoint."""

    name: str
    kind: str
    """How the pillar says where it is: ``address``, ``fwmark`` or ``group``."""
    family: str
    protocol: str
    """Empty if all its services are firewall marks."""
    services: tuple[Service, ...]
    scheduler: str
    scheduler_flags: tuple[str, ...]
    one_packet: bool
    persistence_timeout: int
    """0: none."""
    persistence_netmask: str | int
    """A mask with dots for IPv4, a prefix length for IPv6; empty: each client by itself."""
    persistence_engine: str
    forward: Forward
    interval: int | float | None
    """From one check to the next. ``None``: nobody says."""
    servers: tuple[RealServer, ...]
    sorry: RealServer | None
    given: Mapping[str, Any]
    """What the pillar says of it."""


def virtual_servers(settings: Mapping[str, Any]) -> list[VirtualServer]:
    """
    Return the endpoints in the order of the pillar.

    settings
        The value of the pillar key ``mysql_ha``, valid by the rules of ``mysql_ha_pillar.errors``. Defaults need not be
        applied. ``ValueError`` or ``KeyError`` for what is not valid.
    """
    found = [virtual_server(settings, name, given) for name, given in settings["endpoints"].items()]
    for server in found:
        if not server.services:
            raise ValueError(f"the endpoint {literal(server.name)} has no address, fwmark or group")
    return found


def virtual_server(settings: Mapping[str, Any], name: str, given: Mapping[str, Any]) -> VirtualServer:
    """Return one endpoint."""
    kind = next((kind for kind in ("group", "fwmark") if kind in given), "address")
    protocol = given.get("protocol") or DEFAULT_PROTOCOL
    found = tuple(services(given))
    family = found[0].family if found else FAMILIES[4]
    forward = forwarding(given, Forward(DEFAULT_METHOD))
    times = {**part(settings, "checks"), **part(given, "checks")}
    timeout = given.get("persistence_timeout") or 0
    return VirtualServer(
        name=name,
        kind=kind,
        family=family,
        protocol=protocol if any(not service.fwmark for service in found) else "",
        services=found,
        scheduler=given.get("scheduler") or DEFAULT_SCHEDULER,
        scheduler_flags=_words(given.get("scheduler_flags")),
        one_packet=given.get("one_packet") is True,
        persistence_timeout=timeout,
        persistence_netmask=netmask(family, given.get("persistence_netmask")) if timeout else "",
        persistence_engine=(given.get("persistence_engine") or "") if timeout else "",
        forward=forward,
        interval=times.get("interval"),
        servers=tuple(_servers(settings, given, forward, times)),
        sorry=_sorry(given, forward),
        given=given,
    )


def services(given: Mapping[str, Any]) -> Iterator[Service]:
    """Yield the services of an endpoint."""
    protocol = given.get("protocol") or DEFAULT_PROTOCOL
    if "group" in given:
        for text in _words(given["group"]):
            try:
                yield group_member(text, protocol)
            except ValueError as error:
                raise ValueError(f"not a member of a group: {literal(text)}{error}") from error
    elif "fwmark" in given:
        yield Service(given.get("family") or FAMILIES[4], "", None, None, 0, given["fwmark"])
    elif "address" in given:
        address = _address(given["address"])
        yield Service(FAMILIES[address.version], protocol, address, address, given.get("port", 0), 0)


def addresses(given: Mapping[str, Any]) -> list[str]:
    """Return the virtual addresses of an endpoint, each once; none with a firewall mark."""
    return list(dict.fromkeys(address for service in services(given) for address in service.addresses))


def group_member(text: object, protocol: str) -> Service:
    """Return what a line of a group stands for. ``ValueError`` has a remark on what is wrong with it, or is empty."""
    # What is longer is no member, and ip_address shows text of any length in its own words.
    words = [word for word in text.split(" ") if word] if isinstance(text, str) and len(text) <= 128 else []
    if words[:1] == ["fwmark"] and len(words) in (2, 3):
        mark, family = _number(words[1], MAX_FWMARK), _FAMILY_WORDS.get((words[2:] or ["ipv4"])[0])
        if not mark or family is None:
            raise ValueError(f", and a firewall mark is a number from 1 to {MAX_FWMARK}" if not mark else "")
        return Service(family, "", None, None, 0, mark)
    if len(words) not in (1, 2):
        raise ValueError
    first, last = _range(words[0])
    port = _number(words[1], 65535) if len(words) == 2 else 0
    if port is None:
        raise ValueError(", and a port is a number from 0 to 65535")
    return Service(FAMILIES[first.version], protocol, first, last, port, 0)


def _number(text: str, high: int) -> int | None:
    """Return a whole number from 0 on; ``None`` if it is none."""
    if not text.isascii() or not text.isdigit() or len(text) > len(str(high)) or int(text) > high:
        return None
    return int(text)


def _range(text: str) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
    """Return the first and the last address of '192.0.2.1', '192.0.2.1-9', '192.0.2.1-192.0.2.9' or '192.0.2.0/29'."""
    begin, dash, end = text.partition("-")
    begin, slash, prefix = begin.partition("/")
    first = plain_address(begin)
    if first is None or (dash and slash):
        raise ValueError
    if slash:
        length = _number(prefix, first.max_prefixlen)
        if not length:
            raise ValueError
        try:
            network = ip_network(f"{first}/{length}")
        except ValueError:
            raise ValueError(", and it is not the first address of that network") from None
        last = network[-1]
    else:
        last = _last(first, end) if dash else first
    if last.version != first.version or last < first:
        raise ValueError(", which ends before it begins")
    prefix_length = _SMALLEST_PREFIX[first.version]
    if last not in ip_network(f"{first}/{prefix_length}", strict=False):
        raise ValueError(f", and a range may not go beyond one /{prefix_length}")
    return first, last


def _last(first: IPv4Address | IPv6Address, text: str) -> IPv4Address | IPv6Address:
    """Return the last address of a range, of which the text is the whole or what differs: the last part."""
    whole = plain_address(text)
    if whole is not None:
        return whole
    base, step = (10, 256) if first.version == 4 else (16, 65536)
    if _LAST_PART[first.version].fullmatch(text) is None or int(text, base) >= step:
        raise ValueError
    return type(first)(int(first) // step * step + int(text, base))


def _words(value: object) -> tuple[Any, ...]:
    """Return what a list holds, or raise ``ValueError``: text has letters, and is no list of words."""
    if value is not None and not isinstance(value, (list, tuple)):
        raise ValueError(f"not a list: {literal(value)}")
    return tuple(value or ())


def _address(value: object) -> IPv4Address | IPv6Address:
    """Return an address, or raise ``ValueError``."""
    address = plain_address(value)
    if address is None:
        raise ValueError(f"not an address: {literal(value)}")
    return address


def endpoint(address: str, port: int) -> str:
    """Return an address and a port in one word, IPv6 in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def netmask(family: str, value: object) -> str | int:
    """Return a mask as keepalived takes it: with dots for IPv4, a prefix length for IPv6; empty if there is none."""
    if value is None or value == "":
        return ""
    if family == "ipv4" and is_whole(value, 1, 32):
        return str(ip_network(f"0.0.0.0/{value}").netmask)
    if isinstance(value, str):
        return str(IPv4Address(value))
    return int(value)  # type: ignore[call-overload]


def forwarding(given: Mapping[str, Any], default: Forward) -> Forward:
    """Return how packets are forwarded: the words given, or else the default's where those still mean something."""
    method = given.get("forward") or default.method
    if method != "tunnel":
        return Forward(method)
    same = default.method == "tunnel"
    kind = given.get("tunnel") or default.tunnel or "ipip"
    # The port and the flags belong to a kind of tunnel, and another kind has others.
    same = same and kind == default.tunnel
    port = given.get("tunnel_port") or (default.tunnel_port if same else 0)
    flags = given.get("tunnel_flags", default.tunnel_flags if same else ())
    return Forward(method, kind, port, _words(flags))


def _servers(
    settings: Mapping[str, Any], given: Mapping[str, Any], forward: Forward, times: Mapping[str, Any]
) -> Iterator[RealServer]:
    """Yield the real servers: the databases, if the endpoint serves them, and then those that it names."""
    nodes, named = part(settings, "nodes"), part(given, "servers")
    databases: dict[str, Any] = {}
    if given.get("serves") == "all":
        databases = {name: named.get(name) for name in nodes if part(nodes, name).get("role") == "database"}
    for name, own in {**databases, **named}.items():
        yield _server(settings, given, name, own or {}, forward, times)


def _server(
    settings: Mapping[str, Any],
    endpoint_given: Mapping[str, Any],
    name: str,
    own: Mapping[str, Any],
    forward: Forward,
    times: Mapping[str, Any],
) -> RealServer:
    """Return one real server."""
    node = part(part(settings, "nodes"), name)
    way = forwarding(own, forward)
    inhibit = own.get("inhibit_on_failure", endpoint_given.get("inhibit_on_failure"))
    return RealServer(
        name=name,
        address=str(_address(own.get("address") or node["address"])),
        port=own["port"] if "port" in own else _default_port(settings, endpoint_given, node, way),
        weight=own.get("weight", node.get("weight", 1)),
        forward=way,
        upper_threshold=own.get("upper_threshold") or 0,
        lower_threshold=own.get("lower_threshold") or 0,
        inhibit=inhibit is True,
        checks=tuple(checks(own.get("check", endpoint_given.get("check")), times)),
        given=own,
    )


def _default_port(
    settings: Mapping[str, Any], endpoint_given: Mapping[str, Any], node: Mapping[str, Any], way: Forward
) -> int:
    """Return the port of a server that says none: the database's, if it is one and that can be reached, or the same."""
    if way.method == "nat" and node.get("role") in ("database", "replica"):
        return int(part(settings, "database").get("port", DEFAULT_DATABASE_PORT))
    return int(endpoint_given.get("port", 0)) if "address" in endpoint_given else 0


def _sorry(given: Mapping[str, Any], forward: Forward) -> RealServer | None:
    """Return the sorry server of an endpoint."""
    own = part(given, "sorry_server")
    if "address" not in own:
        return None
    return RealServer(
        name="",
        address=str(_address(own["address"])),
        port=own["port"] if "port" in own else (given.get("port", 0) if "address" in given else 0),
        weight=1,
        forward=forwarding(own, forward),
        upper_threshold=0,
        lower_threshold=0,
        inhibit=own.get("inhibit") is True,
        checks=(),
        given=own,
    )


def checks(given: object, times: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """
    Yield the checks that a word, a mapping or a list of these stands for, each with the times that hold for it.

    The interval is not among them unless the check has one of its own: the virtual server says it for all.
    """
    common = {"warmup": 0, **{key: value for key, value in times.items() if key != "interval"}}
    for item in given if isinstance(given, (list, tuple)) else [given]:
        own: Mapping[str, Any] = item if isinstance(item, Mapping) else {"type": item}
        if own.get("type") not in (None, "none"):
            yield {**common, **own}


def table(settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return what the kernel's table is while all checks pass, as ``ipvs_rules.table`` takes it and without sorry servers.

    With ``nftables_ipvs`` in ``global_defs`` keepalived makes firewall marks of its own out of groups: then this says
    nothing about them.
    """
    found: dict[str, Any] = {}
    for server in virtual_servers(settings):
        words = service_words(server)
        for service in server.services:
            reals = {endpoint(real.address, port_of(real, service)): server_words(real) for real in server.servers}
            for name in service.names:
                # Each has mappings of its own, so that who changes one does not change them all.
                found[name] = {**words, "servers": {key: dict(value) for key, value in reals.items()}}
    return found


def sorry_table(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sorry servers by the names of the services that may have them: ``{service: {server: words}}``."""
    return {
        name: {endpoint(server.sorry.address, port_of(server.sorry, service)): server_words(server.sorry)}
        for server in virtual_servers(settings)
        if server.sorry is not None
        for service in server.services
        for name in service.names
    }


def service_words(server: VirtualServer) -> dict[str, Any]:
    """Return what the services of an endpoint are set to, in the words of the ``ipvs`` states."""
    words: dict[str, Any] = {"scheduler": server.scheduler}
    if server.scheduler_flags:
        words["scheduler_flags"] = list(server.scheduler_flags)
    if server.one_packet:
        words["one_packet"] = True
    if server.persistence_timeout:
        words["persistence_timeout"] = server.persistence_timeout
    if server.persistence_netmask:
        words["persistence_netmask"] = server.persistence_netmask
    if server.persistence_engine:
        words["persistence_engine"] = server.persistence_engine
    return words


def server_words(real: RealServer) -> dict[str, Any]:
    """Return what a real server is set to, in the words of the ``ipvs`` states."""
    words: dict[str, Any] = {"forward": real.forward.method, "weight": real.weight}
    if real.upper_threshold:
        words["upper_threshold"] = real.upper_threshold
    if real.lower_threshold:
        words["lower_threshold"] = real.lower_threshold
    if real.forward.tunnel:
        words["tunnel"] = real.forward.tunnel
    if real.forward.tunnel_port:
        words["tunnel_port"] = real.forward.tunnel_port
    if real.forward.tunnel_flags:
        words["tunnel_flags"] = list(real.forward.tunnel_flags)
    return words


def port_of(real: RealServer, service: Service) -> int:
    """Return the port under which the kernel has a server: only NAT can have another than the service."""
    if real.forward.method == "nat":
        return real.port
    return 0 if service.fwmark else service.port
