"""
A copy of one server's data on another: the statements, the dump, and the pipe between them. Knows nothing of Salt.

Sources: MySQL manual, "The Clone Plugin"; MariaDB manual, "mariadb-dump" and "gtid_binlog_state".
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

import mysql_gtid
from mysql_client import Peer, quote

#: A copied InnoDB table may take a little more room than its pages that are in use.
ROOM = 1.15
SPARE_BYTES = 256 << 20
CHUNK = 256 << 10
#: The highest id that a server can have.
LONGEST_ID = 4294967295
#: The position stands at the beginning of a dump, before any data.
HEADER = 16 << 10
_POSITION = re.compile(rb"^(?:-- )?CHANGE MASTER TO MASTER_LOG_FILE='([\w.-]+)', MASTER_LOG_POS=(\d+)", re.MULTILINE)

#: While another server's files come in beside the data directory: the phases in which nothing here is changed yet.
RECEIVING, PREPARING = SERVING = ("receiving", "preparing")

#: How it was made, as a part of a sentence.
BY = {"stream": ", by mariadb-backup", "dump": ", by a dump", "clone": ", by the clone plugin"}

CLONE_PROGRESS = (
    "SELECT COALESCE(SUM(IF(STAGE = 'FILE COPY', DATA, 0)), 0) AS done, "
    "COALESCE(SUM(IF(STAGE = 'FILE COPY', ESTIMATE, 0)), 0) AS estimate, "
    "COALESCE(MAX(STATE = 'In Progress' AND STAGE IN ('FILE COPY', 'PAGE COPY', 'REDO COPY')), 0) AS receiving "
    "FROM performance_schema.clone_progress;"
)
CLONE_PROCESS = "SELECT PID AS process FROM performance_schema.clone_status WHERE STATE = 'In Progress';"
CLONE_RESULT = (
    "SELECT STATE AS state, ERROR_NO AS number, ERROR_MESSAGE AS message FROM performance_schema.clone_status;"
)
#: Asked at the source by the account that a copy reads with: how many of its connections from this host there are.
CONNECTIONS = (
    "SELECT COUNT(*) AS there FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() "
    "AND CONCAT(USER, '@', SUBSTRING_INDEX(HOST, ':', 1)) = USER() AND COMMAND NOT LIKE 'Binlog Dump%';"
)
USERS_SCHEMAS = (
    "SELECT SCHEMA_NAME AS name FROM information_schema.SCHEMATA "
    "WHERE SCHEMA_NAME NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') ORDER BY 1;"
)


def is_closed(record: Mapping[str, Any] | None) -> bool:
    """Whether a server is closed because of the copy that is recorded, and is so until the copy is complete."""
    return record is not None and record["phase"] not in SERVING


def room(data_bytes: int) -> int:
    """How many bytes a copy of so much data may need."""
    return int(data_bytes * ROOM) + SPARE_BYTES


def other_id(options: str, peer_id: int) -> int:
    """
    A server id that is neither this server's nor its peer's.

    options
        The text of this server's option file.
    """
    found = re.search(r"^server[_-]id\s*=\s*(\d+)", options, re.MULTILINE)
    return next(number for number in (LONGEST_ID - 1, LONGEST_ID - 2, LONGEST_ID - 3)
                if number not in (peer_id, int(found[1]) if found else None))  # fmt: skip


def clone_statements(peer: Peer, password: str, limit: int = 0) -> str:
    """
    Statements by which a MySQL server replaces all that it has by a copy of another one.

    limit
        The most MiB a second that the copy takes; 0 for as fast as it goes.
    """
    statements = (
        f"SET GLOBAL clone_valid_donor_list = {quote(f'{peer.host}:{peer.port}')};\n"
        f"SET GLOBAL clone_max_data_bandwidth = {limit};\n"
        f"SET GLOBAL clone_max_network_bandwidth = {limit};\n"
    )
    if peer.ca_file:
        statements += f"SET GLOBAL clone_ssl_ca = {quote(peer.ca_file)};\n"
    return statements + (
        f"CLONE INSTANCE FROM {quote(peer.user)}@{quote(peer.host)}:{peer.port} IDENTIFIED BY {quote(password)} "
        f"REQUIRE {'SSL' if peer.tls else 'NO SSL'};\n"
    )


def dump_options(schemas: Sequence[str]) -> list[str]:
    """What a MariaDB dump of these schemas is asked for: one moment of all, and that moment's position."""
    return ["--single-transaction", "--quick", "--master-data=2", "--routines", "--triggers", "--events",
            "--hex-blob", "--default-character-set=utf8mb4", "--databases", *schemas]  # fmt: skip


