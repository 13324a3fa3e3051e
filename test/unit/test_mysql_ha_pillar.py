"""The rules for the pillar: every sentence, every edge, and no traceback whatever the pillar holds."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import netaddr
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

import director_sysctls
import keepalived_conf
import keepalived_endpoint_rules
import keepalived_endpoints
import keepalived_vrrp_rules
import mysql_ha_pillar
import mysql_tls_rules
from mysql_settings import OWNED

ROOT = Path(__file__).resolve().parents[2]
DELETE = "(deleted)"
EXAMPLE = yaml.safe_load((ROOT / "pillar.example").read_text(encoding="utf-8"))["mysql_ha"]
DEFAULTS = yaml.safe_load((ROOT / "mysql_ha" / "defaults.yaml").read_text(encoding="utf-8"))
REQUIRED = ("cluster", "nodes", "endpoints", "secrets")


def merged(base: Any, over: Any) -> Any:
    """Return one mapping laid over another, as the formula does with its defaults."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return copy.deepcopy(over)
    return {**copy.deepcopy(base), **{key: merged(base.get(key), value) for key, value in over.items()}}


def minimal() -> dict[str, Any]:
    """Return the shortest valid pillar."""
    return {key: copy.deepcopy(EXAMPLE[key]) for key in REQUIRED}


def pillar(*changes: tuple[str, Any]) -> dict[str, Any]:
    """Return the example with changes: each a path with dots, and a value."""
    result = copy.deepcopy(EXAMPLE)
    for path, value in changes:
        *parents, last = path.split(".")
        place = result
        for key in parents:
            place = place.setdefault(key, {})
        if value is DELETE:
            del place[last]
        else:
            place[last] = value
    return result


CONFIGURE = "an option of its configure, such as --enable-snmp (--enable-, --disable-, --with-, --without-)"
TOP_KEYS = (
    "schema, cluster, interface, nodes, endpoints, vrrp, kernel, firewall, checks, keepalived, ipvsadm, ipvs, "
    "database, secrets"
)
DIRECTOR = "role, address, interface, priority"
DATABASE = "role, address, interface, server_id, weight"
REPLICA = "role, address, interface, server_id, replicates_from"
ROLES = "director, database, replica, arbiter"
TWO_DATABASES = "exactly 2 databases, which are both masters; more servers can have the role replica"
REPLICA_NODE = {"role": "replica", "address": "192.168.1.7", "server_id": 3, "replicates_from": "mysql1"}
ADDRESS = "an IPv4 unicast address such as 192.168.1.5"
NODE_NAME = "1 to 63 of the characters A-Z a-z 0-9 . _ - (in quotes if a number)"
NAME = "1 to 32 of the characters A-Z a-z 0-9 _ - (in quotes if a number)"
INTERFACE = '1 to 15 printable ASCII characters except spaces and / : % # ! { } " $ @ ~ \\, and not . or ..'
VIRTUAL = "an IPv4 or IPv6 unicast address such as 192.168.1.100 or 2001:db8::100"
CHECKS = "tcp, http, ssl, smtp, dns, udp, ping, misc, file, bfd, none"
CHECK = f"{CHECKS}, a mapping with a `type` of these, or a list"
ENDPOINT = ", ".join(keepalived_endpoint_rules.ENDPOINT_KEYS)
SERVES = "all, said explicitly: both databases then take writes, and can diverge silently"
AGENT = ", which needs the health agent that is not in this version"
V2 = "whole seconds from 1 to 255 with VRRP version 2"
V3 = "seconds from 0.01 to 40.95 in steps of 0.01 with VRRP version 3"
SOURCE = "a text that starts with one of salt:// http:// https:// file:/// / and has no spaces"
VERSION = "2 to 4 numbers with dots between them, in quotes if there are 2 (such as '1.31')"
GLOBAL = 'a number, true (for the keyword alone), or 1 to 512 printable ASCII characters except # ! { } " $ @ ~ \\'
KEYWORD = "1 to 64 of the characters a-z 0-9 _, and not include"
SETTING = "the name of an option of the server: a-z 0-9 _ -, a letter first"
SETTING_VALUE = "text, a number below 10^15, true, false, or empty"
DATABASE_NAME = "1 to 64 of the characters A-Z a-z 0-9 _ (in quotes if a number)"
USER = "1 to 32 of the characters A-Z a-z 0-9 _, and not root, mysql, mariadb, mariadb.sys"
REPLICATION = "8 to 32 printable ASCII characters, in quotes"
VRRP_SECRET = '1 to 8 printable ASCII characters except spaces and # ! { } " $ @ ~ \\, in quotes'
BACKUP_DIRECTORY = "an absolute path of the characters A-Z a-z 0-9 _ . / -, below a directory, without .."
BACKUP_SCHEDULE = "a time in systemd's words, such as daily or '*-*-* 03:00'"
BACKUP_NODES = "a list of databases in mysql_ha:nodes: mysql1, mysql2"
VERSION_2 = (("vrrp.version", 2), ("vrrp.advert_interval", 1))
THIRD_DIRECTOR = {"role": "director", "address": "192.168.1.12", "priority": 50}

