"""
Replication between this minion's MySQL or MariaDB server and its peer, in one vocabulary for both.
"""

import time
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

import mysql_client
import mysql_dialect
import mysql_gtid
from mysql_client import SqlError

__virtualname__ = "mysql_replication"

PASSWORD_KEY = "mysql_ha:secrets:replication"  # noqa: S105 - where the password is, not the password
HIDDEN = {"old": "(hidden)", "new": "(hidden)"}
# The line of MariaDB's master.info that holds the password (sql/rpl_mi.cc), counted from 0.
MASTER_INFO_PASSWORD = 5


def __virtual__():
    return __virtualname__


def status():
    """
    Where this server replicates from and how it goes: ``source``, ``receiving``, ``applying``, ``receiver_error``,
    ``applier_error``, ``seconds_behind`` (None while not applying), ``gtid``, ``tls`` and so on; None when it
    replicates from nowhere.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_replication.status
    """
    return _status(_dialect())


def server():
    """
    What this server is and holds: ``flavor``, ``version``, ``server_id``, ``server_uuid`` (MySQL), ``log_bin`` and
    ``gtid_mode`` (bool), ``read_only`` (bool), ``gtids`` (everything that its binary log ever had), ``purged`` (what of
    that its oldest file no longer has), ``tables`` (how many its users have), ``other_engines`` (how many of these are
    not InnoDB's), ``data_bytes``, ``folder`` (its data directory) and ``verifies_alone`` (whether it can check a peer's
    certificate without a CA).

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_replication.server
    """
    return _facts(_dialect(), _local)


def peer(source, wait=0):
    """
    What another server is and holds, as :py:func:`server` says it, read with the replication account; None when it
    does not let us in, or not see what it holds.

    source
        ``host``, ``port`` (1 to 65535), ``user``; ``tls`` (true) and ``ca_file`` (empty).

    wait
        For how many seconds (0 to 600) to try.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_replication.peer '{host: 192.168.1.6, port: 3306, user: repl}'
    """
    channel = _channel(source)
    there = mysql_client.Peer(channel.host, channel.port, channel.user, channel.tls, channel.ca_file)
    end = time.monotonic() + wait

    def ask(sql):
        return mysql_client.remote(there, _password(), sql)

    while True:
        try:
            dialect = mysql_dialect.identify(ask("SELECT @@version AS version;")[0]["version"])
            found = _facts(dialect, ask)
            if found["sees"]:
                return found
        except ValueError as error:
            raise CommandExecutionError(f"{channel.host}: {error}") from error
        except SqlError:
            pass
        if time.monotonic() >= end:
            return None
        time.sleep(1)


def compare(one, other):
    """
    Hold the transactions of two servers against each other: ``relation`` (equal, ahead, behind, diverged: as seen
    from the first), ``only_here`` and ``only_there``. Equal sets do not prove equal data.

    one, other
        What :py:func:`server` or :py:func:`peer` returned.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_replication.compare '{flavor: mariadb, gtids: 1-1-5}' '{flavor: mariadb, gtids: 1-1-7}'
    """
    if one["flavor"] != other["flavor"]:
        raise CommandExecutionError(f"{one['flavor']} and {other['flavor']} count transactions in different ways")
    dialect = mysql_dialect.DIALECTS[one["flavor"]]
    try:
        sets = [dialect.parse(found["gtids"]) for found in (one, other)]
    except ValueError as error:
        raise SaltInvocationError(f"gtids: {error}") from error
    return dict(mysql_gtid.compare(*sets, dialect.is_mariadb)._asdict())


def errant(source, wait=10):
    """
    Transactions of this server that its peer did not get within some seconds: errant ones, or the peer's
    replication does not run. Empty when there are none; None when the peer does not let us in.

    source
        As for :py:func:`peer`.

    wait
        How many seconds (1 to 600) a transaction may take to get there.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_replication.errant '{host: 192.168.1.6, port: 3306, user: repl}'
    """
    here = server()
    dialect = mysql_dialect.DIALECTS[here["flavor"]]
    mine = dialect.parse(here["gtids"])
    end = time.monotonic() + wait
    while True:
        there = peer(source)
        if there is None:
            return None
        left = mysql_gtid.subtract(mine, dialect.parse(there["gtids"]))
        if not left or time.monotonic() >= end:
            return mysql_gtid.text(left, dialect.is_mariadb)
        time.sleep(0.5)


