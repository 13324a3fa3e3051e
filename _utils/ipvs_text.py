"""
An IPVS table as text in the format of ``ipvsadm --save`` and ``--restore``, both ways. Knows nothing of Salt.

ipvsadm's own ``--save`` loses thresholds and the third flag of the schedulers sh and mh, and writes firewall marks
above 2147483647 as negative numbers; ours does not. Options: ipvsadm(8).
"""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterable, Iterator
from typing import Any

import ipvs_model as model
import ipvs_rules as rules
from ipvs_model import Entry, Server, ServerKey, Service, ServiceKey, Table

_PROTOCOL_OPTIONS = {socket.IPPROTO_TCP: "-t", socket.IPPROTO_UDP: "-u", socket.IPPROTO_SCTP: "--sctp-service"}
_METHOD_OPTIONS = {model.NAT: "-m", model.TUNNEL: "-i", model.DR: "-g"}

# What each option is called here. Those of the second group take a value.
_SWITCHES = {
    "-A": "add-service", "-a": "add-server", "-6": "ipv6", "-o": "ops", "-g": "gatewaying", "-i": "ipip",
    "-m": "masquerading", "-n": "numeric",
}  # fmt: skip
_LONG_SWITCHES = {*_SWITCHES.values(), "tun-nocsum", "tun-csum", "tun-remcsum"}
_VALUED = {
    "-t": "tcp-service", "-u": "udp-service", "-f": "fwmark-service", "-s": "scheduler", "-M": "netmask",
    "-b": "sched-flags", "-r": "real-server", "-w": "weight", "-x": "u-threshold", "-y": "l-threshold",
}  # fmt: skip
_LONG_VALUED = {*_VALUED.values(), "sctp-service", "pe", "tun-type", "tun-port"}
_SERVICE_OPTIONS = {"tcp-service": "tcp", "udp-service": "udp", "sctp-service": "sctp"}
_METHODS = {"gatewaying": "dr", "ipip": "tunnel", "masquerading": "nat"}


def save(table: Table) -> str:
    """The table as text, one command a line; a service's servers follow it."""
    return "".join(f"{line}\n" for line in lines(table))


def lines(table: Table) -> Iterator[str]:
    """The commands that make the table."""
    for key, entry in table.items():
        name = _service_option(key)
        yield f"-A {name} {_service_words(key, entry.service)}"
        for server, value in entry.servers.items():
            yield f"-a {name} -r {server.name} {_server_words(value)}"


def _service_option(key: ServiceKey) -> str:
    if key.fwmark:
        return f"-f {key.fwmark}" + (" -6" if key.family == socket.AF_INET6 else "")
    return f"{_PROTOCOL_OPTIONS[key.protocol]} {model.endpoint(key.address, key.port)}"


def _service_words(key: ServiceKey, service: Service) -> str:
    shown = service.as_dict(key.family)
    words = [f"-s {service.scheduler}"]
    if "persistence_timeout" in shown:
        words.append(f"-p {service.timeout}")
    if "persistence_netmask" in shown:
        words.append(f"-M {shown['persistence_netmask']}")
    if service.engine:
        words.append(f"--pe {service.engine}")
    if service.flags & model.ONE_PACKET:
        words.append("-o")
    if "scheduler_flags" in shown:
        words.append(f"-b {','.join(shown['scheduler_flags'])}")
    return " ".join(words)


def _server_words(server: Server) -> str:
    words = [_METHOD_OPTIONS[server.method], f"-w {server.weight}"]
    if server.upper_threshold:
        words.append(f"-x {server.upper_threshold}")
    if server.lower_threshold:
        words.append(f"-y {server.lower_threshold}")
    if server.method == model.TUNNEL:
        words.append(f"--tun-type {model.TUNNELS[server.tunnel]}")
        if server.tunnel_port:
            words.append(f"--tun-port {server.tunnel_port}")
        if server.tunnel != model.IPIP:
            flags = [f"--tun-{name}" for bit, name in model.TUNNEL_FLAGS.items() if server.tunnel_flags & bit]
            words += flags or ["--tun-nocsum"]
    return " ".join(words)