# path of the change, value, the whole sentence without "mysql_ha:"
ONE_CHANGE = [
    # the top
    ("schema", 2, "schema: is 2; allowed: 1"),
    ("schema", True, "schema: is true; allowed: 1"),
    ("schema", "1", "schema: is '1', text in quotes and not a number; allowed: 1"),
    ("cluster", DELETE, f"cluster: is missing; allowed: {NAME}"),
    ("cluster", 7, f"cluster: is 7; allowed: {NAME}"),
    ("cluster", None, f"cluster: is empty; allowed: {NAME}"),
    ("cluster", "shop a", f"cluster: is 'shop a'; allowed: {NAME}"),
    ("cluster", "x" * 33, f"cluster: is '{'x' * 33}'; allowed: {NAME}"),
    ("cluster", "shop\n", f"cluster: is 'shop\\n'; allowed: {NAME}"),
    ("endpoint", {}, f"endpoint: is an unknown key; allowed: {TOP_KEYS} (did you mean endpoints?)"),
    ("zzz", "hunter2", f"zzz: is an unknown key; allowed: {TOP_KEYS}"),
    ("vrrp", [1], "vrrp: is a list; allowed: a mapping"),
    ("checks", None, "checks: is empty; allowed: a mapping"),
    ("database", "mariadb", "database: is text; allowed: a mapping"),
    ("keepalived", 2.3, "keepalived: is a number; allowed: a mapping"),
    ("ipvsadm", True, "ipvsadm: is true or false; allowed: a mapping"),
    # interfaces
    ("interface", "eth0/1", f"interface: is 'eth0/1'; allowed: {INTERFACE}"),
    ("interface", "eth 0", f"interface: is 'eth 0'; allowed: {INTERFACE}"),
    ("interface", "eth0:1", f"interface: is 'eth0:1'; allowed: {INTERFACE}"),
    ("interface", "eth%d", f"interface: is 'eth%d'; allowed: {INTERFACE}"),
    ("interface", "..", f"interface: is '..'; allowed: {INTERFACE}"),
    ("interface", "", f"interface: is ''; allowed: {INTERFACE}"),
    ("interface", "x" * 16, f"interface: is '{'x' * 16}'; allowed: {INTERFACE}"),
    ("interface", "a{b", f"interface: is 'a{{b'; allowed: {INTERFACE}"),
    ("nodes.lvs1.interface", "é", f"nodes:lvs1:interface: is 'é'; allowed: {INTERFACE}"),
    # nodes
    ("nodes", ["lvs1"], "nodes: is a list; allowed: a mapping"),
    ("nodes.lvs1.role", "balancer", f"nodes:lvs1:role: is 'balancer'; allowed: {ROLES}"),
    ("nodes.lvs1.role", DELETE, f"nodes:lvs1:role: is missing; allowed: {ROLES}"),
    ("nodes.lvs1.role", ["director"], f"nodes:lvs1:role: is a list; allowed: {ROLES}"),
    ("nodes.lvs1.address", DELETE, f"nodes:lvs1:address: is missing; allowed: {ADDRESS}"),
    ("nodes.lvs1.address", 3232235778, f"nodes:lvs1:address: is 3232235778; allowed: {ADDRESS}"),
    ("nodes.lvs1.address", "lvs1", f"nodes:lvs1:address: is 'lvs1'; allowed: {ADDRESS}"),
    ("nodes.lvs1.address", "192.168.1", f"nodes:lvs1:address: is '192.168.1'; allowed: {ADDRESS}"),
    ("nodes.lvs1.address", "192.168.1.02", f"nodes:lvs1:address: is '192.168.1.02'; allowed: {ADDRESS}"),
    (
        "nodes.lvs1.address",
        "192.168.1.2/24",
        f"nodes:lvs1:address: is '192.168.1.2/24', which has a prefix length; allowed: {ADDRESS}",
    ),
    (
        "nodes.lvs1.address",
        "fd00::2",
        f"nodes:lvs1:address: is 'fd00::2', an IPv6 address, and IPv6 is not yet supported; allowed: {ADDRESS}",
    ),
    (
        "nodes.lvs1.address",
        "192.168.1.11",
        "nodes:lvs2:address: is '192.168.1.11', as is mysql_ha:nodes:lvs1:address; allowed: an address of its own",
    ),
    ("nodes.lvs1.priority", DELETE, "nodes:lvs1:priority: is missing; allowed: a whole number from 1 to 254"),
    ("nodes.lvs1.priority", 0, "nodes:lvs1:priority: is 0; allowed: a whole number from 1 to 254"),
    ("nodes.lvs1.priority", 255, "nodes:lvs1:priority: is 255; allowed: a whole number from 1 to 254"),
    ("nodes.lvs1.priority", 99.5, "nodes:lvs1:priority: is 99.5; allowed: a whole number from 1 to 254"),
    (
        "nodes.lvs1.priority",
        10**25,
        "nodes:lvs1:priority: is a number of more than 20 digits; allowed: a whole number from 1 to 254",
    ),
    (
        "nodes.lvs1.priority",
        "150",
        "nodes:lvs1:priority: is '150', text in quotes and not a number; allowed: a whole number from 1 to 254",
    ),
    (
        "nodes.lvs1.priority",
        100,
        "nodes:lvs2:priority: is 100, as is mysql_ha:nodes:lvs1:priority;"
        " allowed: a priority that no other director has",
    ),
    (
        "nodes.lvs1.server_id",
        3,
        f"nodes:lvs1:server_id: is not a key of a node with the role director; allowed: {DIRECTOR}",
    ),
    (
        "nodes.mysql1.priority",
        3,
        f"nodes:mysql1:priority: is not a key of a node with the role database; allowed: {DATABASE}",
    ),
    (
        "nodes.mysql1.wieght",
        3,
        f"nodes:mysql1:wieght: is an unknown key; allowed: {DATABASE} (did you mean weight?)",
    ),
    (
        "nodes.mysql1.server_id",
        DELETE,
        "nodes:mysql1:server_id: is missing; allowed: a whole number from 1 to 4294967295",
    ),
    (
        "nodes.mysql1.server_id",
        True,
        "nodes:mysql1:server_id: is true; allowed: a whole number from 1 to 4294967295",
    ),
    (
        "nodes.mysql1.server_id",
        4294967296,
        "nodes:mysql1:server_id: is 4294967296; allowed: a whole number from 1 to 4294967295",
    ),
    (
        "nodes.mysql2.server_id",
        1,
        "nodes:mysql2:server_id: is 1, as is mysql_ha:nodes:mysql1:server_id;"
        " allowed: a server_id that no other database or replica has",
    ),
    ("nodes.mysql1.weight", -1, "nodes:mysql1:weight: is -1; allowed: a whole number from 0 to 2147483647"),
    (
        "nodes.mysql1.weight",
        2147483648,
        "nodes:mysql1:weight: is 2147483648; allowed: a whole number from 0 to 2147483647",
    ),
    ("nodes.lvs3", THIRD_DIRECTOR, "nodes: holds 3 directors; allowed: 1 or 2 directors"),
    ("nodes.mysql2", DELETE, f"nodes: holds 1 database; allowed: {TWO_DATABASES}"),
    (
        "nodes.mysql3",
        {"role": "database", "address": "192.168.1.7", "server_id": 3},
        f"nodes: holds 3 databases; allowed: {TWO_DATABASES}",
    ),
    (
        "nodes.a b",
        {"role": "arbiter", "address": "192.168.1.7"},
        f"nodes:'a b': is not a usable name; allowed: {NODE_NAME}",
    ),
    (
        "nodes.master",
        "192.168.1.7",
        "nodes:master: is text; allowed: a mapping with the keys role, address, interface, priority, server_id, "
        "replicates_from, weight",
    ),
    # endpoints
    ("endpoints", {}, "endpoints: holds no endpoint; allowed: at least one"),
    ("endpoints", None, "endpoints: is empty; allowed: a mapping"),
    (
        "endpoints.read",
        None,
        f"endpoints:read: is empty; allowed: a mapping with the keys {ENDPOINT}",
    ),
    (
        "endpoints.write.addres",
        1,
        f"endpoints:write:addres: is an unknown key; allowed: {ENDPOINT} (did you mean address?)",
    ),
    (
        "endpoints.write.address",
        "127.0.0.1",
        f"endpoints:write:address: is '127.0.0.1', a loopback address; allowed: {VIRTUAL}",
    ),
    (
        "endpoints.write.address",
        "224.0.0.18",
        f"endpoints:write:address: is '224.0.0.18', a multicast address; allowed: {VIRTUAL}",
    ),
    (
        "endpoints.write.address",
        "0.0.0.0",  # noqa: S104 - refused
        f"endpoints:write:address: is '0.0.0.0', an address of 'this network' (0.0.0.0/8); allowed: {VIRTUAL}",
    ),
    (
        "endpoints.write.address",
        "255.255.255.255",
        f"endpoints:write:address: is '255.255.255.255', the broadcast address; allowed: {VIRTUAL}",
    ),
    (
        "endpoints.write.address",
        "240.0.0.1",
        f"endpoints:write:address: is '240.0.0.1', a reserved address; allowed: {VIRTUAL}",
    ),
    (
        "endpoints.write.address",
        "192.168.1.5",
        "endpoints:write:address: is '192.168.1.5', as is mysql_ha:nodes:mysql1:address; allowed: another one",
    ),
    (
        "endpoints.write.port",
        DELETE,
        "endpoints:write:port: is missing; allowed: a whole number from 1 to 65535",
    ),
    (
        "endpoints.write.port",
        65536,
        "endpoints:write:port: is 65536; allowed: a whole number from 1 to 65535",
    ),
    (
        "endpoints.write.port",
        3307,
        "endpoints:write:port: is 3307, and direct routing cannot change it to mysql_ha:database:port; allowed: 3306",
    ),
    (
        "database.port",
        3307,
        "endpoints:write:port: is 3306, and direct routing cannot change it to mysql_ha:database:port; allowed: 3307",
    ),
    ("endpoints.write.serves", DELETE, f"endpoints:write:serves: is missing; allowed: {SERVES}; or servers by name"),
    ("endpoints.write.serves", "writer", f"endpoints:write:serves: is 'writer'{AGENT}; allowed: {SERVES}"),
    ("endpoints.write.serves", "readers", f"endpoints:write:serves: is 'readers'{AGENT}; allowed: {SERVES}"),
    ("endpoints.write.serves", "both", f"endpoints:write:serves: is 'both'; allowed: {SERVES}"),
    ("endpoints.write.check", DELETE, f"endpoints:write:check: is missing; allowed: {CHECK}"),
    ("endpoints.write.check", "agent", f"endpoints:write:check: is 'agent'; allowed: {CHECK}"),
    (
        "endpoints.write.scheduler",
        "fastest",
        "endpoints:write:scheduler: is 'fastest';"
        " allowed: rr, wrr, lc, wlc, lblc, lblcr, dh, sh, sed, nq, fo, ovf, mh, twos",
    ),
    (
        "endpoints.again",
        EXAMPLE["endpoints"]["write"],
        "endpoints:again: is at 192.168.1.100 port 3306, as is mysql_ha:endpoints:write;"
        " allowed: an address and port of its own",
    ),
    (
        "endpoints.a/b",
        {**EXAMPLE["endpoints"]["write"], "address": "192.168.1.101"},
        f"endpoints:a/b: is not a usable name; allowed: {NAME}",
    ),
    # vrrp
    (
        "vrrp.prempt",
        True,
        "vrrp:prempt: is an unknown key;"
        " allowed: virtual_router_id, version, preempt, unicast, preempt_delay, advert_interval, garp, track,"
        " instances, groups, scripts, files, processes, bfds, sync_daemon (did you mean preempt?)",
    ),
    ("vrrp.virtual_router_id", 0, "vrrp:virtual_router_id: is 0; allowed: a whole number from 1 to 255"),
    ("vrrp.virtual_router_id", 256, "vrrp:virtual_router_id: is 256; allowed: a whole number from 1 to 255"),
    ("vrrp.version", 4, "vrrp:version: is 4; allowed: 2, 3"),
    ("vrrp.version", "3", "vrrp:version: is '3', text in quotes and not a number; allowed: 2, 3"),
    ("vrrp.version", 2, f"vrrp:advert_interval: is 0.3; allowed: {V2}"),
    ("vrrp.advert_interval", 0.005, f"vrrp:advert_interval: is 0.005; allowed: {V3}"),
    ("vrrp.advert_interval", 0.015, f"vrrp:advert_interval: is 0.015; allowed: {V3}"),
    ("vrrp.advert_interval", 40.96, f"vrrp:advert_interval: is 40.96; allowed: {V3}"),
    ("vrrp.advert_interval", float("nan"), f"vrrp:advert_interval: is nan; allowed: {V3}"),
    ("vrrp.advert_interval", float("inf"), f"vrrp:advert_interval: is inf; allowed: {V3}"),
    ("vrrp.preempt", "no", "vrrp:preempt: is 'no'; allowed: true, false"),
    ("vrrp.unicast", 1, "vrrp:unicast: is 1; allowed: true, false"),
    # checks
    (
        "checks.intervall",
        1,
        "checks:intervall: is an unknown key;"
        " allowed: interval, connect_timeout, retries, retry_interval, warmup (did you mean interval?)",
    ),
    (
        "checks.interval",
        0,
        "checks:interval: is 0; allowed: seconds from 0.1 to 3600 with at most 6 decimals",
    ),
    (
        "checks.connect_timeout",
        600.1,
        "checks:connect_timeout: is 600.1; allowed: seconds from 0.1 to 600 with at most 6 decimals",
    ),
    (
        "checks.retry_interval",
        0.1234567,
        "checks:retry_interval: is 0.1234567; allowed: seconds from 0.1 to 600 with at most 6 decimals",
    ),
    ("checks.retries", 0, "checks:retries: is 0; allowed: a whole number from 1 to 100"),
    # source builds
    (
        "ipvsadm.version",
        1.31,
        f"ipvsadm:version: is 1.31, a number and not text: quote it; allowed: {VERSION}",
    ),
    ("keepalived.version", "2.3.4-rc1", f"keepalived:version: is '2.3.4-rc1'; allowed: {VERSION}"),
    (
        "keepalived.source",
        [],
        f"keepalived:source: is an empty list; allowed: {SOURCE}, or a list of such texts",
    ),
    (
        "keepalived.configure_options",
        "--enable-snmp",
        f"keepalived:configure_options: is text; allowed: a list, each {CONFIGURE}",
    ),
    (
        "keepalived.configure_options",
        ["--enable-snmp", "--prefix=/opt"],
        f"keepalived:configure_options:1: is '--prefix=/opt'; allowed: {CONFIGURE}",
    ),
    (
        "keepalived.configure_options",
        ["--with-x='a b'"],
        f"keepalived:configure_options:0: is \"--with-x='a b'\"; allowed: {CONFIGURE}",
    ),
    (
        "keepalived.build_packages",
        {"libsnmp-dev": True},
        "keepalived:build_packages: is a mapping; allowed: a list, each the name of a package, such as libsnmp-dev",
    ),
    (
        "keepalived.build_packages",
        ["libsnmp-dev", 5],
        "keepalived:build_packages:1: is 5; allowed: the name of a package, such as libsnmp-dev",
    ),
    ("keepalived.source", 5, f"keepalived:source: is 5; allowed: {SOURCE}, or a list of such texts"),
    ("keepalived.source", ["/a", "ftp://b"], f"keepalived:source:1: is 'ftp://b'; allowed: {SOURCE}"),
    (
        "keepalived.source",
        "ftp://me:hunter2@b",
        f"keepalived:source: is 'ftp://<hidden>@b'; allowed: {SOURCE}, or a list of such texts",
    ),
    ("ipvsadm.source", ["https://a b"], f"ipvsadm:source:0: is 'https://a b'; allowed: {SOURCE}"),
    (
        "ipvsadm.source_hash",
        "md5=00",
        "ipvsadm:source_hash: is 'md5=00'; allowed: sha256= and 64 hexadecimal digits",
    ),
    (
        "ipvsadm.global_defs",
        {},
        "ipvsadm:global_defs: is an unknown key; allowed: version, source, source_hash",
    ),
    ("keepalived.global_defs", "x", "keepalived:global_defs: is text; allowed: a mapping"),
    (
        "keepalived.global_defs.vrrp_strict",
        True,
        "keepalived:global_defs:vrrp_strict: is refused, because it drops the packets to the virtual addresses;"
        " allowed: other keywords",
    ),
    (
        "keepalived.global_defs.router_id",
        "x",
        "keepalived:global_defs:router_id: is refused, because this formula writes it itself; allowed: other keywords",
    ),
    (
        "keepalived.global_defs.notification_email",
        None,
        "keepalived:global_defs:notification_email: is refused, because without a list of addresses it"
        " swallows the lines that follow; allowed: other keywords",
    ),
    (
        "keepalived.global_defs.include",
        "/etc/x",
        f"keepalived:global_defs:include: is not a usable keyword; allowed: {KEYWORD}",
    ),
    (
        "keepalived.global_defs.LVS",
        "/etc/x",
        f"keepalived:global_defs:LVS: is not a usable keyword; allowed: {KEYWORD}",
    ),
    (
        "keepalived.global_defs.smtp_server",
        "a }",
        f"keepalived:global_defs:smtp_server: is 'a }}'; allowed: {GLOBAL}",
    ),
    (
        "keepalived.global_defs.smtp_server",
        "a\nb",
        f"keepalived:global_defs:smtp_server: is 'a\\nb'; allowed: {GLOBAL}",
    ),
    (
        "keepalived.global_defs.lvs_flush",
        False,
        f"keepalived:global_defs:lvs_flush: is false; allowed: {GLOBAL}",
    ),
    # database
    ("database.flavor", "postgres", "database:flavor: is 'postgres'; allowed: mariadb, mysql"),
    (
        "database.port",
        "3306",
        "database:port: is '3306', text in quotes and not a number; allowed: a whole number from 1 to 65535",
    ),
    (
        "database.setings",
        {},
        "database:setings: is an unknown key; allowed: flavor, port, seed, settings, replication, tls, accounts, "
        "backup, databases (did you mean settings?)",
    ),
    ("database.seed", "mysql9", "database:seed: is 'mysql9'; allowed: empty, mysql1, mysql2"),
    ("database.seed", "lvs1", "database:seed: is 'lvs1'; allowed: empty, mysql1, mysql2"),
    ("database.seed", 5, "database:seed: is 5; allowed: empty, or the minion id of a database in mysql_ha:nodes"),
    ("database.settings", [], "database:settings: is a list; allowed: a mapping"),
    (
        "database.settings.Max_Connections",
        5,
        f"database:settings:Max_Connections: is not a usable name; allowed: {SETTING}",
    ),
    (
        "database.settings.init_file",
        "a\nb",
        "database:settings:init_file: holds a line break or control character; allowed: printable characters",
    ),
    (
        "database.settings.plugin",
        ["a"],
        f"database:settings:plugin: is a list; allowed: {SETTING_VALUE}",
    ),
    ("database.databases", "shop", "database:databases: is text; allowed: a list of names"),
    ("database.databases", ["sh`op"], f"database:databases:0: is 'sh`op'; allowed: {DATABASE_NAME}"),
    ("database.databases", [7], f"database:databases:0: is 7; allowed: {DATABASE_NAME}"),
    (
        "database.databases",
        ["shop", "MySQL"],
        "database:databases:1: is 'MySQL', which belongs to the server; allowed: another name",
    ),
    ("database.tls", "on", "database:tls: is text; allowed: a mapping"),
    ("database.tls.days", 0, "database:tls:days: is 0; allowed: a whole number from 2 to 3650"),
    ("database.accounts", [], "database:accounts: is a list; allowed: a mapping"),
    (
        "database.accounts",
        {"repl": {"hosts": ["192.168.1.%"], "absent": True}},
        "database:accounts:repl: is the account of mysql_ha:database:replication:user; allowed: another name",
    ),
    (
        "database.accounts",
        {"shop": {"hosts": ["192.168.1.%"]}},
        "secrets:accounts:shop: is missing; allowed: 8 to 32 printable ASCII characters, in quotes",
    ),
    ("database.replication.tls", "yes", "database:replication:tls: is 'yes'; allowed: true, false"),
    (
        "database.replication.connect_retry",
        0,
        "database:replication:connect_retry: is 0; allowed: a whole number of seconds from 1 to 60",
    ),
    (
        "database.replication.heartbeat",
        0.123,
        "database:replication:heartbeat: is 0.123; allowed: seconds from 0.1 to 60 in steps of 0.01",
    ),
    (
        "database.flavor",
        "mysql",
        f"secrets:tls_ca: is missing, and MySQL verifies no peer without a CA; allowed: {mysql_tls_rules.HOW_TO_MAKE}",
    ),
    ("database.replication", "repl", "database:replication: is text; allowed: a mapping"),
    (
        "database.replication.password",
        "hunter2",
        "database:replication:password: is an unknown key; allowed: user, wait, tls, connect_retry, heartbeat",
    ),
    ("database.replication.user", "root", f"database:replication:user: is 'root'; allowed: {USER}"),
    ("database.replication.user", "a'b", f'database:replication:user: is "a\'b"; allowed: {USER}'),
    ("database.replication.user", "x" * 33, f"database:replication:user: is '{'x' * 33}'; allowed: {USER}"),
    (
        "database.replication.wait",
        601,
        "database:replication:wait: is 601; allowed: a whole number of seconds from 0 to 600",
    ),
    (
        "database.replication.wait",
        False,
        "database:replication:wait: is false; allowed: a whole number of seconds from 0 to 600",
    ),
    # backups
    ("database.backup", True, "database:backup: is true or false; allowed: a mapping"),
    (
        "database.backup.hour",
        3,
        "database:backup:hour: is an unknown key; allowed: enabled, method, directory, schedule, keep, prove, nodes",
    ),
    ("database.backup.enabled", "yes", "database:backup:enabled: is 'yes'; allowed: true, false"),
    ("database.backup.prove", None, "database:backup:prove: is empty; allowed: true, false"),
    ("database.backup.method", "dump", "database:backup:method: is 'dump'; allowed: physical, logical"),
    ("database.backup.keep", 0, "database:backup:keep: is 0; allowed: a whole number of backups from 1 to 10000"),
    (
        "database.backup.keep",
        "7",
        "database:backup:keep: is '7', text in quotes and not a number; allowed: a whole number of backups from 1 to"
        " 10000",
    ),
    *(
        ("database.backup.directory", value, f"database:backup:directory: is {shown}; allowed: {BACKUP_DIRECTORY}")
        for value, shown in [
            ("backups", "'backups'"),
            ("/", "'/'"),
            ("/backups", "'/backups'"),
            ("/var/../etc", "'/var/../etc'"),
            ("/var/a b", "'/var/a b'"),
            ("/var/%n", "'/var/%n'"),
            ("/var/x\n", "'/var/x\\n'"),
            (5, "5"),
        ]
    ),
    *(
        ("database.backup.schedule", value, f"database:backup:schedule: is {shown}; allowed: {BACKUP_SCHEDULE}")
        for value, shown in [
            ("", "''"),
            (3, "3"),
            ("daily\nUnit=x", "'daily\\nUnit=x'"),
            ("%H", "'%H'"),
        ]
    ),
    ("database.backup.nodes", [], f"database:backup:nodes: is an empty list; allowed: {BACKUP_NODES}"),
    ("database.backup.nodes", "mysql1", f"database:backup:nodes: is text; allowed: {BACKUP_NODES}"),
    ("database.backup.nodes", ["lvs1"], f"database:backup:nodes:0: is 'lvs1'; allowed: {BACKUP_NODES}"),
    ("database.backup.nodes", ["mysql1", {}], f"database:backup:nodes:1: is a mapping; allowed: {BACKUP_NODES}"),
    # secrets
    ("secrets.replication", DELETE, f"secrets:replication: is missing; allowed: {REPLICATION}"),
    (
        "secrets.replication",
        None,
        f"secrets:replication: is empty and not text (hidden); allowed: {REPLICATION}",
    ),
    ("secrets.replication", "", f"secrets:replication: is empty (hidden); allowed: {REPLICATION}"),
    (
        "secrets.replication",
        "hunter2",
        f"secrets:replication: is set but too short (hidden); allowed: {REPLICATION}",
    ),
    (
        "secrets.replication",
        "x" * 33,
        f"secrets:replication: is set but too long (hidden); allowed: {REPLICATION}",
    ),
    (
        "secrets.replication",
        "hunter22\n",
        f"secrets:replication: is set but holds a character that is not allowed (hidden); allowed: {REPLICATION}",
    ),
    (
        "secrets.replication",
        12345678,
        f"secrets:replication: is a number and not text (hidden); allowed: {REPLICATION}",
    ),
    (
        "secrets.vrrp",
        "hunter2",
        "secrets:vrrp: is set (hidden), but VRRP version 3 has no authentication; allowed: only version 2",
    ),
    (
        "secrets.replicaton",
        "hunter2",
        "secrets: holds an unknown key (hidden); allowed: replication, vrrp, accounts, tls_ca, tls_ca_key"
        " (did you mean replication?)",
    ),
    (
        "secrets.hunter2",
        None,
        "secrets: holds an unknown key (hidden); allowed: replication, vrrp, accounts, tls_ca, tls_ca_key",
    ),
]


