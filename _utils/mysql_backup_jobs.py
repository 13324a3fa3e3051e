"""
What is done with backups: made, proven by a restore, thinned out, restored into an empty node. Knows nothing of Salt.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import mysql_backup_copy as copies
import mysql_backups as store
import mysql_client
import mysql_dialect
import mysql_private
from mysql_backups import BackupError
from mysql_client import SqlError

#: Beside the server's option file, read after it: while it is there the server is nobody's but ours.
CLOSED = "zzz-mysql_ha-restoring.cnf"
_POSITIONED = "# It has its position.\n"
_FAILED = "# The server did not start on it.\n"
_LONGEST_ID = 4294967295
#: What the packages' own scripts leave in a data directory.
PACKAGE_FILES = ("debian-*.flag", "mariadb_upgrade_info", "mysql_upgrade_info")


# --- make, prove, thin out ---


def create(directory: Path, method: str) -> tuple[str, dict[str, Any]]:
    """Make a backup of this host's server; return its name and its record. Raises BackupError.

    directory, method
        Where backups lie, and ``physical`` or ``logical``.
    """
    began = time.time()
    server = copies.server()
    store.prepare(directory, mysql_private.group())
    with store.locked(directory) as lock:
        store.sweep(directory)
        size = copies.data_size(server, method)
        store.need_room(directory, size, f"a {method} backup of {server.data}")
        name = _free_name(directory, began)
        part = directory / (name + store.PART)
        with store.unfinished(part):
            try:
                if method == "physical":
                    gtids = copies.physical(server, part, lock)
                else:
                    gtids, size = copies.logical(server, part, lock)
            except SqlError as error:
                raise BackupError(f"the database server on this host: {error}") from error
            record = _record(server, method, gtids, size, began) | {"bytes": store.tree_size(part)}
            store.write(part, record)
            store.sync(part)
            part.rename(directory / name)
    return name, record


def _record(server: copies.Server, method: str, gtids: str, size: int, began: float) -> dict[str, Any]:
    return {
        "format": store.FORMAT,
        "flavor": server.flavor,
        "version": server.version,
        "host": os.uname().nodename,
        "server_id": server.server_id,
        "method": method,
        "gtids": gtids,
        "binlog_state": merged_state(server.gtids, gtids) if server.dialect.is_mariadb else None,
        "layout": server.layout,
        "data_bytes": size,
        "began": store.text_of(began),
        "seconds": round(time.time() - began, 1),
        "proven": None,
    }


def _free_name(directory: Path, moment: float) -> str:
    while (directory / store.name_at(moment)).exists():
        moment += 1
    return store.name_at(moment)


def merged_state(state: str, position: str) -> str:
    """MariaDB's ``gtid_binlog_state`` at a position: an older state, with what the position says newer.

    A position names one transaction a domain, a state one for each server that ever wrote there. The newest of a
    domain comes last, as the server wants it.
    """
    newest: dict[tuple[int, int], int] = {}
    for text in (state, position):
        for word in filter(None, text.replace(" ", "").split(",")):
            domain, server, number = (int(part) for part in word.split("-"))
            newest[domain, server] = max(number, newest.get((domain, server), 0))
    ordered = sorted(newest.items(), key=lambda item: (item[0][0], item[1]))
    return ",".join(f"{domain}-{server}-{number}" for (domain, server), number in ordered)


def prove(directory: Path, name: str) -> dict[str, Any]:
    """Restore a backup beside the running server, start a server on it, check position and tables, and throw that away.

    Returns the record, with ``proven``. Raises BackupError when it is not proven; the record then says why.
    """
    began = time.time()
    place = store.find(directory, name)
    store.prepare(directory, mysql_private.group())
    with store.locked(directory) as lock:
        store.sweep(directory)
        record = store.read(place)
        if not (record["method"] == "physical" and store.can_share_blocks(directory)):
            size = copies.restored_size(record, place)
            store.need_room(directory, size, f"the proof of {place.name}, which works on a copy,")
        proof = directory / store.PROOF
        proof.mkdir()
        proof.chmod(0o711)
        record |= {"proven": None, "refused": None}
        try:
            record["tables"] = _proof(place, record, proof / copies.DATA, lock)
        except (BackupError, SqlError) as error:
            record["refused"] = str(error)
            store.write(place, record)
            raise BackupError(f"the backup {place.name} is not proven: {error}") from error
        finally:
            shutil.rmtree(proof, ignore_errors=True)
        record |= {"proven": store.text_of(time.time()), "proof_seconds": round(time.time() - began, 1)}
        store.write(place, record)
    return record


def _proof(place: Path, record: Mapping[str, Any], data: Path, lock: int | None) -> int:
    build(place, record, data, lock)
    with mysql_private.running(record["flavor"], data, record["layout"], lock) as server:
        _check_position(server, record)
        return copies.check_tables(server)


def build(place: Path, record: Mapping[str, Any], data: Path, lock: int | None) -> None:
    """Make a data directory from a backup, as the servers' system user's. Raises BackupError, SqlError."""
    if record["method"] == "physical":
        store.copy_tree(place / copies.DATA, data, lock)
        for foreign in copies.FOREIGN:
            (data / foreign).unlink(missing_ok=True)
        if record["flavor"] == "mysql":
            # A clone has none, and its copy could not load the clone plugin, which keeps a definition there.
            (data / "performance_schema").mkdir(mode=0o750, exist_ok=True)
        store.give(data, mysql_private.USER)
        return
    flavor, layout = record["flavor"], copies.layout_of_new(record["layout"])
    mysql_private.initialise(flavor, data, layout)
    with mysql_private.running(flavor, data, layout, lock) as server:
        if flavor == "mysql":
            plugin = "SELECT COUNT(*) AS there FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'auth_socket';"
            if server.sql(plugin)[0]["there"] == "0":
                # Accounts of the package log in by it.
                server.sql("INSTALL PLUGIN auth_socket SONAME 'auth_socket.so';")
        copies.load(server, place)
        if flavor == "mysql":
            # As the package has it; a new data directory has no password for root.
            server.sql("ALTER USER 'root'@'localhost' IDENTIFIED WITH auth_socket;")


def _check_position(server: mysql_private.Private, record: Mapping[str, Any]) -> None:
    """MySQL's data have their position in them; MariaDB's only that of what was received, the rest is recorded."""
    dialect = mysql_dialect.DIALECTS[record["flavor"]]
    column = "@@GLOBAL.gtid_slave_pos" if dialect.is_mariadb else "@@GLOBAL.gtid_executed"
    found = (server.sql(f"SELECT {column} AS gtids;")[0]["gtids"] or "").replace("\n", "")
    beyond = not copies.contains(dialect, record["gtids"], found)
    lacking = not dialect.is_mariadb and not copies.contains(dialect, found, record["gtids"])
    if beyond or lacking:
        raise BackupError(f"the data have the position {found}, and the record says {record['gtids']}")


def prune(directory: Path, keep: int) -> list[str]:
    """Remove the oldest backups until so many are left, but never the newest proven one; return what was removed."""
    with store.locked(directory):
        store.sweep(directory)
        gone = store.surplus(store.listed(directory), keep)
        for name in gone:
            store.remove(directory, name)
    return gone


# --- restore ---


class Service(NamedTuple):
    """The host's server as a service: three functions, of which ``start`` raises BackupError when it does not."""

    start: Callable[[], None]
    stop: Callable[[], None]
    runs: Callable[[], bool]


