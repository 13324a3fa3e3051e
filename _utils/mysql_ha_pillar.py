"""
The rules for the pillar key ``mysql_ha``: what is wrong with a pillar, in plain words and all at once.

Plain Python that knows nothing of Salt. No function here raises, whatever the pillar holds: a traceback would
hide the sentence that an operator needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import director_firewall
import director_sysctls
import ipvs_static_rules
import keepalived_checks
import keepalived_endpoint_rules
import keepalived_globals
import keepalived_vrrp_rules
import mysql_account_rules
import mysql_tls_rules
from mysql_settings import OWNED
from pillar_rules import (
    ADDRESS,
    BOOLEAN,
    INTERFACE,
    NAME,
    PORT,
    Rule,
    check_leaves,
    check_name,
    check_secret,
    check_section,
    check_value,
    decimal,
    is_step,
    label,
    not_mappings,
    one_of,
    part,
    pattern,
    repeated,
    unknown_keys,
    whole,
)
from pillar_words import did_you_mean, is_whole, kind, literal, unquote

ROOT = "mysql_ha"
SCHEMA = 1
FLAVORS = ("mariadb", "mysql")

# What defaults.yaml says, for the rules that join two keys of which one may be left out.
DEFAULT_REPLICATION_USER = "repl"

_TOP_KEYS = (
    "schema",
    "cluster",
    "interface",
    "nodes",
    "endpoints",
    "vrrp",
    "kernel",
    "firewall",
    "checks",
    "keepalived",
    "ipvsadm",
    "ipvs",
    "database",
    "secrets",
)
_SECTIONS = _TOP_KEYS[3:]
_NODE_KEYS = {
    "director": ("role", "address", "interface", "priority"),
    "database": ("role", "address", "interface", "server_id", "weight"),
    "replica": ("role", "address", "interface", "server_id", "replicates_from"),
    "arbiter": ("role", "address", "interface"),
}
_REQUIRED_NODE_KEYS = ("role", "address", "priority", "server_id", "replicates_from")
_SOURCE_PREFIXES = ("salt://", "http://", "https://", "file:///", "/")
_SOURCE_KEYS = ("version", "source", "source_hash")
_SECRET_KEYS = ("replication", "vrrp", "accounts", "tls_ca", "tls_ca_key")
_REFUSED_USERS = ("root", "mysql", "mariadb")

# The server drops these prefixes from an option before it looks the name up (my_getopt).
_OPTION_PREFIX = re.compile(r"^(loose_|skip_|enable_|disable_|maximum_)+")


def errors(pillar: object, minion_id: str | None = None) -> list[str]:
    """
    Return everything that is wrong with a pillar, one sentence each; ``[]`` if it is valid.

    No sentence shows the value of a secret. Nothing is raised, whatever the types.

    pillar
        The value of the pillar key ``mysql_ha``, with its defaults applied or without.
    minion_id
        The minion that the pillar was made for. ``mysql_ha:secrets:replication`` may be missing on a minion
        that is no database and no replica, so that each role can be given only the secrets it needs. ``None``: it is
        due.
    """
    if not isinstance(pillar, Mapping):
        return [f"{ROOT}: is {kind(pillar)}; allowed: a mapping with the keys {', '.join(_TOP_KEYS)}"]
    return [
        *unknown_keys(ROOT, pillar, _TOP_KEYS),
        *check_leaves(ROOT, pillar, _TOP_RULES, ("cluster",)),
        *not_mappings(ROOT, pillar, _SECTIONS),
        *_nodes(pillar),
        *_endpoints(pillar),
        *keepalived_vrrp_rules.errors(pillar),
        *director_sysctls.errors(pillar),
        *director_firewall.errors(pillar),
        *check_section(f"{ROOT}:checks", part(pillar, "checks"), keepalived_checks.TIMES),
        *_keepalived(part(pillar, "keepalived")),
        *_source_build(f"{ROOT}:ipvsadm", part(pillar, "ipvsadm"), _SOURCE_KEYS),
        *ipvs_static_rules.errors(pillar),
        *_database(part(pillar, "database")),
        *_seed(pillar),
        *_backup(pillar),
        *_tls(pillar, minion_id),
        *_accounts(pillar, minion_id),
        *_secrets(pillar, minion_id),
    ]


def node(pillar: object, minion_id: object) -> Mapping[str, Any]:
    """Return the entry of a minion in ``mysql_ha:nodes``; an empty mapping if there is none."""
    return part(part(pillar, "nodes"), minion_id)


def nodes(pillar: object, role: str) -> dict[str, Mapping[str, Any]]:
    """Return the nodes of one role (``director``, ``database`` and so on) in the order of the pillar."""
    entries = part(pillar, "nodes")
    return {name: entry for name, entry in entries.items() if isinstance(entry, Mapping) and entry.get("role") == role}


def peers(pillar: object, minion_id: object) -> dict[str, Mapping[str, Any]]:
    """Return the other nodes that have the role of this minion; empty if the minion has none."""
    role = node(pillar, minion_id).get("role")
    if not isinstance(role, str):
        return {}
    return {name: entry for name, entry in nodes(pillar, role).items() if name != minion_id}


def _is_source(value: object) -> bool:
    """Return whether this is a place that Salt can fetch a file from."""
    return (
        isinstance(value, str)
        and value.startswith(_SOURCE_PREFIXES)
        and value not in _SOURCE_PREFIXES
        and value.isascii()
        and value.isprintable()
        and " " not in value
    )


def _version_remark(value: object) -> str:
    """Return a remark on a version that YAML took for a number: 1.30 would come out as 1.3."""
    return ", a number and not text: quote it" if decimal(value) is not None else ""


_NODE_NAME = pattern(r"[A-Za-z0-9._-]{1,63}", "1 to 63 of the characters A-Z a-z 0-9 . _ - (in quotes if a number)")
_SOURCE = Rule("a text that starts with one of " + " ".join(_SOURCE_PREFIXES) + " and has no spaces", _is_source)
_SOURCES = _SOURCE._replace(allowed=f"{_SOURCE.allowed}, or a list of such texts")

_TOP_RULES = {
    "schema": Rule(str(SCHEMA), lambda value: is_whole(value, SCHEMA, SCHEMA), unquote),
    "cluster": NAME,
    "interface": INTERFACE,
}
_NODE_RULES = {
    "role": one_of(*_NODE_KEYS),
    "address": ADDRESS,
    "interface": INTERFACE,
    "priority": whole(1, 254),
    "server_id": whole(1, 4294967295),
    "replicates_from": Rule("the minion id of a node with the role database", lambda value: isinstance(value, str)),
    "weight": whole(0, 2147483647),
}
_SOURCE_RULES = {
    "version": Rule(
        "2 to 4 numbers with dots between them, in quotes if there are 2 (such as '1.31')",
        lambda value: isinstance(value, str) and re.fullmatch(r"[0-9]+(\.[0-9]+){1,3}", value) is not None,
        _version_remark,
    ),
    "source_hash": pattern(r"sha256=[0-9A-Fa-f]{64}", "sha256= and 64 hexadecimal digits"),
}
# How keepalived is built beside what the formula says. The words stand in a command that no shell reads.
_BUILD_RULES = {
    "configure_options": pattern(
        r"--(enable|disable|with|without)-[A-Za-z0-9_+-]+(=[A-Za-z0-9_.,/+-]+)?",
        "an option of its configure, such as --enable-snmp (--enable-, --disable-, --with-, --without-)",
    ),
    "build_packages": pattern(r"[A-Za-z0-9][A-Za-z0-9.+-]{1,99}", "the name of a package, such as libsnmp-dev"),
}
_SETTING_NAME = pattern(r"[a-z][a-z0-9_-]*", "the name of an option of the server: a-z 0-9 _ -, a letter first")
_DATABASE_RULES = {
    "flavor": one_of(*FLAVORS),
    "port": PORT,
    "seed": Rule("empty, or the minion id of a database in mysql_ha:nodes", lambda value: isinstance(value, str)),
}
_REPLICATION_RULES = {
    "user": Rule(
        "1 to 32 of the characters A-Z a-z 0-9 _, and not " + ", ".join(_REFUSED_USERS) + ", mariadb.sys",
        lambda value: (
            isinstance(value, str)
            and re.fullmatch(r"[A-Za-z0-9_]{1,32}", value) is not None
            and value.lower() not in _REFUSED_USERS
        ),
    ),
    "wait": whole(0, 600, " of seconds"),
    "tls": BOOLEAN,
    "connect_retry": whole(1, 60, " of seconds"),
    "heartbeat": Rule(
        "seconds from 0.1 to 60 in steps of 0.01", lambda value: is_step(value, "0.1", "60", "0.01"), unquote
    ),
}
_BACKUP_RULES = {
    "enabled": BOOLEAN,
    "method": one_of("physical", "logical"),
    # It stands in a unit of systemd's, where other characters have a meaning.
    "directory": Rule(
        "an absolute path of the characters A-Z a-z 0-9 _ . / -, below a directory, without ..",
        lambda value: (
            isinstance(value, str)
            and re.fullmatch(r"(/[A-Za-z0-9_-][A-Za-z0-9_.-]*){2,}", value) is not None
            and len(value) <= 200
        ),
    ),
    # What systemd makes of it, only systemd knows: the host asks it before the timer is made.
    "schedule": pattern(
        r"[A-Za-z0-9*][A-Za-z0-9*:.,/ ~_+-]{0,99}", "a time in systemd's words, such as daily or '*-*-* 03:00'"
    ),
    "keep": whole(1, 10000, " of backups"),
    "prove": BOOLEAN,
}
_DATABASE_SECTIONS = ("settings", "replication", "tls", "accounts", "backup")
_DATABASE_NAME = pattern(r"[A-Za-z0-9_]{1,64}", "1 to 64 of the characters A-Z a-z 0-9 _ (in quotes if a number)")
_SYSTEM_DATABASES = ("mysql", "information_schema", "performance_schema", "sys")


def _nodes(pillar: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with ``mysql_ha:nodes``."""
    path, entries = f"{ROOT}:nodes", part(pillar, "nodes")
    for name, entry in entries.items():
        yield from check_name(f"{path}:{label(name)}", name, _NODE_NAME)
        yield from _node(f"{path}:{label(name)}", entry)
    if isinstance(pillar.get("nodes", {}), Mapping):
        yield from _node_counts(path, entries)
    for key, allowed in (
        ("address", "an address of its own"),
        ("priority", "a priority that no other director has"),
        ("server_id", "a server_id that no other database or replica has"),
    ):
        yield from repeated(_values(path, entries, key), _NODE_RULES[key], allowed)
    yield from _replicas(path, pillar)
    yield from _all_idle(path, pillar)