@pytest.mark.parametrize(("path", "value", "expected"), ONE_CHANGE)
def test_one_wrong_value_gives_one_sentence(path: str, value: Any, expected: str) -> None:
    found = [error for error in mysql_ha_pillar.errors(pillar((path, value))) if f"mysql_ha:{expected}" == error]
    assert found, mysql_ha_pillar.errors(pillar((path, value)))
    assert "hunter2" not in " ".join(found)


# A wrong value that makes other values wrong with it, or hides how many nodes have a role.
MANY = {"nodes", "nodes.mysql2", "database", "database.port", "nodes.lvs1.role"}


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, value, _ in ONE_CHANGE if path not in MANY])
def test_one_wrong_value_gives_no_other_sentence(path: str, value: Any) -> None:
    assert len(mysql_ha_pillar.errors(pillar((path, value)))) == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            [("vrrp", {"version": 2})],
            [f"mysql_ha:vrrp:advert_interval: is missing, and the default is for version 3; allowed: {V2}"],
        ),
        (
            [*VERSION_2, ("vrrp.advert_interval", 256)],
            [f"mysql_ha:vrrp:advert_interval: is 256; allowed: {V2}"],
        ),
        (
            [*VERSION_2, ("secrets.vrrp", "hunter222")],
            [f"mysql_ha:secrets:vrrp: is set but too long (hidden); allowed: {VRRP_SECRET}"],
        ),
        (
            [*VERSION_2, ("secrets.vrrp", 1111)],
            [f"mysql_ha:secrets:vrrp: is a number and not text (hidden); allowed: {VRRP_SECRET}"],
        ),
        (
            [*VERSION_2, ("secrets.vrrp", "a b")],
            [
                "mysql_ha:secrets:vrrp: is set but holds a character that is not allowed (hidden);"
                f" allowed: {VRRP_SECRET}"
            ],
        ),
        (
            [*VERSION_2, ("secrets.vrrp", "pass#1")],
            [
                "mysql_ha:secrets:vrrp: is set but holds a character that is not allowed (hidden);"
                f" allowed: {VRRP_SECRET}"
            ],
        ),
        (
            [("nodes.mysql1.weight", 0), ("nodes.mysql2.weight", 0)],
            ["mysql_ha:nodes: gives every database the weight 0; allowed: a weight above 0 for at least one"],
        ),
        (
            [("nodes.lvs1", DELETE), ("nodes.lvs2", DELETE)],
            ["mysql_ha:nodes: holds 0 directors; allowed: 1 or 2 directors"],
        ),
        (
            [("nodes", {})],
            [
                "mysql_ha:nodes: holds 0 directors; allowed: 1 or 2 directors",
                f"mysql_ha:nodes: holds 0 databases; allowed: {TWO_DATABASES}",
            ],
        ),
        # The node with the wrong role may be the missing director: no sentence about the number.
        (
            [("nodes.lvs1.role", "director "), ("nodes.lvs2.role", "balancer")],
            [
                f"mysql_ha:nodes:lvs1:role: is 'director '; allowed: {ROLES}",
                f"mysql_ha:nodes:lvs2:role: is 'balancer'; allowed: {ROLES}",
            ],
        ),
        (
            [("secrets", "hunter2")],
            [
                "mysql_ha:secrets: is text; allowed: a mapping",
                f"mysql_ha:secrets:replication: is missing; allowed: {REPLICATION}",
            ],
        ),
        (
            [("schema", 9), ("cluster", "a b"), ("nodes.lvs1.priority", 0), ("checks.retries", 0)],
            [
                "mysql_ha:schema: is 9; allowed: 1",
                f"mysql_ha:cluster: is 'a b'; allowed: {NAME}",
                "mysql_ha:nodes:lvs1:priority: is 0; allowed: a whole number from 1 to 254",
                "mysql_ha:checks:retries: is 0; allowed: a whole number from 1 to 100",
            ],
        ),
    ],
)
def test_all_errors_come_at_once(changes: list[tuple[str, Any]], expected: list[str]) -> None:
    assert mysql_ha_pillar.errors(pillar(*changes)) == expected


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "empty"),
        (5, "a number"),
        ("hunter2", "text"),
        ([], "a list"),
        (True, "true or false"),
        (b"", "of type bytes"),
    ],
)
def test_a_pillar_that_is_no_mapping(value: object, kind: str) -> None:
    assert mysql_ha_pillar.errors(value) == [f"mysql_ha: is {kind}; allowed: a mapping with the keys {TOP_KEYS}"]


