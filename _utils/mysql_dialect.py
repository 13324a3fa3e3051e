"""
What differs between MySQL and MariaDB, each difference in one place: words, statements, how answers are read.

Sources: MySQL 8.0, 8.4 and 9.7 reference manuals ("SQL Statements for Controlling Replica Servers"), MariaDB
knowledge base ("CHANGE MASTER TO", "SHOW ALL SLAVES STATUS"); each line is tried on real servers in the lab.
Knows nothing of Salt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import mysql_gtid
from mysql_client import Row, quote

#: The semi-sync source waits for acknowledgements "for ever": the longest that the server takes, in milliseconds.
FOREVER = {"mysql": 4294967295, "mariadb": 18446744073709551615}


#: What a receiver says of a source that is not there: CR_CONNECTION_ERROR, CR_CONN_HOST_ERROR and their like.
UNREACHABLE = ("2002", "2003", "2005", "2006", "2013")


class Dialect(NamedTuple):
    """One dialect; where a field says so, ``{}`` takes the name of what is meant."""

    name: str  # mysql, mariadb
    title: str
    versions: str  # which ones, in words
    oldest: tuple[int, ...]
    source: str  # how columns call where a replica reads from
    replica: str  # how columns and statements call the replica
    channel_sql: str
    channel_key: str  # the column that tells channels apart; ours is the one without a name
    heartbeat_sql: str
    auto_position: tuple[str, str]  # the column, its value when the replica asks by GTID
    executed: str  # everything that the binary log ever had
    purged: str  # what its oldest file no longer has; MariaDB tells with first_log_sql
    received: str  # the column with what was received
    gtid_mode: str
    uuid: str
    read_only: tuple[str, ...]  # the variables, the strongest first
    reload_tls: str
    semi_sync: Mapping[str, str]
    parse: Callable[[str | None], dict[mysql_gtid.Origin, mysql_gtid.Spans]]

    @property
    def is_mariadb(self) -> bool:
        return self.name == "mariadb"

    def start(self, threads: str = "") -> str:
        """Start the replica's threads: IO_THREAD, SQL_THREAD, or both."""
        return " ".join(filter(None, ["START", self.replica.upper(), threads])) + ";\n"

    def stop(self, threads: str = "") -> str:
        """Stop the replica's threads: IO_THREAD, SQL_THREAD, or both."""
        return " ".join(filter(None, ["STOP", self.replica.upper(), threads])) + ";\n"

    def forget(self) -> str:
        """How an operator makes the server forget where it replicates from."""
        return f"STOP {self.replica.upper()}; RESET {self.replica.upper()} ALL;"


MYSQL = Dialect(
    name="mysql",
    title="MySQL",
    versions="8.0.22 and newer",
    oldest=(8, 0, 22),
    source="Source",
    replica="Replica",
    channel_sql="SHOW REPLICA STATUS;",
    channel_key="Channel_Name",
    heartbeat_sql="SELECT HEARTBEAT_INTERVAL AS heartbeat FROM "
    "performance_schema.replication_connection_configuration WHERE CHANNEL_NAME = '';",
    auto_position=("Auto_Position", "1"),
    executed="@@GLOBAL.gtid_executed",
    purged="@@GLOBAL.gtid_purged",
    received="Retrieved_Gtid_Set",
    gtid_mode="@@GLOBAL.gtid_mode",
    uuid="@@GLOBAL.server_uuid",
    read_only=("super_read_only", "read_only"),
    reload_tls="ALTER INSTANCE RELOAD TLS;",
    semi_sync={
        "source": "rpl_semi_sync_source_enabled",
        "timeout": "rpl_semi_sync_source_timeout",
        "wait_point": "rpl_semi_sync_source_wait_point",
        "wait_no_replica": "rpl_semi_sync_source_wait_no_replica",
        "replica": "rpl_semi_sync_replica_enabled",
        "source_active": "Rpl_semi_sync_source_status",
        "replicas": "Rpl_semi_sync_source_clients",
        "replica_active": "Rpl_semi_sync_replica_status",
        "source_plugin": "semisync_source.so",
        "replica_plugin": "semisync_replica.so",
    },
    parse=mysql_gtid.parse_mysql,
)
MARIADB = Dialect(
    name="mariadb",
    title="MariaDB",
    versions="10.11 and newer",
    oldest=(10, 11),
    source="Master",
    replica="Slave",
    channel_sql="SHOW ALL SLAVES STATUS;",
    channel_key="Connection_name",
    heartbeat_sql="",
    auto_position=("Using_Gtid", "Slave_Pos"),
    executed="@@GLOBAL.gtid_binlog_state",
    purged="''",
    received="Gtid_IO_Pos",
    gtid_mode="'ON'",
    uuid="NULL",
    read_only=("read_only",),
    # Without LOCAL it would be written to the binary log, a transaction that the other server lacks.
    reload_tls="FLUSH LOCAL SSL;",
    semi_sync={
        "source": "rpl_semi_sync_master_enabled",
        "timeout": "rpl_semi_sync_master_timeout",
        "wait_point": "rpl_semi_sync_master_wait_point",
        "wait_no_replica": "rpl_semi_sync_master_wait_no_slave",
        "replica": "rpl_semi_sync_slave_enabled",
        "source_active": "Rpl_semi_sync_master_status",
        "replicas": "Rpl_semi_sync_master_clients",
        "replica_active": "Rpl_semi_sync_slave_status",
    },
    parse=mysql_gtid.parse_mariadb,
)
DIALECTS = {dialect.name: dialect for dialect in (MYSQL, MARIADB)}
# MySQL called these otherwise before 8.0.26, and the statement before 8.0.23.
_OLD_WORDS = (("semisync_source", "semisync_master"), ("semisync_replica", "semisync_slave"),
              ("sync_source", "sync_master"), ("sync_replica", "sync_slave"), ("no_replica", "no_slave"))  # fmt: skip


