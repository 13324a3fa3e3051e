"""
From an operator's words to what goes into the kernel's IPVS table, with everything refused that cannot work. Knows
nothing of Salt.

The kernel accepts some settings by mistake: a server behind direct routing with another port, one-packet scheduling
for TCP, a multicast address, port 0 without persistence. They are refused here, as ipvsadm does. Ranges:
net/netfilter/ipvs/ip_vs_ctl.c, ipvsadm(8).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping
from typing import Any

import ipvs_model as model
from ipvs_model import Entry, Server, ServerKey, Service, ServiceKey, Table

MAX_INT = 2147483647
MAX_FWMARK = 4294967295
MAX_PERSISTENCE = 2678400  # 31 days
DEFAULT_PERSISTENCE = 300
DEFAULT_SCHEDULER = "wlc"
NUMBERS = {name: number for number, name in model.PROTOCOLS.items()}
FAMILY_NUMBERS = {name: number for number, name in model.FAMILIES.items()}
METHOD_NUMBERS = {"dr": model.DR, "nat": model.NAT, "tunnel": model.TUNNEL}
TUNNEL_NUMBERS = {name: number for number, name in model.TUNNELS.items()}
NAMES = "'tcp 192.168.1.100:3306', 'udp [2001:db8::1]:53', 'sctp ...' or 'fwmark 5 ipv4'"
# What ipvs.list shows beside the settings; so its output can be given back.
COUNTERS = frozenset({"active_connections", "inactive_connections", "persistent_connections"})
SERVICE_WORDS: tuple[str, ...] = (
    "scheduler",
    "scheduler_flags",
    "one_packet",
    "persistence_timeout",
    "persistence_netmask",
    "persistence_engine",
)
SERVER_WORDS: tuple[str, ...] = (
    "forward",
    "weight",
    "upper_threshold",
    "lower_threshold",
    "tunnel",
    "tunnel_port",
    "tunnel_flags",
)
_TUNNEL_WORDS = ("tunnel", "tunnel_port", "tunnel_flags")
_THRESHOLD_WORDS = ("upper_threshold", "lower_threshold")
_SERVER_WORDS_AND_COUNTERS = COUNTERS.union(SERVER_WORDS)
_PLAIN_SERVER = Server(model.DR, 1, 0, 0, model.IPIP, 0, 0)
_MODULE = re.compile(r"[a-z][a-z0-9_-]{0,14}")


class Wrong(ValueError):
    """Something that an operator said cannot work; the message names it, its value and what is allowed."""


class Refused(Wrong):
    """One wrong value, in its parts for who says it in other words."""

    def __init__(self, what: str, value: object, allowed: str) -> None:
        super().__init__(what, value, allowed)
        self.what, self.value, self.allowed = what, value, allowed

    def __str__(self) -> str:
        return f"{self.what}: is {self.value!r}; allowed: {self.allowed}"


def refuse(what: str, value: object, allowed: str) -> Wrong:
    """The error for one wrong value."""
    return Refused(what, value, allowed)


# --- names ---


def service_key(text: object, what: str = "service") -> ServiceKey:
    """The key that a name such as 'tcp 192.168.1.100:3306' or 'fwmark 5 ipv6' stands for (ipv4 if left out)."""
    words = text.split() if isinstance(text, str) else []
    if len(words) == 2 and words[0] in NUMBERS:
        address, port = split_endpoint(words[1])
        if address is not None and port is not None:
            return key_of_address(NUMBERS[words[0]], address, port, what)
    if len(words) in (2, 3) and words[0] == "fwmark":
        family = FAMILY_NUMBERS.get(words[2] if len(words) == 3 else "ipv4")
        if family is not None:
            return key_of_fwmark(family, number(f"{what}: the fwmark", words[1], 1, MAX_FWMARK))
    raise refuse(what, text, NAMES)


def key_of_address(protocol: int, address: bytes, port: int, what: str = "service") -> ServiceKey:
    """The key of a service by its address."""
    host_address(address, what)
    return ServiceKey(model.FAMILY_OF_SIZE[len(address)], protocol, address, port, 0)


def key_of_fwmark(family: int, mark: int) -> ServiceKey:
    """The key of a service by its firewall mark."""
    return ServiceKey(family, 0, b"", model.NO_PORT, mark)


def server_key(text: object, key: ServiceKey, what: str = "server") -> ServerKey:
    """The key of a real server, '192.168.1.5:3306' or without a port, which is then the service's."""
    address, port = split_endpoint(text if isinstance(text, str) else "")
    if address is None:
        raise refuse(what, text, "an address and a port, such as 192.168.1.5:3306 or [2001:db8::5]:3306")
    host_address(address, what)
    return ServerKey(address, key.port if port is None else port)


