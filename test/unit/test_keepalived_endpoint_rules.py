"""What is wrong with endpoints: every sentence, alone; no traceback whatever they hold; and what is right renders."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import netaddr
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

import keepalived_checks
import keepalived_conf
import keepalived_endpoint_conf
import keepalived_endpoint_rules
import keepalived_endpoints
import keepalived_values
import mysql_ha_pillar
from keepalived_text import UNSAFE

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = yaml.safe_load((ROOT / "pillar.example").read_text(encoding="utf-8"))["mysql_ha"]
DELETE = "(deleted)"

HTTP = {"type": "http", "port": 80, "urls": [{"path": "/health"}]}
SERVERS = {"a": {"address": "10.0.0.5"}, "b": {"address": "10.0.0.6", "weight": 2}}
#: Endpoints that are right, each with one thing made wrong below.
BASES: dict[str, dict[str, Any]] = {
    "write": EXAMPLE["endpoints"]["write"],
    "web": {"address": "192.168.1.110", "port": 80, "servers": SERVERS, "check": "tcp"},
    "nat": {"address": "192.168.1.110", "port": 80, "servers": SERVERS, "check": "tcp", "forward": "nat"},
    "tunnel": {"address": "192.168.1.110", "port": 80, "servers": SERVERS, "check": "tcp", "forward": "tunnel"},
    "http": {"address": "192.168.1.110", "port": 80, "servers": SERVERS, "check": HTTP},
    "six": {"address": "2001:db8::110", "port": 80, "servers": {"a": {"address": "2001:db8::5"}}, "check": "tcp"},
    "udp": {"address": "192.168.1.110", "port": 53, "protocol": "udp", "servers": SERVERS, "check": "none"},
    "mark": {"fwmark": 5, "servers": SERVERS, "check": HTTP},
    "group": {"group": ["192.168.1.110 80", "192.168.1.111-113 443"], "servers": SERVERS, "check": HTTP},
}


def pillar(base: str, *changes: tuple[str, Any]) -> dict[str, Any]:
    """Return the example and one endpoint, which is changed: each change is a path with dots, and a value."""
    result = copy.deepcopy(EXAMPLE)
    # The director holds the example's address, whatever the other endpoint is. It is alone: two would synchronise
    # connections, which the kernel does not take together with servers of another family than their endpoint.
    del result["nodes"]["lvs2"]
    result["endpoints"][base] = copy.deepcopy(BASES[base])
    for path, value in changes:
        is_top = path.startswith("mysql_ha.")
        *parents, last = path.removeprefix("mysql_ha.").split(".")
        place: Any = result if is_top else result["endpoints"][base]
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        if value is DELETE:
            del place[last]
        elif isinstance(place, list):
            place[int(last)] = value
        else:
            place[last] = value
    return result


def renders(tried: dict[str, Any]) -> str:
    """Return the configuration for a pillar that is right."""
    assert mysql_ha_pillar.errors(tried) == []
    return keepalived_conf.render(tried, "lvs1", tried["secrets"])


VIRTUAL = "an IPv4 or IPv6 unicast address such as 192.168.1.100 or 2001:db8::100"
REAL = "an IPv4 or IPv6 unicast address such as 192.168.1.5 or 2001:db8::5"
PORT = "a whole number from 1 to 65535"
SOME = f"{keepalived_endpoints.GROUP_MEMBERS}"
WORD = f"1 to 512 printable ASCII characters except spaces and {' '.join(UNSAFE)}"
SCRIPT = f"an absolute path, and arguments after it, of printable ASCII characters except ' {' '.join(UNSAFE)}"
TYPES = "tcp, http, ssl, smtp, dns, udp, ping, misc, file, bfd, none"
CHECK = f"{TYPES}, a mapping with a `type` of these, or a list"
SCHEDULERS = "rr, wrr, lc, wlc, lblc, lblcr, dh, sh, sed, nq, fo, ovf, mh, twos"
BOOLEAN = "true, false"
QUOTED = ", text in quotes and not a number"
EXTRA = (
    "cannot stand in keepalived.conf; allowed: a keyword (a-z 0-9 _ -, not include), with words of printable ASCII "
    f"characters except {' '.join(UNSAFE)}, a number, true, a mapping for a block, or a list of these"
)
URL_PATH = f"a path such as /health, without spaces and {' '.join(UNSAFE)} (in a URL they are %20 and so on)"
STATUS = "100 to 599, a range such as '200-299', or a list of at most 100 of these"
U32 = "a whole number from 0 to 4294967295"
SERVER_NAME = "1 to 63 of the characters A-Z a-z 0-9 . _ - (in quotes if a number)"
URLS = "a list of mappings with a path"
HTTP_KEYS = (
    "type, address, port, bind_address, bind_port, bind_interface, fwmark, connect_timeout, retries, retry_interval, "
    "warmup, interval, alpha, log_all_failures, virtualhost, http_protocol, fast_recovery, urls, extra"
)
OTHER_SERVER = {"address": "10.0.0.7"}

# base, path of the change, value, the whole sentence without "mysql_ha:endpoints:BASE:"
WRONG: list[tuple[str, str, Any, str]] = [
    # where
    ("web", "address", DELETE, f"address: is missing; allowed: {VIRTUAL}, or else a fwmark or a group"),
    ("web", "address", 5, f"address: is 5; allowed: {VIRTUAL}"),
    ("web", "address", "web", f"address: is 'web'; allowed: {VIRTUAL}"),
    (
        "web",
        "address",
        "192.168.1.110/24",
        f"address: is '192.168.1.110/24', which has a prefix length; allowed: {VIRTUAL}",
    ),
    ("web", "address", "::", f"address: is '::', the unspecified address; allowed: {VIRTUAL}"),
    ("web", "address", "::1", f"address: is '::1', the loopback address; allowed: {VIRTUAL}"),
    ("web", "address", "ff02::1", f"address: is 'ff02::1', a multicast address; allowed: {VIRTUAL}"),
    ("web", "address", "fe80::1", f"address: is 'fe80::1', a link-local address; allowed: {VIRTUAL}"),
    ("web", "address", "fe80::1%eth0", f"address: is 'fe80::1%eth0'; allowed: {VIRTUAL}"),
    (
        "web",
        "address",
        "::ffff:192.0.2.1",
        f"address: is '::ffff:192.0.2.1', an IPv4 address in IPv6 notation; allowed: {VIRTUAL}",
    ),
    (
        "web",
        "address",
        "192.168.1.2",
        "address: is '192.168.1.2', as is mysql_ha:nodes:lvs1:address; allowed: another one",
    ),
    ("web", "fwmark", 5, ": has address and fwmark; allowed: exactly one of address, fwmark, group"),
    ("web", "group", ["192.0.2.1 80"], ": has address and group; allowed: exactly one of address, fwmark, group"),
    ("web", "port", DELETE, f"port: is missing; allowed: {PORT}"),
    ("web", "port", "80", f"port: is '80'{QUOTED}; allowed: {PORT}"),
    ("web", "port", 65536, f"port: is 65536; allowed: {PORT}"),
    ("http", "port", 0, "port: is 0; allowed: 1 to 65535, or 0 (all ports) together with a persistence_timeout"),
    ("mark", "port", 80, "port: is given with a fwmark; allowed: only with an address"),
    ("group", "port", 80, "port: is given with a group; allowed: only with an address"),
    ("web", "family", "ipv4", "family: is given without a fwmark; allowed: only with a fwmark"),
    ("mark", "family", "inet", "family: is 'inet'; allowed: ipv4, ipv6"),
    ("mark", "fwmark", 0, "fwmark: is 0; allowed: a whole number from 1 to 4294967295"),
    ("mark", "fwmark", 4294967296, "fwmark: is 4294967296; allowed: a whole number from 1 to 4294967295"),
    ("mark", "fwmark", True, "fwmark: is true; allowed: a whole number from 1 to 4294967295"),
    ("group", "group", "192.0.2.1 80", f"group: is text; allowed: a list of texts: {SOME}"),
    ("group", "group", [], f"group: is an empty list; allowed: a list of texts: {SOME}"),
    ("group", "group.0", 5, f"group:0: is 5; allowed: {SOME}"),
    ("group", "group.0", "192.0.2.1 80 tcp", f"group:0: is '192.0.2.1 80 tcp'; allowed: {SOME}"),
    ("group", "group.0", "192.0.2.1\n80", f"group:0: is '192.0.2.1\\n80'; allowed: {SOME}"),
    (
        "group",
        "group.0",
        "192.0.2.9-8 80",
        f"group:0: is '192.0.2.9-8 80', which ends before it begins; allowed: {SOME}",
    ),
    ("group", "group.0", "192.0.2.9-256 80", f"group:0: is '192.0.2.9-256 80'; allowed: {SOME}"),
    (
        "group",
        "group.0",
        "192.0.2.9-192.0.3.1 80",
        f"group:0: is '192.0.2.9-192.0.3.1 80', and a range may not go beyond one /24; allowed: {SOME}",
    ),
    (
        "group",
        "group.0",
        "192.0.2.9-2001:db8::1",
        f"group:0: is '192.0.2.9-2001:db8::1', which ends before it begins; allowed: {SOME}",
    ),
    ("group", "group.0", "192.0.2.0/33 80", f"group:0: is '192.0.2.0/33 80'; allowed: {SOME}"),
    (
        "group",
        "group.0",
        "192.0.2.1/24 80",
        f"group:0: is '192.0.2.1/24 80', and it is not the first address of that network; allowed: {SOME}",
    ),
    (
        "group",
        "group.0",
        "192.0.2.1 70000",
        f"group:0: is '192.0.2.1 70000', and a port is a number from 0 to 65535; allowed: {SOME}",
    ),
    ("group", "group.0", "224.0.0.1 80", f"group:0: is '224.0.0.1 80', a multicast address; allowed: {SOME}"),
    (
        "group",
        "group.0",
        "fwmark 0",
        f"group:0: is 'fwmark 0', and a firewall mark is a number from 1 to 4294967295; allowed: {SOME}",
    ),
    ("group", "group.0", "fwmark 1 ipv5", f"group:0: is 'fwmark 1 ipv5'; allowed: {SOME}"),
    (
        "group",
        "group.0",
        "192.168.1.0/28 80",
        "group:0: holds '192.168.1.2', as is mysql_ha:nodes:lvs1:address; allowed: another one",
    ),
    (
        "group",
        "group.0",
        "192.168.1.112 443",
        "group:1: holds tcp 192.168.1.112:443, as does mysql_ha:endpoints:group:group:0; allowed: each service once",
    ),
    (
        "group",
        "group.0",
        "192.168.1.110",
        "group:0: has no port, which stands for all ports; allowed: a port, or a persistence_timeout",
    ),
    (
        "group",
        "group.0",
        "2001:db8::1 80",
        "group: holds both IPv4 and IPv6, which only forward: tunnel can serve; allowed: one of them",
    ),
    (
        "group",
        "servers.mysql1",
        None,
        "group:1: is a range, and mysql1 takes packets for single addresses only; allowed: each address by itself, or "
        "forward: nat",
    ),
    # how
    ("web", "protocol", "TCP", "protocol: is 'TCP'; allowed: tcp, udp, sctp"),
    (
        "mark",
        "protocol",
        "tcp",
        "protocol: is 'tcp', and a firewall mark stands for any protocol; allowed: none",
    ),
    ("web", "scheduler", "fastest", f"scheduler: is 'fastest'; allowed: {SCHEDULERS}"),
    ("web", "scheduler", None, f"scheduler: is empty; allowed: {SCHEDULERS}"),
    ("web", "scheduler_flags", "flag-1", "scheduler_flags: is text; allowed: a list"),
    (
        "web",
        "scheduler_flags",
        ["sh-port"],
        "scheduler_flags:0: is 'sh-port'; allowed: flag-1, flag-2, flag-3 with the scheduler wrr",
    ),
    (
        "web",
        "scheduler_flags",
        [["flag-1"]],
        "scheduler_flags:0: is a list; allowed: flag-1, flag-2, flag-3 with the scheduler wrr",
    ),
    ("web", "one_packet", True, "one_packet: is true with the protocol tcp; allowed: only with udp, or a fwmark"),
    ("udp", "one_packet", "yes", f"one_packet: is 'yes'; allowed: {BOOLEAN}"),
    (
        "web",
        "persistence_timeout",
        0,
        "persistence_timeout: is 0; allowed: a whole number of seconds from 1 to 2678400",
    ),
    (
        "web",
        "persistence_timeout",
        2678401,
        "persistence_timeout: is 2678401; allowed: a whole number of seconds from 1 to 2678400",
    ),
    (
        "web",
        "persistence_netmask",
        24,
        "persistence_netmask: is given without a persistence_timeout; allowed: both, or neither",
    ),
    (
        "udp",
        "persistence_engine",
        "sip",
        "persistence_engine: is given without a persistence_timeout; allowed: both, or neither",
    ),
    ("udp", "persistence_engine", "ftp", "persistence_engine: is 'ftp'; allowed: sip"),
    ("web", "forward", "DR", "forward: is 'DR'; allowed: dr, nat, tunnel"),
    ("web", "tunnel", "gre", "tunnel: is given with forward: dr; allowed: only with forward: tunnel"),
    ("nat", "tunnel_port", 6080, "tunnel_port: is given with forward: nat; allowed: only with forward: tunnel"),
    ("tunnel", "tunnel", "vxlan", "tunnel: is 'vxlan'; allowed: ipip, gue, gre"),
    ("tunnel", "tunnel", "gue", f"tunnel_port: is missing with tunnel: gue; allowed: {PORT}"),
    ("tunnel", "tunnel_port", 6080, "tunnel_port: is given with tunnel: ipip; allowed: only with tunnel: gue"),
    ("tunnel", "tunnel_flags", ["csum"], "tunnel_flags: are csum; allowed: none with tunnel: ipip"),
    (
        "tunnel",
        "tunnel_flags",
        ["csum", "remcsum"],
        "tunnel_flags: is a list; allowed: a list with one of csum, remcsum, or an empty one",
    ),
    ("web", "quorum", 0, "quorum: is 0; allowed: a whole number from 1 to 4294967295"),
    ("web", "quorum", 4, "quorum: is 4; allowed: at most the sum of the servers' weights, which is 3"),
    ("web", "hysteresis", 1, "hysteresis: is 1; allowed: less than quorum, which is 1"),
    ("web", "hysteresis", -1, f"hysteresis: is -1; allowed: {U32}"),
    ("web", "quorum_up", "notify", f"quorum_up: is 'notify', which is no absolute path; allowed: {SCRIPT}"),
    ("web", "quorum_up", "/bin/x 'a", f'quorum_up: is "/bin/x \'a"; allowed: {SCRIPT}'),
    ("web", "quorum_down", "/bin/x\n}", f"quorum_down: is '/bin/x\\n}}'; allowed: {SCRIPT}"),
    ("web", "alpha", 1, f"alpha: is 1; allowed: {BOOLEAN}"),
    ("web", "omega", "true", f"omega: is 'true'; allowed: {BOOLEAN}"),
    ("web", "inhibit_on_failure", None, f"inhibit_on_failure: is empty; allowed: {BOOLEAN}"),
    (
        "mark",
        "ha_suspend",
        True,
        "ha_suspend: is true with a fwmark, which has no address to wait for; allowed: without fwmarks",
    ),
    ("web", "virtualhost", "a b", f"virtualhost: is 'a b'; allowed: {WORD}"),
    ("web", "snmp_name", "a{", f"snmp_name: is 'a{{'; allowed: {WORD}"),
    # to whom
    (
        "web",
        "serves",
        "both",
        "serves: is 'both'; allowed: all, said explicitly: both databases then take writes, and can diverge silently",
    ),
    ("web", "servers", [], "servers: is a list; allowed: a mapping"),
    (
        "web",
        "servers.mysql3",
        {},
        f"servers:mysql3:address: is missing, and this is no node (did you mean mysql2?); allowed: {REAL}",
    ),
    (
        "web",
        "servers.a",
        None,
        "servers:a: is empty; allowed: a mapping with the keys " + ", ".join(keepalived_endpoint_rules.SERVER_KEYS),
    ),
    ("web", "servers.a b", OTHER_SERVER, f"servers:'a b': is not a usable name; allowed: {SERVER_NAME}"),
    (
        "web",
        "servers.a.wieght",
        1,
        "servers:a:wieght: is an unknown key; allowed: "
        f"{', '.join(keepalived_endpoint_rules.SERVER_KEYS)} (did you mean weight?)",
    ),
    (
        "web",
        "servers.a.address",
        "224.0.0.5",
        f"servers:a:address: is '224.0.0.5', a multicast address; allowed: {REAL}",
    ),
    (
        "web",
        "servers.a.address",
        "192.168.1.110",
        "servers:a:address: is '192.168.1.110', as is mysql_ha:endpoints:web:address; allowed: another one",
    ),
    (
        "web",
        "servers.a.address",
        "2001:db8::5",
        "servers:a:address: is '2001:db8::5', of another family than the endpoint, which only forward: tunnel can "
        "reach; allowed: an IPv4 address",
    ),
    (
        "six",
        "servers.a.address",
        "10.0.0.5",
        "servers:a:address: is '10.0.0.5', of another family than the endpoint, which only forward: tunnel can reach;"
        " allowed: an IPv6 address",
    ),
    (
        "web",
        "servers.a.port",
        8080,
        "servers:a:port: is 8080, and direct routing leaves the port as the client sent it;"
        " allowed: 80, or forward: nat",
    ),
    (
        "tunnel",
        "servers.a.port",
        8080,
        "servers:a:port: is 8080, and a tunnel leaves the port as the client sent it; allowed: 80, or forward: nat",
    ),
    (
        "mark",
        "servers.a.port",
        80,
        "servers:a:port: is 80, and direct routing leaves the port as the client sent it;"
        " allowed: none, or forward: nat",
    ),
    (
        "group",
        "servers.a.port",
        80,
        "servers:a:port: is 80, and direct routing leaves the port as the client sent it;"
        " allowed: none, or forward: nat",
    ),
    ("web", "servers.a.weight", -1, "servers:a:weight: is -1; allowed: a whole number from 0 to 2147483647"),
    ("web", "servers.a.weight", "3", f"servers:a:weight: is '3'{QUOTED}; allowed: a whole number from 0 to 2147483647"),
    (
        "web",
        "servers",
        {"a": {"address": "10.0.0.5", "weight": 0}},
        ": gives every server the weight 0; allowed: a weight above 0 for at least one",
    ),
    (
        "web",
        "servers.c",
        {"address": "10.0.0.5", "port": 80},
        "servers:c: is 10.0.0.5:80, as is mysql_ha:endpoints:web:servers:a; allowed: each server once",
    ),
    (
        "six",
        "servers.c",
        {"address": "2001:DB8:0::5"},
        "servers:c: is [2001:db8::5]:80, as is mysql_ha:endpoints:six:servers:a; allowed: each server once",
    ),
    (
        "web",
        "servers.a.lower_threshold",
        5,
        "servers:a:lower_threshold: is 5; allowed: at most upper_threshold, which is not given",
    ),
    (
        "web",
        "servers.a",
        {"address": "10.0.0.5", "upper_threshold": 4, "lower_threshold": 5},
        "servers:a:lower_threshold: is 5; allowed: at most upper_threshold, which is 4",
    ),
    (
        "web",
        "servers.a.tunnel",
        "gre",
        "servers:a:tunnel: is given with forward: dr; allowed: only with forward: tunnel",
    ),
    ("tunnel", "servers.a.tunnel", "gue", f"servers:a:tunnel_port: is missing with tunnel: gue; allowed: {PORT}"),
    ("web", "servers.a.notify_up", "x", f"servers:a:notify_up: is 'x', which is no absolute path; allowed: {SCRIPT}"),
    ("web", "servers.a.smtp_alert", "on", f"servers:a:smtp_alert: is 'on'; allowed: {BOOLEAN}"),
    ("web", "sorry_server", "10.0.0.9", "sorry_server: is text; allowed: a mapping"),
    ("web", "sorry_server", {"port": 80}, f"sorry_server:address: is missing; allowed: {REAL}"),
    (
        "web",
        "sorry_server",
        {"address": "10.0.0.9", "weight": 1},
        "sorry_server:weight: is an unknown key; allowed: "
        "address, port, inhibit, forward, tunnel, tunnel_port, tunnel_flags",
    ),
    (
        "web",
        "sorry_server",
        {"address": "10.0.0.9", "port": 81},
        "sorry_server:port: is 81, and direct routing leaves the port as the client sent it;"
        " allowed: 80, or forward: nat",
    ),
    (
        "web",
        "sorry_server",
        {"address": "2001:db8::9"},
        "sorry_server:address: is '2001:db8::9', of another family than the endpoint, which only forward: tunnel can "
        "reach; allowed: an IPv4 address",
    ),
    (
        "web",
        "sorry_server",
        {"address": "10.0.0.5", "inhibit": True},
        "sorry_server:inhibit: is true, and the same server has inhibit_on_failure: false as "
        "mysql_ha:endpoints:web:servers:a; allowed: false",
    ),
    # the databases
    (
        "write",
        "address",
        "2001:db8::100",
        "address: is of another family than the address of mysql1 in mysql_ha:nodes, which only forward: tunnel can "
        "reach; allowed: an IPv4 one, or forward: tunnel",
    ),
    (
        "write",
        "port",
        3307,
        "port: is 3307, and direct routing cannot change it to mysql_ha:database:port; allowed: 3306",
    ),
    (
        "write",
        "servers",
        {"mysql1": {"weight": 0}, "mysql2": {"weight": 0}},
        ": gives every server the weight 0; allowed: a weight above 0 for at least one",
    ),
    (
        "write",
        "serves",
        DELETE,
        "serves: is missing; allowed: all, said explicitly: both databases then take writes, and can diverge silently;"
        " or servers by name",
    ),
    # checks
    ("web", "check", DELETE, f"check: is missing; allowed: {CHECK}"),
    ("web", "check", "TCP_CHECK", f"check: is 'TCP_CHECK'; allowed: {CHECK}"),
    ("web", "check", [], f"check: is an empty list; allowed: {CHECK}"),
    ("web", "check", ["tcp", "none"], "check:1: is 'none' beside others; allowed: none alone, or only the others"),
    ("web", "check", {"port": 80}, f"check:type: is missing; allowed: {TYPES}"),
    ("web", "check", {"type": "icmp"}, f"check:type: is 'icmp'; allowed: {TYPES}"),
    ("web", "check", "http", f"check:urls: is missing; allowed: {URLS}"),
    ("web", "check", "misc", f"check:script: is missing; allowed: {SCRIPT}"),
    ("web", "check", {"type": "none", "port": 1}, "check:port: is an unknown key; allowed: type"),
    (
        "mark",
        "check",
        "tcp",
        "check: is 'tcp', and the server has no port of its own; allowed: a mapping with type: tcp and a port",
    ),
    (
        "web",
        "check",
        {"type": "tcp", "retry": 3},
        "check:retry: is an unknown key; allowed: type, address, port, bind_address, bind_port, bind_interface, fwmark,"
        " connect_timeout, retries, retry_interval, warmup, interval, alpha, log_all_failures, extra (did you mean "
        "retries?)",
    ),
    ("web", "check", {"type": "tcp", "retries": 0}, "check:retries: is 0; allowed: a whole number from 1 to 100"),
    (
        "web",
        "check",
        {"type": "tcp", "interval": 0},
        "check:interval: is 0; allowed: seconds from 0.1 to 3600 with at most 6 decimals",
    ),
    ("web", "check", {"type": "tcp", "port": 0}, f"check:port: is 0; allowed: {PORT}"),
    ("web", "check", {"type": "tcp", "bind_address": "x"}, f"check:bind_address: is 'x'; allowed: {REAL}"),
    (
        "web",
        "check",
        {"type": "tcp", "bind_address": "2001:db8::2"},
        "check:bind_address: is '2001:db8::2', of another family than the server; allowed: an IPv4 address",
    ),
    (
        "web",
        "check",
        {"type": "tcp", "bind_address": "2001:db8::2", "address": "10.0.0.9"},
        "check:bind_address: is '2001:db8::2', of another family than the address to connect to; allowed: an IPv4 "
        "address",
    ),
    ("http", "check.url", "/", f"check:url: is an unknown key; allowed: {HTTP_KEYS} (did you mean urls?)"),
    ("http", "check.urls", "/", f"check:urls: is text; allowed: {URLS}"),
    ("http", "check.urls", [], f"check:urls: is an empty list; allowed: {URLS}"),
    (
        "http",
        "check.urls",
        ["/"],
        "check:urls:0: is text; allowed: a mapping with the keys " + ", ".join(keepalived_checks.URL),
    ),
    ("http", "check.urls", [{"status": 200}], f"check:urls:0:path: is missing; allowed: {URL_PATH}"),
    ("http", "check.urls.0.path", "health", f"check:urls:0:path: is 'health'; allowed: {URL_PATH}"),
    ("http", "check.urls.0.path", "/~me", f"check:urls:0:path: is '/~me'; allowed: {URL_PATH}"),
    ("http", "check.urls.0.status", 600, f"check:urls:0:status: is 600; allowed: {STATUS}"),
    ("http", "check.urls.0.status", "299-200", f"check:urls:0:status: is '299-200'; allowed: {STATUS}"),
    ("http", "check.urls.0.status", [200, "x"], f"check:urls:0:status: is a list; allowed: {STATUS}"),
    (
        "http",
        "check.urls.0.digest",
        "9b3a",
        "check:urls:0:digest: is '9b3a'; allowed: 32 hexadecimal digits, which genhash computes",
    ),
    (
        "http",
        "check.urls.0.regex",
        "a\nb",
        "check:urls:0:regex: is 'a\\nb'; allowed: a regular expression of printable ASCII characters, at most 512",
    ),
    (
        "http",
        "check.urls.0.regex_no_match",
        True,
        "check:urls:0:regex_no_match: is given without a regex; allowed: both, or neither",
    ),
    ("http", "check.http_protocol", 2, "check:http_protocol: is 2; allowed: 1.0, 1.0C, 1.1"),
    ("http", "check.virtualhost", "a b", f"check:virtualhost: is 'a b'; allowed: {WORD}"),
    (
        "web",
        "check",
        {"type": "dns", "query": "PTR"},
        "check:query: is 'PTR'; allowed: A, NS, CNAME, SOA, MX, TXT, AAAA, RRSIG, DNSKEY",
    ),
    (
        "web",
        "check",
        {"type": "dns", "name": "a..b"},
        "check:name: is 'a..b'; allowed: a domain name such as example.org",
    ),
    (
        "web",
        "check",
        {"type": "udp", "payload": "0g"},
        "check:payload: is '0g'; allowed: at most 512 hexadecimal digits, with spaces between them or without, such as "
        "'0a 1b' (in quotes)",
    ),
    (
        "web",
        "check",
        {"type": "udp", "min_reply_length": 256},
        "check:min_reply_length: is 256; allowed: at most max_reply_length, which is 255",
    ),
    (
        "web",
        "check",
        {"type": "misc", "script": "check.sh"},
        f"check:script: is 'check.sh', which is no absolute path; allowed: {SCRIPT}",
    ),
    (
        "web",
        "check",
        {"type": "misc", "script": "/bin/x", "connect_timeout": 1},
        "check:connect_timeout: is an unknown key; allowed: type, script, timeout, dynamic, user, retries, "
        "retry_interval, warmup, interval, alpha, log_all_failures, extra (did you mean timeout?)",
    ),
    (
        "web",
        "check",
        {"type": "file", "track_file": "load"},
        "check:track_file: is 'load'; allowed: one of mysql_ha:vrrp:files: there are none",
    ),
    (
        "web",
        "check",
        {"type": "bfd", "name": "peer"},
        "check:name: is 'peer'; allowed: one of mysql_ha:vrrp:bfds: there are none",
    ),
    ("web", "servers.a.check", "pong", f"servers:a:check: is 'pong'; allowed: {CHECK}"),
    ("web", "checks", 5, "checks: is a number; allowed: a mapping"),
    (
        "web",
        "checks.retry",
        1,
        "checks:retry: is an unknown key; allowed: interval, connect_timeout, retries, retry_interval, warmup (did you "
        "mean retries?)",
    ),
    ("web", "checks.warmup", -1, "checks:warmup: is -1; allowed: seconds from 0 to 3600 with at most 6 decimals"),
    # free lines
    ("web", "extra", "hashed", "extra: is text; allowed: a mapping of keywords"),
    ("web", "extra", {"weight": 5}, "extra:weight: is refused, because servers says it; allowed: other keywords"),
    ("web", "extra", {"include": "/etc/x"}, f"extra:include: {EXTRA}"),
    ("web", "extra", {"a": "b }"}, f"extra:a: {EXTRA}"),
    ("web", "extra", {"a\nb": True}, f"extra:'a\\nb': {EXTRA}"),
    (
        "web",
        "servers.a.extra",
        {"TCP_CHECK": {}},
        "servers:a:extra:TCP_CHECK: is refused, because check says it; allowed: other keywords",
    ),
    (
        "web",
        "check",
        {"type": "smtp", "extra": {"host": {"connect_port": 25}}},
        "check:extra:host: is refused, because a list of checks says it; allowed: other keywords",
    ),
    ("http", "check.extra", {"url": {}}, "check:extra:url: is refused, because urls says it; allowed: other keywords"),
    (
        "web",
        "method",
        "nat",
        f"method: is an unknown key; allowed: {', '.join(keepalived_endpoint_rules.ENDPOINT_KEYS)}",
    ),
]


@pytest.mark.parametrize(("base", "path", "value", "expected"), WRONG)
def test_one_wrong_value_gives_this_sentence_and_no_other(base: str, path: str, value: Any, expected: str) -> None:
    before = f"mysql_ha:endpoints:{base}"
    assert mysql_ha_pillar.errors(pillar(base, (path, value))) == [
        before + expected if expected.startswith(":") else f"{before}:{expected}"
    ]


def test_there_are_enough_of_them() -> None:
    assert len(WRONG) >= 100


@pytest.mark.parametrize("base", BASES)
def test_what_they_are_made_from_is_right(base: str) -> None:
    renders(pillar(base))


#: Changes that are right: base, changes.
RIGHT: list[tuple[str, list[tuple[str, Any]]]] = [
    ("web", [("port", 0), ("persistence_timeout", 60), ("check", "none")]),
    ("web", [("servers.mysql1", None), ("mysql_ha.database.port", 80), ("mysql_ha.endpoints.write.port", 80)]),
    ("web", [("servers.a.weight", 0), ("quorum", 2), ("hysteresis", 1)]),
    ("web", [("check", DELETE), ("servers.a.check", "tcp"), ("servers.b.check", "ping")]),
    ("web", [("servers.a.port", 8080), ("servers.a.forward", "nat")]),
    ("web", [("servers.a.forward", "tunnel"), ("servers.a.address", "2001:db8::5")]),
    ("web", [("servers.a.upper_threshold", 10), ("servers.a.lower_threshold", 10)]),
    ("web", [("sorry_server", {"address": "127.0.0.1"})]),
    ("web", [("sorry_server", {"address": "10.0.0.5"})]),
    ("web", [("persistence_timeout", 2678400), ("persistence_netmask", "255.255.0.0")]),
    ("web", [("scheduler", "sh"), ("scheduler_flags", ["sh-port", "flag-1"])]),
    ("web", [("check", ["tcp", {"type": "ping", "retries": 3}])]),
    ("web", [("check", {"type": "tcp", "bind_address": "2001:db8::2", "address": "2001:db8::5"})]),
    ("web", [("extra", {"flag-1": False, "x": [1, "a b", {"y": True}]})]),
    ("web", [("check", {"type": "misc", "script": "/bin/check -v", "user": "nobody nogroup", "dynamic": True})]),
    ("web", [("alpha", True), ("omega", False), ("ha_suspend", True), ("smtp_alert", False), ("virtualhost", "w.org")]),
    ("nat", [("servers.a.port", 8080), ("servers.c", {"address": "10.0.0.5"})]),
    ("tunnel", [("tunnel", "gue"), ("tunnel_port", 6080), ("tunnel_flags", ["remcsum"])]),
    ("tunnel", [("servers.a.tunnel", "gre"), ("servers.a.tunnel_flags", ["csum"])]),
    ("six", [("persistence_timeout", 60), ("persistence_netmask", 64)]),
    ("six", [("servers.b", {"address": "10.0.0.5", "forward": "tunnel"})]),
    ("udp", [("one_packet", True)]),
    ("udp", [("persistence_timeout", 60), ("persistence_engine", "sip")]),
    ("udp", [("check", {"type": "udp", "require_reply": "0a x1", "payload": "00"})]),
    ("mark", [("family", "ipv6"), ("forward", "tunnel")]),
    ("mark", [("one_packet", True), ("persistence_timeout", 60), ("persistence_netmask", 24)]),
    ("group", [("group", ["fwmark 5", "fwmark 5 inet6"]), ("forward", "tunnel")]),
    ("group", [("group.0", "2001:db8::/125 80"), ("forward", "tunnel")]),
    ("group", [("group", ["192.168.1.110 80", "192.168.1.128/25 80"]), ("servers.a.port", 80)]),
    ("group", [("group.0", "192.168.1.110"), ("persistence_timeout", 60)]),
    (
        "http",
        [("check.http_protocol", 1.1), ("check.urls.0.status", ["200-299", 404]), ("check.urls.0.regex", "a\\d{2}$")],
    ),
    ("write", [("forward", "nat"), ("port", 3310)]),
    ("write", [("servers", {"mysql1": {"weight": 0}, "replica": {"address": "10.0.0.5"}})]),
]


@pytest.mark.parametrize(("base", "changes"), RIGHT)
def test_valid_endpoints_render(base: str, changes: list[tuple[str, Any]]) -> None:
    renders(pillar(base, *changes))


def test_endpoints_collide_in_any_spelling() -> None:
    tried = pillar("six")
    tried["endpoints"]["again"] = {**BASES["six"], "address": "2001:DB8:0:0::110"}
    assert mysql_ha_pillar.errors(tried) == [
        "mysql_ha:endpoints:again: is at 2001:db8::110 port 80, as is mysql_ha:endpoints:six;"
        " allowed: an address and port of its own"
    ]
    tried["endpoints"]["again"]["protocol"] = "udp"
    assert mysql_ha_pillar.errors(tried) == []


def test_groups_collide_with_other_endpoints() -> None:
    tried = pillar("group")
    tried["endpoints"]["web"] = {**BASES["web"], "address": "192.168.1.113", "port": 443}
    tried["endpoints"]["mark"] = copy.deepcopy(BASES["mark"])
    tried["endpoints"]["more"] = {**copy.deepcopy(BASES["group"]), "group": ["192.168.1.100-120 80", "fwmark 5"]}
    assert mysql_ha_pillar.errors(tried) == [
        "mysql_ha:endpoints:web: is at 192.168.1.113 port 443, as is mysql_ha:endpoints:group:group:1;"
        " allowed: an address and port of its own",
        "mysql_ha:endpoints:more:group:0: holds tcp 192.168.1.110:80, as does mysql_ha:endpoints:group:group:0;"
        " allowed: each service once",
        "mysql_ha:endpoints:more:group:1: holds fwmark 5 ipv4, as does mysql_ha:endpoints:mark;"
        " allowed: each service once",
    ]


def test_two_endpoints_with_one_mark() -> None:
    tried = pillar("mark")
    tried["endpoints"]["again"] = copy.deepcopy(BASES["mark"])
    assert mysql_ha_pillar.errors(tried) == [
        "mysql_ha:endpoints:again:fwmark: is 5, as is that of mysql_ha:endpoints:mark; allowed: a mark of its own"
    ]


def test_keywords_that_a_version_does_not_know() -> None:
    check = {"type": "ssl", "urls": [{"path": "/", "tls_compliant": True}], "tls_compliant": True}
    old, new = [
        pillar("web", ("check", check), ("mysql_ha.keepalived.version", version)) for version in ("2.2.7", "2.2.8")
    ]
    what = (
        "tls_compliant: is not known to keepalived 2.2.7, the mysql_ha:keepalived:version; "
        "allowed: from version 2.2.8 on"
    )
    assert mysql_ha_pillar.errors(old) == [
        f"mysql_ha:endpoints:web:check:{what}",
        f"mysql_ha:endpoints:web:check:urls:0:{what}",
    ]
    assert mysql_ha_pillar.errors(new) == []


def test_scripts_of_other_users_need_a_keepalived_that_can_test_them() -> None:
    check = {"type": "misc", "script": "/bin/x", "user": "nobody"}
    old = pillar("web", ("check", check), ("mysql_ha.keepalived.version", "2.2.7"))
    assert mysql_ha_pillar.errors(old) == [
        "mysql_ha:endpoints:web:check:user: is 'nobody', which keepalived can test from 2.2.8 on; allowed: root"
    ]
    old["endpoints"]["web"]["check"]["user"] = "root root"
    assert mysql_ha_pillar.errors(old) == []


def test_checks_of_what_vrrp_follows() -> None:
    check = [{"type": "file", "track_file": "load"}, {"type": "bfd", "name": "peer"}]
    vrrp = {"files": {"load": {}}, "bfds": {"peer": {}}}
    tried = {"endpoints": {"web": {**BASES["web"], "check": check}}, "vrrp": vrrp}
    assert list(keepalived_endpoint_rules.errors(tried, {})) == []


def test_a_session_is_followed_once() -> None:
    check = [{"type": "bfd", "name": "peer"}, {"type": "bfd", "name": "peer"}]
    found = keepalived_endpoint_rules.errors(
        {"endpoints": {"web": {**BASES["web"], "check": check}}, "vrrp": {"bfds": {"peer": {}}}}, {}
    )
    assert list(found) == ["mysql_ha:endpoints:web:check:1:name: is 'peer' a second time; allowed: each one once"]


def test_all_errors_come_at_once() -> None:
    tried = pillar("web", ("scheduler", "x"), ("servers.a.port", 81), ("servers.b.weight", "1"), ("check", "y"))
    assert [error.split(": ")[0] for error in mysql_ha_pillar.errors(tried)] == [
        f"mysql_ha:endpoints:web:{path}" for path in ("scheduler", "servers:b:weight", "check", "servers:a:port")
    ]


# ---- properties

EVERYTHING = {
    **copy.deepcopy(BASES),
    "full": {
        "address": "192.168.1.120",
        "port": 80,
        "protocol": "udp",
        "scheduler": "sh",
        "scheduler_flags": ["sh-port"],
        "one_packet": True,
        "persistence_timeout": 60,
        "persistence_netmask": "255.255.255.0",
        "persistence_engine": "sip",
        "forward": "tunnel",
        "tunnel": "gue",
        "tunnel_port": 6080,
        "tunnel_flags": ["csum"],
        "quorum": 2,
        "hysteresis": 1,
        "quorum_up": "/bin/up now",
        "quorum_down": "/bin/down",
        "alpha": True,
        "omega": True,
        "inhibit_on_failure": True,
        "ha_suspend": True,
        "smtp_alert": False,
        "virtualhost": "www.example.org",
        "snmp_name": "full",
        "sorry_server": {"address": "10.0.0.9", "inhibit": True, "forward": "nat", "port": 81},
        "checks": {"interval": 2, "connect_timeout": 3, "retries": 4, "retry_interval": 0.5, "warmup": 1},
        "servers": {
            "a": {
                "address": "10.0.0.5",
                "port": 8080,
                "forward": "nat",
                "weight": 3,
                "upper_threshold": 9,
                "lower_threshold": 5,
                "inhibit_on_failure": False,
                "alpha": False,
                "virtualhost": "a",
                "snmp_name": "b",
                "notify_up": "/bin/up a",
                "notify_down": "/bin/down a",
                "smtp_alert": True,
                "extra": {"delay_loop": 5},
            },
            "b": {
                "address": "10.0.0.6",
                "check": [{"type": "misc", "script": "/bin/x y", "timeout": 3, "user": "root"}],
            },
        },
        "check": [
            {
                "type": "ssl",
                "address": "10.0.0.8",
                "port": 443,
                "bind_address": "10.0.0.1",
                "bind_port": 5,
                "bind_interface": "eth0",
                "fwmark": 3,
                "connect_timeout": 2,
                "retries": 3,
                "retry_interval": 1,
                "warmup": 0,
                "interval": 5,
                "alpha": True,
                "log_all_failures": False,
                "virtualhost": "x.org",
                "http_protocol": "1.0C",
                "fast_recovery": True,
                "enable_sni": True,
                "tls_compliant": True,
                "urls": [
                    {
                        "path": "/a?b=c",
                        "digest": "9b3a0c85a887a256d6939da88aabd8cd",
                        "status": [200, "300-399"],
                        "virtualhost": "y.org",
                        "regex": "^a{1}\\d#$",
                        "regex_no_match": True,
                        "regex_options": ["caseless"],
                        "regex_stack": [1, 2],
                        "regex_min_offset": 0,
                        "regex_max_offset": 9,
                        "tls_compliant": False,
                    }
                ],
                "extra": {"word": "a b"},
            },
            {"type": "smtp", "helo_name": "x.org"},
            {"type": "dns", "query": "A", "name": "example.org"},
            {"type": "udp", "payload": "0a", "require_reply": "xx", "min_reply_length": 1, "max_reply_length": 2},
            {"type": "ping"},
        ],
        "extra": {"unknown": {"words to say": [1, True, "a"]}},
    },
}
# The bases have the same addresses; here they stand beside each other.
for _index, _name in enumerate(("nat", "tunnel", "http", "udp")):
    EVERYTHING[_name]["address"] = f"192.168.1.{130 + _index}"
EVERYTHING["group"]["group"] = ["192.168.1.140 80", "192.168.1.141-143 443", "fwmark 9"]


def full() -> dict[str, Any]:
    """Return a pillar with every key of endpoints."""
    return {**copy.deepcopy(EXAMPLE), "endpoints": copy.deepcopy(EVERYTHING)}


def places(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of everything in nested mappings and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([prefix] if prefix else []), *(path for key, item in items for path in places(item, (*prefix, key)))]


def put(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Return the pillar with every key, with one place changed."""
    result = full()
    section = result["endpoints"]
    for key in place[:-1]:
        section = section[key]
    section[place[-1]] = value
    return result


