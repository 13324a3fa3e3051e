"""
Backups of this minion's MySQL or MariaDB server, proven by a restore; and restored into an empty node.
"""

import os
import shutil
import sys
import time
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

import mysql_backup_copy
import mysql_backup_jobs
import mysql_backup_transfer
import mysql_backup_units
import mysql_backups
import mysql_dialect
import mysql_private
from mysql_backups import BackupError
from mysql_client import SqlError

__virtualname__ = "mysql_backup"
__func_alias__ = {"list_": "list"}

DIRECTORY = "/var/backups/mysql_ha"
START_SECONDS = 3600


def __virtual__():
    return __virtualname__


def create(method="physical", directory=DIRECTORY):
    """
    Make a backup of this minion's server while it serves. Free room is looked for first; an interrupted backup is
    removed by the next one. Returns its record, with its ``name``.

    method
        ``physical``: a copy of the data directory, by mariadb-backup or MySQL's clone plugin. ``logical``: the
        applications' databases and the accounts as statements, by mariadb-dump or mysqldump.

    directory
        Where backups lie.

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_backup.create logical
    """
    if method not in mysql_backups.METHODS:
        raise SaltInvocationError(f"method: is {method!r}; allowed: {', '.join(mysql_backups.METHODS)}")
    name, record = _try(mysql_backup_jobs.create, _directory(directory), method)
    return {"name": name, **record}


def prove(name="latest", directory=DIRECTORY):
    """
    Restore a backup into a directory that is thrown away, start a server there, and have it check its position and
    all tables. Returns the record, in which ``proven`` then says when; raises when the backup cannot be restored.

    name
        A backup's name, ``latest``, ``proven`` (the newest that was), or the path of a backup's directory.

    directory
        Where backups lie, and where the copy is made.

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_backup.prove latest
    """
    return _prove(name, directory)


def list_(directory=DIRECTORY):
    """
    The records of all whole backups, by name, the oldest first. ``proven`` is the time of the last proof, or None.

    directory
        Where backups lie.

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_backup.list
    """
    return mysql_backups.listed(_directory(directory))


def prune(keep, directory=DIRECTORY):
    """
    Remove the oldest backups. Never removed are the newest one that is proven, and what is no backup of ours. Returns
    the names of the removed ones.

    keep
        How many stay, 1 to 10000.

    directory
        Where backups lie.

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_backup.prune keep=7
    """
    return _try(mysql_backup_jobs.prune, _directory(directory), _keep(keep))


def run(method="physical", directory=DIRECTORY, keep=7, prove=True):
    """
    What the timer runs: make a backup, prove it, remove old ones. Stops at the first failure, so that a backup which
    cannot be restored removes none that can. Returns ``name``, ``bytes``, ``seconds`` and so on, and ``removed``.

    method, directory
        As for :py:func:`create`.

    keep
        As for :py:func:`prune`.

    prove
        Whether the backup is proven by a restore.

    CLI Example:

    .. code-block:: bash

        salt-call --local mysql_backup.run method=physical keep=7
    """
    keep = _keep(keep)
    made = create(method, directory)
    if prove:
        made |= _prove(made["name"], directory)
    return made | {"removed": prune(keep, directory)}


def status(directory=DIRECTORY):
    """
    How many ``backups`` there are, the ``newest`` and the newest ``proven`` one, the age of each in seconds
    (``newest_age``, ``proven_age``: None when there is none), and whether one is ``running`` now. The age to watch is
    ``proven_age``.

    directory
        Where backups lie.

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_backup.status
    """
    place = _directory(directory)
    found = mysql_backups.status(mysql_backups.listed(place), time.time())
    return found | {"running": mysql_backups.is_locked(place)}