def _node(path: str, entry: object) -> Iterator[str]:
    """Say what is wrong with one node, as far as it can be told without the others."""
    if not isinstance(entry, Mapping):
        yield f"{path}: is {kind(entry)}; allowed: a mapping with the keys {', '.join(_NODE_RULES)}"
        return
    role = entry.get("role")
    # Without a role that can be told, a key of any role is taken to be meant.
    has_role = _NODE_RULES["role"].accepts(role)
    known = _NODE_KEYS[role] if has_role else tuple(_NODE_RULES)
    foreign = {key: value for key, value in entry.items() if key not in known and key in _NODE_RULES}
    for key in foreign:
        yield f"{path}:{key}: is not a key of a node with the role {role}; allowed: {', '.join(known)}"
    yield from unknown_keys(path, {key: value for key, value in entry.items() if key not in foreign}, known)
    rules = {key: rule for key, rule in _NODE_RULES.items() if key in known}
    yield from check_leaves(path, entry, rules, _REQUIRED_NODE_KEYS if has_role else ("role", "address"))


def _node_counts(path: str, entries: Mapping[Any, Any]) -> Iterator[str]:
    """Say how many nodes of a role are too few or too many."""
    roles = [entry.get("role") if isinstance(entry, Mapping) else None for entry in entries.values()]
    # A node whose role is wrong may be the one that seems to be missing.
    all_known = all(_NODE_RULES["role"].accepts(role) for role in roles)
    for role, low, allowed in (
        ("director", 1, "1 or 2 directors"),
        ("database", 2, "exactly 2 databases, which are both masters; more servers can have the role replica"),
    ):
        count = roles.count(role)
        if count > 2 or (count < low and all_known):
            yield f"{path}: holds {count} {role}{'' if count == 1 else 's'}; allowed: {allowed}"