PLACES = places(EVERYTHING)
BREAKERS = [
    "}",
    "{",
    "#",
    "!",
    '"',
    "'",
    "$A",
    "@x",
    "~SEQ",
    "\\",
    "\n",
    "\r",
    "\t",
    "\0",
    "\x7f",
    "\x85",
    "\u2028",
    "é",
]


def test_the_pillar_with_every_key_is_right_and_has_every_key() -> None:
    assert mysql_ha_pillar.errors(full()) == []
    keys = {key for place in PLACES for key in place}
    for table in (
        keepalived_endpoint_rules.ENDPOINT_KEYS,
        keepalived_endpoint_rules.SERVER_KEYS,
        keepalived_checks.URL,
        *(check.keys for name, check in keepalived_checks.CHECKS.items() if name not in ("file", "bfd")),
    ):
        assert set(table) - keys <= {"family", "dynamic"}


def lines_of(text: str) -> list[str]:
    """Return the lines, which must be all that any reader could take for lines."""
    assert text.splitlines() == text.split("\n")[:-1]
    return text.split("\n")[:-1]


def tokens(text: str) -> tuple[int, int]:
    """Check that a configuration is blocks and lines only, and return how many there are."""
    depth = blocks = 0
    found = lines_of(text)
    for line in found[1:]:
        assert not set("#!$@~\t") & set(line)
        assert line == "    " * (depth - (line.strip() == "}")) + line.strip()
        if line.endswith(" {"):
            depth, blocks = depth + 1, blocks + 1
        elif line.strip() == "}":
            depth -= 1
        else:
            assert not set("{}") & set(line)
        # Quotes stand around whole values, and nowhere else.
        assert line.count('"') in (0, 2)
        assert len(line) < 1000
    assert depth == 0
    return len(found), blocks


