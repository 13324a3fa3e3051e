"""
The server's configuration: what the formula sets, safe defaults, what the pillar adds; as an option file, and held
against a running server. Knows nothing of Salt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mysql_client import option_value

Value = "str | int | float | bool | None"

#: What a running server keeps until its next start, though it might let itself be told otherwise: replication would
#: go on with half of the old and half of the new.
AT_START_ONLY = (
    "server_id",
    "log_bin",
    "gtid_mode",
    "enforce_gtid_consistency",
    "gtid_domain_id",
    "gtid_strict_mode",
    "log_slave_updates",
    "log_replica_updates",
    "binlog_format",
    "ssl_ca",
    "ssl_cert",
    "ssl_key",
)
#: What the formula sets itself: with other values replication, or its direction, would break.
OWNED = (
    *AT_START_ONLY,
    "bind_address",
    "port",
    "report_host",
    "relay_log",
    "socket",
    "auto_increment_increment",
    "auto_increment_offset",
)
# In either dialect and every version of them.
_DEFAULTS: dict[str, Value] = {
    # Every acknowledged commit is on the disk (MariaDB's own default for the binary log is 0).
    "sync_binlog": 1,
    "innodb_flush_log_at_trx_commit": 1,
    # After a crash of the host what was received but not applied is fetched again.
    "relay_log_recovery": True,
    # Without name resolution no director is ever blocked for its checks, which connect and say nothing.
    "skip_name_resolve": True,
    # MariaDB's own default keeps binary logs for ever, until the disk is full.
    "binlog_expire_logs_seconds": 2592000,
}
_DIALECT_DEFAULTS: dict[str, dict[str, Value]] = {
    "mysql": {
        # A peer that hangs is noticed after 2 s instead of 60.
        "replica_net_timeout": 2,
        # The X protocol would be one more open port (33060) that nothing here uses.
        "mysqlx": False,
    },
    "mariadb": {
        "slave_net_timeout": 2,
        # The default gives up for ever after 100000 tries; the server has no word for "never".
        "master_retry_count": 4294967295,
        # Nobody wants each connection that a director's check opens and closes in the error log.
        "log_warnings": 1,
        # An acknowledgement is waited for before others can see the row, where semi-sync is on.
        "rpl_semi_sync_master_wait_point": "AFTER_SYNC",
    },
}
#: What a replica gets beside that, whatever the pillar says: it takes no writes but those of its replication.
REPLICA: dict[str, dict[str, Value]] = {
    "mysql": {"read_only": True, "super_read_only": True},
    # It may ask either master for what comes after a transaction that only the other one had, and has sent to it.
    "mariadb": {"read_only": True, "gtid_ignore_duplicates": True},
}
# Two spellings of one option.
_ALIASES = (("slave_", "replica_"), ("_slave", "_replica"), ("master_", "source_"))
#: The value of a variable that is no longer specified.
DEFAULT = "DEFAULT"
_SUFFIXES = {"k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}
_TRUE, _FALSE = ("on", "true", "1", "yes"), ("off", "false", "0", "no")
_HIDDEN = ("password", "passwd", "secret", "auth", "token", "passphrase")
_PLAIN = re.compile(r"[A-Za-z0-9_./:,@%+-]+")
HEADER = "# Managed by Salt (mysql_ha.database.config); change mysql_ha:database:settings in the pillar instead.\n"


def defaults(flavor: str) -> dict[str, Value]:
    """What a flavor's server gets where the pillar says nothing else."""
    return _DEFAULTS | _DIALECT_DEFAULTS[flavor]


def plain_name(name: str) -> str:
    """An option's name with underscores; the server takes dashes as well."""
    return name.replace("-", "_")