def test_a_number_that_python_refuses_to_write() -> None:
    for path in ("schema", "nodes.lvs1.priority", "checks.interval", "nodes.lvs1.address"):
        found = mysql_ha_pillar.errors(pillar((path, 10**5000)))
        assert [" is a number of more than 20 digits; " in error for error in found] == [True]


def test_names_that_yaml_took_for_numbers() -> None:
    wrong = minimal()
    wrong["nodes"][7] = {"role": "arbiter", "address": "192.168.1.20"}
    assert mysql_ha_pillar.errors(wrong) == [f"mysql_ha:nodes:7: is not a usable name; allowed: {NODE_NAME}"]


@pytest.mark.parametrize("owned", OWNED)
@pytest.mark.parametrize("spelling", ["{}", "loose-{}", "skip_{}", "loose_skip_{}"])
@pytest.mark.parametrize("dash", ["_", "-"])
def test_owned_settings_are_refused_in_every_spelling(owned: str, spelling: str, dash: str) -> None:
    name = spelling.format(owned).replace("_", dash)
    assert mysql_ha_pillar.errors(pillar((f"database.settings.{name}", 1))) == [
        f"mysql_ha:database:settings:{name}: is refused, because this formula sets {owned} itself;"
        " allowed: other options"
    ]


def test_an_owned_setting_cannot_be_abbreviated() -> None:
    assert "this formula sets log_slave_updates itself" in " ".join(
        mysql_ha_pillar.errors(pillar(("database.settings.log-slave-up", 1)))
    )


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [("vrrp.advert_interval", 0.01)],
        [("vrrp.advert_interval", 40.95)],
        [("vrrp.advert_interval", 0.29)],
        [("vrrp.advert_interval", 1)],
        [*VERSION_2],
        [*VERSION_2, ("vrrp.advert_interval", 255), ("secrets.vrrp", "1111")],
        [("nodes.lvs2", DELETE)],
        [("nodes.master", {"role": "arbiter", "address": "192.168.1.20"})],
        [("nodes.lvs1.interface", "bond0.100")],
        [("nodes.mysql1.weight", DELETE), ("nodes.mysql2.weight", 0)],
        [("nodes.mysql1.server_id", 4294967295), ("nodes.lvs1.priority", 254), ("nodes.lvs2.priority", 1)],
        [("endpoints.write.scheduler", DELETE)],
        [("endpoints.b", {**EXAMPLE["endpoints"]["write"], "address": "192.168.1.101"})],
        [("endpoints.write.port", 3307), ("database.port", 3307)],
        [("checks", {"interval": 0.1, "connect_timeout": 600, "retries": 100, "retry_interval": 0.1})],
        [("keepalived.source", "/srv/keepalived.tar.gz"), ("keepalived.version", "2.3")],
        [
            ("keepalived.global_defs.lvs_flush_on_stop", "VS"),
            ("keepalived.global_defs.enable_script_security", True),
            ("keepalived.global_defs.dynamic_interfaces", None),
            ("keepalived.global_defs.vrrp_garp_interval", 0.001),
        ],
        [("database.settings", {"max_connections": 500, "sql-mode": "ANSI", "skip-name-resolve": None})],
        [("database.settings.report_port", 3306), ("database.settings.log_bin_compress", True)],
        [("database.replication.wait", 0), ("database.replication.user", "r")],
        [("database.backup", {"enabled": True, "nodes": ["mysql1", "mysql2"], "schedule": "Mon..Fri *-*-* 03:00:00"})],
        [("database.backup", {"method": "logical", "directory": "/srv/backups.d/shop-1", "keep": 1, "prove": False})],
        [("secrets.replication", 'it\'s "8" \\#~')],
        *[[("endpoints.write.scheduler", scheduler)] for scheduler in keepalived_endpoint_rules.SCHEDULERS],
    ],
)
def test_valid_pillars(changes: list[tuple[str, Any]]) -> None:
    assert mysql_ha_pillar.errors(pillar(*changes)) == []