def restore(name, service, config, source=None, alone=False, directory=DIRECTORY, wait=120):
    """
    Put a backup into this node, which must be empty: a server whose binary log never had anything and that has no
    tables, or one that is stopped and has no data directory. What is there is moved aside. The server starts closed
    to the network, takes from its peer all that it lacks, also what it once wrote itself, and is then opened. An
    interrupted restore goes on when it is called again. Returns ``backup``, ``before`` (where the former data
    directory is now), ``gtids``, ``seconds``.

    name
        A backup's name, ``latest``, ``proven`` (the newest that was), or the path of a backup's directory.

    service, config
        The server's service and its option file.

    source
        The peer, as for ``mysql_replication.replicate_from``.

    alone
        There is no peer, or it has nothing that is wanted: the node then holds what the backup holds.

    directory
        Where backups lie.

    wait
        For how many seconds (1 to 86400) the peer's transactions may come to a standstill.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_backup.restore latest mariadb /etc/mysql/mariadb.conf.d/90-mysql_ha.cnf alone=true
    """
    if bool(source) == bool(alone):
        raise SaltInvocationError("say either source (the peer) or alone=true")
    began = time.monotonic()
    where = _try(mysql_backup_jobs.target, Path(config))
    peer = _peer(source) if source else None
    interrupted = mysql_backup_jobs.restoring(where)
    with _locked(_directory(directory)):
        goes_on = interrupted and _try(mysql_backup_jobs.resume, where, _service(service))
    if goes_on:
        used, before = interrupted
    else:
        used, before = _restore(str(name), _directory(directory), where, service, peer)
    if source:
        _catch_up(source, peer, wait)
    _try(mysql_backup_jobs.open_up, where, _service(service))
    gtids = __salt__["mysql_replication.server"]()["gtids"]
    return {"backup": used, "before": before, "gtids": gtids, "seconds": round(time.monotonic() - began, 1)}


def why_not_restored(name, service, config, source=None, directory=DIRECTORY):
    """
    Why :py:func:`restore` would refuse, without changing anything; empty when it would not.

    name, service, config, source, directory
        As for :py:func:`restore`.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_backup.why_not_restored latest mariadb /etc/mysql/mariadb.conf.d/90-mysql_ha.cnf
    """
    try:
        where = _try(mysql_backup_jobs.target, Path(config))
        if mysql_backup_jobs.restoring(where):
            # It goes on, or begins anew after it has put back what was here.
            return ""
        _fit(str(name), _directory(directory), where, service, _peer(source) if source else None)
    except CommandExecutionError as error:
        return str(error)
    return ""


def await_applied(wait=120):
    """
    Wait until this server has applied all that it received from its peer, so that a node that is made again gets it
    from here. Raises when it does not get there. Returns its transactions.

    wait
        For how many seconds (0 to 86400).

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_backup.await_applied wait=600
    """
    end = time.monotonic() + wait
    while True:
        status = __salt__["mysql_replication.status"]() or {"gtid_received": "", "applier_error": ""}
        here = __salt__["mysql_replication.server"]()
        received = status["gtid_received"]
        if _try(mysql_backup_copy.contains, mysql_dialect.DIALECTS[here["flavor"]], here["gtids"], received):
            return here["gtids"]
        if status["applier_error"] or time.monotonic() >= end:
            raise CommandExecutionError(
                f"This server has received {received}, and has applied {here['gtids'] or 'none'} after {wait} s: "
                f"{status['applier_error'] or 'its replica is slow, or stopped'}. A node made again would miss the rest"
            )
        time.sleep(1)


def find(name="latest", directory=DIRECTORY):
    """
    The path of a backup's directory.

    name
        A backup's name, ``latest``, ``proven`` (the newest that was), or a path.

    directory
        Where backups lie.

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_backup.find proven
    """
    return str(_try(mysql_backups.find, _directory(directory), str(name)))


def introduce():
    """
    Make a key and a certificate for one transfer of a backup, and return the certificate, which is no secret. The key
    stays here, and is removed after the transfer.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_backup.introduce
    """
    return _try(mysql_backup_transfer.introduce)


def certificate():
    """
    The certificate that :py:func:`introduce` made last.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_backup.certificate
    """
    return _try(mysql_backup_transfer.certificate)


def receive(address, port, peer, directory=DIRECTORY):
    """
    Wait two minutes for a host to send a backup, and store it, over TLS between exactly two certificates. Returns
    ``name`` and ``bytes`` (0 when it was here already).

    address, port
        Where to listen.

    peer
        The sender's certificate, as its :py:func:`introduce` returned it.

    directory
        Where backups lie.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_backup.receive 192.168.1.5 4444 '-----BEGIN CERTIFICATE-----...'
    """
    gid = _try(mysql_private.group)
    name, size = _try(mysql_backup_transfer.receive, _directory(directory), gid, address, int(port), peer)
    return {"name": name, "bytes": size}


