"""
The text of ``keepalived.conf`` for one director, computed from the settings of the cluster.

Plain Python that knows nothing of Salt. One block per line and no quoting: how keepalived reads quotes
differs from keyword to keyword, so a value that would need them is refused (keepalived 2.2.7 to 2.3.4,
``lib/parser.c``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from ipaddress import IPv4Address
from typing import Any

HEADER = "# Managed by Salt (mysql_ha): edits are overwritten, change the pillar and apply the state instead"

#: Characters that open or close a block, start a comment, quote, escape, or are expanded (``lib/parser.c``).
UNSAFE = '#!{}"$@~\\'

#: keepalived cuts a line at 1024 bytes (``MAXBUF`` in ``lib/parser.h``) and takes the rest for the next line.
MAX_VALUE = 512

#: ``global_defs`` keywords that a pillar may not give, and why.
REFUSED_GLOBALS = {
    "router_id": "this formula writes it itself",
    "vrrp_version": "this formula writes it itself, from mysql_ha:vrrp:version",
    "vrrp_strict": "it drops the packets to the virtual addresses",
    "notification_email": "it needs a block, and without one swallows the lines that follow",
}

# keepalived treats a line that starts with one of these as an order to read another file, inside any block.
_INCLUDE = re.compile(r"include[a-z]?")
_KEYWORD = re.compile(r"[a-z0-9_]{1,64}")
_AUTH_PASS = re.compile(r"(\bauth_pass[ \t]+)[^\n]+")


def render(settings: Mapping[str, Any], node: str, secrets: Mapping[str, Any] | None = None) -> str:
    """
    Return the whole configuration for one director; equal settings give equal text.

    settings
        The value of the pillar key ``mysql_ha`` with its defaults applied, valid by the rules of
        ``mysql_ha_pillar.errors``. Times are in seconds.
    node
        The minion id of the director.
    secrets
        The value of ``mysql_ha:secrets``. Only ``vrrp`` is read, and only with VRRP version 2: version 3 has
        no authentication (RFC 5798, section 9).

    Raises ``ValueError`` if ``node`` is no director, and for any value that could leave its place in the
    file, although the pillar rules refuse such values first; ``KeyError`` if a setting is missing.
    """
    directors = _of_role(settings, "director")
    if node not in directors:
        raise ValueError(f"{node!r} is not a director in mysql_ha:nodes")
    blocks = [
        [HEADER],
        _global_defs(settings, node),
        _vrrp_instance(settings, directors, node, secrets or {}),
    ]
    databases = _of_role(settings, "database")
    for endpoint in settings["endpoints"].values():
        blocks.append(_virtual_server(endpoint, databases, settings))
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def redact(text: str) -> str:
    """
    Return a configuration, or a diff of two, with the value of every ``auth_pass`` replaced by ``<hidden>``.

    All of the line after the keyword goes, so that a file that somebody else wrote is covered as well.
    """
    return _AUTH_PASS.sub(r"\1<hidden>", text)


def is_global_keyword(keyword: object) -> bool:
    """Return whether this is a keyword that a pillar may give in ``global_defs``."""
    return (
        isinstance(keyword, str)
        and _KEYWORD.fullmatch(keyword) is not None
        and _INCLUDE.fullmatch(keyword) is None
        and keyword not in REFUSED_GLOBALS
    )


def is_word(text: str) -> bool:
    """Return whether the text is one word of printable ASCII that keepalived reads as it stands."""
    return 0 < len(text) <= MAX_VALUE and all("!" <= char <= "~" and char not in UNSAFE for char in text)


def _of_role(settings: Mapping[str, Any], role: str) -> dict[str, Mapping[str, Any]]:
    """Return the nodes of one role in the order of the pillar."""
    return {name: node for name, node in settings["nodes"].items() if node["role"] == role}


def _global_defs(settings: Mapping[str, Any], node: str) -> list[str]:
    """Return the block ``global_defs``, which keepalived wants before all others."""
    given = settings["keepalived"].get("global_defs") or {}
    lines = [
        f"router_id {_word(settings['cluster'])}_{_word(node)}",
        f"vrrp_version {_number(settings['vrrp']['version'])}",
    ]
    if "vrrp_garp_master_refresh" not in given:
        # A switch that lost its table, or came back after a split, learns the way to the addresses again.
        lines.append("vrrp_garp_master_refresh 60")
    lines += [_global(keyword, value) for keyword, value in given.items()]
    return _block("global_defs", lines)


def _global(keyword: object, value: object) -> str:
    """Return one line of ``global_defs``; ``True`` and ``None`` stand for a keyword without a value."""
    if not is_global_keyword(keyword):
        raise ValueError(f"not a keyword that global_defs may hold: {keyword!r}")
    if value is True or value is None:
        return str(keyword)
    if isinstance(value, str):
        return f"{keyword} {_words(value)}"
    return f"{keyword} {_number(value)}"


def _vrrp_instance(
    settings: Mapping[str, Any],
    directors: Mapping[str, Mapping[str, Any]],
    node: str,
    secrets: Mapping[str, Any],
) -> list[str]:
    """Return the block of the one VRRP instance, which holds all virtual addresses."""
    vrrp, own = settings["vrrp"], directors[node]
    interface = _word(own.get("interface") or settings["interface"])
    lines = [
        *_state(directors, node, vrrp["preempt"]),
        f"interface {interface}",
        f"virtual_router_id {_number(vrrp['virtual_router_id'])}",
        f"priority {_number(own['priority'])}",
        f"advert_int {_number(vrrp['advert_interval'])}",
    ]
    peers = [other["address"] for name, other in directors.items() if name != node]
    if vrrp["unicast"] and peers:
        lines.append(f"unicast_src_ip {_address(own['address'])}")
        lines += _block("unicast_peer", map(_address, peers))
    if vrrp["version"] == 2 and secrets.get("vrrp"):
        lines += _block("authentication", ["auth_type PASS", f"auth_pass {_secret(secrets['vrrp'])}"])
    addresses = dict.fromkeys(_address(endpoint["address"]) for endpoint in settings["endpoints"].values())
    lines += _block("virtual_ipaddress", [f"{address}/32 dev {interface}" for address in addresses])
    return _block(f"vrrp_instance {_word(settings['cluster'])}", lines)


def _state(directors: Mapping[str, Mapping[str, Any]], node: str, preempt: bool) -> list[str]:
    """Return how a director starts; keepalived accepts ``nopreempt`` only with ``state BACKUP``."""
    if not preempt:
        return ["state BACKUP", "nopreempt"]
    first = max(directors, key=lambda name: directors[name]["priority"])
    return ["state MASTER" if node == first else "state BACKUP"]


def _virtual_server(
    endpoint: Mapping[str, Any], databases: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]
) -> list[str]:
    """Return the block of one endpoint, with all databases behind it by direct routing."""
    port = _number(endpoint["port"])
    lines = [
        f"delay_loop {_number(settings['checks']['interval'])}",
        f"lvs_sched {_word(endpoint.get('scheduler') or 'wrr')}",
        "lvs_method DR",
        "protocol TCP",
    ]
    for database in databases.values():
        lines += _real_server(database, port, settings["checks"])
    return _block(f"virtual_server {_address(endpoint['address'])} {port}", lines)


def _real_server(database: Mapping[str, Any], port: str, checks: Mapping[str, Any]) -> list[str]:
    """Return the block of one database; direct routing leaves the port as the client sent it."""
    check = [
        f"connect_timeout {_number(checks['connect_timeout'])}",
        f"retry {_number(checks['retries'])}",
        f"delay_before_retry {_number(checks['retry_interval'])}",
        # Without it keepalived waits a random time, up to delay_loop, before the first check.
        "warmup 0",
    ]
    lines = [f"weight {_number(database.get('weight', 1))}", *_block("TCP_CHECK", check)]
    return _block(f"real_server {_address(database['address'])} {port}", lines)


def _block(head: str, lines: Iterable[str]) -> list[str]:
    """Return the lines of a block."""
    return [f"{head} {{", *(f"    {line}" for line in lines), "}"]


def _word(value: object) -> str:
    """Return the value if it is one safe word, else raise ``ValueError``."""
    if not isinstance(value, str) or not is_word(value):
        raise ValueError(f"not a word that keepalived.conf can hold: {value!r}")
    return value


def _words(value: str) -> str:
    """Return words with one space between them, or raise ``ValueError``."""
    if len(value) > MAX_VALUE:
        raise ValueError(f"longer than {MAX_VALUE} characters: {value[:40]!r}...")
    # Not split(): it would take a line break for a space and let it pass.
    words = [_word(word) for word in value.split(" ") if word]
    if not words:
        raise ValueError("no words for keepalived.conf")
    return " ".join(words)


def _secret(value: object) -> str:
    """Return the VRRP password, or raise ``ValueError`` without showing it."""
    # keepalived would cut a longer one, and the directors would still agree; but -t calls it an error.
    if not isinstance(value, str) or not is_word(value) or len(value) > 8:
        raise ValueError("mysql_ha:secrets:vrrp (hidden) is not a password that keepalived.conf can hold")
    return value


def _address(value: object) -> str:
    """Return an IPv4 address, or raise ``ValueError``."""
    return str(IPv4Address(_word(value)))


def _number(value: object) -> str:
    """Return a number without an exponent, which keepalived does not read, or raise ``ValueError``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 10**15:
        raise ValueError(f"not a number that keepalived.conf can hold: {value!r}")
    return format(Decimal(str(value)).normalize(), "f")