def test_what_is_left_out_has_a_default() -> None:
    assert mysql_ha_pillar.errors(minimal()) == []
    assert mysql_ha_pillar.errors(merged(DEFAULTS, minimal())) == []


def test_the_example_shows_the_defaults() -> None:
    assert merged(DEFAULTS, minimal()) == EXAMPLE


def test_the_rules_know_the_defaults() -> None:
    assert DEFAULTS["vrrp"] == {**keepalived_vrrp_rules.DEFAULTS, "sync_daemon": True}
    assert DEFAULTS["database"]["port"] == keepalived_endpoints.DEFAULT_DATABASE_PORT
    assert DEFAULTS["kernel"]["sysctls"] == director_sysctls.DEFAULTS


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"server_id": 2}, "server_id: is 2, as is mysql_ha:nodes:mysql2:server_id; allowed: "
         "a server_id that no other database or replica has"),
        ({"address": "192.168.1.5"}, "address: is '192.168.1.5', as is mysql_ha:nodes:mysql1:address; allowed: "
         "an address of its own"),
        ({"server_id": DELETE}, "server_id: is missing; allowed: a whole number from 1 to 4294967295"),
        ({"replicates_from": DELETE},
         "replicates_from: is missing; allowed: the minion id of a node with the role database"),
        ({"replicates_from": 1}, "replicates_from: is 1; allowed: the minion id of a node with the role database"),
        ({"replicates_from": "mysql3"},
         "replicates_from: is 'mysql3'; allowed: one of the databases: mysql1, mysql2"),
        ({"replicates_from": "replica1"},
         "replicates_from: is 'replica1'; allowed: one of the databases: mysql1, mysql2"),
        ({"weight": 3}, f"weight: is not a key of a node with the role replica; allowed: {REPLICA}"),
    ],
    ids=str,
)  # fmt: skip
def test_a_replica_is_described_wholly(changes: dict[str, Any], expected: str | None) -> None:
    node = {key: value for key, value in (REPLICA_NODE | changes).items() if value is not DELETE}
    found = mysql_ha_pillar.errors(pillar(("nodes.replica1", node)))
    assert found == ([] if expected is None else [f"mysql_ha:nodes:replica1:{expected}"])