def send(name, address, port, peer, directory=DIRECTORY):
    """
    Send a backup to a host that waits for it. Returns ``bytes`` (0 when it was there already) and ``seconds``.

    name, directory
        As for :py:func:`find`.

    address, port
        Where the other host listens.

    peer
        The receiver's certificate, as its :py:func:`introduce` returned it.

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_backup.send latest 192.168.1.5 4444 '-----BEGIN CERTIFICATE-----...'
    """
    began = time.monotonic()
    place = _try(mysql_backups.find, _directory(directory), str(name))
    size = _try(mysql_backup_transfer.send, _directory(directory), place, address, int(port), peer)
    return {"name": place.name, "bytes": size, "seconds": round(time.monotonic() - began, 1)}


def units(directory=DIRECTORY, method="physical", schedule="daily", keep=7, prove=True):
    """
    The two units that make backups by themselves, as {file: text}. Raises when systemd does not know the schedule.

    directory, method, keep, prove
        As for :py:func:`run`.

    schedule
        When, in systemd's words (systemd.time(7), "Calendar Events").

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_backup.units schedule='*-*-* 03:00'
    """
    place, schedule = _directory(directory), str(schedule)
    if method not in mysql_backups.METHODS or not isinstance(prove, bool):
        raise SaltInvocationError(
            f"method: is {method!r}, prove: is {prove!r}; allowed: physical, logical; true, false"
        )
    _try(mysql_backup_units.check, schedule)
    return mysql_backup_units.units(salt_call(), str(place), method, schedule, _keep(keep), prove)


def timer_differences(wanted=None):
    """
    What would change in the timer, as {what: {old, new}}.

    wanted
        What :py:func:`units` returned; None: there shall be no timer.

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_backup.timer_differences
    """
    now = _try(mysql_backup_units.installed)
    changes = mysql_backup_units.differences(now, wanted or {})
    enabled = bool(now) and _timer_is("enabled") and _timer_is("active")
    if enabled != bool(wanted):
        changes["timer"] = {"old": enabled, "new": bool(wanted)}
    return changes


def set_timer(wanted=None, directory=None):
    """
    Install and start the timer, or stop and remove it. A backup that is being made goes on.

    wanted
        What :py:func:`units` returned; None: there shall be no timer.

    directory
        Where backups lie; it is made when it is not there.

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_backup.set_timer
    """
    if directory is not None:
        _try(mysql_backups.prepare, _directory(directory), _try(mysql_private.group))
    if not wanted and mysql_backup_units.installed():
        _systemctl("disable", "--now", mysql_backup_units.TIMER)
    _try(mysql_backup_units.install, wanted or {})
    _systemctl("daemon-reload")
    if wanted:
        _systemctl("enable", mysql_backup_units.TIMER)
        # Restarted, so that a new schedule counts at once.
        _systemctl("restart", mysql_backup_units.TIMER)


def salt_call():
    """
    Where the program ``salt-call`` is that belongs to this minion's Salt.

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_backup.salt_call
    """
    beside = [Path(sys.executable).parent, *Path(sys.executable).parents[1:2], Path(sys.argv[0]).resolve().parent]
    for folder in beside:
        if os.access(folder / "salt-call", os.X_OK):
            return str(folder / "salt-call")
    found = shutil.which("salt-call")
    if not found:
        raise CommandExecutionError("no salt-call on this host: backups by a timer need an installed minion")
    return found


def _prove(name, directory):
    return _try(mysql_backup_jobs.prove, _directory(directory), str(name))


def _systemctl(*words):
    _try(mysql_backups.run, ["systemctl", *words])


def _timer_is(state):
    try:
        mysql_backups.run(["systemctl", f"is-{state}", "--quiet", mysql_backup_units.TIMER])
    except BackupError:
        return False
    return True


def _restore(name, directory, where, service, peer):
    place, record = _fit(name, directory, where, service, peer)
    server_id = _configured_id(where)
    with _locked(directory) as lock:
        before = _try(
            mysql_backup_jobs.restore,
            place,
            where,
            _service(service),
            server_id,
            peer["server_id"] if peer else 0,
            lock,
        )
    return str(place), str(before or "")


