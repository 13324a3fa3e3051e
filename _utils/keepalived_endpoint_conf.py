"""
The blocks of ``keepalived.conf`` for the endpoints: virtual servers, their groups, real servers and sorry servers.

Plain Python that knows nothing of Salt. The tables here say what a key of the pillar becomes and what it may be;
``keepalived_endpoint_rules`` reads the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keepalived_checks import MAX_INT, TIMES, check_lines
from keepalived_endpoints import Forward, RealServer, VirtualServer, virtual_servers
from keepalived_text import Line, address, block, extra, lines, number, quoted, word
from keepalived_values import MAX_U32, SCRIPT, WORD, Key, yes_no
from pillar_rules import BOOLEAN, whole

METHODS = {"dr": "DR", "nat": "NAT", "tunnel": "TUN"}

#: Keys of an endpoint that are a line of their own, in the order of the lines.
ENDPOINT: Mapping[str, Key] = {
    "quorum": Key(Line("quorum", number), whole(1, MAX_U32)),
    "hysteresis": Key(Line("hysteresis", number), whole(0, MAX_U32)),
    "quorum_up": Key(Line("quorum_up", quoted), SCRIPT),
    "quorum_down": Key(Line("quorum_down", quoted), SCRIPT),
    "alpha": Key(Line("alpha"), BOOLEAN),
    "omega": Key(Line("omega"), BOOLEAN),
    "inhibit_on_failure": Key(Line("inhibit_on_failure"), BOOLEAN),
    "ha_suspend": Key(Line("ha_suspend"), BOOLEAN),
    "smtp_alert": Key(Line("smtp_alert", yes_no), BOOLEAN),
    "virtualhost": Key(Line("virtualhost", word), WORD),
    "snmp_name": Key(Line("snmp_name", word), WORD),
}
#: Keys of a real server that are a line of their own.
SERVER: Mapping[str, Key] = {
    "upper_threshold": Key(Line("uthreshold", number), whole(0, MAX_INT)),
    "lower_threshold": Key(Line("lthreshold", number), whole(0, MAX_INT)),
    "inhibit_on_failure": Key(Line("inhibit_on_failure", yes_no), BOOLEAN),
    "alpha": Key(Line("alpha", yes_no), BOOLEAN),
    "virtualhost": Key(Line("virtualhost", word), WORD),
    "snmp_name": Key(Line("snmp_name", word), WORD),
    "notify_up": Key(Line("notify_up", quoted), SCRIPT),
    "notify_down": Key(Line("notify_down", quoted), SCRIPT),
    "smtp_alert": Key(Line("smtp_alert", yes_no), BOOLEAN),
}
#: Keywords that may not be given as they are, since what is written of them comes from other keys.
ENDPOINT_OWNED = {
    "virtual_server": "an endpoint of its own says it",
    "real_server": "servers says it",
    "sorry_server": "sorry_server says it",
    "sorry_server_inhibit": "sorry_server says it",
    "sorry_server_lvs_method": "sorry_server says it",
    "ip_family": "family says it",
    "delay_loop": "checks says it",
    "lvs_sched": "scheduler says it",
    "lb_algo": "scheduler says it",
    "lvs_method": "forward says it",
    "lb_kind": "forward says it",
    "protocol": "protocol says it",
    "ops": "one_packet says it",
    "persistence_timeout": "persistence_timeout says it",
    "persistence_granularity": "persistence_netmask says it",
    "persistence_engine": "persistence_engine says it",
    "weight": "servers says it",
    **{key.line.keyword: f"{name} says it" for name, key in ENDPOINT.items()},
}
SERVER_OWNED = {
    "weight": "weight says it",
    "lvs_method": "forward says it",
    **{key.line.keyword: f"{name} says it" for name, key in SERVER.items()},
    **dict.fromkeys(
        (
            "TCP_CHECK",
            "HTTP_GET",
            "SSL_GET",
            "SMTP_CHECK",
            "DNS_CHECK",
            "UDP_CHECK",
            "PING_CHECK",
            "MISC_CHECK",
            "FILE_CHECK",
            "BFD_CHECK",
        ),
        "check says it",
    ),
}
CHECKS_RULES = TIMES


def blocks(settings: Mapping[str, Any]) -> list[list[str]]:
    """
    Return the blocks for all endpoints, in the order of the pillar.

    Raises ``ValueError`` for any value that could leave its place in the file; ``KeyError`` if a setting is missing.
    """
    found = []
    for server in virtual_servers(settings):
        if server.kind == "group":
            members = [service.words for service in server.services]
            found.append(block(f"virtual_server_group {word(server.name)}", members))
        found.append(virtual_server(server))
    return found


def virtual_server(server: VirtualServer) -> list[str]:
    """Return the block of one endpoint."""
    content = []
    if server.kind == "fwmark":
        # Before the mask, of which keepalived would else guess the family.
        content.append(f"ip_family {'inet6' if server.family == 'ipv6' else 'inet'}")
    # keepalived reads a scheduler's flags by the scheduler, and gives the method to the servers that follow.
    content += [
        f"delay_loop {number(server.interval)}",
        f"lvs_sched {word(server.scheduler)}",
        *map(word, server.scheduler_flags),
        f"lvs_method {method(server.forward)}",
    ]
    if server.protocol:
        content.append(f"protocol {word(server.protocol).upper()}")
    if server.one_packet:
        content.append("ops")
    if server.persistence_timeout:
        content.append(f"persistence_timeout {number(server.persistence_timeout)}")
    if server.persistence_netmask:
        content.append(f"persistence_granularity {server.persistence_netmask}")
    if server.persistence_engine:
        content.append(f"persistence_engine {word(server.persistence_engine)}")
    content += lines(server.given, {name: key.line for name, key in ENDPOINT.items()})
    if server.sorry is not None:
        content += _sorry_server(server, server.sorry)
    content += extra(server.given.get("extra") or {})
    for real in server.servers:
        content += _real_server(server, real)
    return block(_head(server), content)


def _head(server: VirtualServer) -> str:
    """Return the first line of a virtual server."""
    if server.kind == "group":
        return f"virtual_server group {word(server.name)}"
    if server.kind == "fwmark":
        return f"virtual_server fwmark {number(server.services[0].fwmark)}"
    return f"virtual_server {_place(str(server.services[0].first), server.services[0].port)}"


def _place(text: str, port: int) -> str:
    """Return an address and a port; 0 stands for all ports, or for that of the client."""
    return f"{address(text)} {number(port)}"


def method(forward: Forward) -> str:
    """Return how packets are forwarded, in keepalived's words."""
    if word(forward.method) not in METHODS:
        raise ValueError(f"not a method: {forward.method!r}")
    found = [METHODS[forward.method]]
    if forward.method == "tunnel" and forward.tunnel != "ipip":
        found += ["type", word(forward.tunnel)]
        if forward.tunnel_port:
            found += ["port", number(forward.tunnel_port)]
        found += map(word, forward.tunnel_flags)
    return " ".join(found)


def _sorry_server(server: VirtualServer, sorry: RealServer) -> list[str]:
    """Return the lines of the server that stands in while there are too few others."""
    found = [f"sorry_server {_place(sorry.address, sorry.port)}"]
    if sorry.inhibit:
        found.append("sorry_server_inhibit")
    if sorry.forward != server.forward:
        found.append(f"sorry_server_lvs_method {method(sorry.forward)}")
    return found


def _real_server(server: VirtualServer, real: RealServer) -> list[str]:
    """Return the block of a real server."""
    content = [f"weight {number(real.weight)}"]
    if real.forward != server.forward:
        content.append(f"lvs_method {method(real.forward)}")
    content += lines(real.given, {name: key.line for name, key in SERVER.items()})
    content += extra(real.given.get("extra") or {})
    for check in real.checks:
        content += check_lines(check)
    return block(f"real_server {_place(real.address, real.port)}", content)