def parse(text: str) -> Table:
    """The table that a saved text makes. ``rules.Wrong`` names every line that cannot work."""
    table: Table = {}
    problems = []
    for place, line in enumerate(text.splitlines(), start=1):
        what = f"line {place}"
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            problems.append(f"{what}: {line!r}: {error}")
            continue
        if words[:1] == ["ipvsadm"]:
            words = words[1:]
        if not words:
            continue
        try:
            _take(table, _options(words, what), what)
        except rules.Wrong as error:
            problems.append(str(error))
    if problems:
        raise rules.Wrong("\n".join(problems))
    return table


def _options(words: Iterable[str], what: str) -> dict[str, str]:
    """The options of one command by their long names; those without a value have an empty one."""
    found: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=") if word.startswith("--") else (word[:2], "", word[2:])
        name = name[2:] if name.startswith("--") else _SWITCHES.get(name) or _VALUED.get(name) or name
        if word.startswith("--") and not equals:
            value = ""
        if word[:2] == "-p" or name == "persistent":
            # Its value may be missing, and then is 300.
            name = "persistent"
            if not value and rest and rest[0].isdigit():
                value = rest.pop(0)
            found[name] = value or str(rules.DEFAULT_PERSISTENCE)
        elif name in _LONG_SWITCHES and not value and not equals:
            found[name] = ""
        elif name in _LONG_VALUED:
            if not value and not rest:
                raise rules.Wrong(f"{what}: {word}: lacks its value")
            found[name] = value or rest.pop(0)
        else:
            raise rules.Wrong(f"{what}: {word}: is no option of a saved table; allowed: those of ipvsadm's -A and -a")
    return found


def _take(table: Table, options: dict[str, str], what: str) -> None:
    """Put what one command says into the table."""
    adds_service, adds_server = "add-service" in options, "add-server" in options
    if adds_service == adds_server:
        raise rules.Wrong(f"{what}: says neither -A nor -a, or both; allowed: one of them")
    key = _key(options, what)
    if adds_service:
        if key in table:
            raise rules.Wrong(f"{what}: adds {key.name} a second time")
        table[key] = Entry(rules.service(key, _service_settings(options), what), {})
        return
    if key not in table:
        raise rules.Wrong(f"{what}: adds a server to {key.name}, which no line before it adds")
    if "real-server" not in options:
        raise rules.Wrong(f"{what}: -a lacks -r")
    own: ServerKey = rules.server_key(options["real-server"], key, f"{what}: -r")
    if own in table[key].servers:
        raise rules.Wrong(f"{what}: adds {own.name} to {key.name} a second time")
    table[key].servers[own] = rules.server(key, own, _server_settings(options), what)


def _key(options: dict[str, str], what: str) -> ServiceKey:
    if "fwmark-service" in options:
        mark = options["fwmark-service"]
        if mark.startswith("-") and mark[1:].isdigit():
            mark = str(int(mark) + 2**32)  # ipvsadm saves a large one as a negative number
        family = socket.AF_INET6 if "ipv6" in options else socket.AF_INET
        return rules.key_of_fwmark(family, rules.number(f"{what}: -f", mark, 1, rules.MAX_FWMARK))
    for option, protocol in _SERVICE_OPTIONS.items():
        if option in options:
            address, port = rules.split_endpoint(options[option])
            if address is None:
                raise rules.refuse(f"{what}: --{option}", options[option], "a numeric address and port (ipvsadm -S -n)")
            return rules.key_of_address(rules.NUMBERS[protocol], address, port or 0, what)
    raise rules.Wrong(f"{what}: names no service; allowed: -t, -u, --sctp-service or -f")


def _service_settings(options: dict[str, str]) -> dict[str, Any]:
    named = {"scheduler": "scheduler", "persistent": "persistence_timeout", "pe": "persistence_engine",
             "sched-flags": "scheduler_flags", "netmask": "persistence_netmask"}  # fmt: skip
    settings: dict[str, Any] = {named[option]: value for option, value in options.items() if option in named}
    if "ops" in options:
        settings["one_packet"] = True
    return settings


def _server_settings(options: dict[str, str]) -> dict[str, Any]:
    named = {"weight": "weight", "u-threshold": "upper_threshold", "l-threshold": "lower_threshold",
             "tun-type": "tunnel", "tun-port": "tunnel_port"}  # fmt: skip
    settings: dict[str, Any] = {named[option]: value for option, value in options.items() if option in named}
    for option, method in _METHODS.items():
        if option in options:
            settings["forward"] = method
    flags = [name for name in model.TUNNEL_FLAGS.values() if f"tun-{name}" in options]
    if flags:
        settings["tunnel_flags"] = flags
    return settings
