"""
Accounts as facts and statements: what a server has, what is otherwise than described, and what makes it right.

Knows nothing of Salt. A described account is wholly described: global, schema, table and column privileges that the
description does not name are revoked. Left alone are roles, privileges on routines (a server gives those to whoever
creates a routine, by ``automatic_sp_privileges``), PROXY, locks, expiry, and limits of resources.

Each server makes the same accounts for itself, outside the binary log: in it they would be transactions that the
other server lacks, and a server from empty would no longer be empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from mysql_client import quote
from mysql_passwords import PLUGINS, SOCKET_PLUGINS, PasswordError, belongs, stored

Rows = list[dict[str, "str | None"]]
Grants = Mapping[str, frozenset[str]]

HIDDEN = "(hidden)"
ALL, OPTION = "ALL PRIVILEGES", "GRANT OPTION"
OUTSIDE = "SET SESSION sql_log_bin = 0;\n"

_TABLE_WORDS = {"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "REFERENCES", "INDEX", "ALTER",
                "CREATE VIEW", "SHOW VIEW", "TRIGGER"}  # fmt: skip
_SCHEMA_WORDS = _TABLE_WORDS | {"CREATE TEMPORARY TABLES", "LOCK TABLES", "CREATE ROUTINE", "ALTER ROUTINE", "EXECUTE",
                                "EVENT"}  # fmt: skip
_GLOBAL_WORDS = _SCHEMA_WORDS | {"RELOAD", "SHUTDOWN", "PROCESS", "FILE", "SHOW DATABASES", "SUPER", "CREATE USER",
                                 "REPLICATION SLAVE", "CREATE TABLESPACE"}  # fmt: skip
_MARIADB_WORDS = {"DELETE HISTORY", "SHOW CREATE ROUTINE", "BINLOG MONITOR", "SLAVE MONITOR", "BINLOG ADMIN",
                  "BINLOG REPLAY", "REPLICATION MASTER ADMIN", "REPLICATION SLAVE ADMIN", "SET USER", "FEDERATED ADMIN",
                  "CONNECTION ADMIN", "READ_ONLY ADMIN"}  # fmt: skip
#: By flavor, the privileges there are on a table, a schema, and all (MariaDB and MySQL manuals, "GRANT"). MySQL has
#: dynamic ones besides, which components bring and which have underscores in their names.
WORDS = {
    "mysql": {
        "table": _TABLE_WORDS,
        "schema": _SCHEMA_WORDS,
        "global": _GLOBAL_WORDS | {"REPLICATION CLIENT", "CREATE ROLE", "DROP ROLE"},
    },
    "mariadb": {
        "table": _TABLE_WORDS | {"DELETE HISTORY"},
        "schema": _SCHEMA_WORDS | {"DELETE HISTORY", "SHOW CREATE ROUTINE"},
        "global": _GLOBAL_WORDS | _MARIADB_WORDS,
    },
}
# What else a privilege is called, in either flavor, and what this flavor's SHOW GRANTS calls it.
_SYNONYMS = {
    "mysql": {
        "BINLOG MONITOR": "REPLICATION CLIENT",
        "SLAVE MONITOR": "REPLICATION CLIENT",
        "REPLICA MONITOR": "REPLICATION CLIENT",
        "REPLICATION REPLICA": "REPLICATION SLAVE",
        "REPLICATION REPLICA ADMIN": "REPLICATION_SLAVE_ADMIN",
        "SET USER": "SET_ANY_DEFINER",
        "READ ONLY ADMIN": "CONNECTION_ADMIN",
    },
    "mariadb": {
        "REPLICATION CLIENT": "BINLOG MONITOR",
        "REPLICA MONITOR": "SLAVE MONITOR",
        "REPLICATION REPLICA": "REPLICATION SLAVE",
        "REPLICATION REPLICA ADMIN": "REPLICATION SLAVE ADMIN",
        "DELETE VERSIONING ROWS": "DELETE HISTORY",
        "READ ONLY ADMIN": "READ_ONLY ADMIN",
        "SET ANY DEFINER": "SET USER",
        "SET USER ID": "SET USER",
    },
}
_TLS = {"": "NONE", "ANY": "SSL", "X509": "X509"}

_NAME = r"`(?:[^`]|``)*`"
_OBJECT = re.compile(rf"(\*|{_NAME}|[^.`*]+)\.(\*|{_NAME}|[^.`*]+)")
_COLUMNS = rf"\((?:{_NAME}|, ?)*\)"
# A column's name can hold anything, so brackets are read as a whole: no name can pass for a target.
_LINE = re.compile(
    rf"(GRANT|REVOKE) ((?:[A-Za-z_ ,]|{_COLUMNS})+?) ON "
    rf"((?:\*|{_NAME})\.(?:\*|{_NAME})) (?:TO|FROM) {_NAME}@{_NAME}(.*)",
    re.DOTALL,
)
_WORD = re.compile(rf"([A-Za-z_ ]+?) ?({_COLUMNS})?(?:, ?|$)")


class Account(NamedTuple):
    """An account as it should be; its printed form has no password."""

    user: str
    host: str
    plugin: str
    password: str | None  # None with a socket plugin
    require: str  # NONE, SSL, X509
    grants: Grants  # 'shop.*', 'shop.orders', '*.*' -> privileges as this flavor's SHOW GRANTS calls them
    flavor: str = "mysql"

    def __repr__(self) -> str:
        return f"Account({self.user!r}@{self.host!r}, {self.plugin}, {self.require}, {dict(self.grants)})"


class Present(NamedTuple):
    """An account as a server has it; its printed form has no hash."""

    plugin: str
    authentication: bytes
    require: str  # NONE, SSL, X509, SPECIFIED
    grants: Grants  # where it is ALL PRIVILEGES, these words and all that they stand for
    revokes: Grants  # MySQL's partial revokes (MySQL manual, "Privilege Restriction Using Partial Revokes")
    alternatives: bool = False  # MariaDB: further plugins by which one can log in (OR)

    def __repr__(self) -> str:
        return f"Present({self.plugin}, {self.require}, {dict(self.grants)}, {dict(self.revokes)})"


def accounts(description: Mapping[str, Mapping[str, Any]], passwords: Mapping[str, str], flavor: str) -> list[Account]:
    """
    Return the accounts that a valid description (see mysql_account_rules) wants there to be, one for each host part.

    description
        The accounts by user name: ``hosts``, and optionally ``plugin``, ``require``, ``grants``, ``absent``.
    passwords
        The passwords by user name.
    flavor
        ``mysql`` or ``mariadb``.

    Raises PasswordError when the password of an account is missing.
    """
    found = []
    for user, entry in description.items():
        if entry.get("absent"):
            continue
        plugin = entry.get("plugin", PLUGINS[flavor][0])
        socket = plugin == SOCKET_PLUGINS[flavor]
        if not socket and not passwords.get(user):
            raise PasswordError(f"there is no password for the account {user}")
        grants: dict[str, frozenset[str]] = {}
        for name, words in (entry.get("grants") or {}).items():
            grants[key(name)] = grants.get(key(name), frozenset()) | {privilege(word, flavor) for word in words}
        grants = {name: wanted for name, words in grants.items() if (wanted := _plain(words))}
        # The unix socket has no TLS, and needs none.
        require = entry.get("require", "none" if socket else "ssl").upper()
        password = None if socket else passwords[user]
        found += [Account(user, host.lower(), plugin, password, require, grants, flavor) for host in entry["hosts"]]
    return found


def absent(description: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the accounts, as (user, host), that a valid description wants there not to be."""
    gone = {user: entry for user, entry in description.items() if entry.get("absent")}
    return [(user, host.lower()) for user, entry in gone.items() for host in entry["hosts"]]