def _replicas(path: str, pillar: Mapping[Any, Any]) -> Iterator[str]:
    """Say which replicas have a master that is no database."""
    known = list(nodes(pillar, "database"))
    for name, entry in nodes(pillar, "replica").items():
        master = entry.get("replicates_from")
        if isinstance(master, str) and master not in known:
            allowed = f"one of the databases: {', '.join(map(label, known)) or 'there are none'}"
            yield f"{path}:{label(name)}:replicates_from: is {literal(master)}; allowed: {allowed}"


def _values(path: str, entries: Mapping[Any, Any], key: str) -> Iterator[tuple[str, object]]:
    """Yield the values of one key of all nodes that may have it, with their paths."""
    for name, entry in entries.items():
        if isinstance(entry, Mapping) and key in entry:
            role = entry.get("role")
            if isinstance(role, str) and key in _NODE_KEYS.get(role, (key,)):
                yield f"{path}:{label(name)}:{key}", entry[key]


def _all_idle(path: str, pillar: Mapping[Any, Any]) -> Iterator[str]:
    """Say that no database has a weight: keepalived then never reaches its quorum, and reports an error."""
    weights = [entry.get("weight", 1) for entry in nodes(pillar, "database").values()]
    if weights and all(is_whole(weight, 0, 0) for weight in weights):
        yield f"{path}: gives every database the weight 0; allowed: a weight above 0 for at least one"