def differences(source, fresh=False):
    """
    What a replication from there would change in the present one, as ``{field: {old, new}}``; passwords are hidden.

    source
        As for :py:func:`peer`, and ``connect_retry`` (seconds, 1) and ``heartbeat`` (seconds, 0.25).

    fresh
        Compare with a server that replicates from nowhere, without asking this one.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_replication.differences '{host: 192.168.1.6, port: 3306, user: repl}'
    """
    if fresh:
        return _channel(source).differences(None)
    dialect = _dialect()
    now = _status(dialect)
    found = _channel(source).differences(now)
    if now is not None and _stored_password(dialect) not in (None, _password()):
        found["password"] = HIDDEN
    return found


def replicate_from(source):
    """
    Point this server at another one (by GTID) and start. Compares nothing: the state
    ``mysql_replication.replicating`` decides whether this is safe.

    source
        As for :py:func:`differences`.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_replication.replicate_from '{host: 192.168.1.6, port: 3306, user: repl}'
    """
    text = _version()
    dialect = _identify(text)
    change = mysql_dialect.change_statements(dialect, _channel(source), _password(), mysql_dialect.version(text))
    stop = dialect.stop() if _status(dialect) is not None else ""
    _local(stop + change + _own_position(dialect, source) + dialect.start())


def start(source=None):
    """
    Start a replication that somebody stopped, or that stopped at an error.

    source
        As for :py:func:`peer`, where this server reads from: MariaDB then goes on also from a source that was made anew
        meanwhile.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_replication.start
    """
    dialect = _dialect()
    if source is None:
        _local(dialect.start())
    else:
        _local(dialect.stop() + _own_position(dialect, source) + dialect.start())


def _own_position(dialect, source):
    """MariaDB: what this server wrote itself it need not get back."""
    there = peer(source) if dialect.is_mariadb else None
    if there is None:
        return ""
    row = _local("SELECT @@GLOBAL.gtid_slave_pos AS position, @@GLOBAL.gtid_domain_id AS domain;")[0]
    position = row["position"] or ""
    wanted = mysql_gtid.with_own(position, there["gtids"], row["domain"], str(server()["server_id"]))
    return mysql_dialect.position_statements(wanted) if wanted != position else ""


def stop():
    """
    Stop receiving and applying. Nothing is forgotten: :py:func:`start` goes on where it ended.

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_replication.stop
    """
    _local(_dialect().stop())


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


def forget():
    """
    How an operator makes this server forget where it replicates from: statements to type, not done here.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_replication.forget
    """
    return _dialect().forget()


def is_read_only():
    """
    Whether this server takes writes from nobody: ``super_read_only`` on MySQL, ``read_only`` on MariaDB (which
    accounts with READ ONLY ADMIN pass by). None when MySQL's ``read_only`` alone is on.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_replication.is_read_only
    """
    names = _dialect().read_only
    row = _local(f"SELECT @@GLOBAL.{names[0]} AS strongest, @@GLOBAL.{names[-1]} AS weakest;")[0]
    if row["strongest"] == row["weakest"]:
        return row["weakest"] == "1"
    return None


def set_read_only(closed):
    """
    Close this server to writes, or open it. Closing waits for commits that are under way, at most 30 seconds.

    closed
        Whether it shall be closed.

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_replication.set_read_only true
    """
    if not isinstance(closed, bool):
        raise SaltInvocationError(f"closed: is {closed!r}; allowed: true, false")
    _local(mysql_dialect.read_only_statements(_dialect(), closed))


def semi_sync():
    """
    Semi-synchronous replication on this server: ``source`` and ``replica`` (whether it waits for acknowledgements,
    and whether it gives them), ``timeout`` (milliseconds), ``source_active``, ``replica_active`` and ``replicas``
    (how many acknowledge). ``source_active`` proves nothing about single commits.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_replication.semi_sync
    """
    words = _dialect().semi_sync
    variables = _named("SHOW GLOBAL VARIABLES LIKE 'rpl_semi_sync_%';")
    counters = _named("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_%';")
    return {
        "source": variables.get(words["source"]) == "ON",
        "replica": variables.get(words["replica"]) == "ON",
        "timeout": int(variables.get(words["timeout"]) or 0),
        "source_active": counters.get(words["source_active"].lower()) == "ON",
        "replica_active": counters.get(words["replica_active"].lower()) == "ON",
        "replicas": int(counters.get(words["replicas"].lower()) or 0),
    }