def test_there_may_be_any_number_of_replicas_but_only_replicas_have_a_master() -> None:
    many = [
        (f"nodes.r{number}", REPLICA_NODE | {"address": f"192.168.2.{number}", "server_id": number})
        for number in range(3, 40)
    ]
    assert mysql_ha_pillar.errors(pillar(*many)) == []
    assert mysql_ha_pillar.errors(pillar(("nodes.mysql2.replicates_from", "mysql1"))) == [
        f"mysql_ha:nodes:mysql2:replicates_from: is not a key of a node with the role database; allowed: {DATABASE}"
    ]


def test_a_replica_needs_the_replication_password() -> None:
    without = pillar(("nodes.replica1", REPLICA_NODE), ("secrets", {}))
    assert mysql_ha_pillar.errors(without, "replica1") == [
        f"mysql_ha:secrets:replication: is missing; allowed: {REPLICATION}"
    ]
    assert mysql_ha_pillar.errors(without, "lvs1") == []


def test_each_role_needs_only_its_own_secrets() -> None:
    bare = pillar(("secrets", DELETE))
    missing = [f"mysql_ha:secrets:replication: is missing; allowed: {REPLICATION}"]
    assert mysql_ha_pillar.errors(bare, "lvs1") == []
    assert mysql_ha_pillar.errors(bare, "elsewhere") == []
    assert mysql_ha_pillar.errors(bare, "mysql1") == missing
    assert mysql_ha_pillar.errors(bare) == missing


