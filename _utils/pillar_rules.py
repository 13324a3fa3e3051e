"""
What the rules for the pillar are made of: a rule for a single value, and the sentences that say what is wrong.

Plain Python that knows nothing of Salt. No function here raises, whatever the values are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Any, NamedTuple

from keepalived_text import UNSAFE, is_word
from pillar_words import did_you_mean, is_whole, kind, literal, unquote

_REFUSED_NETWORKS = {
    IPv4Network("0.0.0.0/8"): "an address of 'this network' (0.0.0.0/8)",
    IPv4Network("127.0.0.0/8"): "a loopback address",
    IPv4Network("224.0.0.0/4"): "a multicast address",
    IPv4Network("255.255.255.255/32"): "the broadcast address",
    IPv4Network("240.0.0.0/4"): "a reserved address",
}


class Rule(NamedTuple):
    """What a single value may be: in words, as a test, and a remark on some of the values that fail it."""

    allowed: str
    accepts: Callable[[Any], bool]
    remark: Callable[[Any], str] = lambda value: ""


def part(mapping: object, key: object) -> Mapping[Any, Any]:
    """Return the mapping under a key; an empty one if there is none, or something else."""
    # Only text is looked up: a key that cannot be hashed would raise.
    value = mapping.get(key) if isinstance(mapping, Mapping) and isinstance(key, str) else None
    return value if isinstance(value, Mapping) else {}


def label(key: object) -> str:
    """Return a key as a part of a path."""
    return key if isinstance(key, str) and len(key) <= 63 and is_word(key) else literal(key)


def check_value(path: str, value: object, rule: Rule) -> Iterator[str]:
    """Say what is wrong with a single value."""
    if not rule.accepts(value):
        yield f"{path}: is {literal(value)}{rule.remark(value)}; allowed: {rule.allowed}"


def check_secret(
    path: str, value: object, low: int, high: int, accepts: Callable[[str], bool], allowed: str
) -> Iterator[str]:
    """Say what is wrong with a secret, without showing it."""
    if not isinstance(value, str):
        problem = f"is {kind(value)} and not text"
    elif len(value) < low:
        problem = "is set but too short" if value else "is empty"
    elif len(value) > high:
        problem = "is set but too long"
    elif not accepts(value):
        problem = "is set but holds a character that is not allowed"
    else:
        return
    yield f"{path}: {problem} (hidden); allowed: {allowed}"


def check_leaves(
    path: str, section: Mapping[Any, Any], rules: Mapping[str, Rule], required: Iterable[str] = ()
) -> Iterator[str]:
    """Say what is wrong with the single values of a section."""
    for key, rule in rules.items():
        if key in section:
            yield from check_value(f"{path}:{key}", section[key], rule)
        elif key in required:
            yield f"{path}:{key}: is missing; allowed: {rule.allowed}"


def unknown_keys(path: str, section: Mapping[Any, Any], known: Iterable[str]) -> Iterator[str]:
    """Say which keys a section should not have; their values are not shown."""
    known = tuple(known)
    for key in section:
        if key not in known:
            hint = did_you_mean(key, known)
            yield f"{path}:{label(key)}: is an unknown key; allowed: {', '.join(known)}{hint}"


def check_section(path: str, section: Mapping[Any, Any], rules: Mapping[str, Rule]) -> Iterator[str]:
    """Say what is wrong with a section that holds single values only."""
    yield from unknown_keys(path, section, rules)
    yield from check_leaves(path, section, rules)


def not_mappings(path: str, parent: Mapping[Any, Any], keys: Iterable[str]) -> Iterator[str]:
    """Say which sections are something else than a mapping; what they hold is not shown."""
    for key in keys:
        if key in parent and not isinstance(parent[key], Mapping):
            yield f"{path}:{key}: is {kind(parent[key])}; allowed: a mapping"


def repeated(values: Iterable[tuple[str, object]], rule: Rule, allowed: str) -> Iterator[str]:
    """Say which values, given with their paths, occurred before; those that are wrong do not count."""
    first: dict[object, str] = {}
    for path, value in values:
        if rule.accepts(value) and first.setdefault(value, path) != path:
            yield f"{path}: is {literal(value)}, as is {first[value]}; allowed: {allowed}"


def whole(low: int, high: int, unit: str = "") -> Rule:
    """Return the rule for a whole number."""
    return Rule(f"a whole number{unit} from {low} to {high}", lambda value: is_whole(value, low, high), unquote)


def decimal(value: object) -> Decimal | None:
    """Return a number as the decimal that was written, not its binary neighbour; ``None`` if it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 10**15:
        return None
    return Decimal(str(value))


