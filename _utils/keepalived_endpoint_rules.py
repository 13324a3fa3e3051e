"""
The rules for ``mysql_ha:endpoints``: what is wrong with virtual servers, real servers and checks, in plain words.

Plain Python that knows nothing of Salt. No function here raises, whatever the pillar holds. First each value is looked
at by itself. Then the endpoint is resolved from those that are right, as it will be for ``keepalived.conf``, and what
fits together badly is said: much of it keepalived would change in silence, and the kernel would take by mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import ipvs_model as model
import keepalived_checks
import keepalived_endpoints
from keepalived_checks import MAX_INT, TIMES
from keepalived_endpoint_conf import ENDPOINT, ENDPOINT_OWNED, SERVER, SERVER_OWNED
from keepalived_endpoint_fit import FORWARD, ROOT, Known, accepted, joined, netmask_rule, vips_of_servers
from keepalived_endpoints import GROUP_MEMBERS, Service
from keepalived_values import (
    SERVER_ADDRESS,
    VIRTUAL_ADDRESS,
    Key,
    check_extra,
    too_new,
)
from pillar_rules import (
    BOOLEAN,
    NAME,
    PORT,
    Rule,
    check_leaves,
    check_name,
    check_section,
    label,
    not_mappings,
    one_of,
    part,
    pattern,
    unknown_keys,
    whole,
)
from pillar_words import did_you_mean, is_whole, kind, literal

#: The LVS schedulers of Linux (``net/netfilter/ipvs/Kconfig``).
SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos")
PLACES = ("address", "fwmark", "group")
_PLACE = ("address", "port", "protocol", "fwmark", "family")

_AGENT = ", which needs the health agent that is not in this version"
_SERVES = "all, said explicitly: both databases then take writes, and can diverge silently"
_SERVER_NAME = pattern(r"[A-Za-z0-9._-]{1,63}", "1 to 63 of the characters A-Z a-z 0-9 . _ - (in quotes if a number)")

_ENDPOINT: Mapping[str, Rule] = {
    "address": VIRTUAL_ADDRESS,
    "port": PORT,
    "serves": one_of("all", remarks={"writer": _AGENT, "readers": _AGENT})._replace(allowed=_SERVES),
    "scheduler": one_of(*SCHEDULERS),
    "fwmark": whole(1, keepalived_endpoints.MAX_FWMARK),
    "family": one_of("ipv4", "ipv6"),
    "protocol": one_of("tcp", "udp", "sctp"),
    **FORWARD,
    "one_packet": BOOLEAN,
    "persistence_timeout": whole(1, 2678400, " of seconds"),
    "persistence_engine": one_of("sip"),
    **{name: key.rule for name, key in ENDPOINT.items()},
}
_SERVER: Mapping[str, Rule] = {
    "address": SERVER_ADDRESS,
    "port": PORT,
    "weight": whole(0, MAX_INT),
    **FORWARD,
    **{name: key.rule for name, key in SERVER.items()},
}
_SORRY: Mapping[str, Rule] = {"address": SERVER_ADDRESS, "port": PORT, "inhibit": BOOLEAN, **FORWARD}
#: All keys of an endpoint, the most usual ones first.
ENDPOINT_KEYS = (
    "address",
    "port",
    "serves",
    "check",
    "scheduler",
    "servers",
    *[key for key in _ENDPOINT if key not in ("address", "port", "serves", "scheduler")],
    "group",
    "scheduler_flags",
    "persistence_netmask",
    "sorry_server",
    "checks",
    "extra",
)
SERVER_KEYS = (*_SERVER, "check", "extra")


def errors(pillar: Mapping[Any, Any], owners: Mapping[str, str]) -> Iterator[str]:
    """
    Say what is wrong with ``mysql_ha:endpoints``.

    owners
        The addresses of the nodes that are right, and where the pillar says them.
    """
    path, entries = f"{ROOT}:endpoints", part(pillar, "endpoints")
    if not entries and isinstance(pillar.get("endpoints", {}), Mapping):
        yield f"{path}: holds no endpoint; allowed: at least one"
    known = Known(pillar, owners)
    for name, entry in entries.items():
        own = f"{path}:{label(name)}"
        yield from check_name(own, name, NAME)
        if not isinstance(entry, Mapping):
            yield f"{own}: is {kind(entry)}; allowed: a mapping with the keys {', '.join(ENDPOINT_KEYS)}"
            continue
        yield from _values(own, entry, known)
        server = keepalived_endpoints.virtual_server(known.settings, label(name), _right(entry, known))
        yield from joined(own, entry, server, known)
    yield from vips_of_servers(known)


# ---- each value by itself


def _values(path: str, entry: Mapping[Any, Any], known: Known) -> Iterator[str]:
    """Say what is wrong with the values of an endpoint, each by itself."""
    yield from unknown_keys(path, entry, ENDPOINT_KEYS)
    yield from _place(path, entry)
    yield from check_leaves(path, entry, {key: rule for key, rule in _ENDPOINT.items() if key != "port"})
    yield from _newer(path, entry, ENDPOINT, known.version)
    if "serves" not in entry and entry.get("servers", {}) in ({}, None):
        yield f"{path}:serves: is missing; allowed: {_SERVES}; or servers by name"
    yield from _flags(path, entry)
    yield from not_mappings(path, entry, ("servers", "sorry_server", "checks"))
    for name, server in part(entry, "servers").items():
        yield from _server(f"{path}:servers:{label(name)}", name, server, known)
    if isinstance(entry.get("sorry_server"), Mapping):
        sorry = part(entry, "sorry_server")
        yield from unknown_keys(f"{path}:sorry_server", sorry, _SORRY)
        yield from check_leaves(f"{path}:sorry_server", sorry, _SORRY, ("address",))
    yield from check_section(f"{path}:checks", part(entry, "checks"), TIMES)
    if "check" in entry:
        yield from keepalived_checks.check_errors(f"{path}:check", entry["check"], known.version)
    elif not _all_checked(entry):
        yield f"{path}:check: is missing; allowed: {keepalived_checks.ALLOWED}"
    if "extra" in entry:
        yield from check_extra(f"{path}:extra", entry["extra"], ENDPOINT_OWNED)


def _all_checked(entry: Mapping[Any, Any]) -> bool:
    """Return whether each server says by itself how it is checked."""
    named = part(entry, "servers")
    return "serves" not in entry and bool(named) and all("check" in part(named, name) for name in named)


def _place(path: str, entry: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with where an endpoint is."""
    given = [key for key in PLACES if key in entry]
    if not given:
        yield f"{path}:address: is missing; allowed: {VIRTUAL_ADDRESS.allowed}, or else a fwmark or a group"
    elif len(given) > 1:
        yield f"{path}: has {' and '.join(given)}; allowed: exactly one of {', '.join(PLACES)}"
    if "address" in entry or not given:
        yield from _port(path, entry)
    elif "port" in entry:
        yield f"{path}:port: is given with a {given[0]}; allowed: only with an address"
    if "family" in entry and "fwmark" not in entry:
        yield f"{path}:family: is given without a fwmark; allowed: only with a fwmark"
    if "group" in entry:
        yield from _group(f"{path}:group", entry["group"])