class Target(NamedTuple):
    """Where a backup is restored to: the data directory, and the server's option file."""

    data: Path
    config: Path

    @property
    def closed(self) -> Path:
        return self.config.parent / CLOSED


def target(config: Path) -> Target:
    """This host's data directory, whether its server runs or not. Raises BackupError."""
    if not config.exists():
        raise BackupError(f"{config} is not there: apply mysql_ha to this node first, then restore into it")
    try:
        data = mysql_client.local("SELECT @@GLOBAL.datadir AS data;")[0]["data"] or ""
    except SqlError:
        words = store.run([store.program("my_print_defaults"), "mysqld", "server", "mariadbd", "mariadb"]).split()
        said = [word.partition("=")[2] for word in words if word.startswith("--datadir=")]
        data = said[-1] if said else "/var/lib/mysql"
    return Target(Path(data.rstrip("/")), config)


def why_not_empty(where: Target, service: Service) -> str:
    """Why a node is not restored into; empty when it holds nothing that anybody could miss."""
    try:
        mysql_client.local("SELECT 1;", timeout=10)
    except SqlError as error:
        if service.runs():
            return f"its server runs and does not answer ({error}): stop it first"
        entries = sorted(one.name for one in where.data.iterdir()) if where.data.exists() else []
        left = [name for name in entries if name != "lost+found"]
        return (
            f"its server is stopped, and {where.data} holds {len(left)} entries ({', '.join(left[:4])} ...). If "
            f"nothing there is needed any more: mv {where.data} {where.data}.old"
            if left
            else ""
        )
    here = copies.server()
    system = ", ".join(mysql_client.quote(name) for name in copies.SYSTEM)
    tables = mysql_client.local(
        "SELECT COUNT(*) AS tables FROM information_schema.tables WHERE table_type = 'BASE TABLE' AND "
        f"table_schema NOT IN ({system});"
    )[0]["tables"]
    if here.gtids or tables != "0":
        return (
            f"its server holds data: {tables} tables, and the transactions {here.gtids or 'none'}. Decide whether they "
            f"are needed. If not: stop the server, mv {where.data} {where.data}.old, and restore again"
        )
    return ""