def test_a_second_director_may_be_missing() -> None:
    alone = pillar(("nodes.lvs2", DELETE), ("vrrp.unicast", True))
    assert mysql_ha_pillar.errors(alone) == []


def test_nodes_and_peers() -> None:
    assert list(mysql_ha_pillar.nodes(EXAMPLE, "database")) == ["mysql1", "mysql2"]
    assert mysql_ha_pillar.node(EXAMPLE, "lvs1")["priority"] == 150
    assert mysql_ha_pillar.peers(EXAMPLE, "mysql1") == {"mysql2": EXAMPLE["nodes"]["mysql2"]}
    assert mysql_ha_pillar.peers(EXAMPLE, "elsewhere") == {}
    assert mysql_ha_pillar.node(EXAMPLE, ["unhashable"]) == {}


# ---- properties


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.dates(),
    st.sampled_from([2, 3, "director", "database", "192.168.1.5", "::1", "all", "tcp", 10**25, "\ud800"]),
)
KEYS = st.one_of(
    SCALARS,
    st.tuples(st.integers()),
    st.sampled_from([*EXAMPLE, *EXAMPLE["vrrp"], *EXAMPLE["keepalived"], *EXAMPLE["database"], "role", "address"]),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner), st.sets(st.integers()), st.tuples(inner), st.dictionaries(KEYS, inner, max_size=5)
    ),
    max_leaves=30,
)