def rendered(tried: dict[str, Any], name: str) -> str:
    """Return the blocks of one endpoint, below a first line as in keepalived.conf."""
    blocks = keepalived_endpoint_conf.blocks({**tried, "endpoints": {name: tried["endpoints"][name]}})
    return "\n".join([keepalived_conf.HEADER, *(line for lines in blocks for line in lines)]) + "\n"


@pytest.mark.parametrize("breaker", BREAKERS)
def test_no_text_in_any_place_leaves_its_line(breaker: str) -> None:
    shapes = {name: tokens(rendered(full(), name)) for name in EVERYTHING}
    for place in PLACES:
        if place[-1] in ("servers", "group", "check", "urls", "extra", "address", "sorry_server") or len(place) == 1:
            continue
        for value in (f"a{breaker}b", f"/a {breaker}", breaker):
            try:
                text = rendered(put(place, value), place[0])
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            lines, blocks = tokens(text)
            # What is not written at all, such as the value of a key that needs another one, takes no line.
            assert lines <= shapes[place[0]][0]
            assert blocks <= shapes[place[0]][1]


HOSTILE = st.one_of(
    st.text(max_size=20),
    st.text("ab/#!{}\"'$@~\\ \n\t", max_size=12),
    st.integers(-5, 70000),
    st.floats(),
    st.booleans(),
    st.none(),
    st.lists(st.text('a#{}\n"', max_size=4), max_size=3),
    st.dictionaries(st.text('a#{}\n"', max_size=4), st.text('a#{}\n"', max_size=4), max_size=2),
)