def unfit(record: Mapping[str, Any], version: str, flavor: str) -> str:
    """Why a backup cannot be restored by a server of this version and flavor; empty when it can."""
    if record["flavor"] != flavor:
        return f"it is one of {record['flavor']}, and this host has {flavor}"
    made, here = mysql_dialect.version(record["version"]), mysql_dialect.version(version)
    if made > here:
        return f"it was made with {record['version']}, which is newer than this host's {version}: install that first"
    if record["method"] == "physical" and made[:2] != here[:2]:
        return (
            f"it is a data directory of {record['version']}, and this host has {version}: only a server of the same "
            "series starts on it (a logical backup has no such limit)"
        )
    return ""


def restore(
    place: Path, where: Target, service: Service, server_id: int, peer_id: int, lock: int | None
) -> Path | None:
    """Put a backup into an empty node and start its server, closed to the network and under another server id.

    Returns where the former data directory is now, None when there was none. Raises BackupError; then the node is as it
    was before.

    place, where, service
        The backup, the node, its server; ``why_not_empty`` and ``unfit`` were asked before.
    server_id, peer_id
        Those of this node and of its peer: neither is used, since a server takes no transaction from its peer that
        has its own id, and those that this node once wrote are only to be had there.
    """
    record = store.read(place)
    if where.data.is_mount():
        raise BackupError(f"{where.data} is a mount point and cannot be moved aside: restore there by hand")
    store.need_room(where.data.parent, copies.restored_size(record, place), f"the data of {place.name}")
    new = _being_built(where)
    if new.exists():
        shutil.rmtree(new)
    try:
        build(place, record, new, lock)
    except (BackupError, SqlError) as error:
        shutil.rmtree(new, ignore_errors=True)
        raise BackupError(f"{place.name} cannot be restored, and the node is as it was: {error}") from error
    # What follows is done in the time of a few renames, and none of it may come to the disk before the data.
    store.sync(new)
    before = _aside(where, "before")
    service.stop()
    had = where.data.exists()
    _close(where, place, before if had else None, server_id, peer_id)
    if had:
        where.data.rename(before)
        for pattern in PACKAGE_FILES if record["method"] == "physical" else PACKAGE_FILES[:1]:
            for file in before.glob(pattern):
                shutil.copy2(file, new / file.name)
    new.rename(where.data)
    _start(where, service, before if had else None)
    return before if had else None


