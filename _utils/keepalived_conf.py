"""
The text of ``keepalived.conf`` for one director, computed from the settings of the cluster.

Plain Python that knows nothing of Salt. One block per line, and quotes only around programs with their arguments: how
keepalived reads quotes differs from keyword to keyword, so a value that would need them is refused (keepalived 2.2.7 to
2.3.4, ``lib/parser.c``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import keepalived_endpoint_conf
import keepalived_globals
import keepalived_vrrp

HEADER = "# Managed by Salt (mysql_ha): edits are overwritten, change the pillar and apply the state instead"

#: keepalived cuts a line at 1024 bytes (``lib/parser.h``); what is written is kept well below.
MAX_LINE = 1000

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
    if node not in keepalived_vrrp.of_role(settings, "director"):
        raise ValueError(f"{node!r} is not a director in mysql_ha:nodes")
    blocks = [
        [HEADER],
        keepalived_globals.global_defs(settings, node),
        *keepalived_vrrp.objects(settings),
        keepalived_globals.top(settings),
        *keepalived_vrrp.groups(settings),
        *keepalived_vrrp.instance_blocks(settings, node, secrets or {}),
    ]
    blocks += keepalived_endpoint_conf.blocks(settings)
    if any(len(line) > MAX_LINE for lines in blocks for line in lines):
        raise ValueError(f"a line of keepalived.conf would be longer than {MAX_LINE} characters")
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def redact(text: str) -> str:
    """
    Return a configuration, or a diff of two, with the value of every ``auth_pass`` replaced by ``<hidden>``.

    All of the line after the keyword goes, so that a file that somebody else wrote is covered as well.
    """
    return _AUTH_PASS.sub(r"\1<hidden>", text)
