"""
Replication between this minion's MariaDB server and its peer.
"""

import time

from salt.exceptions import CommandExecutionError

import mariadb_client
import mariadb_replication
from mariadb_client import SqlError

__virtualname__ = "mysql_replication"

PASSWORD_KEY = "mysql_ha:secrets:replication"  # noqa: S105 - where the password is, not the password
SYSTEM_SCHEMAS = "'mysql', 'information_schema', 'performance_schema', 'sys'"


def __virtual__():
    return __virtualname__


def status():
    """
    Where this server replicates from and how it goes: ``source``, ``receiving``, ``applying``,
    ``receiver_error``, ``applier_error``, ``seconds_behind`` (None while not applying) and so on; None
    when it replicates from nowhere.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_replication.status
    """
    return mariadb_replication.summary(_channel_row())


def server():
    """
    What this server is and holds: ``server_id``, ``version``, ``log_bin`` (bool), ``gtids`` (everything
    that its binary log ever had, domain-server-number) and ``unlogged_tables`` (how many tables of users
    it has although its binary log never had anything).

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_replication.server
    """
    row = _local(
        "SELECT @@server_id AS server_id, @@version AS version, @@log_bin AS log_bin, "
        "@@gtid_binlog_state AS gtids, (SELECT COUNT(*) FROM information_schema.tables WHERE table_schema "
        f"NOT IN ({SYSTEM_SCHEMAS})) AS tables;"
    )[0]
    gtids = row["gtids"] or ""
    return {
        "server_id": int(row["server_id"]),
        "version": row["version"],
        "log_bin": row["log_bin"] == "1",
        "gtids": gtids,
        "unlogged_tables": 0 if gtids else int(row["tables"]),
    }


def peer(host, port, user, wait=0):
    """
    What the server over there holds (``server_id``, ``gtids``), read over TLS with the replication account;
    None when it does not let us in.

    host, port, user
        The server over there (an IPv4 address), its port (1 to 65535) and the replication account.

    wait
        For how many seconds (0 to 600) to try.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_replication.peer 192.168.1.6 3306 repl
    """
    end = time.monotonic() + wait
    sql = "SELECT @@server_id AS server_id, @@gtid_binlog_state AS gtids;"
    while True:
        try:
            row = mariadb_client.remote(host, port, user, _password(), sql)[0]
            return {"server_id": int(row["server_id"]), "gtids": row["gtids"] or ""}
        except SqlError:
            if time.monotonic() >= end:
                return None
        time.sleep(1)


def wrong_accounts(user, hosts):
    """
    Those of the hosts from which the replication account cannot log in as it should: it is missing, or
    has another password, no TLS requirement, or no right to replicate.

    user, hosts
        The account's name and a list of the addresses that it comes from.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_replication.wrong_accounts repl '["192.168.1.5", "192.168.1.6"]'
    """
    password = _password()
    right = {row["Host"] for row in _local(mariadb_replication.account_query(user))
             if mariadb_replication.account_is_right(row, password)}  # fmt: skip
    return [host for host in hosts if host not in right]


def make_accounts(user, hosts):
    """
    Make the replication account right for these hosts, outside the binary log. The password is
    ``mysql_ha:secrets:replication``.

    user, hosts
        The account's name and a list of the addresses that it comes from.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_replication.make_accounts repl '["192.168.1.5", "192.168.1.6"]'
    """
    _local(mariadb_replication.account_statements(user, hosts, _password()))


def differences(host, port, user, fresh=False):
    """
    What a replication from there would change in the present channel, as ``{field: {old, new}}``.

    host, port, user
        The server over there (an IPv4 address), its port (1 to 65535) and the replication account.

    fresh
        Compare with a server that replicates from nowhere, without asking this one.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_replication.differences 192.168.1.6 3306 repl
    """
    return mariadb_replication.Channel(host, port, user).differences(None if fresh else _channel_row())


def why_not_joined(mine, peers):
    """
    Why servers with these GTID sets must not replicate from each other; empty when they may.

    mine, peers
        ``@@gtid_binlog_state`` of this server and of its peer.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_replication.why_not_joined 1-1-5 2-2-3
    """
    return mariadb_replication.why_not_joined(mine, peers)


def replicate_from(host, port, user):
    """
    Point this server at another one (GTID, TLS with verification) and start. Compares nothing: the state
    ``mysql_replication.replicating`` decides whether this is safe.

    host, port, user
        The server over there (an IPv4 address), its port (1 to 65535) and the replication account.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_replication.replicate_from 192.168.1.6 3306 repl
    """
    _local(mariadb_replication.Channel(host, port, user).statements(_password()))


def start():
    """
    Start a replication that somebody stopped.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_replication.start
    """
    _local("START SLAVE;")


def settled(wait=30):
    """
    The status once both threads run or one of them has failed for good.

    wait
        The most seconds to wait, 0 to 600.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_replication.settled wait=5
    """
    end = time.monotonic() + wait
    while True:
        now = status()
        if now is None or (now["receiving"] and now["applying"]) or now["applier_error"] or time.monotonic() >= end:
            return now
        time.sleep(0.5)


def _channel_row():
    found = _local("SHOW SLAVE STATUS;")
    return found[0] if found else None


def _local(sql):
    try:
        return mariadb_client.local(sql)
    except SqlError as error:
        raise CommandExecutionError(f"MariaDB on {__grains__['id']}: {error}") from error


def _password():
    password = __salt__["config.get"](PASSWORD_KEY, default=None)
    if not password:
        raise CommandExecutionError(f"{PASSWORD_KEY}: is not set for {__grains__['id']}")
    return str(password)