def set_semi_sync(source=None, replica=None, timeout=None):
    """
    Switch the two sides of semi-synchronous replication on or off, now and until the next start. The plugins are
    installed where they are missing. A replica that begins to acknowledge connects to its source again, which must have
    its own side on by then: switch the source on first.

    source, replica
        Whether this server waits for acknowledgements and whether it gives them; None leaves that as it is.

    timeout
        For how many milliseconds a commit waits before the server gives semi-sync up; None: for ever.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_replication.set_semi_sync source=true replica=false
    """
    dialect = _dialect()
    words = dialect.semi_sync
    for side in ("source", "replica"):
        if f"{side}_plugin" in words:
            _install_plugin(words[f"{side}_plugin"])
    before = semi_sync()
    statements = ""
    if source is not None:
        longest = mysql_dialect.FOREVER[dialect.name]
        statements += f"SET GLOBAL {words['timeout']} = {longest if timeout is None else int(timeout)};\n"
        statements += f"SET GLOBAL {words['wait_no_replica']} = ON;\n"
        statements += f"SET GLOBAL {words['wait_point']} = 'AFTER_SYNC';\n"
        statements += f"SET GLOBAL {words['source']} = {'ON' if source else 'OFF'};\n"
    if replica is not None and (replica != before["replica"] or replica != before["replica_active"]):
        statements += f"SET GLOBAL {words['replica']} = {'ON' if replica else 'OFF'};\n"
        now = _status(dialect)
        if now is not None and (now["receiving"] or now["receiver_state"]):
            # The source is told when the receiver connects, and only asks to be told while its own side is on.
            statements += dialect.stop("IO_THREAD") + dialect.start("IO_THREAD")
    _local(statements)


def _install_plugin(library):
    name = "rpl_" + library.removesuffix(".so").replace("semisync", "semi_sync")
    found = _local(f"SELECT COUNT(*) AS there FROM information_schema.PLUGINS WHERE PLUGIN_NAME = '{name}';")
    if found[0]["there"] == "0":
        _local(f"INSTALL PLUGIN {name} SONAME '{library}';")


def _named(sql):
    return {row["Variable_name"].lower(): row["Value"] for row in _local(sql)}


def _status(dialect):
    rows = _local(dialect.channel_sql)
    heartbeat = _local(dialect.heartbeat_sql) if dialect.heartbeat_sql and rows else []
    return mysql_dialect.channel(dialect, rows, heartbeat[0]["heartbeat"] if heartbeat else None)


def _facts(dialect, ask):
    row = ask(mysql_dialect.server_sql(dialect))[0]
    purged = row["purged"] or ""
    if dialect.is_mariadb and row["log_bin"] == "1":
        logs = ask("SHOW BINARY LOGS;")
        purged = (ask(mysql_dialect.first_log_sql(logs[0]["Log_name"]))[0]["purged"] or "") if logs else ""
    return {
        "flavor": dialect.name,
        "version": row["version"],
        "server_id": int(row["server_id"]),
        "server_uuid": row["server_uuid"] or "",
        "log_bin": row["log_bin"] == "1",
        "gtid_mode": row["gtid_mode"] == "ON",
        "read_only": row["read_only"] == "1",
        "gtids": (row["gtids"] or "").replace("\n", ""),
        "purged": purged.replace("\n", ""),
        "tables": int(row["tables"]),
        "other_engines": int(row["other_engines"]),
        "data_bytes": int(row["data_bytes"]),
        "folder": row["folder"].rstrip("/"),
        "sees": row["sees"] != "0",
        "verifies_alone": dialect.is_mariadb and mysql_dialect.version(row["version"]) >= (11, 4),
    }


def _stored_password(dialect):
    """The password that this server logs in with at its source, None when that cannot be read."""
    if not dialect.is_mariadb:
        sql = "SELECT HEX(User_password) AS password FROM mysql.slave_master_info WHERE Channel_name = '';"
        rows = _local(sql)
        return bytes.fromhex(rows[0]["password"] or "").decode(errors="replace") if rows else None
    folder = _local("SELECT @@GLOBAL.datadir AS folder;")[0]["folder"]
    try:
        return Path(folder, "master.info").read_text(encoding="utf-8").split("\n")[MASTER_INFO_PASSWORD]
    except (OSError, ValueError, IndexError):
        return None


def _channel(source):
    try:
        return mysql_dialect.Channel(**source)
    except TypeError as error:
        raise SaltInvocationError(
            f"source: is {source!r}; allowed: host, port, user, tls, ca_file, connect_retry, heartbeat"
        ) from error


def _version():
    return _local("SELECT @@version AS version;")[0]["version"]


def _identify(text):
    try:
        return mysql_dialect.identify(text)
    except ValueError as error:
        raise CommandExecutionError(str(error)) from error


def _dialect():
    return _identify(_version())


def _local(sql):
    try:
        return mysql_client.local(sql)
    except SqlError as error:
        raise CommandExecutionError(f"the database server on {__grains__['id']}: {error}") from error


def _password():
    password = __salt__["config.get"](PASSWORD_KEY, default=None)
    if not password:
        raise CommandExecutionError(f"{PASSWORD_KEY}: is not set for {__grains__['id']}")
    return str(password)