def key(name: str) -> str:
    """
    Return an object that privileges are for as it is written here: ``shop\\_x.*``, ``shop_x.orders``, ``*.*``.

    That is how SHOW GRANTS has it, less the quotes that are not needed. In the name of a schema alone ``_`` and ``%``
    would match other characters (manuals, "GRANT"); an underscore in a description means itself, so it is escaped,
    and ``%`` is a wildcard. With a table there are no wildcards, and no escapes. Raises ValueError.
    """
    schema, table = split(name)
    if schema and table is None:
        schema = re.sub(r"(?<!\\)_", r"\\_", schema)
    elif schema:
        schema = re.sub(r"\\([_%])", r"\1", schema)
    return _join(schema, table)


def privilege(word: str, flavor: str) -> str:
    """Return a privilege as this flavor's SHOW GRANTS calls it, however it is spelled and whosever word it is."""
    spaced = " ".join(word.upper().replace("_", " ").split())
    if spaced in ("ALL", ALL):
        return ALL
    found = _SYNONYMS[flavor].get(spaced, spaced)
    if found in WORDS[flavor]["global"] or found in (OPTION, "USAGE"):
        return found
    # A dynamic privilege of MySQL's, or one of a later MariaDB as it was written.
    return found.replace(" ", "_") if flavor == "mysql" else " ".join(word.upper().split())


