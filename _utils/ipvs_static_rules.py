"""
The rules for ``mysql_ha:ipvs``: static services, which keepalived does not own, and how they get along with it.

Plain Python that knows nothing of Salt. No function here raises, whatever the pillar holds. What a service or a server
can be is said by ``ipvs_rules``, here in the words of the pillar, and all that is wrong at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ipvs_rules as rules
import keepalived_endpoint_rules
from ipvs_model import ServerKey, ServiceKey
from pillar_rules import BOOLEAN, Rule, check_leaves, not_mappings, part, unknown_keys, whole
from pillar_words import kind, literal

PATH = "mysql_ha:ipvs"
_GLOBALS = "mysql_ha:keepalived:global_defs"
_LEAVES: Mapping[str, Rule] = {"purge": BOOLEAN, "drain": whole(0, 86400, " of seconds")}
KEYS = ("services", *_LEAVES)
_SERVICE_KEYS = (*rules.SERVICE_WORDS, "servers")
#: The first mark that keepalived takes by itself (``DEFAULT_IPVS_NF_START_FWMARK`` in ``check_nftables.h``).
_FIRST_MARK = 1000
_START = "nftables_ipvs_start_fwmark"
#: What stands for a wrong value while the others are looked at, or which of them mean nothing without it.
_STAND_IN = {"persistence_timeout": 1}
_DEPENDENT = {
    "scheduler": ("scheduler_flags",),
    "tunnel": ("tunnel_port", "tunnel_flags"),
    "upper_threshold": ("lower_threshold",),
}
#: Without it nothing can be said of the others.
_DECISIVE = "forward"
Keys = dict[ServiceKey, str]


def errors(pillar: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with ``mysql_ha:ipvs``."""
    section = part(pillar, "ipvs")
    yield from unknown_keys(PATH, section, KEYS)
    yield from check_leaves(PATH, section, _LEAVES)
    yield from not_mappings(PATH, section, ("services",))
    found: Keys = {}
    for name, words in part(section, "services").items():
        yield from _service(name, words, found, _has_sync_daemon(pillar))
    yield from _owned_by_keepalived(pillar, found)
    if part(section, "services"):
        yield from _flushed(part(part(pillar, "keepalived"), "global_defs"))
    yield from _marks_of_keepalived(pillar, found)


def label(name: object) -> str:
    """Return the name of a service or server as a part of a path."""
    if not isinstance(name, str):
        return literal(name)
    plain = 0 < len(name) <= 63 and name.isascii() and name.isprintable() and name == name.strip()
    return name if plain else literal(name)


# ---- each service by itself


def _service(name: object, words: object, found: Keys, has_sync_daemon: bool) -> Iterator[str]:
    """Say what is wrong with one service; what it is comes to those that were found."""
    path = f"{PATH}:services:{label(name)}"
    key, problems = _key(path, lambda: rules.service_key(name, path))
    if key is not None and found.setdefault(key, path) != path:
        problems = [f"{path}: is the same service as {found[key]}; allowed: each one once"]
    yield from problems
    if words is not None and not isinstance(words, Mapping):
        yield f"{path}: is {kind(words)}; allowed: a mapping with the keys {', '.join(_SERVICE_KEYS)}"
        return
    given = words or {}
    yield from unknown_keys(path, given, _SERVICE_KEYS)
    if key is not None:
        own = {word: given[word] for word in rules.SERVICE_WORDS if word in given}
        yield from _each(path, own, lambda some: rules.service(key, some, path))
    servers = given.get("servers")
    if servers is not None and not isinstance(servers, Mapping):
        yield f"{path}:servers: is {kind(servers)}; allowed: a mapping with names such as 192.168.1.5:3306"
        return
    if key is None:
        return
    seen: dict[ServerKey, str] = {}
    for server_name, server_words in (servers or {}).items():
        yield from _server(
            f"{path}:servers:{label(server_name)}", server_name, server_words, key, seen, has_sync_daemon
        )


def _server(
    path: str, name: object, words: object, service: ServiceKey, seen: dict[ServerKey, str], has_sync_daemon: bool
) -> Iterator[str]:
    """Say what is wrong with one server."""
    key, problems = _key(path, lambda: rules.server_key(name, service, path))
    if key is not None and seen.setdefault(key, path) != path:
        problems = [f"{path}: is the same server as {seen[key]}; allowed: each one once"]
    yield from problems
    if words is not None and not isinstance(words, Mapping):
        yield f"{path}: is {kind(words)}; allowed: a mapping with the keys {', '.join(rules.SERVER_WORDS)}"
        return
    given = {word: value for word, value in (words or {}).items() if word not in rules.COUNTERS}
    yield from unknown_keys(path, given, rules.SERVER_WORDS)
    if key is not None:
        own = {word: given[word] for word in rules.SERVER_WORDS if word in given}
        yield from _each(path, own, lambda some: rules.server(service, key, some, path))
        if has_sync_daemon and own.get("forward") == "tunnel" and key.family != service.family:
            yield (
                f"{path}: is of another address family than its service, which Linux does not take together with "
                "mysql_ha:vrrp:sync_daemon; allowed: false there, or a server of the same family"
            )