def split_endpoint(text: str) -> tuple[bytes | None, int | None]:
    """Address and port of '192.0.2.1:80', '[2001:db8::1]:80' or an address alone; None for what is not there."""
    address = packed(text)
    if address is not None:
        return address, None
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        address = packed(host[1:-1])
        if address is not None and len(address) == 4:
            address = None
    elif text.startswith("[") and text.endswith("]"):
        return packed(text[1:-1]), None
    else:
        address = packed(host)
        if address is not None and len(address) == 16:
            address = None
    if address is None or not colon or not _is_digits(port) or int(port) > 65535:
        return None, None
    return address, int(port)


def packed(text: str) -> bytes | None:
    """An address in its packed form; None if it is none. Strict: no leading zeros, no zone."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        return socket.inet_pton(family, text)
    except (OSError, ValueError):
        return None


def host_address(address: bytes, what: str) -> None:
    """Refuse an address that no host can have."""
    if len(address) == 4:
        wrong = address == bytes(4) or 224 <= address[0] <= 239 or address == b"\xff\xff\xff\xff"
    else:
        wrong = address == bytes(16) or address[0] == 0xFF
    if wrong:
        raise refuse(what, model.address_words(address), "a host's address (not unspecified, multicast or broadcast)")


# --- services ---


def service(key: ServiceKey, words: Mapping[str, Any], what: str, base: Service | None = None) -> Service:
    """What a service is to be set to. Words that are missing or None keep what ``base`` has, or are the defaults."""
    known(words, SERVICE_WORDS, what)
    old = base or Service(DEFAULT_SCHEDULER, 0, 0, model.whole_netmask(key.family), "")
    scheduler = old.scheduler
    if words.get("scheduler") is not None:
        scheduler = module_name(f"{what}: scheduler", words["scheduler"])
    flags = _scheduler_flags(scheduler, old, words.get("scheduler_flags"), what)
    one_packet = bool(old.flags & model.ONE_PACKET)
    if words.get("one_packet") is not None:
        one_packet = boolean(f"{what}: one_packet", words["one_packet"])
    if one_packet:
        if not key.fwmark and key.protocol != socket.IPPROTO_UDP:
            raise refuse(f"{what}: one_packet", True, "only for udp and fwmark services")
        flags |= model.ONE_PACKET
    flags, timeout, netmask = _persistence(key, old, flags, words, what)
    engine = old.engine
    if words.get("persistence_engine") is not None:
        given = words["persistence_engine"]
        engine = "" if given == "" else module_name(f"{what}: persistence_engine", given)
    if not key.fwmark and key.port == 0 and not flags & model.PERSISTENT:
        raise Wrong(f"{what}: port: is 0; allowed: 1 to 65535, or 0 (every port) together with a persistence_timeout")
    return Service(scheduler, flags, timeout, netmask, engine)


def _scheduler_flags(scheduler: str, old: Service, given: object, what: str) -> int:
    names = {name: bit for bit, name in model.scheduler_flag_names(scheduler).items()}
    if given is None:
        # Another scheduler means something else by the same bits.
        return old.flags & sum(model.SCHEDULER_FLAGS) if scheduler == old.scheduler else 0
    # The kernel's own numbers for the flags mean the same.
    names = {name: bit for bit, name in model.SCHEDULER_FLAGS.items()} | names
    flags = 0
    for name in sequence(f"{what}: scheduler_flags", given):
        if name not in names:
            raise refuse(f"{what}: scheduler_flags", name, f"{', '.join(names)} with the scheduler {scheduler}")
        flags |= names[name]
    return flags


def _persistence(
    key: ServiceKey, old: Service, flags: int, words: Mapping[str, Any], what: str
) -> tuple[int, int, int]:
    timeout, netmask = old.timeout, old.netmask
    flags |= old.flags & model.PERSISTENT
    given = words.get("persistence_timeout")
    if given is not None:
        timeout = number(f"{what}: persistence_timeout", given, 0, MAX_PERSISTENCE, " of seconds; 0 for none")
        flags = flags | model.PERSISTENT if timeout else flags & ~model.PERSISTENT
    if words.get("persistence_netmask") is not None:
        if not flags & model.PERSISTENT:
            raise Wrong(f"{what}: persistence_netmask: is set without a persistence_timeout; allowed: both, or neither")
        netmask = netmask_number(f"{what}: persistence_netmask", words["persistence_netmask"], key.family)
    if not flags & model.PERSISTENT:
        return flags, 0, model.whole_netmask(key.family)
    return flags, timeout, netmask


def netmask_number(what: str, value: object, family: int) -> int:
    """A netmask as the kernel has it: for IPv4 from dotted form or a prefix length, for IPv6 a prefix length."""
    if family == socket.AF_INET6:
        return number(what, value, 1, 128, " (a prefix length)")
    address = packed(value) if isinstance(value, str) else None
    if address is not None and len(address) == 4 and address != bytes(4):
        return int.from_bytes(address, "big")
    prefix = number(what, value, 1, 32, " (a prefix length), or a mask such as 255.255.255.0")
    return model.WHOLE_IPV4 << (32 - prefix) & model.WHOLE_IPV4


# --- servers ---


def server(key: ServiceKey, own: ServerKey, words: Mapping[str, Any], what: str, base: Server | None = None) -> Server:
    """What a server is to be set to. Words that are missing or None keep what ``base`` has, or are the defaults."""
    # Tables have tens of thousands of servers with few words each: what is not said costs nothing.
    said = words.keys()
    if not said <= _SERVER_WORDS_AND_COUNTERS:
        known(words, SERVER_WORDS, what)
    old = base or _PLAIN_SERVER
    method, weight, upper, lower, *tunnel = old
    if words.get("forward") is not None:
        method = choice(f"{what}: forward", words["forward"], METHOD_NUMBERS)
    if words.get("weight") is not None:
        weight = number(f"{what}: weight", words["weight"], 0, MAX_INT)
    if not said.isdisjoint(_THRESHOLD_WORDS):
        upper, lower = _thresholds(words, upper, lower, what)
    if method == model.TUNNEL or old.method == model.TUNNEL or not said.isdisjoint(_TUNNEL_WORDS):
        tunnel = _tunnel(method, old, words, what)
    _reachable(key, own, method, what)
    return Server(method, weight, upper, lower, *tunnel)


def _thresholds(words: Mapping[str, Any], upper: int, lower: int, what: str) -> tuple[int, int]:
    if words.get("upper_threshold") is not None:
        upper = number(f"{what}: upper_threshold", words["upper_threshold"], 0, MAX_INT, " of connections; 0 for none")
    if words.get("lower_threshold") is not None:
        lower = number(f"{what}: lower_threshold", words["lower_threshold"], 0, MAX_INT, " of connections; 0 for none")
    if lower > upper:
        raise refuse(f"{what}: lower_threshold", lower, f"at most the upper_threshold, which is {upper}")
    return upper, lower


def _reachable(key: ServiceKey, own: ServerKey, method: int, what: str) -> None:
    if len(own.address) != model.ADDRESS_SIZE[key.family] and method != model.TUNNEL:
        raise Wrong(
            f"{what}: is of another address family than its service, which only forward: tunnel can reach; "
            f"allowed: an {model.FAMILIES[key.family]} address"
        )
    if method != model.NAT and not key.fwmark and own.port != key.port:
        raise Wrong(
            f"{what}: has port {own.port}, and forward: {model.METHODS[method]} leaves the port as the client sent it; "
            f"allowed: {key.port}, or forward: nat"
        )


def _tunnel(method: int, old: Server, words: Mapping[str, Any], what: str) -> tuple[int, int, int]:
    given = [word for word in _TUNNEL_WORDS if words.get(word) is not None]
    if method != model.TUNNEL:
        if given:
            raise Wrong(f"{what}: {given[0]}: is set without forward: tunnel; allowed: both, or neither")
        return model.IPIP, 0, 0
    kind, port, flags = old.tunnel, old.tunnel_port, old.tunnel_flags
    if words.get("tunnel") is not None:
        kind = choice(f"{what}: tunnel", words["tunnel"], TUNNEL_NUMBERS)
        if kind != old.tunnel:
            port = flags = 0
    if words.get("tunnel_port") is not None:
        port = number(f"{what}: tunnel_port", words["tunnel_port"], 0, 65535)
    if words.get("tunnel_flags") is not None:
        names = {name: bit for bit, name in model.TUNNEL_FLAGS.items()}
        flags = sum({choice(f"{what}: tunnel_flags", name, names) for name in
                     sequence(f"{what}: tunnel_flags", words["tunnel_flags"])})  # fmt: skip
    name = model.TUNNELS[kind]
    if (kind == model.GUE) != bool(port):
        raise refuse(f"{what}: tunnel_port", port, "1 to 65535 with tunnel: gue, and none with ipip and gre")
    allowed = {model.IPIP: 0, model.GUE: model.CSUM | model.REMCSUM, model.GRE: model.CSUM}[kind]
    if flags & ~allowed:
        usable = ", ".join(word for bit, word in model.TUNNEL_FLAGS.items() if bit & allowed) or "none"
        raise Wrong(f"{what}: tunnel_flags: are not all possible with tunnel: {name}; allowed: {usable}")
    return kind, port, flags


# --- a whole table ---


def table(wanted: object) -> Table:
    """
    A wanted table, as ``ipvs.list`` shows one: services by name, each with its ``servers`` by name. What is left out
    has its default. All that is wrong is said at once.
    """
    if not isinstance(wanted, Mapping):
        raise refuse("services", wanted, f"a mapping with names such as {NAMES}")
    found: Table = {}
    problems: list[str] = []
    for name, words in wanted.items():
        try:
            key = service_key(name, f"services: {name}")
            if key in found:
                raise Wrong(f"services: {name}: is the same service as {key.name}; allowed: each one once")
            found[key] = _entry(key, name, {} if words is None else words, problems)
        except Wrong as error:
            problems.append(str(error))
    if problems:
        raise Wrong("\n".join(problems))
    return found


def _entry(key: ServiceKey, name: object, words: object, problems: list[str]) -> Entry:
    if not isinstance(words, Mapping):
        raise refuse(f"services: {name}", words, "a mapping")
    own = {word: value for word, value in words.items() if word != "servers"}
    servers: dict[ServerKey, Server] = {}
    given = words.get("servers") or {}
    if not isinstance(given, Mapping):
        raise refuse(f"services: {name}: servers", given, "a mapping with names such as 192.168.1.5:3306")
    before = f"services: {name}: servers: "
    for server_name, server_words in given.items():
        what = f"{before}{server_name}"
        try:
            server_id = server_key(server_name, key, what)
            if server_id in servers:
                raise Wrong(f"{what}: is the same server as {server_id.name}; allowed: each one once")
            if server_words is not None and not isinstance(server_words, Mapping):
                raise refuse(what, server_words, "a mapping")
            servers[server_id] = server(key, server_id, server_words or {}, what)
        except Wrong as error:
            problems.append(str(error))
    return Entry(service(key, own, f"services: {name}"), servers)


# --- single values ---


def known(words: Mapping[str, Any], allowed: Iterable[str], what: str) -> None:
    """Refuse a word that means nothing."""
    for word in words:
        if word not in allowed and word not in COUNTERS:
            raise Wrong(f"{what}: {word}: is not known; allowed: {', '.join(allowed)}")


def number(what: str, value: object, low: int, high: int, unit: str = "") -> int:
    """A whole number, also from text."""
    if type(value) is int and low <= value <= high:
        return value
    found = value
    if isinstance(value, str) and _is_digits(value):
        found = int(value)
    if isinstance(found, bool) or not isinstance(found, int) or not low <= found <= high:
        raise refuse(what, value, f"{low} to {high}{unit}")
    return found


def _is_digits(text: str) -> bool:
    """Whether a text is a number; Python refuses to read those of more than 4300 digits."""
    return len(text) <= 20 and text.isascii() and text.isdigit()


def boolean(what: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise refuse(what, value, "true, false")
    return value


def choice(what: str, value: object, allowed: Mapping[str, int]) -> int:
    """The number behind one of some words."""
    if not isinstance(value, str) or value not in allowed:
        raise refuse(what, value, ", ".join(allowed))
    return allowed[value]


def sequence(what: str, value: object) -> list[str]:
    """A list of words, or words with commas between them."""
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    if isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value):
        return list(value)
    raise refuse(what, value, "a list of words")


def module_name(what: str, value: object) -> str:
    """The name of a scheduler or persistence engine, which the kernel has as a module."""
    if not isinstance(value, str) or not _MODULE.fullmatch(value):
        raise refuse(what, value, "1 to 15 of the characters a-z 0-9 _ -, a letter first")
    return value