def _fit(name, directory, where, service, peer):
    """The backup and its record. Raises when it, or the node, or the peer, is none for a restore."""
    place = _try(mysql_backups.find, directory, name)
    record = _try(mysql_backups.read, place)
    reason = _try(mysql_backup_jobs.why_not_empty, where, _service(service))
    if reason:
        raise CommandExecutionError(f"Nothing was changed. A backup is only restored into an empty node, and {reason}")
    flavor, version = _installed()
    reason = mysql_backup_jobs.unfit(record, version, flavor)
    if not reason and peer:
        dialect = mysql_dialect.DIALECTS[flavor]
        if peer["flavor"] != flavor:
            reason = f"the peer is {peer['flavor']}"
        elif not _try(mysql_backup_copy.contains, dialect, peer["gtids"], record["gtids"]):
            reason = (
                f"it has transactions that the peer lacks, and could not send it: {record['gtids']}; the peer has "
                f"{peer['gtids'] or 'none'}. Restore into both, or say alone"
            )
    if reason:
        raise CommandExecutionError(f"Nothing was changed. {place.name} is not restored here: {reason}")
    return place, record


def _catch_up(source, peer, wait):
    """Replicate until this server has all that the peer had, its own former transactions above all."""
    dialect = mysql_dialect.DIALECTS[peer["flavor"]]
    __salt__["mysql_replication.replicate_from"](source)
    here, since = None, time.monotonic()
    while True:
        now = __salt__["mysql_replication.server"]()["gtids"]
        if _try(mysql_backup_copy.contains, dialect, now, peer["gtids"]):
            return
        status = __salt__["mysql_replication.status"]() or {}
        if now != here:
            here, since = now, time.monotonic()
        error = status.get("applier_error") or status.get("receiver_error")
        # A receiver's error may pass by itself; an applier's, and a log that is gone (1236), do not.
        is_final = status.get("applier_error") or error.startswith("1236:") if error else False
        if is_final or time.monotonic() - since > wait:
            raise CommandExecutionError(
                f"The backup is restored, and the server does not get on with what its peer has: "
                f"{error or f'no transaction came for {wait} s'}. It has {now or 'none'} of {peer['gtids']}, and stays "
                "closed to the network. Mend that and restore again: it goes on from here. If the peer no longer "
                "has the binary logs (1236), begin anew with a newer backup"
            )
        time.sleep(1)


def _peer(source):
    found = __salt__["mysql_replication.peer"](source, wait=10)
    if found is None:
        raise CommandExecutionError(
            f"Nothing was changed. The peer {source.get('host')} does not let this node in, and only there is what it "
            "wrote after the backup. Bring the peer up; or, if it is lost as well, restore alone"
        )
    return found


def _installed():
    """Flavor and version of the server program."""
    for flavor in ("mariadb", "mysql"):
        try:
            said = mysql_backups.run([mysql_private.program(flavor), "--no-defaults", "--version"])
        except BackupError:
            continue
        words = said.partition(" Ver ")[2].split()
        return flavor, words[0] if words else ""
    raise CommandExecutionError("no database server is installed on this node: apply mysql_ha first")


def _configured_id(where):
    for line in where.config.read_text(encoding="utf-8").splitlines():
        name, _, value = (part.strip() for part in line.partition("="))
        if name == "server_id":
            return int(value)
    raise CommandExecutionError(f"{where.config} has no server_id: apply mysql_ha first")


def _service(name):
    def start():
        try:
            if __salt__["service.masked"](name, True):
                __salt__["service.unmask"](name, True)
            __salt__["mysql_server.start"](name, START_SECONDS)
        except CommandExecutionError as error:
            raise BackupError(str(error)) from error

    def stop():
        __salt__["service.stop"](name)

    return mysql_backup_jobs.Service(start, stop, lambda: bool(__salt__["service.status"](name)))


def _locked(directory):
    _try(mysql_backups.prepare, directory, _try(mysql_private.group))
    return mysql_backups.locked(directory)


def _keep(keep):
    if isinstance(keep, bool) or not isinstance(keep, int) or not 1 <= keep <= 10000:
        raise SaltInvocationError(f"keep: is {keep!r}; allowed: a whole number from 1 to 10000")
    return keep


def _directory(directory):
    place = Path(str(directory))
    if not place.is_absolute() or place == Path("/"):
        raise SaltInvocationError(f"directory: is {directory!r}; allowed: an absolute path, and not /")
    return place


def _try(function, *arguments):
    try:
        return function(*arguments)
    except (BackupError, SqlError, OSError) as error:
        raise CommandExecutionError(str(error)) from error