def _key(path: str, find: Callable[[], Any]) -> tuple[Any, list[str]]:
    """Return the key that a name stands for, or ``None`` and what is wrong with it."""
    try:
        return find(), []
    except rules.Wrong as error:
        return None, [_sentence(path, error)[1]]


def _each(path: str, given: Mapping[str, Any], make: Callable[[Mapping[str, Any]], object]) -> Iterator[str]:
    """Say what is wrong with each of some words, of which ``make`` names one at a time."""
    left = dict(given)
    while True:
        try:
            make(left)
        except rules.Wrong as error:
            word, sentence = _sentence(path, error)
            yield sentence
            if word not in left or word == _DECISIVE:
                return
            for gone in (word, *_DEPENDENT.get(word, ())):
                left.pop(gone, None)
            if word in _STAND_IN:
                left[word] = _STAND_IN[word]
        else:
            return


def _sentence(path: str, error: rules.Wrong) -> tuple[str, str]:
    """Return which word an error is about, and the error in the words of the pillar."""
    if isinstance(error, rules.Refused):
        place = error.what.removeprefix(path).removeprefix(": ")
        said = f"is {literal(error.value)}; allowed: {error.allowed}"
    else:
        before, colon, after = str(error).removeprefix(f"{path}: ").partition(": ")
        is_word = colon and (before in rules.SERVICE_WORDS or before in rules.SERVER_WORDS or before == "port")
        place, said = (before, after) if is_word else ("", f"{before}{colon}{after}")
    if " " in place:
        # Not a key of the pillar, but a part of a name.
        return "", f"{path}: {place} {said}"
    return place, f"{path}:{place}: {said}" if place else f"{path}: {said}"


def _has_sync_daemon(pillar: Mapping[Any, Any]) -> bool:
    """Return whether the directors tell each other of their connections."""
    nodes = part(pillar, "nodes")
    directors = [name for name in nodes if part(nodes, name).get("role") == "director"]
    return part(pillar, "vrrp").get("sync_daemon", True) is not False and len(directors) > 1


# ---- together with keepalived


def _owned_by_keepalived(pillar: Mapping[Any, Any], found: Keys) -> Iterator[str]:
    """Say which services are those of endpoints."""
    told: set[str] = set()
    for place, service in keepalived_endpoint_rules.places(pillar) if found else ():
        for name in service.names:
            path = found.get(rules.service_key(name))
            if path is not None and path not in told:
                told.add(path)
                yield f"{path}: is the same service as {place}, which is keepalived's; allowed: one of both"


def _flushed(given: Mapping[Any, Any]) -> Iterator[str]:
    """Say which keywords have keepalived remove every service that there is."""
    path = f"{PATH}:services"
    if "lvs_flush" in given:
        yield (
            f"{path}: holds services, and {_GLOBALS}:lvs_flush has keepalived remove all there are when it starts; "
            "allowed: one of both"
        )
    # The second spelling is that of before 2.1.5.
    for keyword in ("lvs_flush_on_stop", "lvs_flush_onstop"):
        value = given.get(keyword)
        if keyword in given and not (isinstance(value, str) and value.split()[:1] == ["VS"]):
            yield (
                f"{path}: holds services, and {_GLOBALS}:{keyword} has keepalived remove all there are when it stops; "
                "allowed: one of both, or VS there, which removes its own"
            )


def _marks_of_keepalived(pillar: Mapping[Any, Any], found: Keys) -> Iterator[str]:
    """Say what could meet the firewall marks that keepalived makes of groups, whose numbers it chooses itself."""
    keyword, given = "nftables_ipvs", part(part(pillar, "keepalived"), "global_defs")
    if keyword not in given:
        return
    groups = (place for place, service in keepalived_endpoint_rules.places(pillar)
              if ":group:" in place and not service.fwmark)  # fmt: skip
    group = next(groups, None)
    if group is None:
        return
    group = group.rpartition(":group:")[0]
    if part(pillar, "ipvs").get("purge") is True:
        yield (
            f"{PATH}:purge: is true, and {_GLOBALS}:{keyword} has keepalived make firewall marks of {group}, of which "
            "nobody else knows that they are its own; allowed: false, or one of both"
        )
    first = _first_mark(given)
    for key, path in found.items():
        if key.fwmark >= first:
            yield (
                f"{path}: is one of the firewall marks from {first} on, of which {_GLOBALS}:{keyword} has keepalived "
                f"take some for {group}; allowed: {f'1 to {first - 1}' if first > 1 else 'no firewall mark'}"
            )


def _first_mark(given: Mapping[Any, Any]) -> int:
    """Return from which number on keepalived takes firewall marks."""
    keywords = list(given)
    # nftables_ipvs sets its own, so that what stands before it is forgotten.
    after = keywords[keywords.index("nftables_ipvs") :]
    try:
        return rules.number("", given[_START] if _START in after else None, 1, rules.MAX_FWMARK)
    except rules.Wrong:
        return _FIRST_MARK