def look_sql(flavor: str, version: tuple[int, ...], users: Iterable[str]) -> str:
    """
    Return the statement that reads what there is of accounts, on whatever hosts; ``present`` takes its rows.

    flavor, version
        ``mysql`` or ``mariadb``, and its version: 10.11 and 8.0 or later.
    users
        The names of the users, at least one.
    """
    names = ", ".join(map(quote, users))
    columns = "u.User, u.Host, u.plugin, HEX(u.authentication_string) AS authentication, u.ssl_type"
    if flavor == "mysql":
        return f"SELECT {columns}, 0 AS alternatives FROM mysql.user u WHERE u.User IN ({names});\n"
    return (
        f"SELECT {columns}, IFNULL(JSON_LENGTH(p.Priv, '$.auth_or'), 0) > 1 AS alternatives "
        "FROM mysql.user u JOIN mysql.global_priv p USING (Host, User) "
        f"WHERE u.is_role = 'N' AND u.User IN ({names});\n"
    )


def present(
    sql: Callable[[str], Rows], flavor: str, version: tuple[int, ...], users: Iterable[str]
) -> dict[tuple[str, str], Present]:
    """
    Return what a server has of some users, by (user, host), on all hosts and not only those described.

    sql
        What sends statements to the server and returns the rows of the one result; called twice for each account
        at most. What it raises is not caught.
    flavor, version
        ``mysql`` or ``mariadb``, and its version.
    users
        The names of the users.
    """
    users = sorted(set(users))
    found: dict[tuple[str, str], Present] = {}
    for row in sql(look_sql(flavor, version, users)) if users else []:
        user, host = row["User"] or "", row["Host"] or ""
        if user not in users:  # the column's collation may take other names for these
            continue
        # This server may be set to leave the quotes away.
        lines = sql(f"SET SESSION sql_quote_show_create = 1;\nSHOW GRANTS FOR {_account(user, host)};\n")
        grants, revokes = _privileges([text for line in lines for text in line.values() if text], flavor)
        if "*.*" in grants and grants["*.*"] >= (WORDS["mysql"]["global"] if flavor == "mysql" else {ALL}):
            # Only the server knows all of its global privileges; MySQL lists them where it means all.
            every = {(line["Privilege"] or "").upper() for line in sql("SHOW PRIVILEGES;\n")}
            every -= {OPTION, "PROXY", "USAGE"}
            if ALL in grants["*.*"] or grants["*.*"] >= every:
                grants["*.*"] |= every | {ALL}
        for name, words in grants.items():
            if ALL in words:
                grants[name] = words | _every(name, flavor, version)
        found[user, host] = Present(
            row["plugin"] or "",
            bytes.fromhex(row["authentication"] or ""),
            _TLS.get(row["ssl_type"] or "", "SPECIFIED"),
            grants,
            revokes,
            row["alternatives"] == "1",
        )
    return found


def strays(wanted: Iterable[Account], found: Mapping[tuple[str, str], Present]) -> list[tuple[str, str]]:
    """Return the accounts, as (user, host), that described users have on hosts that are not described."""
    described = {(account.user, account.host) for account in wanted}
    users = {user for user, _ in described}
    return [name for name in found if name[0] in users and name not in described]