def assert_told(found: list[str]) -> None:
    """Check that errors are sentences of one line."""
    for error in found:
        assert error.startswith("mysql_ha")
        assert "; allowed: " in error
        assert error.isprintable()


@given(ANYTHING, st.one_of(st.none(), st.text(), ANYTHING))
def test_nothing_is_raised_whatever_the_pillar(value: Any, minion_id: Any) -> None:
    found = mysql_ha_pillar.errors(value, minion_id)
    assert found
    assert_told(found)
    mysql_ha_pillar.peers(value, minion_id)


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of everything in nested mappings."""
    below = [path for key in value for path in paths(value[key], (*prefix, key))] if isinstance(value, dict) else []
    return [prefix, *below] if prefix else below


@given(st.lists(st.tuples(st.sampled_from(paths(EXAMPLE)), ANYTHING), min_size=1, max_size=4))
def test_nothing_is_raised_for_a_valid_pillar_with_wrong_parts(
    changes: list[tuple[tuple[Any, ...], Any]],
) -> None:
    wrong = copy.deepcopy(EXAMPLE)
    for path, value in changes:
        place = wrong
        for key in path[:-1]:
            place = place.get(key) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[path[-1]] = value
    assert_told(mysql_ha_pillar.errors(wrong, "mysql1"))


@given(st.text(min_size=1), st.sampled_from(["replication", "vrrp"]), st.sampled_from([2, 3, None, "x"]))
def test_no_sentence_shows_a_secret(secret: str, key: str, version: Any) -> None:
    marked = f"MARK{secret}MARK"
    wrong = pillar(("vrrp.version", version), (f"secrets.{key}", marked), (f"secrets.{marked}", marked))
    assert "MARK" not in " ".join(mysql_ha_pillar.errors(wrong))


def is_host_by_netaddr(text: str) -> bool:
    """Return what netaddr, which shares no code with our rules, thinks of an address."""
    try:
        address = netaddr.IPAddress(text, 4, flags=netaddr.INET_PTON)
    except (netaddr.AddrFormatError, ValueError):
        return False
    reserved = [netaddr.IPNetwork("0.0.0.0/8"), netaddr.IPNetwork("240.0.0.0/4")]
    return address.is_unicast() and not address.is_loopback() and not any(address in net for net in reserved)


OCTET = st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 127, 128, 223, 224, 239, 240, 255])).map(str)


@given(st.one_of(st.lists(OCTET, min_size=4, max_size=4).map(".".join), st.text("0123456789./:abx", max_size=18)))
@example("0.0.0.1")
@example("126.255.255.255")
@example("128.0.0.0")
@example("1.2.3.4.5")
@example("223.255.255.255")
@example("169.254.0.1")
@example("0x7f.1")
def test_addresses_agree_with_netaddr(text: str) -> None:
    refused = any(
        error.startswith("mysql_ha:nodes:lvs1:address: is ") and error.endswith(ADDRESS)
        for error in mysql_ha_pillar.errors(pillar(("nodes.lvs1.address", text)))
    )
    assert refused == (not is_host_by_netaddr(text))


@given(st.ip_addresses(v=6).map(str))
def test_ipv6_is_told_apart(text: str) -> None:
    found = mysql_ha_pillar.errors(pillar(("nodes.lvs1.address", text)))
    assert len(found) == 1
    assert ", an IPv6 address, and IPv6 is not yet supported; " in found[0]


# global_defs, the instance with its peer, password and addresses, the endpoint, two databases with their checks
BLOCKS = 10


@given(
    st.text(max_size=16),
    st.text(max_size=9),
    st.dictionaries(st.text(max_size=20), st.one_of(st.text(max_size=20), st.floats(), st.none(), st.booleans())),
    st.one_of(st.floats(), st.integers()),
)
@example("eth0.1", "1111", {"lvs_flush_on_stop": "VS", "dynamic_interfaces": None}, 0.5)
@example("eth0.1", "1111", {"lvs_flush_on_stop": "VS", "dynamic_interfaces": None}, 0.000123)
def test_a_valid_pillar_can_be_rendered(interface: str, password: str, global_defs: Any, number: Any) -> None:
    tried = pillar(
        *VERSION_2,
        ("interface", interface),
        ("secrets.vrrp", password),
        ("keepalived.global_defs", global_defs),
        ("checks.interval", number),
    )
    if not mysql_ha_pillar.errors(tried):
        assert keepalived_conf.render(tried, "lvs1", tried["secrets"]).count("{") == BLOCKS
