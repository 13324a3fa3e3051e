"""
Backups as they lie in their directory: names, records, what is whole and what is not, which are kept, the one lock,
and the room that is needed. Knows nothing of Salt and of no server.

    /var/backups/mysql_ha/                    mode 0710, so that the server can pass through to what is made for it
        lock                                  held by whoever makes, proves, removes or restores
        20261124T133000Z/                     one backup, by the time (UTC) at which it was begun
            backup.json                       what it is; written last
            data/                             a data directory that a server starts on (physical)
            dump.sql.zst, accounts.sql        statements (logical)
        20261124T143000Z.part/                one that is being made, or was interrupted
        proof/                                the copy that a proof works on
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import host_programs
from host_programs import ENVIRONMENT, ProgramError

NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z")
PART = ".part"
RECORD = "backup.json"
LOCK = "lock"
PROOF = "proof"
#: The layout of a record; another number is another program's.
FORMAT = 1
METHODS = ("physical", "logical")
#: What is to be free beside the size that was measured: the data grows while it is copied.
RESERVE = 0.1


class BackupError(Exception):
    """What was asked cannot be done; the sentence says why, and what to do."""


def name_at(moment: float) -> str:
    """The name of a backup that begins at a time in seconds since 1970."""
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def time_of(name: str) -> float:
    """The time in a backup's name, in seconds since 1970. Raises ValueError."""
    return datetime.strptime(name, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()


def text_of(moment: float) -> str:
    """A time in seconds since 1970 as it stands in records: '2026-11-24T13:30:00Z'."""
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def size_text(size: float) -> str:
    """A number of bytes as people read it: '1.5 GiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def read(place: Path) -> dict[str, Any]:
    """The record of the backup in a directory. Raises BackupError when that is no whole backup of ours."""
    try:
        found = json.loads((place / RECORD).read_text(encoding="utf-8"))
    except OSError as error:
        raise BackupError(f"{place} is no backup of mysql_ha: {error}") from error
    except ValueError as error:
        raise BackupError(f"{place / RECORD} is no record of a backup: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or found.get("method") not in METHODS:
        raise BackupError(f"{place / RECORD} is no record of a backup that this version knows")
    return found


def write(place: Path, record: Mapping[str, Any]) -> None:
    """Write a backup's record, whole or not at all."""
    part = place / (RECORD + PART)
    with open(part, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        json.dump(record, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(place / RECORD)


def listed(directory: Path) -> dict[str, dict[str, Any]]:
    """The whole backups by name, the oldest first. What is no backup of ours is not in it."""
    found = {}
    for place in sorted(directory.iterdir()) if directory.is_dir() else ():
        if NAME.fullmatch(place.name) and place.is_dir() and not place.is_symlink():
            try:
                found[place.name] = read(place)
            except BackupError:
                continue
    return found


def find(directory: Path, name: str) -> Path:
    """Where a backup lies: by its name, ``latest``, ``proven`` (the newest that a restore has proven), or by the
    path of its directory. Raises BackupError, with the names that there are."""
    if name.startswith("/"):
        read(Path(name))
        return Path(name)
    backups = listed(directory)
    wanted = {"latest": list(backups)[-1:], "proven": [one for one in backups if backups[one]["proven"]][-1:]}
    names = wanted.get(name, [name] if name in backups else [])
    if not names:
        there = ", ".join(backups) or "none"
        raise BackupError(f"no backup {name!r} in {directory}; there are: {there}")
    return directory / names[0]


def surplus(backups: Mapping[str, Mapping[str, Any]], keep: int) -> list[str]:
    """Which backups go when so many are kept: the oldest, but never the newest one that is proven.

    backups
        As ``listed`` returns them.
    keep
        How many stay, 1 or more; one more when the newest proven one is not among them.
    """
    proven = [name for name in sorted(backups) if backups[name]["proven"]]
    return [name for name in sorted(backups)[:-keep] if name not in proven[-1:]]


def status(backups: Mapping[str, Mapping[str, Any]], now: float) -> dict[str, Any]:
    """How many backups there are, the newest, the newest proven one, and the age of each in seconds.

    The age of a proven backup counts from when it was made, not from when it was proven.
    """
    proven = [name for name in sorted(backups) if backups[name]["proven"]]
    newest = sorted(backups)[-1:]

    def age(names: list[str]) -> int | None:
        return int(now - time_of(names[-1])) if names else None

    return {
        "backups": len(backups),
        "newest": newest[0] if newest else None,
        "newest_age": age(newest),
        "proven": proven[-1] if proven else None,
        "proven_age": age(proven),
    }


def remove(directory: Path, name: str) -> None:
    """Remove a backup; it loses its name first, so that half of one never looks whole."""
    gone = directory / (name + PART)
    (directory / name).rename(gone)
    shutil.rmtree(gone)


def sweep(directory: Path) -> list[str]:
    """Remove what interrupted runs left, and say what that was. Only for who holds the lock."""
    left = []
    for place in sorted(directory.iterdir()) if directory.is_dir() else ():
        name = place.name
        if (name.endswith(PART) and NAME.fullmatch(name.removesuffix(PART))) or name == PROOF:
            shutil.rmtree(place)
            left.append(name)
    return left


@contextmanager
def unfinished(part: Path) -> Iterator[None]:
    """A new directory for what is being made; a failure removes it, lest it fill the disk. Only a kill leaves it."""
    part.mkdir(mode=0o700)
    try:
        yield
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def prepare(directory: Path, gid: int) -> None:
    """Make the directory for backups: root's, and the server's group may pass through but not look around."""
    directory.mkdir(parents=True, exist_ok=True)
    if directory.is_symlink() or not directory.is_dir():
        raise BackupError(f"{directory} is no directory")
    os.chown(directory, 0, gid)
    directory.chmod(0o710)


@contextmanager
def locked(directory: Path) -> Iterator[int]:
    """Hold the directory's lock, and give its descriptor: programs that write there inherit it, so that the lock is
    held for as long as one of them runs. Raises BackupError when somebody else holds it."""
    handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 200, 0).decode(errors="replace").strip() or "somebody"
            raise BackupError(f"another backup, proof or restore is at work in {directory}: {holder}") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()}, since {text_of(time.time())}\n".encode(), 0)
        yield handle
    finally:
        os.close(handle)


def is_locked(directory: Path) -> bool:
    """Whether somebody makes, proves, removes or restores a backup right now."""
    try:
        handle = os.open(directory / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def tree_size(place: Path, skip: Sequence[str] = ()) -> int:
    """The bytes of all files below a directory, without what lies in it under a name that begins with a ``skip``."""
    total = 0
    for folder, folders, files in os.walk(place):
        if Path(folder) == place and skip:
            folders[:] = [name for name in folders if not name.startswith(tuple(skip))]
            files = [name for name in files if not name.startswith(tuple(skip))]
        for file in files:
            try:
                total += (Path(folder) / file).lstat().st_size
            except OSError:
                continue  # a server at work removes files
    return total


def need_room(place: Path, size: int, what: str) -> None:
    """Raise BackupError unless a file system has room for so many bytes and a tenth more."""
    needed = int(size * (1 + RESERVE))
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    if free < needed:
        raise BackupError(
            f"too little room in {place}: {what} needs {size_text(needed)} ({size_text(size)} and a tenth more), and "
            f"{size_text(free)} are free. Nothing was written"
        )


def can_share_blocks(place: Path) -> bool:
    """Whether the file system can copy without using room (reflink)."""
    one, other = place / ".reflink-1", place / ".reflink-2"
    try:
        one.write_bytes(b"x" * 4096)
        done = subprocess.run(["cp", "--reflink=always", one, other], capture_output=True, env=ENVIRONMENT, check=False)
        return done.returncode == 0
    except OSError:
        return False
    finally:
        one.unlink(missing_ok=True)
        other.unlink(missing_ok=True)


def run(words: Sequence[object], lock: int | None = None, timeout: float | None = None) -> str:
    """As ``host_programs.run``, but raises BackupError."""
    try:
        return host_programs.run(words, lock, timeout)
    except ProgramError as error:
        raise BackupError(str(error)) from error


def copy_tree(source: Path, target: Path, lock: int | None = None) -> None:
    """Copy a directory with owners and modes; blocks are shared where the file system can do that."""
    run(["cp", "-a", "--reflink=auto", "--", source, target], lock)


def give(place: Path, user: str) -> None:
    """Make a directory and all below it a user's, and nobody else's."""
    run(["chown", "-R", f"{user}:{user}", "--", place])
    place.chmod(0o700)


def program(*names: str) -> str:
    """Where the first of these programs is that is installed. Raises BackupError."""
    try:
        return host_programs.find(*names)
    except ProgramError as error:
        raise BackupError(str(error)) from error


def sync(place: Path) -> None:
    """Have the disk hold all of a file system before what was written gets its name."""
    run(["sync", "-f", "--", place])
