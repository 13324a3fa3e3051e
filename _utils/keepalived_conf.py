"""
The text of ``keepalived.conf`` for one director, computed from the settings of the cluster.

Plain Python that knows nothing of Salt. One block per line and no quoting: how keepalived reads quotes
differs from keyword to keyword, so a value that would need them is refused (keepalived 2.2.7 to 2.3.4,
``lib/parser.c``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import keepalived_endpoint_conf
from keepalived_endpoints import addresses as virtual_addresses
from keepalived_text import address, block, is_keyword, is_word, number, word, words

HEADER = "# Managed by Salt (mysql_ha): edits are overwritten, change the pillar and apply the state instead"

#: ``global_defs`` keywords that a pillar may not give, and why.
REFUSED_GLOBALS = {
    "router_id": "this formula writes it itself",
    "vrrp_version": "this formula writes it itself, from mysql_ha:vrrp:version",
    "vrrp_strict": "it drops the packets to the virtual addresses",
    "notification_email": "it needs a block, and without one swallows the lines that follow",
}

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
    blocks += keepalived_endpoint_conf.blocks(settings)
    return "\n\n".join("\n".join(lines) for lines in blocks) + "\n"


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
        and is_keyword(keyword)
        and keyword not in REFUSED_GLOBALS
    )


def _of_role(settings: Mapping[str, Any], role: str) -> dict[str, Mapping[str, Any]]:
    """Return the nodes of one role in the order of the pillar."""
    return {name: node for name, node in settings["nodes"].items() if node["role"] == role}


def _global_defs(settings: Mapping[str, Any], node: str) -> list[str]:
    """Return the block ``global_defs``, which keepalived wants before all others."""
    given = settings["keepalived"].get("global_defs") or {}
    lines = [
        f"router_id {word(settings['cluster'])}_{word(node)}",
        f"vrrp_version {number(settings['vrrp']['version'])}",
    ]
    if "vrrp_garp_master_refresh" not in given:
        # A switch that lost its table, or came back after a split, learns the way to the addresses again.
        lines.append("vrrp_garp_master_refresh 60")
    lines += [_global(keyword, value) for keyword, value in given.items()]
    return block("global_defs", lines)


def _global(keyword: object, value: object) -> str:
    """Return one line of ``global_defs``; ``True`` and ``None`` stand for a keyword without a value."""
    if not is_global_keyword(keyword):
        raise ValueError(f"not a keyword that global_defs may hold: {keyword!r}")
    if value is True or value is None:
        return str(keyword)
    if isinstance(value, str):
        return f"{keyword} {words(value)}"
    return f"{keyword} {number(value)}"


def _vrrp_instance(
    settings: Mapping[str, Any],
    directors: Mapping[str, Mapping[str, Any]],
    node: str,
    secrets: Mapping[str, Any],
) -> list[str]:
    """Return the block of the one VRRP instance, which holds all virtual addresses."""
    vrrp, own = settings["vrrp"], directors[node]
    interface = word(own.get("interface") or settings["interface"])
    lines = [
        *_state(directors, node, vrrp["preempt"]),
        f"interface {interface}",
        f"virtual_router_id {number(vrrp['virtual_router_id'])}",
        f"priority {number(own['priority'])}",
        f"advert_int {number(vrrp['advert_interval'])}",
    ]
    peers = [other["address"] for name, other in directors.items() if name != node]
    if vrrp["unicast"] and peers:
        lines.append(f"unicast_src_ip {address(own['address'])}")
        lines += block("unicast_peer", map(address, peers))
    if vrrp["version"] == 2 and secrets.get("vrrp"):
        lines += block("authentication", ["auth_type PASS", f"auth_pass {_secret(secrets['vrrp'])}"])
    addresses = dict.fromkeys(
        address for endpoint in settings["endpoints"].values() for address in virtual_addresses(endpoint)
    )
    held = [f"{address}/32 dev {interface}" for address in addresses if ":" not in address]
    # An advert over IPv4 has no room for addresses of the other family.
    others = [f"{address}/128 dev {interface}" for address in addresses if ":" in address]
    lines += block("virtual_ipaddress", held)
    if others:
        lines += block("virtual_ipaddress_excluded", others)
    return block(f"vrrp_instance {word(settings['cluster'])}", lines)


def _state(directors: Mapping[str, Mapping[str, Any]], node: str, preempt: bool) -> list[str]:
    """Return how a director starts; keepalived accepts ``nopreempt`` only with ``state BACKUP``."""
    if not preempt:
        return ["state BACKUP", "nopreempt"]
    first = max(directors, key=lambda name: directors[name]["priority"])
    return ["state MASTER" if node == first else "state BACKUP"]


def _secret(value: object) -> str:
    """Return the VRRP password, or raise ``ValueError`` without showing it."""
    # keepalived would cut a longer one, and the directors would still agree; but -t calls it an error.
    if not isinstance(value, str) or not is_word(value) or len(value) > 8:
        raise ValueError("mysql_ha:secrets:vrrp (hidden) is not a password that keepalived.conf can hold")
    return value