def _port(path: str, entry: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with the port of an endpoint."""
    if is_whole(entry.get("port"), 0, 0):
        if "persistence_timeout" not in entry:
            yield f"{path}:port: is 0; allowed: 1 to 65535, or 0 (all ports) together with a persistence_timeout"
    else:
        yield from check_leaves(path, entry, {"port": PORT}, ("port",))


def _group(path: str, members: object) -> Iterator[str]:
    """Say what is wrong with the members of a group."""
    if not isinstance(members, (list, tuple)) or not members:
        shown = "an empty list" if isinstance(members, (list, tuple)) else kind(members)
        yield f"{path}: is {shown}; allowed: a list of texts: {GROUP_MEMBERS}"
        return
    for index, member in enumerate(members):
        service, remark = _member(member)
        if service is None:
            yield f"{path}:{index}: is {literal(member)}{remark}; allowed: {GROUP_MEMBERS}"


def _member(text: object) -> tuple[Service | None, str]:
    """Return what a member of a group stands for, or ``None`` and a remark on it."""
    try:
        service = keepalived_endpoints.group_member(text, "tcp")
    except ValueError as error:
        return None, str(error)
    for address in (service.first, service.last):
        if address is not None and not VIRTUAL_ADDRESS.accepts(str(address)):
            return None, VIRTUAL_ADDRESS.remark(str(address))
    return service, ""


def _newer(path: str, entry: Mapping[Any, Any], keys: Mapping[str, Key], version: str) -> Iterator[str]:
    """Say which keys the version of keepalived does not know."""
    for name, key in keys.items():
        if name in entry:
            yield from too_new(f"{path}:{name}", key.line.since, version)


def flag_names(scheduler: object) -> tuple[str, ...]:
    """Return the flags that a scheduler has in keepalived."""
    own = model.NAMED_SCHEDULER_FLAGS.get(scheduler, {}) if isinstance(scheduler, str) else {}
    return (*model.SCHEDULER_FLAGS.values(), *own.values())


def _flags(path: str, entry: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with the flags of the scheduler, which belong to it."""
    if "scheduler_flags" not in entry:
        return
    flags, own = entry["scheduler_flags"], f"{path}:scheduler_flags"
    scheduler = entry.get("scheduler", keepalived_endpoints.DEFAULT_SCHEDULER)
    if not isinstance(flags, (list, tuple)):
        yield f"{own}: is {kind(flags)}; allowed: a list"
        return
    if not _ENDPOINT["scheduler"].accepts(scheduler):
        return
    for index, flag in enumerate(flags):
        if flag not in flag_names(scheduler):
            allowed = ", ".join(flag_names(scheduler))
            yield f"{own}:{index}: is {literal(flag)}; allowed: {allowed} with the scheduler {scheduler}"


def _server(path: str, name: object, entry: object, known: Known) -> Iterator[str]:
    """Say what is wrong with the values of a real server, each by itself."""
    yield from check_name(path, name, _SERVER_NAME)
    is_node = isinstance(name, str) and name in known.nodes
    if entry is None and is_node:
        return
    if not isinstance(entry, Mapping):
        yield f"{path}: is {kind(entry)}; allowed: a mapping with the keys {', '.join(SERVER_KEYS)}"
        return
    yield from unknown_keys(path, entry, SERVER_KEYS)
    if "address" not in entry and not is_node:
        hint = did_you_mean(name, [node for node in known.nodes if isinstance(node, str)])
        yield f"{path}:address: is missing, and this is no node{hint}; allowed: {SERVER_ADDRESS.allowed}"
    yield from check_leaves(path, entry, _SERVER)
    yield from _newer(path, entry, SERVER, known.version)
    if "check" in entry:
        yield from keepalived_checks.check_errors(f"{path}:check", entry["check"], known.version)
    if "extra" in entry:
        yield from check_extra(f"{path}:extra", entry["extra"], SERVER_OWNED)


# ---- what is right of it, for what the values are together


def places(pillar: Mapping[Any, Any]) -> Iterator[tuple[str, Service]]:
    """Yield the services of the endpoints, as far as their places are right, and where the pillar says them."""
    entries = part(pillar, "endpoints")
    for name in entries:
        path, right = f"{ROOT}:endpoints:{label(name)}", _right_place(part(entries, name))
        for index, service in enumerate(keepalived_endpoints.services(right)):
            yield f"{path}:group:{index}" if "group" in right else path, service


def _right_place(entry: Mapping[Any, Any]) -> dict[str, Any]:
    """Return where an endpoint is, without everything that is wrong in that."""
    right = accepted(entry, {key: _ENDPOINT[key] for key in _PLACE})
    if is_whole(entry.get("port"), 0, 0):
        right["port"] = 0
    if "address" in right and "port" not in right:
        # Without a port it collides with nothing yet.
        del right["address"]
    if isinstance(entry.get("group"), (list, tuple)) and all(_member(item)[0] for item in entry["group"]):
        right["group"] = entry["group"]
    for key in [key for key in PLACES if key in right][1:]:
        del right[key]
    return right


def _right(entry: Mapping[Any, Any], known: Known) -> dict[str, Any]:
    """Return an endpoint without everything that is wrong in it."""
    right = accepted(entry, {key: rule for key, rule in _ENDPOINT.items() if key not in _PLACE})
    right.update(_right_place(entry))
    flags = entry.get("scheduler_flags")
    if isinstance(flags, (list, tuple)) and all(isinstance(flag, str) for flag in flags):
        right["scheduler_flags"] = flags
    right.update({key: entry[key] for key in ("check",) if key in entry and not _is_wrong(entry[key], known)})
    right["servers"] = _right_servers(part(entry, "servers"), known)
    sorry = accepted(part(entry, "sorry_server"), _SORRY)
    if "address" in sorry:
        right["sorry_server"] = sorry
    family = next((service.family for service in keepalived_endpoints.services(right)), "ipv4")
    if netmask_rule(family).accepts(entry.get("persistence_netmask")):
        right["persistence_netmask"] = entry["persistence_netmask"]
    return right


def _is_wrong(check: object, known: Known) -> bool:
    """Return whether something is wrong with checks."""
    return next(keepalived_checks.check_errors("", check, known.version), None) is not None


def _right_servers(servers: Mapping[Any, Any], known: Known) -> dict[str, Any]:
    """Return the servers of an endpoint whose address is known, without everything that is wrong in them."""
    found = {}
    for name in servers:
        if not isinstance(name, str):
            continue
        entry = part(servers, name)
        right = accepted(entry, _SERVER)
        if "check" in entry and not _is_wrong(entry["check"], known):
            right["check"] = entry["check"]
        if "address" in right or ("address" not in entry and name in known.settings["nodes"]):
            found[name] = right
    return found