def differences(account: Account, found: Present | None) -> dict[str, dict[str, Any]]:
    """
    Return what is otherwise than described, as {field: {old, new}}; empty when all is right. No secret is in it.

    account
        The account as it should be.
    found
        What the server has of it (see ``present``); ``None`` if it has none.

    The fields: ``account`` (when there is none), ``plugin``, ``password``, ``require``, ``grants on OBJECT``, and
    ``revokes on OBJECT``.
    """
    changes: dict[str, dict[str, Any]] = {}
    if found is None:
        changes["account"] = {"old": None, "new": "present"}
        found = Present("", b"", "", {}, {})
    shown = found.plugin + (" or others" if found.alternatives else "")
    if shown != account.plugin:
        changes["plugin"] = {"old": shown or None, "new": account.plugin}
    # What another plugin has stored can tell, too, whether the password stays.
    told = account.password is not None and found.plugin in (*PLUGINS["mysql"], *PLUGINS["mariadb"])
    if (told or found.plugin == account.plugin) and not belongs(found.plugin, found.authentication, account.password):
        changes["password"] = {"old": HIDDEN, "new": HIDDEN}
    if found.require != account.require:
        changes["require"] = {"old": found.require or None, "new": account.require}
    for name in sorted({*account.grants, *found.grants}):
        missing, surplus = _compare(account, found, name)
        if missing or surplus:
            old, new = (_shown(grants.get(name, frozenset())) for grants in (found.grants, account.grants))
            changes[f"grants on {name}"] = {"old": old, "new": new}
    for name, words in sorted(found.revokes.items()):
        changes[f"revokes on {name}"] = {"old": sorted(words), "new": []}
    return changes


def statements(account: Account, found: Present | None, salt: bytes | None = None) -> str:
    """
    Return the statements that bring about what ``differences`` tells, and no more; empty when all is right.

    Of the password only its hash is sent. A server that validates passwords cannot judge a hash: MariaDB then
    refuses it unless ``strict_password_validation`` is off. After a new hash caching_sha2_password has nothing in its
    cache: the next login needs TLS, the unix socket, or the server's RSA key. Privileges are granted before others are
    revoked, so that an application is at no time without those that it keeps.

    account, found
        As in ``differences``.
    salt
        What to salt the password with, instead of by chance (see ``mysql_passwords.stored``).

    Raises PasswordError.
    """
    changes = differences(account, found)
    name = _account(account.user, account.host)
    lines = []
    words = ["CREATE USER" if found is None else "ALTER USER", name]
    if changes.keys() & {"account", "plugin", "password"}:
        words.append(_identified(account, salt))
    if "require" in changes:
        words.append(f"REQUIRE {account.require}")
    if len(words) > 2:
        lines.append(" ".join(words))
    found = found or Present("", b"", "", {}, {})
    # To grant what a partial revoke took away ends the revoke, and leaves no grant of its own.
    lines += [line for target, taken in found.revokes.items() for line in _grant(taken, target, name)]
    revokes: list[str] = []
    for target in sorted({*account.grants, *found.grants}):
        missing, surplus = _compare(account, found, target)
        lines += _grant(missing, target, name)
        dynamic: frozenset[str] = frozenset()
        again: frozenset[str] = frozenset()
        if target == "*.*" and account.flavor == "mysql":
            # The option is kept with each dynamic privilege and with the static ones. On 9.7.4 those that have it are
            # revoked, without a word, only as long as the static ones have it too, and in a statement of their own.
            if OPTION in surplus:
                again = frozenset(word for word in account.grants.get(target, ()) if "_" in word)
            dynamic = frozenset(word for word in surplus if "_" in word) | again
            if dynamic and OPTION in found.grants[target]:
                revokes += _grant(frozenset({OPTION}), target, name)
        for taken in (dynamic, surplus - dynamic):
            if taken:
                revokes.append(f"REVOKE {', '.join(sorted(taken))} ON {_quoted(target)} FROM {name}")
        revokes += _grant(again, target, name)
    lines += revokes
    return OUTSIDE + "".join(f"{line};\n" for line in lines) if lines else ""


def removal(user: str, host: str) -> str:
    """Return the statements that remove an account; whoever is connected stays so."""
    return f"{OUTSIDE}DROP USER IF EXISTS {_account(user, host)};\n"


def _compare(account: Account, found: Present, name: str) -> tuple[frozenset[str], frozenset[str]]:
    """What is missing on an object, and what is too much."""
    want, have = account.grants.get(name, frozenset()), found.grants.get(name, frozenset())
    surplus = have - want - {ALL}
    if ALL in want:
        # Privileges on columns are in no ALL.
        surplus = frozenset(word for word in surplus if word == OPTION or "(" in word)
    return want - have, surplus