def version(text: str) -> tuple[int, ...]:
    """'11.8.6-MariaDB-0+deb13u1' as (11, 8, 6)."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text or "")
    return tuple(int(number) for number in found.groups() if number) if found else ()


def identify(text: str) -> Dialect:
    """The dialect of a server that calls its ``@@version`` so. Raises ValueError for one that is not supported."""
    dialect = MARIADB if "mariadb" in text.lower() else MYSQL
    if version(text) < dialect.oldest:
        raise ValueError(f"{dialect.title} {text} is not supported; supported: {dialect.versions}")
    if dialect is MYSQL and version(text) < (8, 0, 26):
        return dialect._replace(semi_sync={key: _older(word) for key, word in dialect.semi_sync.items()})
    return dialect


def _older(word: str) -> str:
    for new, old in _OLD_WORDS:
        word = word.replace(new, old)
    return word


_USERS = "table_schema NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')"
# How many tables users have, how many of these no copy is consistent with, and how much it all is.
_HOLDINGS = (
    f"(SELECT COUNT(*) FROM information_schema.tables WHERE {_USERS}) AS tables, "
    f"(SELECT COUNT(*) FROM information_schema.tables WHERE {_USERS} AND table_type = 'BASE TABLE' "
    f"AND engine <> 'InnoDB') AS other_engines, "
    f"(SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables "
    f"WHERE engine = 'InnoDB') AS data_bytes, "
    "(SELECT COUNT(*) FROM information_schema.user_privileges WHERE privilege_type = 'SELECT') AS sees"
)


def server_sql(dialect: Dialect) -> str:
    """The statement that asks what a server is and holds."""
    # MySQL keeps what it once said of a table's size for a day.
    fresh = "" if dialect.is_mariadb else "SET SESSION information_schema_stats_expiry = 0;\n"
    return (
        f"{fresh}SELECT @@GLOBAL.server_id AS server_id, @@version AS version, @@GLOBAL.log_bin AS log_bin, "
        f"{dialect.uuid} AS server_uuid, {dialect.gtid_mode} AS gtid_mode, {dialect.executed} AS gtids, "
        f"@@GLOBAL.read_only AS read_only, @@GLOBAL.datadir AS folder, {dialect.purged} AS purged, {_HOLDINGS};"
    )


def first_log_sql(name: str) -> str:
    """What a MariaDB server's binary log had before its oldest file, which is no longer there."""
    return f"SELECT BINLOG_GTID_POS({quote(name)}, 4) AS purged;"


def position_statements(position: str) -> str:
    """Tell a MariaDB replica, whose threads have to be stopped, how far it has come."""
    # In strict mode a position that the server's own binary log is ahead of is an error (1947), otherwise a warning.
    # Strict mode only judges what is replicated, and nothing is at that moment.
    return (
        f"SET GLOBAL gtid_strict_mode = OFF;\nSET GLOBAL gtid_slave_pos = {quote(position)};\n"
        "SET GLOBAL gtid_strict_mode = ON;\n"
    )


class Channel(NamedTuple):
    """Where a replica shall read from, and how."""

    host: str
    port: int
    user: str
    tls: bool = True
    ca_file: str = ""  # empty: the server's own way to verify, which MariaDB has from 11.4 on
    connect_retry: int = 1
    heartbeat: float = 0.25

    def differences(self, now: Mapping[str, object] | None) -> dict[str, dict[str, object]]:
        """What a ``channel`` has otherwise, as {field: {old, new}}; everything when there is none."""
        wanted = {
            "source": f"{self.host}:{self.port}",
            "user": self.user,
            "gtid": True,
            "tls": self.tls,
            "tls_verify": self.tls,
            "ca_file": self.ca_file,
            "connect_retry": self.connect_retry,
            "heartbeat": self.heartbeat,
        }
        have = now or {}
        return {field: {"old": have.get(field), "new": new} for field, new in wanted.items() if have.get(field) != new}