@settings(deadline=None)
@given(st.sampled_from(PLACES), HOSTILE)
@example(("full", "quorum_up"), "/a\n}")
@example(("full", "check", 0, "urls", 0, "regex"), '"\n}')
@example(("group", "group", 0), "192.0.2.1 80\n}")
def test_whatever_is_rendered_is_blocks_and_lines(place: tuple[Any, ...], value: Any) -> None:
    try:
        text = keepalived_conf.render(put(place, value), "lvs1")
    except (ValueError, KeyError, TypeError, AttributeError):
        assert mysql_ha_pillar.errors(put(place, value))
        return
    tokens(text)


ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(),
        st.binary(),
        st.sampled_from(["tcp", "http", "192.168.1.5", "::1", "dr", "tunnel", 0, 10**25, "\ud800"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner),
        st.dictionaries(
            st.one_of(
                st.none(),
                st.integers(),
                st.text(),
                st.sampled_from(
                    [*keepalived_endpoint_rules.ENDPOINT_KEYS, *keepalived_endpoint_rules.SERVER_KEYS, "type"]
                ),
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=30,
)


def assert_told(found: list[str]) -> None:
    """Check that errors are sentences of one line."""
    for error in found:
        assert error.startswith("mysql_ha:")
        assert "; allowed: " in error
        assert error.isprintable()


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), ANYTHING), min_size=1, max_size=4))
def test_nothing_is_raised_whatever_an_endpoint_holds(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    tried = full()
    for place, value in changes:
        section: Any = tried["endpoints"]
        for key in place[:-1]:
            try:
                section = section[key]
            except (KeyError, IndexError, TypeError):
                section = None
        if isinstance(section, dict) or (isinstance(section, list) and place[-1] in range(len(section))):
            section[place[-1]] = value
    found = mysql_ha_pillar.errors(tried)
    assert_told(found)
    if not found:
        tokens(keepalived_conf.render(tried, "lvs1"))


@settings(deadline=None)
@given(ANYTHING)
def test_nothing_is_raised_whatever_the_endpoints_are(value: Any) -> None:
    tried = {**copy.deepcopy(EXAMPLE), "endpoints": value}
    assert_told(mysql_ha_pillar.errors(tried))


REFUSED = [
    netaddr.IPNetwork(text)
    for text in ("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8", "::ffff:0:0/96", "fe80::/10")
]
LOOPBACK = [netaddr.IPNetwork(text) for text in ("127.0.0.0/8", "::1/128")]


def is_host_by_netaddr(text: str, refused: list[netaddr.IPNetwork]) -> bool:
    """Return what netaddr, which shares no code with our rules, thinks of an address."""
    try:
        address = netaddr.IPAddress(text, flags=netaddr.INET_PTON)
    except (netaddr.AddrFormatError, ValueError):
        return False
    return not any(address in network for network in refused if network.version == address.version)


NUMBER = st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 127, 128, 223, 224, 239, 240, 255])).map(str)
ADDRESSES = st.one_of(
    st.lists(NUMBER, min_size=4, max_size=4).map(".".join),
    st.ip_addresses(v=6).map(str),
    st.sampled_from(
        ["fe80::1", "febf::", "fec0::1", "ff02::1", "::", "::1", "::2", "::ffff:1.2.3.4", "64:ff9b::1.2.3.4"]
    ),
    st.text("0123456789abcdef./:%x", max_size=24),
)