def _identified(account: Account, salt: bytes | None) -> str:
    """How to log in, as a part of a statement."""
    value = stored(account.plugin, account.password, salt)
    if account.flavor == "mariadb":
        return f"IDENTIFIED VIA {account.plugin}" + (f" USING {quote(value.decode())}" if value else "")
    # In hexadecimal: what is in it need not be text (MySQL manual, "print_identified_with_as_hex").
    return f"IDENTIFIED WITH {account.plugin}" + (f" AS 0x{value.hex().upper()}" if value else "")


def _grant(words: frozenset[str], name: str, account: str) -> list[str]:
    """The statement that grants privileges, if there are any."""
    if not words:
        return []
    listed = ", ".join(sorted(words - {OPTION})) or "USAGE"
    option = f" WITH {OPTION}" if OPTION in words else ""
    return [f"GRANT {listed} ON {_quoted(name)} TO {account}{option}"]


def _plain(words: frozenset[str]) -> frozenset[str]:
    """Privileges without those that say nothing."""
    return frozenset(words & {ALL, OPTION} if ALL in words else words - {"USAGE"})


def _shown(words: frozenset[str]) -> list[str]:
    """Privileges for people: ALL PRIVILEGES for all that they stand for."""
    return sorted(word for word in words if ALL not in words or word in (ALL, OPTION) or "(" in word)


def _every(name: str, flavor: str, version: tuple[int, ...]) -> frozenset[str]:
    """What ALL PRIVILEGES stand for on a schema or table."""
    level = "schema" if split(name)[1] is None else "table"
    new = {"SHOW CREATE ROUTINE"} if version < (11, 3) else set()  # MariaDB manual, "GRANT"
    return frozenset(WORDS[flavor][level] - new)


def _privileges(lines: Iterable[str], flavor: str) -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
    """SHOW GRANTS as what is granted and what is partially revoked, by object; other lines are left alone."""
    found: dict[str, dict[str, frozenset[str]]] = {"GRANT": {}, "REVOKE": {}}
    for line in lines:
        parts = _LINE.fullmatch(line)
        if parts is None:
            continue
        words = set()
        for word, columns in _WORD.findall(parts[2]):
            named = privilege(word, flavor)
            words |= {f"{named} ({column})" for column in re.findall(_NAME, columns)} if columns else {named}
        # MariaDB's line of global privileges has a password's hash, and limits after the option.
        if re.search(r" WITH GRANT OPTION(?: |$)", re.sub(r"'(?:[^'\\]|\\.|'')*'", "''", parts[4])):
            words.add(OPTION)
        name = _join(*split(parts[3]))
        found[parts[1]][name] = found[parts[1]].get(name, frozenset()) | words
    for grants in found.values():
        for name, words_ in list(grants.items()):
            grants[name] = words_ - {"USAGE"}
            if not grants[name]:
                del grants[name]
    return found["GRANT"], found["REVOKE"]


def split(name: str) -> tuple[str | None, str | None]:
    """The schema and the table of an object, without quotes, ``None`` for all of them; raises ValueError."""
    parts = _OBJECT.fullmatch(name)
    if parts is None or parts[1] == "*" != parts[2]:
        raise ValueError("is not SCHEMA.*, SCHEMA.TABLE or *.*")
    schema, table = (None if part == "*" else part[1:-1].replace("``", "`") if part[0] == "`" else part
                     for part in parts.groups())  # fmt: skip
    if "" in (schema, table):
        raise ValueError("has an empty name")
    return schema, table


def _join(schema: str | None, table: str | None) -> str:
    """An object with quotes only where they are needed."""
    return ".".join(
        _quote_name(part) if part and re.search(r"[.`*]", part) else part or "*" for part in (schema, table)
    )


def _quoted(name: str) -> str:
    """An object in a statement."""
    return ".".join("*" if part is None else _quote_name(part) for part in split(name))


def _quote_name(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _account(user: str, host: str) -> str:
    """An account in a statement."""
    return f"{quote(user)}@{quote(host)}"
