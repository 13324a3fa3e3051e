"""
The rules for described accounts and their passwords: what is wrong with them, in plain words and all at once.

Plain Python that knows nothing of Salt. No function here raises, whatever the pillar holds, and no sentence shows a
password.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network

from mysql_accounts import ALL, OPTION, WORDS, key, privilege, split
from mysql_passwords import PLUGINS, SOCKET_PLUGINS
from pillar_words import did_you_mean, kind, literal

_KEYS = ("hosts", "plugin", "require", "grants", "absent")
_GONE = ("mysql", "mysql_native_password")
_REQUIRES = ("none", "ssl", "x509")
_USER = "1 to 32 of the characters A-Z a-z 0-9 . _ -, and not root, mysql, mariadb, mysql.* or mariadb.*"
_HOST = "%, or 1 to 60 of a name or IPv4 address, either also with % for a part, or ADDRESS/NETMASK"
_GRANTS = "a mapping from SCHEMA.*, SCHEMA.TABLE or *.* to a list of privileges"
_OBJECT = "SCHEMA.* (in which % is a wildcard), SCHEMA.TABLE, *.*"
# Longer ones are refused by MySQL (error 3056), and cut without a word by MariaDB from 97 bytes on.
_PASSWORD = "8 to 32 printable ASCII characters, in quotes"  # noqa: S105 (a sentence)

# Failover stops the old writer by read_only, and reads its binary log. With these one can write in spite of
# read_only, switch it off, leave writes out of the binary log, stop replication, or become someone who can
# (MySQL manual, "Privileges Provided by MySQL"; MariaDB manual, "GRANT").
_UNFENCED = {
    "mysql": {"SUPER", "CREATE USER", "CONNECTION_ADMIN", "SYSTEM_VARIABLES_ADMIN", "SESSION_VARIABLES_ADMIN",
              "PERSIST_RO_VARIABLES_ADMIN", "BINLOG_ADMIN", "REPLICATION_SLAVE_ADMIN", "REPLICATION_APPLIER",
              "GROUP_REPLICATION_ADMIN", "SET_ANY_DEFINER", "SET_USER_ID", "ALLOW_NONEXISTENT_DEFINER", "ROLE_ADMIN",
              "CLONE_ADMIN"},
    "mariadb": {"SUPER", "CREATE USER", "READ_ONLY ADMIN", "CONNECTION ADMIN", "BINLOG ADMIN", "BINLOG REPLAY",
                "REPLICATION SLAVE ADMIN", "REPLICATION MASTER ADMIN", "SET USER"},
}  # fmt: skip
# Who has one of these on the schema mysql can give himself any of those.
_WRITES = {"INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "INDEX", "REFERENCES", "TRIGGER", "EVENT",
           "CREATE VIEW", "CREATE ROUTINE", "ALTER ROUTINE", "DELETE HISTORY", ALL}  # fmt: skip


def errors(path: str, accounts: object, passwords_path: str, passwords: object, flavor: str) -> list[str]:
    """
    Return everything that is wrong with described accounts, one sentence each; ``[]`` if they are valid.

    path, accounts
        Where the accounts are in the pillar, and what is there.
    passwords_path, passwords
        Where the passwords are, by user name, and what is there. ``None`` asks for no passwords: for a minion whose
        pillar is given none.
    flavor
        ``mysql`` or ``mariadb``; with another one nothing can be said, and nothing is.
    """
    if flavor not in PLUGINS:
        return []
    if not isinstance(accounts, Mapping):
        return [f"{path}: is {kind(accounts)}; allowed: a mapping from user names to accounts"]
    found = [line for user, entry in accounts.items() for line in _account(path, user, entry, flavor)]
    return found + ([] if passwords is None else list(_passwords(passwords_path, passwords, accounts, flavor)))


def _account(path: str, user: object, entry: object, flavor: str) -> Iterator[str]:
    """Say what is wrong with one account."""
    path = f"{path}:{user if isinstance(user, str) and re.fullmatch(r'[!-~]{1,63}', user) else literal(user)}"
    if not isinstance(user, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,32}", user):
        yield f"{path}: is not a usable name; allowed: {_USER}"
    elif re.fullmatch(r"(?i)root|(mysql|mariadb)(\..*)?", user):
        yield f"{path}: is an account of the server's own; allowed: {_USER}"
    if not isinstance(entry, Mapping):
        yield f"{path}: is {kind(entry)}; allowed: a mapping with the keys {', '.join(_KEYS)}"
        return
    for name in entry:
        if name not in _KEYS:
            # What is a key by a slip of YAML may be a password.
            yield f"{path}: holds an unknown key (hidden); allowed: {', '.join(_KEYS)}{did_you_mean(name, _KEYS)}"
    if not isinstance(entry.get("absent", False), bool):
        yield f"{path}:absent: is {literal(entry['absent'])}; allowed: true, false"
    socket = _is_socket(entry, flavor)
    yield from _hosts(f"{path}:hosts", entry.get("hosts"), socket)
    yield from _plugin(f"{path}:plugin", entry.get("plugin", PLUGINS[flavor][0]), flavor)
    require = entry.get("require", "none" if socket else "ssl")
    if not isinstance(require, str) or require not in _REQUIRES:
        yield f"{path}:require: is {literal(require)}; allowed: {', '.join(_REQUIRES)}"
    elif socket and require != "none":
        yield f"{path}:require: is {require!r}, and the unix socket has no TLS; allowed: none"
    yield from _grants(f"{path}:grants", entry.get("grants", {}), flavor)


def _is_socket(entry: Mapping[object, object], flavor: str) -> bool:
    """Whether an account has no password, but is a user of the system."""
    return entry.get("plugin") == SOCKET_PLUGINS[flavor]


def _plugin(path: str, plugin: object, flavor: str) -> Iterator[str]:
    """Say what is wrong with an authentication plugin."""
    allowed = [name for name in (*PLUGINS[flavor], SOCKET_PLUGINS[flavor]) if (flavor, name) != _GONE]
    if not isinstance(plugin, str) or plugin not in allowed:
        remark = ", which MySQL 9 no longer has" if (flavor, plugin) == _GONE else ""
        yield f"{path}: is {literal(plugin)}{remark}; allowed: {', '.join(allowed)}"


def _hosts(path: str, hosts: object, socket: bool) -> Iterator[str]:
    """Say what is wrong with the host parts of an account."""
    if hosts is None:
        yield f"{path}: is missing; allowed: a list of {_HOST}"
    elif not isinstance(hosts, (list, tuple)) or not hosts:
        yield f"{path}: is {'an empty list' if hosts in ([], ()) else kind(hosts)}; allowed: a list of {_HOST}"
    else:
        seen: dict[str, int] = {}
        for index, host in enumerate(hosts):
            if not isinstance(host, str) or not _is_host(host):
                hint = ", a network in bits: write its netmask" if re.fullmatch(r"[0-9.]+/\d+", str(host)[:64]) else ""
                yield f"{path}:{index}: is {literal(host)}{hint}; allowed: {_HOST}"
            elif seen.setdefault(host.lower(), index) != index:
                yield f"{path}:{index}: is {literal(host)}, as is {path}:{seen[host.lower()]}; allowed: another one"
            elif socket and host != "localhost":
                yield f"{path}:{index}: is {literal(host)}, and a unix socket is on this host; allowed: localhost"


def _is_host(host: str) -> bool:
    """Whether a server can match this with a client (MySQL manual, "Specifying Account Names")."""
    address, slash, mask = host.partition("/")
    if slash:
        try:
            # A netmask is ones, then zeros, and no bit of the address is outside it.
            return IPv4Network(host) is not None and IPv4Address(mask) is not None
        except ValueError:
            return False
    if re.fullmatch(r"[0-9.]+", host):
        try:
            return IPv4Address(host) is not None
        except ValueError:
            return False
    if re.fullmatch(r"[0-9.%_]+", host):
        parts = address.split(".")
        return len(parts) <= 4 and all(part and (not part.isdigit() or int(part) <= 255) for part in parts)
    name = r"[A-Za-z0-9%_]([A-Za-z0-9%_-]*[A-Za-z0-9%_])?"
    return len(host) <= 60 and re.fullmatch(rf"{name}(\.{name})*", host) is not None


def _grants(path: str, grants: object, flavor: str) -> Iterator[str]:
    """Say what is wrong with the privileges of an account."""
    if not isinstance(grants, Mapping):
        yield f"{path}: is {kind(grants)}; allowed: {_GRANTS}"
        return
    for name, words in grants.items():
        own = f"{path}:{literal(name)}"
        try:
            schema, table = split(key(name)) if isinstance(name, str) and len(name) <= 256 else ("", "")
        except ValueError:
            schema, table = "", ""
        if schema == "" or not str(name).isprintable() or any(len(part or "") > 128 for part in (schema, table)):
            yield f"{own}: is not an object that privileges are for; allowed: {_OBJECT}"
        elif table is not None and "%" in f"{schema}{table}":
            yield f"{own}: has a %, and with a table there are no wildcards; allowed: {_OBJECT}"
        elif not isinstance(words, (list, tuple)) or not words:
            yield f"{own}: is {'an empty list' if words in ([], ()) else kind(words)}; allowed: a list of privileges"
        else:
            for index, word in enumerate(words):
                yield from _privilege(f"{own}:{index}", word, schema, table, flavor)


def _privilege(path: str, word: object, schema: str | None, table: str | None, flavor: str) -> Iterator[str]:
    """Say what is wrong with one privilege on an object."""
    level = "global" if schema is None else "schema" if table is None else "table"
    known = {*WORDS[flavor][level], ALL, OPTION, "USAGE"}
    named = privilege(word, flavor) if isinstance(word, str) and re.fullmatch(r"[A-Za-z_ ]{1,64}", word) else ""
    dynamic = flavor == "mysql" and "_" in named
    if named in _UNFENCED[flavor] or (named == ALL and schema is None):
        yield (
            f"{path}: is {literal(word)}, with which an application could write where failover has stopped it by "
            "read_only; allowed: privileges that do not reach so far"
        )
    elif named not in known and not (dynamic and level == "global"):
        remark = f", which is for *.* and not for a {level}" if named in WORDS[flavor]["global"] or dynamic else ""
        if isinstance(word, str) and "(" in word:
            remark = ", and privileges on columns are not supported"
        allowed = ", ".join(sorted(known - _UNFENCED[flavor] - ({ALL} if level == "global" else set())))
        yield f"{path}: is {literal(word)}{remark}; allowed: {allowed}{did_you_mean(word, known)}"
    elif named in _WRITES and _holds_accounts(schema):
        yield (
            f"{path}: is {literal(word)} on an object that the schema mysql is a part of, where accounts are; "
            "allowed: the same on the schemas of the application"
        )


def _holds_accounts(schema: str | None) -> bool:
    """Whether the name or pattern of a schema matches the schema mysql."""
    if schema is None:
        return True
    pattern = re.sub(r"\\(.)|(%)|(.)", lambda at: ".*" if at[2] else re.escape(at[1] or at[3]), schema, flags=re.DOTALL)
    return re.fullmatch(pattern, "mysql", re.IGNORECASE) is not None


def _passwords(path: str, passwords: object, accounts: Mapping[object, object], flavor: str) -> Iterator[str]:
    """Say what is wrong with the passwords; a slip of YAML makes a value a key, so no key but an account's is shown."""
    if not isinstance(passwords, Mapping):
        yield f"{path}: is {kind(passwords)} (hidden); allowed: a mapping from user names to passwords"
        return
    for user in passwords:
        if user not in accounts:
            yield f"{path}: holds a key (hidden) that is no account's; allowed: the names of described accounts"
    for user, entry in accounts.items():
        if not isinstance(user, str) or not isinstance(entry, Mapping) or entry.get("absent") is True:
            continue
        if user not in passwords:
            if not _is_socket(entry, flavor):
                yield f"{path}:{literal(user)[1:-1]}: is missing; allowed: {_PASSWORD}"
        elif (problem := _problem(passwords[user])) is not None:
            yield f"{path}:{literal(user)[1:-1]}: {problem} (hidden); allowed: {_PASSWORD}"


def _problem(password: object) -> str | None:
    """What is wrong with a password, without showing it."""
    if not isinstance(password, str):
        return f"is {kind(password)} and not text"
    if len(password) < 8:
        return "is set but too short" if password else "is empty"
    if len(password) > 32:
        return "is set but too long"
    good = password.isascii() and password.isprintable()
    return None if good else "is set but holds a character that is not allowed"