@settings(deadline=None)
@given(ADDRESSES)
@example("0x7f.1")
@example("fe80::1%eth0")
@example("1.2.3.04")
@example("2001:DB8:0000::1")
def test_addresses_agree_with_netaddr(text: str) -> None:
    assert keepalived_values.VIRTUAL_ADDRESS.accepts(text) == is_host_by_netaddr(text, REFUSED + LOOPBACK)
    assert keepalived_values.SERVER_ADDRESS.accepts(text) == is_host_by_netaddr(text, REFUSED)
    if keepalived_values.SERVER_ADDRESS.accepts(text):
        assert str(keepalived_values.plain_address(text)) == str(
            netaddr.IPAddress(text, flags=netaddr.INET_PTON).format(netaddr.ipv6_compact)
            if ":" in text
            else netaddr.IPAddress(text, flags=netaddr.INET_PTON)
        )


@settings(deadline=None)
@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 65535))
def test_ranges_agree_with_netaddr(first: int, last: int, port: int) -> None:
    for text in (f"192.0.2.{first}-{last} {port}", f"192.0.2.{first}-192.0.2.{last} {port}"):
        try:
            service = keepalived_endpoints.group_member(text, "tcp")
        except ValueError:
            assert last < first
            continue
        wanted = netaddr.iter_iprange(f"192.0.2.{first}", f"192.0.2.{last}")
        assert service.names == [f"tcp {address}:{port}" for address in wanted]


