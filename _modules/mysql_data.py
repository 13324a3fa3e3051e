"""
The data directory of this minion's MySQL or MariaDB server: made anew, kept aside, replaced by a copy of its peer's.
"""

import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

import host_programs
import mysql_backup_jobs
import mysql_client
import mysql_copy
import mysql_copy_stream
import mysql_dialect
import mysql_gtid
import mysql_join
import pinned_tls
from host_programs import ProgramError
from mysql_backups import BackupError
from mysql_client import SqlError
from pinned_tls import MeetingError

__virtualname__ = "mysql_data"

PASSWORD_KEY = "mysql_ha:secrets:replication"  # noqa: S105 - where the password is, not the password
# What is under way, for whoever goes on after an interruption; and who is at it.
RECORD = Path("/var/lib/mysql_ha/copy.json")
LOCK = Path("/var/lib/mysql_ha/copy.lock")
# Beside the formula's own option file and read after it: while it is there nobody else reaches the server.
CLOSED_NAME = "zzz-mysql_ha-copying.cnf"
CLOSED = """\
# Written by Salt (mysql_data): a copy of another server is being made here. Gone when it is complete.
[mysqld]
skip_networking = ON
skip_{replica}_start = ON
"""
# A server takes no transaction that has its own id, and what this one wrote while the copy came in is only to be had
# from the other one.
OTHER_ID = """\
server_id = {server_id}
event_scheduler = OFF
"""
ASIDE, PART = ".before-", ".part-"
EVENT = "mysql_ha/data/copy"
HAND_OVER_SECONDS = 10
IDLE_SECONDS = 5
CATCH_UP_SECONDS = 0.5
RESTART_SECONDS = 600
COPY_SECONDS = 7 * 86400


def __virtual__():
    return __virtualname__