def _endpoints(pillar: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with ``mysql_ha:endpoints``."""
    owners = {
        str(address): node_path
        for node_path, address in _values(f"{ROOT}:nodes", part(pillar, "nodes"), "address")
        if ADDRESS.accepts(address)
    }
    yield from keepalived_endpoint_rules.errors(pillar, owners)


def _keepalived(section: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with ``mysql_ha:keepalived``."""
    yield from _source_build(f"{ROOT}:keepalived", section, (*_SOURCE_KEYS, *_BUILD_RULES, "global_defs", "extra"))
    for key, rule in _BUILD_RULES.items():
        yield from _words(f"{ROOT}:keepalived:{key}", section.get(key, []), rule)
    yield from keepalived_globals.errors(section)


def _words(path: str, words: object, rule: Rule) -> Iterator[str]:
    """Say what is wrong with a list of words."""
    if not isinstance(words, (list, tuple)):
        yield f"{path}: is {kind(words)}; allowed: a list, each {rule.allowed}"
        return
    for index, word in enumerate(words):
        yield from check_value(f"{path}:{index}", word, rule)


def _source_build(path: str, section: Mapping[Any, Any], known: Iterable[str]) -> Iterator[str]:
    """Say what is wrong with the description of a source build."""
    yield from unknown_keys(path, section, known)
    yield from check_leaves(path, section, _SOURCE_RULES)
    if "source" not in section:
        return
    sources = section["source"]
    if isinstance(sources, (list, tuple)) and sources:
        for index, source in enumerate(sources):
            yield from check_value(f"{path}:source:{index}", source, _SOURCE)
    elif isinstance(sources, (list, tuple)):
        yield f"{path}:source: is an empty list; allowed: {_SOURCES.allowed}"
    else:
        yield from check_value(f"{path}:source", sources, _SOURCES)


def _database(section: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with ``mysql_ha:database``."""
    path = f"{ROOT}:database"
    yield from unknown_keys(path, section, (*_DATABASE_RULES, *_DATABASE_SECTIONS, "databases"))
    yield from check_leaves(path, section, _DATABASE_RULES)
    yield from not_mappings(path, section, _DATABASE_SECTIONS)
    for name, value in part(section, "settings").items():
        yield from _setting(f"{path}:settings:{label(name)}", name, value)
    yield from check_section(f"{path}:replication", part(section, "replication"), _REPLICATION_RULES)
    yield from _databases(f"{path}:databases", section.get("databases", []))


def _seed(pillar: Mapping[Any, Any]) -> Iterator[str]:
    """Say whether ``mysql_ha:database:seed`` is one of the databases."""
    seed, names = part(pillar, "database").get("seed"), list(nodes(pillar, "database"))
    if isinstance(seed, str) and seed and seed not in names:
        yield f"{ROOT}:database:seed: is {literal(seed)}; allowed: empty, {', '.join(map(label, names))}"


def _backup(pillar: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with ``mysql_ha:database:backup``."""
    path, section = f"{ROOT}:database:backup", part(part(pillar, "database"), "backup")
    yield from unknown_keys(path, section, (*_BACKUP_RULES, "nodes"))
    yield from check_leaves(path, section, _BACKUP_RULES)
    if "nodes" not in section:
        return
    known, names = list(nodes(pillar, "database")), section["nodes"]
    allowed = f"a list of databases in {ROOT}:nodes: {', '.join(map(label, known)) or 'there are none'}"
    if not isinstance(names, (list, tuple)) or not names:
        yield f"{path}:nodes: is {'an empty list' if names == [] else kind(names)}; allowed: {allowed}"
        return
    for index, name in enumerate(names):
        if name not in known:
            yield f"{path}:nodes:{index}: is {literal(name)}; allowed: {allowed}"


def _databases(path: str, names: object) -> Iterator[str]:
    """Say what is wrong with the list of application databases."""
    if not isinstance(names, (list, tuple)):
        yield f"{path}: is {kind(names)}; allowed: a list of names"
        return
    for index, name in enumerate(names):
        yield from check_value(f"{path}:{index}", name, _DATABASE_NAME)
        if isinstance(name, str) and name.lower() in _SYSTEM_DATABASES:
            yield f"{path}:{index}: is {literal(name)}, which belongs to the server; allowed: another name"


def _flavor(pillar: Mapping[Any, Any]) -> str:
    """Return the flavor that the other rules go by; the default while it is wrong."""
    flavor = part(pillar, "database").get("flavor")
    return flavor if flavor in FLAVORS and isinstance(flavor, str) else FLAVORS[0]


def _tls(pillar: Mapping[Any, Any], minion_id: object) -> Iterator[str]:
    """Say what is wrong with ``mysql_ha:database:tls`` and the secrets that belong to it."""
    database = part(pillar, "database")
    tls, secrets = database.get("tls", {}), pillar.get("secrets", {})
    if isinstance(tls, Mapping) and isinstance(secrets, Mapping):
        wanted = part(database, "replication").get("tls", True)
        yield from mysql_tls_rules.errors(tls, secrets, _flavor(pillar), _is_replication_due(pillar, minion_id), wanted)


def _accounts(pillar: Mapping[Any, Any], minion_id: object) -> Iterator[str]:
    """Say what is wrong with the applications' accounts and their passwords."""
    accounts, passwords = part(pillar, "database").get("accounts", {}), part(pillar, "secrets").get("accounts", {})
    if not isinstance(accounts, Mapping):
        return
    if not _is_replication_due(pillar, minion_id):
        # A minion that is no database need not have their passwords.
        passwords = None
    yield from mysql_account_rules.errors(
        f"{ROOT}:database:accounts", accounts, f"{ROOT}:secrets:accounts", passwords, _flavor(pillar)
    )
    user = part(part(pillar, "database"), "replication").get("user", DEFAULT_REPLICATION_USER)
    if isinstance(user, str) and user in accounts:
        yield (
            f"{ROOT}:database:accounts:{label(user)}: is the account of {ROOT}:database:replication:user; "
            "allowed: another name"
        )


def _setting(path: str, name: object, value: object) -> Iterator[str]:
    """Say what is wrong with one option of the server; its value is not shown, since some are secrets."""
    if not isinstance(name, str) or not _SETTING_NAME.accepts(name):
        yield f"{path}: is not a usable name; allowed: {_SETTING_NAME.allowed}"
    elif (owned := _owned_setting(name)) is not None:
        yield f"{path}: is refused, because this formula sets {owned} itself; allowed: other options"
    if isinstance(value, str):
        if not value.isprintable():
            yield f"{path}: holds a line break or control character; allowed: printable characters"
    elif value is not None and not isinstance(value, bool) and decimal(value) is None:
        yield f"{path}: is {kind(value)}; allowed: text, a number below 10^15, true, false, or empty"


def _owned_setting(name: str) -> str | None:
    """Return which of the formula's own options an option is, in any spelling that the server takes."""
    plain = name.replace("-", "_")
    stripped = _OPTION_PREFIX.sub("", plain, count=1)
    # The server takes an option by any beginning of its name that is clear.
    return next((owned for owned in OWNED if stripped and owned.startswith(stripped)), None)


def _secrets(pillar: Mapping[Any, Any], minion_id: object) -> Iterator[str]:
    """Say what is wrong with ``mysql_ha:secrets``; a slip of YAML makes a value a key, so no key is shown."""
    path, section = f"{ROOT}:secrets", part(pillar, "secrets")
    for key in section:
        if key not in _SECRET_KEYS:
            hint = did_you_mean(key, _SECRET_KEYS)
            yield f"{path}: holds an unknown key (hidden); allowed: {', '.join(_SECRET_KEYS)}{hint}"
    # Longer ones are refused by MySQL (error 3056), and cut without a word by MariaDB from 97 bytes on.
    allowed = "8 to 32 printable ASCII characters, in quotes"
    if "replication" in section:
        yield from check_secret(f"{path}:replication", section["replication"], 8, 32, _is_printable, allowed)
    elif _is_replication_due(pillar, minion_id):
        yield f"{path}:replication: is missing; allowed: {allowed}"
    if "vrrp" in section:
        yield from keepalived_vrrp_rules.secret_errors(f"{path}:vrrp", section["vrrp"], pillar)


def _is_replication_due(pillar: Mapping[Any, Any], minion_id: object) -> bool:
    """Return whether the replication password must be in this pillar."""
    if minion_id is None:
        return bool(nodes(pillar, "database"))
    return node(pillar, minion_id).get("role") in ("database", "replica")


def _is_printable(text: str) -> bool:
    """Return whether a text is printable ASCII."""
    return text.isascii() and text.isprintable()
