"""
MariaDB's replication as facts and statements: GTID sets, accounts, channels. Knows nothing of Salt.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from mariadb_client import quote


def parse_gtids(text: str | None) -> dict[tuple[int, int], int]:
    """'1-1-5,2-2-3' as {(domain, server): highest sequence number}.

    The form of @@gtid_binlog_state, which lists each server that ever wrote in a domain (MariaDB manual,
    "Global Transaction ID"). Raises ValueError.
    """
    found: dict[tuple[int, int], int] = {}
    for gtid in filter(None, (part.strip() for part in (text or "").split(","))):
        domain, server, sequence = (int(number) for number in gtid.split("-"))
        found[domain, server] = max(sequence, found.get((domain, server), 0))
    return found


def contains(one: str | None, other: str | None) -> bool:
    """Whether a server with the set ``one`` has everything that is in ``other``."""
    mine = parse_gtids(one)
    return all(mine.get(source, 0) >= sequence for source, sequence in parse_gtids(other).items())


def why_not_joined(mine: str | None, peers: str | None) -> str:
    """Why two servers must not be joined by replication; empty when they may be.

    They may be when one has everything that the other has: nothing then has to be given up on either side.
    """
    if contains(mine, peers) or contains(peers, mine):
        return ""
    return (
        f"both servers hold transactions that the other lacks (here: {mine}; there: {peers}). Joining them would "
        "mix two histories. Decide which one is kept, and empty the other first"
    )


def native_hash(password: str) -> str:
    """What mysql_native_password stores: '*' and the doubled SHA-1 (MariaDB manual, "PASSWORD")."""
    twice = hashlib.sha1(hashlib.sha1(password.encode()).digest()).hexdigest()
    return "*" + twice.upper()


def account_query(user: str) -> str:
    """The statement that reads what there is of an account, on every host it may come from."""
    return (
        "SELECT Host, plugin, authentication_string, ssl_type, Repl_slave_priv FROM mysql.user "
        f"WHERE User = {quote(user)};\n"
    )


def account_is_right(row: dict[str, str | None], password: str) -> bool:
    """Whether a row of ``account_query`` is the replication account as we make it."""
    return (
        row["plugin"] == "mysql_native_password"
        and row["authentication_string"] == native_hash(password)
        and row["ssl_type"] == "ANY"
        and row["Repl_slave_priv"] == "Y"
    )


def account_statements(user: str, hosts: list[str], password: str) -> str:
    """Make the replication account right on these hosts, outside the binary log.

    Each server makes the same accounts for itself: in the binary log they would be transactions that the
    other lacks, and a server from empty would no longer be empty. Only the hash is sent.
    """
    lines = ["SET SESSION sql_log_bin = 0;"]
    for host in hosts:
        account = f"{quote(user)}@{quote(host)}"
        via = f"IDENTIFIED VIA mysql_native_password USING {quote(native_hash(password))} REQUIRE SSL"
        lines += [f"CREATE USER IF NOT EXISTS {account} {via};", f"ALTER USER {account} {via};",
                  f"GRANT REPLICATION SLAVE ON *.* TO {account};"]  # fmt: skip
    return "\n".join(lines) + "\n"


class Channel(NamedTuple):
    """Where a replica reads from."""

    host: str
    port: int
    user: str

    def differences(self, row: dict[str, str | None] | None) -> dict[str, dict[str, str | None]]:
        """What SHOW SLAVE STATUS has otherwise, as {field: {old, new}}; everything when there is no channel."""
        have = row or {}
        compared = {
            "source": (_address(have), f"{self.host}:{self.port}"),
            "user": (have.get("Master_User"), self.user),
            "gtid": (have.get("Using_Gtid"), "Slave_Pos"),
            "tls": (have.get("Master_SSL_Allowed"), "Yes"),
        }
        return {field: {"old": old, "new": new} for field, (old, new) in compared.items() if old != new}

    def statements(self, password: str) -> str:
        """Point the replica here and start it; a running one is stopped first."""
        return (
            "STOP SLAVE;\n"
            f"CHANGE MASTER TO MASTER_HOST = {quote(self.host)}, MASTER_PORT = {self.port}, "
            f"MASTER_USER = {quote(self.user)}, MASTER_PASSWORD = {quote(password)}, MASTER_USE_GTID = slave_pos, "
            "MASTER_SSL = 1, MASTER_SSL_VERIFY_SERVER_CERT = 1, MASTER_CONNECT_RETRY = 2, "
            "MASTER_HEARTBEAT_PERIOD = 1;\n"
            "START SLAVE;\n"
        )


def _address(row: dict[str, str | None]) -> str | None:
    return f"{row['Master_Host']}:{row['Master_Port']}" if row.get("Master_Host") else None


def summary(row: dict[str, str | None] | None) -> dict[str, object] | None:
    """SHOW SLAVE STATUS in this project's words."""
    if row is None:
        return None
    lag = row.get("Seconds_Behind_Master")
    return {
        "source": _address(row),
        "user": row.get("Master_User"),
        "receiving": row.get("Slave_IO_Running") == "Yes",
        "applying": row.get("Slave_SQL_Running") == "Yes",
        "receiver_state": row.get("Slave_IO_State") or "",
        "receiver_error": _error(row, "IO"),
        "applier_error": _error(row, "SQL"),
        "tls": row.get("Master_SSL_Allowed") == "Yes",
        "gtid": row.get("Using_Gtid"),
        "gtid_received": row.get("Gtid_IO_Pos") or "",
        "seconds_behind": None if lag is None else int(lag),
    }


def _error(row: dict[str, str | None], thread: str) -> str:
    number = row.get(f"Last_{thread}_Errno") or "0"
    return "" if number == "0" else f"{number}: {row.get(f'Last_{thread}_Error') or ''}"