def _start(where: Target, service: Service, before: Path | None) -> None:
    """Start the server on the restored data and give it its position; else the node becomes what it was."""
    try:
        if not service.runs():
            service.start()
        set_position(where)
    except (BackupError, SqlError) as error:
        service.stop()
        where.closed.write_text(where.closed.read_text() + _FAILED)
        failed = _put_back(where, before)
        where.closed.unlink()
        if before:
            service.start()
        raise BackupError(
            f"the server did not start on the restored data: {error}. The node is as it was; the restored data are "
            f"kept as {failed}"
        ) from error


def resume(where: Target, service: Service) -> bool:
    """Go on with a restore that was interrupted. Raises BackupError.

    True: the restored data are in place, and a server runs on them, closed. False: they never came there; the node is
    as it was before, and the restore is to begin anew.
    """
    said = restoring(where)
    assert said is not None
    before = Path(said[1]) if said[1] else None
    has_failed = _FAILED in where.closed.read_text()
    if not has_failed and where.data.exists() and not _being_built(where).exists():
        _start(where, service, before)
        return True
    service.stop()
    if has_failed or (before and before.exists()):
        _put_back(where, before)
    where.closed.unlink()
    if where.data.exists():
        service.start()
    return False


def _being_built(where: Target) -> Path:
    """Where restored data lie until they are whole; it is renamed into its place in one step."""
    return where.data.with_name(where.data.name + ".restoring")


def _aside(where: Target, word: str) -> Path:
    """A name beside the data directory that nothing has."""
    moment = time.time()
    while (found := where.data.with_name(f"{where.data.name}.{word}-{store.name_at(moment)}")).exists():
        moment += 1
    return found


def _put_back(where: Target, before: Path | None) -> Path:
    """The former data directory comes back; returns where what is in its place goes, if there is anything."""
    failed = _aside(where, "failed")
    if before is None or before.exists():
        if where.data.exists():
            where.data.rename(failed)
        if before:
            before.rename(where.data)
    return failed


def _close(where: Target, place: Path, before: Path | None, server_id: int, peer_id: int) -> None:
    other = next(number for number in range(_LONGEST_ID, 0, -1) if number not in (server_id, peer_id))
    where.closed.write_text(
        "# A backup is being restored (mysql_backup.restore). Until that is done this server is closed to the\n"
        "# network, and has another id, so that it takes from its peer what it once wrote itself.\n"
        "# Was it interrupted? Restore again: it goes on.\n"
        f"# backup: {place}\n# before: {before or ''}\n"
        f"[mysqld]\nskip_networking = ON\nserver_id = {other}\nevent_scheduler = OFF\n"
    )


def restoring(where: Target) -> tuple[str, str] | None:
    """The backup that an interrupted restore was putting here, and where the former data are; None if there is none."""
    try:
        text = where.closed.read_text()
    except FileNotFoundError:
        return None
    said = dict(line[2:].split(":", 1) for line in text.splitlines() if line.startswith(("# backup:", "# before:")))
    return said.get("backup", "").strip(), said.get("before", "").strip()


def set_position(where: Target) -> None:
    """Tell the restored server where its data are, once: before it replicates. Raises BackupError, SqlError.

    MariaDB keeps that beside the data: in the binary log, of which a restored server has none.
    """
    text = where.closed.read_text()
    backup = restoring(where)
    if _POSITIONED in text or backup is None:
        return
    record = store.read(Path(backup[0]))
    if record["flavor"] == "mariadb":
        mysql_client.local(
            "RESET MASTER;\n"
            f"SET GLOBAL gtid_binlog_state = {mysql_client.quote(record['binlog_state'])};\n"
            f"SET GLOBAL gtid_slave_pos = {mysql_client.quote(record['gtids'])};\n"
        )
    where.closed.write_text(text + _POSITIONED)


def open_up(where: Target, service: Service) -> None:
    """Let the restored server serve: its own id, its network. Raises BackupError."""
    service.stop()
    where.closed.unlink(missing_ok=True)
    service.start()