def position_sql(header: bytes) -> str | None:
    """
    The statement that asks a dump's source for the GTIDs, one a domain, of the moment that it is of; None when its
    beginning does not tell. (Where a dump names the GTIDs themselves is another place in each version.)
    """
    found = _POSITION.search(header)
    return f"SELECT BINLOG_GTID_POS({quote(found[1].decode())}, {int(found[2])}) AS position;" if found else None


def last_position(state: str) -> str:
    """The last GTID of each domain in a MariaDB server's binary log's state, which names it last."""
    found = mysql_gtid.parse_mariadb(state)
    last = {domain: f"{domain}-{server}-{spans[-1][1]}" for (domain, server), spans in found.items()}
    return ",".join(last.values())


def binlog_state(before: str, at: str) -> str:
    """
    A MariaDB server's binary log's state at a position, from its state a moment before: domains count on from there,
    and what other servers once wrote in a domain stays known.
    """
    state = dict(mysql_gtid.parse_mariadb(before))
    # The last GTID of a domain is the one to go on from, and the server takes the last that is named.
    for origin, spans in mysql_gtid.parse_mariadb(at).items():
        state.pop(origin, None)
        state[origin] = spans
    return ",".join(f"{domain}-{server}-{spans[-1][1]}" for (domain, server), spans in state.items())


def settle_statements(state: str, at: str) -> str:
    """Make a MariaDB server that was just loaded one that has the transactions up to a position."""
    return f"RESET MASTER;\nSET GLOBAL gtid_binlog_state = {quote(state)};\nSET GLOBAL gtid_slave_pos = {quote(at)};\n"


def pump(
    read: Callable[[], bytes | None],
    write: BinaryIO,
    limit: int,
    told: Callable[[int], None],
    idle: Callable[[], None] = lambda: None,
) -> bytes:
    """
    Pass all bytes on and return the first of them.

    read
        Returns some bytes, none at the end, and None after a while without any.
    limit
        The most MiB a second; 0 for as fast as it goes.
    told
        Is called with the number of bytes so far, once a second at most.
    idle
        Is called after each while without any, and raises when there is nothing more to hope for.
    """
    header, count = b"", 0
    began = said = time.monotonic()
    while (chunk := read()) != b"":
        if chunk is None:
            idle()
            continue
        write.write(chunk)
        if len(header) < HEADER:
            header += chunk[: HEADER - len(header)]
        count += len(chunk)
        now = time.monotonic()
        if now - said >= 1:
            told(count)
            said = now
        if limit:
            time.sleep(max(0.0, count / (limit << 20) - (now - began)))
    told(count)
    return header


def said(made: Mapping[str, Any], source: str, why: str = "") -> str:
    """What a copy was, for people."""
    sentence = f"A copy of {source} was made, {made['bytes'] / (1 << 20):.0f} MiB in {made['seconds']} s"
    sentence += BY.get(made.get("by", ""), "")
    sentence += f": {why}." if why else "."
    if made.get("why"):
        sentence += f" It was no stream of mariadb-backup: {made['why']}."
    if made["kept"]:
        sentence += f" What was here before is kept in {made['kept']} (mysql_data.discard deletes it)."
    if made["only_here"]:
        sentence += f" Only there are these transactions: {made['only_here']}."
    return sentence