def options(
    flavor: str,
    node: Mapping[str, object],
    port: int,
    pillar: Mapping[str, Value],
    tls: Mapping[str, str] | None = None,
) -> dict[str, Value]:
    """All options of this node's server: the formula's own, then the defaults with what the pillar says instead.

    flavor
        ``mysql`` or ``mariadb``.
    node
        The node's entry in the pillar: ``role``, ``server_id`` and ``address``; and ``auto_increment_offset``, another
        one for each server.
    port, pillar
        ``mysql_ha:database:port`` and ``mysql_ha:database:settings``.
    tls
        ``ca``, ``certificate`` and ``key``: the files that the server shows its clients; None for its own.
    """
    server_id = int(node["server_id"])
    is_replica = node.get("role") == "replica"
    own: dict[str, Value] = {
        "server_id": server_id,
        "port": port,
        "bind_address": "0.0.0.0",  # noqa: S104 - connections come to the VIP too
        "report_host": str(node["address"]),
        "log_bin": "binlog",
        "relay_log": "relay-bin",
    }
    if not is_replica:
        # Two writers never give out the same number.
        own |= {
            "auto_increment_increment": 2,
            "auto_increment_offset": node.get("auto_increment_offset", 2 - server_id % 2),
        }
    if flavor == "mariadb":
        # Each writer has a domain of its own, or both appliers stop.
        own |= {"gtid_domain_id": server_id, "gtid_strict_mode": True, "log_slave_updates": True,
                "binlog_format": "ROW"}  # fmt: skip
    else:
        own |= {"gtid_mode": "ON", "enforce_gtid_consistency": "ON", "log_replica_updates": True}
    if tls:
        own |= {"ssl_ca": tls["ca"], "ssl_cert": tls["certificate"], "ssl_key": tls["key"]}
    said = {plain_name(name): value for name, value in pillar.items()}
    named = {_canonical(name) for name in said}
    kept = {name: value for name, value in defaults(flavor).items() if _canonical(name) not in named}
    if not is_replica:
        return own | kept | said
    # Last, where it wins over every spelling of it before.
    closed = REPLICA[flavor]
    return {name: value for name, value in (own | kept | said).items() if name not in closed} | closed


def _canonical(name: str) -> str:
    for old, new in _ALIASES:
        name = name.replace(old, new)
    return name.removeprefix("loose_")


def render(values: Mapping[str, Value]) -> str:
    """Options as the text of an option file, for the server's programs of either dialect."""
    return HEADER + "[mysqld]\n" + "".join(f"{_line(name, value)}\n" for name, value in values.items())


def _line(name: str, value: Value) -> str:
    if value is None:
        return name
    if isinstance(value, bool):
        return f"{name} = {'ON' if value else 'OFF'}"
    shown = str(value)
    return f"{name} = {shown if _PLAIN.fullmatch(shown) else option_value(shown)}"


def is_hidden(option: str) -> bool:
    """Whether the value of an option can be a secret, to go by the option's name."""
    return any(word in option.lower() for word in _HIDDEN)


def redact(text: str) -> str:
    """
    An option file without the values that can be secrets, fit to be shown. Remarks are looked through as well, since
    somebody else may have written the file.
    """
    return "".join(
        f"{name}= (hidden)\n" if is_set and is_hidden(name) else line
        for line in text.splitlines(keepends=True)
        for name, is_set, _ in [line.partition("=")]
    )


def parse(content: str) -> dict[str, str | None]:
    """The options in a text that ``render`` made."""
    found: dict[str, str | None] = {}
    for line in content.splitlines():
        name, is_set, value = (part.strip() for part in line.partition("="))
        if name and name[0] not in "#[":
            found[name] = _unquoted(value) if is_set else None
    return found


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def file_changes(old: str, new: str) -> dict[str, dict[str, str | None]]:
    """What one option file has otherwise than another, as {option: {old, new}}."""
    have, wanted = parse(old), parse(new)
    return {
        name: {"old": have.get(name), "new": wanted.get(name)}
        for name in [*wanted, *(name for name in have if name not in wanted)]
        if name not in have or name not in wanted or have[name] != wanted[name]
    }