def change_statements(dialect: Dialect, channel: Channel, password: str, version_: tuple[int, ...] = ()) -> str:
    """Point the replica at a channel, without starting it; its threads have to be stopped."""
    common = {
        "HOST": quote(channel.host),
        "PORT": channel.port,
        "USER": quote(channel.user),
        "PASSWORD": quote(password),
        "SSL": int(channel.tls),
        "SSL_VERIFY_SERVER_CERT": int(channel.tls),
        "SSL_CA": quote(channel.ca_file),
        "CONNECT_RETRY": channel.connect_retry,
        "HEARTBEAT_PERIOD": channel.heartbeat,
    }
    if dialect.is_mariadb:
        terms = [f"MASTER_{key} = {value}" for key, value in common.items()]
        return f"CHANGE MASTER TO {', '.join([*terms, 'MASTER_USE_GTID = slave_pos'])};\n"
    # Without a limit: the default of 10 tries (8.4 and 9) is used up by an outage of ten minutes.
    common |= {"AUTO_POSITION": 1, "RETRY_COUNT": 0}
    terms = [f"SOURCE_{key} = {value}" for key, value in common.items()]
    terms.append(f"GET_SOURCE_PUBLIC_KEY = {int(not channel.tls)}")
    statement = f"CHANGE REPLICATION SOURCE TO {', '.join(terms)};\n"
    if version_ and version_ < (8, 0, 23):
        statement = statement.replace("REPLICATION SOURCE TO", "MASTER TO").replace("SOURCE_", "MASTER_")
    return statement


def move_statements(dialect: Dialect, host: str, port: int, heartbeat: float, version_: tuple[int, ...] = ()) -> str:
    """
    Point a replica at another source, everything else left as it is, the account and its password above all.

    heartbeat
        The present one, in seconds, which MySQL would otherwise forget (CHANGE REPLICATION SOURCE TO, manual).
    """
    common = {"HOST": quote(host), "PORT": port, "HEARTBEAT_PERIOD": heartbeat}
    if dialect.is_mariadb:
        terms = [f"MASTER_{key} = {value}" for key, value in common.items()]
        change = f"CHANGE MASTER TO {', '.join([*terms, 'MASTER_USE_GTID = slave_pos'])};\n"
    else:
        terms = [f"SOURCE_{key} = {value}" for key, value in {**common, "AUTO_POSITION": 1}.items()]
        change = f"CHANGE REPLICATION SOURCE TO {', '.join(terms)};\n"
        if version_ and version_ < (8, 0, 23):
            change = change.replace("REPLICATION SOURCE TO", "MASTER TO").replace("SOURCE_", "MASTER_")
    return dialect.stop() + change + dialect.start()


def channel(dialect: Dialect, rows: list[Row], heartbeat: str | None = None) -> dict[str, object] | None:
    """The replication without a name among the status rows, in this project's words; None when there is none."""
    row = next((one for one in rows if not one.get(dialect.channel_key)), None)
    source, replica = dialect.source, dialect.replica
    if row is None or not row.get(f"{source}_Host"):
        return None
    lag = row.get(f"Seconds_Behind_{source}")
    column, value = dialect.auto_position
    return {
        "source": f"{row[f'{source}_Host']}:{row[f'{source}_Port']}",
        "user": row.get(f"{source}_User"),
        "receiving": row.get(f"{replica}_IO_Running") == "Yes",
        "applying": row.get(f"{replica}_SQL_Running") == "Yes",
        "receiver_state": row.get(f"{replica}_IO_State") or "",
        "receiver_error": _error(row, "IO"),
        "applier_error": _error(row, "SQL"),
        "seconds_behind": None if lag is None else int(lag),
        "gtid": (row.get(column) or "").lower() == value.lower(),
        "gtid_received": (row.get(dialect.received) or "").replace("\n", ""),
        "tls": row.get(f"{source}_SSL_Allowed") == "Yes",
        "tls_verify": row.get(f"{source}_SSL_Verify_Server_Cert") == "Yes",
        "ca_file": row.get(f"{source}_SSL_CA_File") or "",
        "connect_retry": int(row.get("Connect_Retry") or 0),
        "heartbeat": float(heartbeat or row.get("Slave_heartbeat_period") or 0),
    }


def _error(row: Row, thread: str) -> str:
    number = row.get(f"Last_{thread}_Errno") or "0"
    return "" if number == "0" else f"{number}: {row.get(f'Last_{thread}_Error') or ''}"


def read_only_statements(dialect: Dialect, wanted: bool) -> str:
    """Close a server to writes, or open it. On MySQL super_read_only brings read_only; read_only=OFF clears both."""
    name = dialect.read_only[0] if wanted else dialect.read_only[-1]
    return f"SET GLOBAL {name} = {'ON' if wanted else 'OFF'};\n"


@contextmanager
def writable(ask: Callable[[str], list[Row]]) -> Iterator[None]:
    """
    Root may write meanwhile on a server that is read-only. Only MySQL's ``super_read_only`` stops root too; without it
    ``read_only`` still stops everybody else.

    ask
        Runs statements on that server.
    """
    rows = ask("SHOW GLOBAL VARIABLES LIKE 'super_read_only';")
    closed = bool(rows) and rows[0].get("Value") == "ON"
    if closed:
        ask("SET GLOBAL super_read_only = OFF;\n")
    try:
        yield
    finally:
        if closed:
            ask("SET GLOBAL super_read_only = ON;\n")