def is_step(value: object, low: str, high: str, step: str) -> bool:
    """Return whether a value is a number in a range and a multiple of a step."""
    number = decimal(value)
    return number is not None and Decimal(low) <= number <= Decimal(high) and number % Decimal(step) == 0


def seconds(low: str, high: str) -> Rule:
    """Return the rule for a time in seconds; keepalived reads six decimals and calls more an error."""
    return Rule(
        f"seconds from {low} to {high} with at most 6 decimals",
        lambda value: is_step(value, low, high, "0.000001"),
        unquote,
    )


def one_of(*words: str, remarks: Mapping[str, str] | None = None) -> Rule:
    """Return the rule for one of several words, with remarks on some that are none of them."""
    told = remarks or {}
    return Rule(
        ", ".join(words),
        lambda value: isinstance(value, str) and value in words,
        lambda value: told.get(value, "") if isinstance(value, str) else "",
    )


def pattern(pattern: str, allowed: str) -> Rule:
    """Return the rule for text that matches a pattern from end to end."""
    compiled = re.compile(pattern)
    return Rule(allowed, lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None)


def is_interface(value: object) -> bool:
    """Return whether this can name an interface (``dev_valid_name`` in the kernel's ``net/core/dev.c``)."""
    if not isinstance(value, str) or len(value) > 15 or value in (".", ".."):
        return False
    # The kernel expands % itself, so no interface ever has one in its name.
    return is_word(value) and not set(value) & set("/:%")


def address_remark(value: object) -> str:
    """Return why an address is refused, if there is more to say than that it is none."""
    # Longer text is no address, and the longest are slow to parse.
    if not isinstance(value, str) or len(value) > 64:
        return ""
    try:
        IPv6Address(value)
    except ValueError:
        pass
    else:
        return ", an IPv6 address, and IPv6 is not yet supported"
    try:
        address = IPv4Address(value)
    except ValueError:
        return ", which has a prefix length" if re.fullmatch(r"[0-9.]+/[0-9]+", value) else ""
    return next((f", {what}" for network, what in _REFUSED_NETWORKS.items() if address in network), "")


def is_address(value: object) -> bool:
    """Return whether this is the address of one host."""
    if not isinstance(value, str):
        return False
    try:
        address = IPv4Address(value)
    except ValueError:
        return False
    return not any(address in network for network in _REFUSED_NETWORKS)


def check_name(path: str, name: object, rule: Rule) -> Iterator[str]:
    """Say that a name is wrong."""
    if not rule.accepts(name):
        yield f"{path}: is not a usable name; allowed: {rule.allowed}"


BOOLEAN = Rule("true, false", lambda value: isinstance(value, bool))
PORT = whole(1, 65535)
ADDRESS = Rule("an IPv4 unicast address such as 192.168.1.5", is_address, address_remark)
INTERFACE = Rule(
    f"1 to 15 printable ASCII characters except spaces and / : % {' '.join(UNSAFE)}, and not . or ..",
    is_interface,
)
NAME = pattern(r"[A-Za-z0-9_-]{1,32}", "1 to 32 of the characters A-Z a-z 0-9 _ - (in quotes if a number)")