def overrides(origin: str, path: str) -> bool:
    """
    Whether what a server has comes from another option file than the formula's, to stay.

    origin
        The file that it comes from; empty if it comes from none.
    path
        The formula's option file.
    """
    # What closes a server while it is copied or restored (mysql_data, mysql_backup_jobs) goes by itself.
    return origin not in ("", path) and not origin.rpartition("/")[2].startswith("zzz-mysql_ha-")


def differing(wanted: Mapping[str, str | None], running: Mapping[str, str]) -> dict[str, dict[str, str | None]]:
    """Which of a server's variables have another value than the option file says, as {variable: {old, new}}.

    wanted
        Options as ``parse`` returns them; those that are no variable of the server are left out.
    running
        ``SHOW GLOBAL VARIABLES`` as {name: value}.
    """
    found = {}
    for option, value in wanted.items():
        name = option.removeprefix("loose_")
        if name in running and not same(name, value, running[name], running):
            found[name] = {"old": running[name], "new": value}
    return found


# What these say is a name for files, and the variables of the same name say ON, or where the files are.
_NOT_COMPARED = ("log_bin", "relay_log")


def same(name: str, option: str | None, value: str, running: Mapping[str, str]) -> bool:
    """Whether an option's value in a file and a variable's value in the server mean the same."""
    if name in _NOT_COMPARED:
        return True
    wanted = "on" if option is None else option.strip().lower()
    have = value.strip().lower()
    if wanted == have:
        return True
    if have in ("on", "off"):
        return wanted in (_TRUE if have == "on" else _FALSE)
    number, has = _number(wanted), _number(have)
    if number is None or has is None:
        return False
    if name == "innodb_buffer_pool_size":
        # The server rounds it up to whole chunks.
        chunk = _number(running.get("innodb_buffer_pool_chunk_size", "")) or 1 << 20
        return number <= has < number + max(chunk, 1 << 20)
    return number == has


def _number(text: str) -> float | None:
    found = re.fullmatch(r"(-?[0-9]+(?:\.[0-9]+)?)([kmgtpe]?)b?", text.lower())
    return float(found[1]) * (1 << _SUFFIXES.get(found[2], 0)) if found else None


def set_statement(name: str, value: str | None) -> str:
    """Give a variable of the running server the value that an option file gives it."""
    text = "ON" if value is None else value
    number = _number(text)
    if number is None:
        literal = text if text.lower() in ("on", "off", "true", "false", "default") else _literal(text)
    else:
        literal = f"{number:.0f}" if number == int(number) else f"{number:g}"
    return f"SET GLOBAL {name} = {literal};\n"


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


# MySQL writes "2026-11-24T09:00:00.000000Z 0 [ERROR] [MY-000067] [Server] unknown variable", MariaDB
# "2026-11-24  9:00:00 0 [ERROR] mariadbd: unknown variable".
_COMPLAINT = re.compile(
    r"\[(ERROR|Warning)\]\s+(?:\[MY-\d+\]\s+)?(?:\[\w+\]\s+)?(?:\S*/)?(?:(?:mysqld|mariadbd): )?(.*)"
)
# A value that the server would not take as it is; it starts nevertheless, with another one.
_ADJUSTED = re.compile(r"adjusted to|recognized\. Set to")
# Said after each refusal, and of no use to anybody.
_NOISE = re.compile(r"^(Aborting|The designated data directory|Parsing options|.*option without preceding group)", re.I)


def complaints(said: Iterable[str]) -> list[str]:
    """The server's own words: its errors, and values that it would not take as they are."""
    found = []
    for line in said:
        match = _COMPLAINT.search(line)
        if not match or _NOISE.search(match[2]):
            continue
        if match[1] == "ERROR" or _ADJUSTED.search(match[2]):
            found.append(match[2].strip().rstrip("."))
    return list(dict.fromkeys(found))