def status():
    """
    The copy that is being made here, or that was interrupted: ``source``, ``phase`` (receiving and preparing, in which
    this server still serves; keeping, copying, settling, opening; abandoning), ``done`` and ``of`` (bytes; ``of`` is an
    estimate), ``started`` (seconds since the epoch), ``kept`` (where what was here before is), ``limit``, this server's
    ``service``, ``flavor``, ``config`` and ``folder``, and ``running``; None when there is none.

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_data.status
    """
    try:
        record = json.loads(RECORD.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CommandExecutionError(f"{RECORD} cannot be read: {error}") from error
    return record | {"running": _is_locked()}


def kept(folder="/var/lib/mysql"):
    """
    What was kept aside when this server's data were replaced: {path: bytes}, the oldest first.

    folder
        The data directory.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_data.kept
    """
    place = Path(folder)
    found = sorted(path for path in place.parent.glob(f"{place.name}{ASIDE}*") if path.is_dir())
    return {str(path): _size(path) for path in found}


def discard(path, folder="/var/lib/mysql"):
    """
    Delete what was kept aside, for good.

    path
        One of :py:func:`kept`.

    folder
        The data directory.

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_data.discard /var/lib/mysql.before-20261124T133000
    """
    known = kept(folder)
    if path not in known:
        raise SaltInvocationError(f"path: is {path!r}; allowed: {', '.join(known) or 'nothing is kept aside'}")
    record = status()
    if record is not None and record["kept"] == path:
        raise CommandExecutionError(
            f"{path} is what was here before the copy that is not complete (mysql_data.status): complete it or give it "
            "up (mysql_data.abandon) first"
        )
    shutil.rmtree(path)
    return known[path]


def leftovers(folder="/var/lib/mysql"):
    """
    Parts of copies that were interrupted, and that nothing needs any more: {path: bytes}.

    folder
        The data directory.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_data.leftovers
    """
    record = status() or {"running": False}
    if record["running"]:
        return {}
    return {str(path): _size(path) for path in _parts(folder, record)}


def sweep(folder="/var/lib/mysql"):
    """
    Delete :py:func:`leftovers`, and return them.

    folder
        The data directory.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_data.sweep
    """
    with _lock():
        record = status() or {}
        found = {str(path): _size(path) for path in _parts(folder, record)}
        _swept(folder, record)
    return found


def _parts(folder, record):
    place = Path(folder)
    needed = (record.get("prepared") or {}).get("folder")
    return sorted(path for path in place.parent.glob(f"{place.name}{PART}*") if str(path) != needed)


def _swept(folder, record):
    """Without what interrupted copies left. Only for who holds the lock."""
    for path in _parts(folder, record):
        shutil.rmtree(path)
    if record and not mysql_copy.is_closed(record):
        RECORD.unlink()


def is_missing(folder):
    """
    Whether there is no data directory, or an empty one, so that a server could not start.

    folder
        The data directory.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_data.is_missing /var/lib/mysql
    """
    place = Path(folder)
    return not place.is_dir() or not {path.name for path in place.iterdir()} - {"lost+found"}


def folder(flavor):
    """
    The data directory: the running server's, or where a server that does not run would look for one.

    flavor
        ``mariadb`` or ``mysql``.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_data.folder mariadb
    """
    try:
        return mysql_client.local("SELECT @@GLOBAL.datadir AS folder;")[0]["folder"].rstrip("/")
    except SqlError:
        return _folder_at_start(flavor)


def is_copyable(flavor):
    """
    Whether a copy of this server can be made over the network, and one of another server here: what that needs is
    there (MariaDB's mariadb-dump, MySQL's clone plugin), and a server that has tables has a transaction, too, that a
    copy can go on from.

    flavor
        ``mariadb`` or ``mysql``.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_data.is_copyable mysql
    """
    return _has_copier(flavor) and not _lacks_history()


def make_copyable(flavor):
    """
    Let MySQL load its clone plugin, now and at each start; raises where something has to be installed. A server with
    tables from before its binary log begins that by a statement that changes nothing.

    flavor
        ``mariadb`` or ``mysql``.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_data.make_copyable mysql
    """
    if not _has_copier(flavor):
        if flavor == "mariadb":
            raise CommandExecutionError("mariadb-dump is not installed; it comes with the client (mariadb-client)")
        with mysql_dialect.writable(_local):
            _local("SET SESSION sql_log_bin = 0;\nINSTALL PLUGIN clone SONAME 'mysql_clone.so';")
    if _lacks_history():
        with mysql_dialect.writable(_local):
            _local(_FIRST_TRANSACTION)


def _has_copier(flavor):
    return bool(mysql_client.program("mariadb-dump") if flavor == "mariadb" else _local(_CLONE_PLUGIN))


def _lacks_history():
    server = __salt__["mysql_replication.server"]()
    # Without a binary log there is nothing to begin: the server waits for a restart with its new configuration.
    return server["log_bin"] and mysql_join.lacks_history(server)


def _local(sql):
    try:
        return mysql_client.local(sql)
    except SqlError as error:
        raise CommandExecutionError(f"the database server on {__grains__['id']}: {error}") from error


# Both servers log it whether there is such a table or not.
_FIRST_TRANSACTION = "DROP TABLE IF EXISTS mysql.mysql_ha_begins_its_binary_log;"
_CLONE_PLUGIN = "SELECT PLUGIN_NAME AS name FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'clone';"


def initialise(flavor, folder):
    """
    Make a data directory with nothing in it but the system's tables; root comes in over the unix socket, as after the
    installation of the package. The server must be stopped.

    flavor
        ``mariadb`` or ``mysql``.

    folder
        The data directory, which must be absent or empty.

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_data.initialise mariadb /var/lib/mysql
    """
    if not is_missing(folder):
        raise CommandExecutionError(f"{folder} is not empty; nothing was changed")
    place = Path(folder)
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        place.chmod(0o700)
        shutil.chown(place, "mysql", "mysql")
    except (OSError, LookupError) as error:
        raise CommandExecutionError(f"{folder} could not be made: {error}") from error
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(_FIRST_STATEMENTS)
        file.flush()
        Path(file.name).chmod(0o644)
        words = {
            "mariadb": ["mariadb-install-db", "--user=mysql", f"--datadir={folder}", "--skip-test-db",
                        "--auth-root-authentication-method=socket"],
            "mysql": ["mysqld", "--initialize-insecure", "--user=mysql", f"--datadir={folder}",
                      f"--init-file={file.name}"],
        }[flavor]  # fmt: skip
        _program(words, RESTART_SECONDS)


# As Debian's package does it.
_FIRST_STATEMENTS = """\
SET SESSION sql_log_bin = 0;
INSTALL PLUGIN auth_socket SONAME 'auth_socket.so';
ALTER USER 'root'@'localhost' IDENTIFIED WITH 'auth_socket';
CREATE USER 'debian-sys-maint'@'localhost' IDENTIFIED WITH 'auth_socket' AS 'root';
GRANT ALL ON *.* TO 'debian-sys-maint'@'localhost' WITH GRANT OPTION;
"""


def introduce():
    """
    Make a key and a certificate for one stream of a MariaDB server's files, if mariadb-backup is installed. The key
    stays here, and is removed after the stream. Returns what :py:func:`offer` does.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_data.introduce
    """
    if mysql_copy_stream.series():
        try:
            pinned_tls.introduce(mysql_copy_stream.FOLDER)
        except (MeetingError, OSError) as error:
            return {"certificate": "", "series": "", "why": str(error)}
    return offer()


def offer():
    """
    With what this host takes part in a stream: the ``certificate`` that :py:func:`introduce` made last, which is no
    secret, and the ``series`` of mariadb-backup (10.11); or ``why`` it does not.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_data.offer
    """
    found = {"certificate": "", "series": mysql_copy_stream.series(), "why": ""}
    if not found["series"]:
        return found | {"why": f"mariadb-backup is not installed on {__grains__['id']}"}
    try:
        return found | {"certificate": pinned_tls.certificate(mysql_copy_stream.FOLDER)}
    except MeetingError as error:
        return found | {"why": f"{__grains__['id']}: {error}"}


def send(address, port, peer, limit=0):
    """
    Stream this MariaDB server's files to a host that waits for them in :py:func:`copy_from`, by mariadb-backup and
    over TLS between exactly two certificates. This server serves on. Returns ``bytes`` and ``seconds``, and ``why``
    nothing was sent when the two hosts did not meet (the other one then makes do with a dump).

    address, port
        Where the other host listens.

    peer
        Its certificate, as its :py:func:`introduce` returned it.

    limit
        The most MiB a second, a whole number; 0 for as fast as it goes.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_data.send 192.168.1.6 4444 '-----BEGIN CERTIFICATE-----...' limit=50
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
        raise SaltInvocationError(f"limit: is {limit!r}; allowed: a whole number of MiB a second, 0 or more")
    began = time.monotonic()
    try:
        count, why = mysql_copy_stream.send(address, int(port), peer, limit), ""
    except MeetingError as error:
        count, why = 0, str(error)
    except (BackupError, SqlError, OSError) as error:
        raise CommandExecutionError(f"The server on {__grains__['id']} was not copied: {error}") from error
    return {"bytes": count, "seconds": round(time.monotonic() - began, 1), "why": why}


def copy_from(source, service, flavor, config, keep=True, limit=0, stream=None):
    """
    Replace what this server has by a copy of another one, which serves on meanwhile. This server is closed until the
    copy is complete: nobody but root reaches it. A copy that was interrupted begins again, or goes on. Afterwards the
    server replicates from nowhere.

    source
        As for ``mysql_replication.peer``.

    service, flavor, config
        The service's name, ``mariadb`` or ``mysql``, and the formula's option file.

    keep
        Keep the present data directory aside; false only for a server that holds nothing.

    limit
        The most MiB a second; 0 for as fast as it goes.

    stream
        MariaDB: where the other one's files come in from its :py:func:`send` at the same time, while this server serves
        on: ``address`` and ``port`` to listen at, and the other one's ``certificate``. Where the two do not meet, and
        with None, a dump is made.

    Returns what was copied: ``bytes``, ``seconds``, ``kept`` (a path, or empty), ``only_here`` (transactions that
    are nowhere but there), ``by`` (stream, dump, clone; empty for what was complete already) and ``why`` there was no
    stream, if one was asked for. Raises CommandExecutionError; what was done until then is recorded, and the next call
    goes on from there.

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_data.copy_from '{host: 192.168.1.5, port: 3306, user: repl}' mariadb mariadb \\
            /etc/mysql/mariadb.conf.d/90-mysql_ha.cnf
    """
    with _lock() as lock:
        began = time.time()
        begun = status()
        if begun is not None and begun["phase"] == "opening":
            # It is complete, and its source is not needed any more.
            _turn_away(stream)
            _open(begun)
            return _made(begun, began, "", "")
        try:
            there, place, before = _looked_at(source, flavor)
        except CommandExecutionError:
            _turn_away(stream)
            raise
        record = {"source": _address(source), "phase": "keeping" if keep else "copying", "started": began, "done": 0,
                  "of": there["data_bytes"], "kept": "", "limit": limit, "service": service, "flavor": flavor,
                  "config": config, "folder": place}  # fmt: skip
        why = ""
        if before is not None:
            record |= {key: before[key] for key in ("phase", "kept", "only_here", "prepared") if key in before}
            _still_good(record, there, flavor)
            _swept(place, record)
            _turn_away(stream)
            why = "one that was interrupted went on" if stream else ""
        elif stream and flavor == "mariadb" and keep:
            why = _receive(record, stream, there, place, lock)
        if record["phase"] == "keeping" and __salt__["mysql_server.answers"]():
            record["only_here"] = _hand_over(source)
        try:
            by = _copy(record, source, there, afresh=before is not None)
        except (SqlError, OSError) as error:
            raise CommandExecutionError(f"the copy of {_address(source)} is not complete: {error}") from error
        return _made(record, began, by, why)


def abandon():
    """
    Give up a copy that was begun and cannot be completed, its source being gone for good: what was here before serves
    again, as it was, and an empty server where nothing was. What was copied so far is deleted.

    Returns ``restored`` (the path from which the former data directory came back, empty when there was none). Raises
    CommandExecutionError when there is nothing to give up, when the copy is still being made, or when it is complete.

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_data.abandon
    """
    with _lock():
        record = status()
        if record is None:
            raise CommandExecutionError("no copy was begun here: there is nothing to give up")
        if record["phase"] == "opening":
            raise CommandExecutionError("the copy is complete: apply mysql_ha, which lets the server be reached")
        if not mysql_copy.is_closed(record):
            _swept(record["folder"], record)
            return {"restored": ""}
        _abandon(record)
        return {"restored": record["kept"]}


def _abandon(record):
    place, kept = record["folder"], record["kept"]
    try:
        __salt__["service.stop"](record["service"])
        if record["phase"] != "abandoning":
            _put_back(record, place, kept)
            if is_missing(place):
                initialise(record["flavor"], place)
            # From here on applications may write, and nothing is put back over that.
            _save(record, phase="abandoning")
        _closed(record["config"]).unlink(missing_ok=True)
        __salt__["mysql_server.start"](record["service"], RESTART_SECONDS)
        _swept(place, {})
        RECORD.unlink()
    except OSError as error:
        raise CommandExecutionError(f"the copy of {record['source']} was not given up: {error}") from error


def _put_back(record, place, kept):
    """Make what was kept aside the data directory again; a part of a copy that is there is deleted."""
    if record["phase"] != "keeping":
        if kept and not Path(kept).exists():
            raise CommandExecutionError(
                f"{kept}, which was here before the copy, is gone: there is nothing to go back to. Apply mysql_ha "
                f"while {record['source']} can be reached, which makes the copy again"
            )
        _drop(place)
        if kept:
            # As if it were about to be kept aside, which is true with and without the next step.
            _save(record, phase="keeping", prepared=None)
    if kept and Path(kept).exists():
        Path(kept).rename(place)


def _drop(place):
    """Delete a part of a copy, so that an interruption leaves no data directory with holes."""
    if is_missing(place):
        return
    part = _aside(place, PART)
    Path(place).rename(part)
    shutil.rmtree(part)


def _looked_at(source, flavor):
    """The other server, the data directory, and the copy that closed this server and was interrupted, if any."""
    there = __salt__["mysql_replication.peer"](source)
    if there is None:
        raise CommandExecutionError(f"{_address(source)} does not let {source['user']} in: no copy can be made")
    before = status()
    if before is not None and before["phase"] == "abandoning":
        _abandon(before)
        raise CommandExecutionError(f"a copy of {before['source']} was being given up here, and is now: apply again")
    place = folder(flavor)
    if not mysql_copy.is_closed(before):
        _swept(place, before or {})
        before = None
    _check(source, there, flavor, place)
    return there, place, before


def _turn_away(stream):
    """The other host, which would wait for this one to take its files."""
    if stream:
        mysql_copy_stream.turn_away(stream["address"], int(stream["port"]), stream["certificate"])


def _receive(record, stream, there, place, lock):
    """Get the other server's files beside the data directory while this server serves on; why they did not come."""
    phase, part = record["phase"], Path(_aside(place, PART))
    _save(record, phase=mysql_copy.RECEIVING)
    try:
        mysql_copy_stream.receive(part, stream["address"], int(stream["port"]), stream["certificate"],
                                  lambda size: _expect(record, size, place),
                                  lambda count: _tell(record, count))  # fmt: skip
        _save(record, phase=mysql_copy.PREPARING)
        made = mysql_copy_stream.prepare(part, lock.fileno())
        state = mysql_copy.binlog_state(there["gtids"], made.gtids)
    except (MeetingError, BackupError, CommandExecutionError, OSError, ValueError) as error:
        shutil.rmtree(part, ignore_errors=True)
        RECORD.unlink()
        record["phase"] = phase
        if isinstance(error, MeetingError):
            return str(error)
        raise CommandExecutionError(
            f"the copy of {record['source']} did not come in: {error}. Nothing was changed"
        ) from error
    # What the copy must have is what its source had when it began, whenever that is looked at.
    then = {key: there[key] for key in ("gtids", "tables")}
    prepared = {"folder": str(made.folder), "gtids": made.gtids, "state": state, "there": then}
    _save(record, phase=phase, prepared=prepared)
    return ""


def _expect(record, size, place):
    record["of"] = size
    _need(record["source"], size, Path(place).parent)


def _still_good(record, there, flavor):
    """A copy that was interrupted when it was already prepared goes on, unless its source cannot go on from there."""
    prepared = record.get("prepared")
    if not prepared:
        return
    dialect = mysql_dialect.DIALECTS[flavor]
    if mysql_gtid.subtract(dialect.parse(there["purged"]), dialect.parse(prepared["gtids"])):
        record["prepared"] = None


def _hand_over(source):
    """Write no more here and let the other server fetch what it can; what it then still lacks is only kept aside."""
    try:
        __salt__["mysql_replication.set_read_only"](True)
        return __salt__["mysql_replication.errant"](source, wait=HAND_OVER_SECONDS) or ""
    except CommandExecutionError as error:
        return f"unknown ({error})"


def _check(source, there, flavor, folder):
    """Everything that can be known to fail before anything is changed."""
    if there["flavor"] != flavor:
        raise CommandExecutionError(f"{_address(source)} runs {there['flavor']}, and this server is {flavor}")
    if mysql_join.is_empty(there):
        raise CommandExecutionError(f"{_address(source)} holds nothing: a copy of it would replace data by nothing")
    if mysql_join.lacks_history(there):
        raise CommandExecutionError(
            f"{_address(source)} has tables from before its binary log: apply mysql_ha there, which begins it, then "
            "here again"
        )
    if there["other_engines"]:
        raise CommandExecutionError(
            f"{there['other_engines']} tables on {_address(source)} are not InnoDB's, and a copy of a server that is "
            "in use would not be consistent with them. Find them (SELECT table_schema, table_name, engine FROM "
            "information_schema.tables WHERE engine <> 'InnoDB'), convert them (ALTER TABLE ... ENGINE = InnoDB), then "
            "apply again"
        )
    _need(_address(source), there["data_bytes"], Path(folder).parent)
    if os.path.ismount(folder):
        raise CommandExecutionError(
            f"{folder} is a mount point, so that it cannot be kept aside and made anew. Mount its parent instead"
        )


def _need(source, size, place):
    needed, free = mysql_copy.room(size), shutil.disk_usage(place).free
    if needed > free:
        raise CommandExecutionError(
            f"a copy of {source} may need {_mib(needed)} MiB in {place}, which has {_mib(free)} MiB free"
        )


def _copy(record, source, there, afresh):
    """Make it, wherever an interrupted one stopped; by what it was made."""
    dialect = mysql_dialect.DIALECTS[record["flavor"]]
    _close(record, dialect, there)
    if record.get("prepared"):
        by = "stream"
        _put_in_place(record, source, dialect)
    else:
        by, run = ("dump", _dump) if dialect.is_mariadb else ("clone", _clone)
        _make_room(record, afresh)
        __salt__["mysql_server.start"](record["service"], RESTART_SECONDS)
        run(record, source, there)
        _save(record, phase="settling")
        _settle(there, dialect)
    # From here on applications may write: whatever interrupts this, the copy is not made again.
    _save(record, phase="opening")
    _open(record)
    return by


def _open(record):
    """Let the server on a complete copy be reached."""
    if _closed(record["config"]).exists() or not __salt__["mysql_server.answers"]():
        __salt__["service.stop"](record["service"])
        _closed(record["config"]).unlink(missing_ok=True)
        __salt__["mysql_server.start"](record["service"], RESTART_SECONDS)
    RECORD.unlink()


def _made(record, began, by, why):
    return {
        "bytes": record["done"],
        "seconds": round(time.time() - began),
        "kept": record["kept"],
        "only_here": record.get("only_here", ""),
        "by": by,
        "why": why,
    }


def _close(record, dialect, there):
    """Stop the server, and let nobody but root reach it when it starts again."""
    if record["phase"] == "keeping":
        # Recorded before it is closed, or an interruption here would leave a closed server, and nobody knew why.
        _save(record, kept=record["kept"] or _aside(record["folder"], ASIDE))
    text = CLOSED.format(replica=dialect.replica.lower())
    if record.get("prepared"):
        text += OTHER_ID.format(server_id=mysql_copy.other_id(_text(record["config"]), there["server_id"]))
    _closed(record["config"]).write_text(text, encoding="utf-8")
    __salt__["service.stop"](record["service"])


def _make_room(record, afresh):
    """Keep aside what the server has, and give it an empty data directory."""
    if record["phase"] == "keeping":
        _keep_aside(record)
    elif afresh:
        # What is there is a part of a copy; what was there before it was kept aside.
        _drop(record["folder"])
    _save(record, phase="copying", done=0)
    if is_missing(record["folder"]):
        initialise(record["flavor"], record["folder"])


def _keep_aside(record):
    """Move the data directory to where it is kept; of a server that has lost it there is nothing to go back to."""
    if not is_missing(record["folder"]) and not Path(record["kept"]).exists():
        Path(record["folder"]).rename(record["kept"])
    if not Path(record["kept"]).exists():
        record["kept"] = ""


def _put_in_place(record, source, dialect):
    """Keep aside what the server has, and start it on what was prepared."""
    prepared = record["prepared"]
    part = Path(prepared["folder"])
    if record["phase"] == "keeping":
        _keep_aside(record)
        for pattern in mysql_backup_jobs.PACKAGE_FILES if record["kept"] else ():
            for file in Path(record["kept"]).glob(pattern):
                shutil.copy2(file, part / file.name)
        # Said before it is true, so that what is in its place is never taken for what was there before.
        _save(record, phase="settling")
    if part.exists():
        part.rename(record["folder"])
    try:
        __salt__["mysql_server.start"](record["service"], RESTART_SECONDS)
        if not prepared.get("settled"):
            mysql_client.local(mysql_copy.settle_statements(prepared["state"], prepared["gtids"]))
            _settle(prepared["there"], dialect)
            # From here on its position moves, and is not to be set once more.
            _save(record, prepared={**prepared, "settled": True})
    except (CommandExecutionError, SqlError):
        # It would fail in the same way again, so that the next run begins with a dump.
        _save(record, phase="copying", prepared=None)
        raise
    _catch_up(record, source, dialect)


def _catch_up(record, source, dialect):
    """
    Get what the other server has got since its files were copied. This one served meanwhile, and under its own id it
    would never get back what it wrote itself. Should the other one go away, the next run goes on from here.
    """
    there = __salt__["mysql_replication.peer"](source)
    if there is None:
        raise CommandExecutionError(f"{record['source']} is gone, and has what was written here meanwhile")
    wanted, before, since = dialect.parse(there["gtids"]), None, time.monotonic()
    __salt__["mysql_replication.replicate_from"](source)
    while left := mysql_gtid.subtract(wanted, dialect.parse(__salt__["mysql_replication.server"]()["gtids"])):
        now = __salt__["mysql_replication.status"]() or {}
        if left != before:
            before, since = left, time.monotonic()
        error = now.get("applier_error")
        if error:
            # It would fail in the same way again, so that the next run begins with a dump.
            _save(record, phase="copying", prepared=None)
        elif not now.get("receiving") and __salt__["mysql_replication.peer"](source) is None:
            error = "it is gone"
        elif time.monotonic() - since > RESTART_SECONDS:
            error = f"nothing came within {RESTART_SECONDS} s"
        if error:
            missing = mysql_gtid.text(left, dialect.is_mariadb)
            raise CommandExecutionError(f"the copy does not get {missing} from {record['source']}: {error}")
        time.sleep(CATCH_UP_SECONDS)
    mysql_client.local(dialect.stop() + f"RESET {dialect.replica.upper()} ALL;\n")


def _settle(there, dialect):
    # The copied server's own replication came with its data.
    mysql_client.local(dialect.stop() + f"RESET {dialect.replica.upper()} ALL;\n")
    _prove(there, dialect)


def _prove(there, dialect):
    """A copy has every transaction and every table that its source had when it began."""
    here = __salt__["mysql_replication.server"]()
    missing = mysql_gtid.subtract(dialect.parse(there["gtids"]), dialect.parse(here["gtids"]))
    if missing:
        raise CommandExecutionError(f"the copy lacks transactions: {mysql_gtid.text(missing, dialect.is_mariadb)}")
    if here["tables"] < there["tables"]:
        raise CommandExecutionError(f"the copy has {here['tables']} tables, its source had {there['tables']}")


# After the last byte the server ends, or restarts by itself, and what a clone answers is a broken connection.
_SERVER_ENDS = (0, 2006, 2013, 3707)


def _clone(record, source, there):
    """MySQL: the clone plugin fetches the files; the server restarts with them."""
    make_copyable("mysql")
    statements = mysql_copy.clone_statements(_peer(source), _password(), record.get("limit", 0))
    failure = _while_telling(record, lambda: mysql_client.local(statements, COPY_SECONDS), _patience(source))
    if failure is not None and failure.code not in _SERVER_ENDS:
        raise failure
    result = _clone_result(record["service"])
    if result["state"] != "Completed":
        raise SqlError(f"the server says: {result['number']}: {result['message']}")


def _clone_result(service):
    """How a clone ended, once the server is back from its restart."""
    end = time.monotonic() + RESTART_SECONDS
    while time.monotonic() < end:
        try:
            rows = mysql_client.local(mysql_copy.CLONE_RESULT)
        except SqlError:
            rows = []
            if not __salt__["service.status"](service):
                # Without a supervisor that restarts it (ERROR 3707).
                __salt__["service.start"](service)
        if rows and rows[0]["state"] in ("Completed", "Failed"):
            return rows[0]
        time.sleep(1)
    raise SqlError(f"the server did not come back within {RESTART_SECONDS} s")


def _dump(record, source, there):
    """MariaDB: a dump of one moment is loaded, outside the binary log, and that moment's position taken."""
    program, client = (mysql_client.program(name) for name in ("mariadb-dump", "mariadb"))
    if not program or not client:
        raise CommandExecutionError("mariadb-dump is not installed")
    password = _password()
    schemas = [row["name"] for row in mysql_client.remote(_peer(source), password, mysql_copy.USERS_SCHEMAS)]
    mysql_client.local("SET GLOBAL innodb_flush_log_at_trx_commit = 2;")
    load = [client, "--no-defaults", "--protocol=socket", "--user=root", "--default-character-set=utf8mb4",
            "--init-command=SET SESSION sql_log_bin = 0, foreign_key_checks = 0, unique_checks = 0"]  # fmt: skip
    with mysql_client.login(program, _peer(source), password) as words:
        header = b""
        if schemas:
            dump = [program, *words, *mysql_copy.dump_options(schemas)]
            header = _piped(dump, load, record, source)
        _piped([program, *words, "--system=users", "--insert-ignore"], load, record, source)
    at = _dumped_position(source, header) if schemas else mysql_copy.last_position(there["gtids"])
    mysql_client.local(mysql_copy.settle_statements(mysql_copy.binlog_state(there["gtids"], at), at))


def _dumped_position(source, header):
    sql = mysql_copy.position_sql(header)
    if sql is None:
        raise CommandExecutionError("the dump does not tell which position it is of")
    return mysql_client.remote(_peer(source), _password(), sql)[0]["position"] or ""


def _piped(read, write, record, source):
    """Run one program into another; the first bytes that passed. Raises when either fails, or the source is gone."""
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as loaded:
        options = {"env": mysql_client.ENVIRONMENT, "cwd": "/"}
        sender = subprocess.Popen(read, stdin=subprocess.DEVNULL, stdout=pipe, stderr=said, bufsize=0, **options)
        taker = subprocess.Popen(write, stdin=pipe, stdout=subprocess.DEVNULL, stderr=loaded, **options)
        before, header = record["done"], b""

        def chunk():
            # A source that lost its power says nothing more, and the dump would wait for hours.
            if not select.select([sender.stdout], [], [], IDLE_SECONDS)[0]:
                return None
            return sender.stdout.read(mysql_copy.CHUNK)

        try:
            header = mysql_copy.pump(chunk, taker.stdin, record.get("limit", 0),
                                     lambda count: _tell(record, before + count), _patience(source))  # fmt: skip
            taker.stdin.close()
        except BrokenPipeError:
            sender.kill()
        except BaseException:
            sender.kill()
            taker.kill()
            raise
        finally:
            sender.stdout.close()
            codes = sender.wait(), taker.wait()
        for name, code, file in ((write[0], codes[1], loaded), (read[0], codes[0], said)):
            if code:
                file.seek(0)
                # The client repeats the statement that failed, and that can hold anybody's data.
                lines = [line for line in file.read().decode(errors="replace").splitlines()
                         if "ERROR" in line or "rror:" in line]  # fmt: skip
                why = "; ".join(lines)[-500:] or f"exit status {code}"
                raise CommandExecutionError(f"{Path(name).name} failed: {why}")
    return header


def _patience(source):
    """Raises when the source no longer knows of the copy, or does not let us in for the third time in a row."""
    failures = []

    def idle():
        try:
            there = int(mysql_client.remote(_peer(source), _password(), mysql_copy.CONNECTIONS)[0]["there"])
            failures.clear()
        except SqlError as error:
            failures.append(error)
            if len(failures) >= 3:
                raise
            return
        if not there:
            # It was started anew. The dead connection would be noticed here only after hours.
            raise SqlError("the connection is lost")

    return idle


def _while_telling(record, work, idle):
    """Clone in a thread and tell meanwhile how far it is; the SqlError that it ended with, or None."""
    ended = []

    def run():
        try:
            work()
            ended.append(None)
        except SqlError as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    lost, moved = None, time.monotonic()
    while thread.is_alive():
        thread.join(1)
        try:
            row = mysql_client.local(mysql_copy.CLONE_PROGRESS)[0]
        except SqlError:
            continue
        record["of"] = int(row["estimate"]) or record["of"]
        if _tell(record, max(int(row["done"]), record["done"])) or row["receiving"] != "1":
            moved = time.monotonic()
        elif time.monotonic() - moved > IDLE_SECONDS:
            try:
                idle()
            except SqlError as error:
                # A server waits for ever for a source that lost its power.
                lost = error
                _end_clone()
    (failure,) = ended
    if lost is not None and failure is not None and failure.code not in _SERVER_ENDS:
        raise lost
    return failure


def _end_clone():
    try:
        for row in mysql_client.local(mysql_copy.CLONE_PROCESS):
            mysql_client.local(f"KILL QUERY {int(row['process'])};")
    except SqlError:
        # It ended meanwhile, or is asked again in a moment.
        return


def _tell(record, done):
    """Record how far a copy is and tell it on the event bus; whether it got further."""
    if done == record["done"]:
        return False
    _save(record, done=done)
    progress = {"from": record["source"], "phase": record["phase"], "done": done, "of": record["of"]}
    __salt__["event.send"](EVENT, progress)
    return True


def _save(record, **changes):
    record |= changes
    part = RECORD.with_suffix(".part")
    RECORD.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with open(part, "w", encoding="utf-8") as file:
        file.write(json.dumps(record))
        file.flush()
        os.fsync(file.fileno())
    part.replace(RECORD)


def _text(path):
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _closed(config):
    return Path(config).parent / CLOSED_NAME


def _aside(folder, word):
    place = Path(folder)
    return str(place.with_name(f"{place.name}{word}{time.strftime('%Y%m%dT%H%M%S')}"))


def _folder_at_start(flavor):
    """Where a server that does not run would look for its data."""
    program = __salt__["mysql_server.binary"](flavor)
    said = _program([program, "--verbose", "--help"] + (["--innodb-read-only"] if flavor == "mysql" else []), 60)
    for line in said.splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == "datadir":
            return words[1].rstrip("/")
    raise CommandExecutionError(f"{program} does not tell where its data directory is")


def _program(words, timeout):
    try:
        return host_programs.run(words, timeout=timeout)
    except ProgramError as error:
        raise CommandExecutionError(f"{words[0]} failed: {error}") from error


@contextmanager
def _lock():
    LOCK.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with open(LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandExecutionError("a copy is being made already: salt-call mysql_data.status") from None
        yield file


def _is_locked():
    try:
        with _lock():
            return False
    except CommandExecutionError:
        return True


def _size(path):
    total = 0
    for place, _, files in os.walk(path):
        for name in files:
            try:
                total += Path(place, name).lstat().st_size
            except FileNotFoundError:
                continue
    return total


def _mib(count):
    return f"{count / (1 << 20):.0f}"


def _address(source):
    return f"{source['host']}:{source['port']}"


def _peer(source):
    return mysql_client.Peer(source["host"], source["port"], source["user"], source.get("tls", True),
                             source.get("ca_file", ""))  # fmt: skip


def _password():
    password = __salt__["config.get"](PASSWORD_KEY, default=None)
    if not password:
        raise CommandExecutionError(f"{PASSWORD_KEY}: is not set for {__grains__['id']}")
    return str(password)
