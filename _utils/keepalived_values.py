"""
Rules for single values that stand in ``keepalived.conf``: addresses of both families, words, scripts and free lines.

Plain Python that knows nothing of Salt. No function here raises, whatever the values are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, NamedTuple

from keepalived_text import MAX_VALUE, UNSAFE, Line, extra, is_text, is_word
from pillar_rules import Rule, label
from pillar_words import kind

DEFAULT_VERSION = "2.3.4"
MAX_U32 = 4294967295
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){1,3}")

_REFUSED: tuple[tuple[IPv4Network | IPv6Network, str], ...] = (
    (IPv4Network("0.0.0.0/8"), "an address of 'this network' (0.0.0.0/8)"),
    (IPv4Network("224.0.0.0/4"), "a multicast address"),
    (IPv4Network("255.255.255.255/32"), "the broadcast address"),
    (IPv4Network("240.0.0.0/4"), "a reserved address"),
    (IPv6Network("::/128"), "the unspecified address"),
    (IPv6Network("ff00::/8"), "a multicast address"),
    (IPv6Network("::ffff:0:0/96"), "an IPv4 address in IPv6 notation"),
    # The kernel's table knows no interfaces, and without one such an address has no meaning.
    (IPv6Network("fe80::/10"), "a link-local address"),
)
_LOOPBACK: tuple[tuple[IPv4Network | IPv6Network, str], ...] = (
    (IPv4Network("127.0.0.0/8"), "a loopback address"),
    (IPv6Network("::1/128"), "the loopback address"),
)


class Key(NamedTuple):
    """A key of the pillar: what it becomes in ``keepalived.conf``, and what it may be."""

    line: Line
    rule: Rule


def plain_address(text: object) -> IPv4Address | IPv6Address | None:
    """Return an address; ``None`` if the text is none, or names an interface too."""
    # What is longer is no address, and the longest are slow to parse.
    if not isinstance(text, str) or len(text) > 64 or "%" in text:
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None


def _refused(text: object, networks: tuple[tuple[IPv4Network | IPv6Network, str], ...]) -> str:
    """Return why an address is refused, if it is one; else nothing."""
    address = plain_address(text)
    if address is None:
        return ""
    return next((f", {what}" for network, what in networks if address in network), "")


def _address_rule(allowed: str, networks: tuple[tuple[IPv4Network | IPv6Network, str], ...]) -> Rule:
    """Return the rule for the address of a host, outside of some networks."""

    def remark(value: object) -> str:
        if isinstance(value, str) and plain_address(value.partition("/")[0]) is not None and "/" in value:
            return ", which has a prefix length"
        return _refused(value, networks)

    return Rule(allowed, lambda value: plain_address(value) is not None and not _refused(value, networks), remark)


#: Where clients connect to.
VIRTUAL_ADDRESS = _address_rule(
    "an IPv4 or IPv6 unicast address such as 192.168.1.100 or 2001:db8::100", (*_LOOPBACK, *_REFUSED)
)
#: What packets are sent to; keepalived's users keep sorry servers on the director itself, at a loopback address.
SERVER_ADDRESS = _address_rule("an IPv4 or IPv6 unicast address such as 192.168.1.5 or 2001:db8::5", _REFUSED)

WORD = Rule(
    f"1 to {MAX_VALUE} printable ASCII characters except spaces and {' '.join(UNSAFE)}",
    lambda value: isinstance(value, str) and is_word(value),
)
WORDS = Rule(f"1 to {MAX_VALUE} printable ASCII characters except {' '.join(UNSAFE)}", is_text)


def is_script(value: object) -> bool:
    """Return whether this is an absolute path, with arguments or without, that keepalived splits at the spaces."""
    return (
        isinstance(value, str) and is_text(value) and value.startswith("/") and value[1:2] != " " and "'" not in value
    )


def _script_remark(value: object) -> str:
    """Return a remark on a script that keepalived would look for in its PATH."""
    return ", which is no absolute path" if isinstance(value, str) and is_text(value) and value[0] != "/" else ""


SCRIPT = Rule(
    f"an absolute path, and arguments after it, of printable ASCII characters except ' {' '.join(UNSAFE)}",
    is_script,
    _script_remark,
)


def yes_no(value: object) -> str:
    """Return a truth value in keepalived's words."""
    if not isinstance(value, bool):
        raise ValueError(f"{kind(value)}; allowed: true, false")
    return "true" if value else "false"


def check_extra(path: str, content: object, owned: Mapping[str, str]) -> Iterator[str]:
    """
    Say what is wrong with lines that the pillar gives as they are.

    owned
        Keywords that may not stand there, and what to say of them.
    """
    if not isinstance(content, Mapping):
        yield f"{path}: is {kind(content)}; allowed: a mapping of keywords"
        return
    for head, value in content.items():
        own = f"{path}:{label(head)}"
        keyword = head.split(" ")[0] if isinstance(head, str) else ""
        if keyword in owned:
            yield f"{own}: is refused, because {owned[keyword]}; allowed: other keywords"
            continue
        reason = _reason(lambda head=head, value=value: extra({head: value}))  # type: ignore[misc]
        if reason:
            yield f"{own}: {reason}"


def _reason(write: Callable[[], Any]) -> str:
    """Return in words why lines cannot be written; empty if they can."""
    try:
        write()
    except ValueError:
        return (
            f"cannot stand in keepalived.conf; allowed: a keyword (a-z 0-9 _ -, not include), with words of printable "
            f"ASCII characters except {' '.join(UNSAFE)}, a number, true, a mapping for a block, or a list of these"
        )
    return ""


def version_of(pillar: object) -> str:
    """Return the version of keepalived that the pillar asks for; the default's if it cannot be told."""
    section = pillar.get("keepalived") if isinstance(pillar, Mapping) else None
    text = section.get("version") if isinstance(section, Mapping) else None
    return text if isinstance(text, str) and _VERSION.fullmatch(text) else DEFAULT_VERSION


def is_older(version: object, since: str) -> bool:
    """Return whether a version comes before another; not if it is no version."""
    if not since or not isinstance(version, str) or not _VERSION.fullmatch(version):
        return False
    return tuple(map(int, version.split("."))) < tuple(map(int, since.split(".")))


def too_new(path: str, since: str, version: object) -> Iterator[str]:
    """Say that keepalived knows a key only from a later version on."""
    if is_older(version, since):
        yield (
            f"{path}: is not known to keepalived {version}, the mysql_ha:keepalived:version;"
            f" allowed: from version {since} on"
        )