@settings(deadline=None)
@given(st.integers(120, 128), st.integers(0, 255))
def test_networks_agree_with_netaddr(prefix: int, last: int) -> None:
    for text, network in (
        (f"192.0.2.{last}/{prefix - 96}", netaddr.IPNetwork(f"192.0.2.{last}/{prefix - 96}")),
        (f"2001:db8::{last:x}/{prefix}", netaddr.IPNetwork(f"2001:db8::{last:x}/{prefix}")),
    ):
        try:
            found = keepalived_endpoints.group_member(text, "tcp").addresses
        except ValueError:
            assert network.ip != network.network
            continue
        assert found == [str(address) for address in network]


@settings(deadline=None)
@given(st.permutations(sorted(EVERYTHING)), st.permutations(["a", "b"]))
def test_the_order_is_the_users_and_equal_pillars_give_equal_text(names: list[str], servers: list[str]) -> None:
    tried = full()
    tried["endpoints"] = {name: tried["endpoints"][name] for name in names}
    own = tried["endpoints"]["web"]["servers"]
    tried["endpoints"]["web"]["servers"] = {name: own[name] for name in servers}
    text = keepalived_conf.render(tried, "lvs1")
    assert text == keepalived_conf.render(copy.deepcopy(tried), "lvs1")
    found = keepalived_endpoints.virtual_servers(tried)
    assert [server.name for server in found] == names
    assert [real.name for real in found[names.index("web")].servers] == servers
    heads = [line for line in text.split("\n") if line.startswith("virtual_server ")]
    assert heads == [keepalived_endpoint_conf.virtual_server(server)[0] for server in found]
