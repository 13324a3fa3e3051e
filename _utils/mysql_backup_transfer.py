"""
A backup sent from one host to another, as a tar in a stream over TLS 1.3 between exactly two certificates
(``pinned_tls``). Knows nothing of Salt.
"""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import host_programs
import mysql_backups as store
import pinned_tls
from mysql_backups import BackupError
from pinned_tls import MeetingError, exactly, frame, send_frame

FOLDER = Path("/run/mysql_ha-transfer")
_HAVE, _WANT, _DONE = b"h", b"w", b"d"


def introduce() -> str:
    """Make this host's key and certificate for one transfer, and return the certificate (PEM). Raises BackupError."""
    try:
        return pinned_tls.introduce(FOLDER)
    except MeetingError as error:
        raise BackupError(str(error)) from error


def certificate() -> str:
    """The certificate that ``introduce`` made last (PEM). Raises BackupError when there is none."""
    try:
        return pinned_tls.certificate(FOLDER)
    except MeetingError as error:
        raise BackupError(str(error)) from error


def receive(directory: Path, gid: int, address: str, port: int, peer: str) -> tuple[str, int]:
    """Wait for a backup and store it; return its name and its bytes, 0 if it was there already. Raises BackupError.

    directory, gid
        Where backups lie, and the servers' group.
    address, port
        Where to listen.
    peer
        The sender's certificate (PEM).
    """
    store.prepare(directory, gid)
    with store.locked(directory):
        store.sweep(directory)
        with _told("the transfer to this host"), pinned_tls.accepted(FOLDER, address, port, peer) as stream:
            return _received(stream, directory)


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except MeetingError as error:
        raise BackupError(str(error)) from error
    except OSError as error:
        raise BackupError(f"{what} broke off: {error}") from error


def _received(stream: ssl.SSLSocket, directory: Path) -> tuple[str, int]:
    name = frame(stream).decode("ascii", errors="replace")
    size = int(frame(stream))
    if not store.NAME.fullmatch(name):
        raise BackupError(f"{name!r} is no name of a backup")
    if name in store.listed(directory):
        stream.sendall(_HAVE)
        return name, 0
    store.need_room(directory, size, f"the backup {name}")
    part = directory / (name + store.PART)
    with store.unfinished(part):
        stream.sendall(_WANT)
        _unpacked(stream, part)
        record = store.read(part)
        # A proof counts for the host where it was made: the disk and the server here are others.
        store.write(part, record | {"proven": None, "proven_there": record["proven"]})
        store.sync(part)
        part.rename(directory / name)
    stream.sendall(_DONE)
    return name, size


def _unpacked(stream: ssl.SSLSocket, part: Path) -> None:
    unpack = subprocess.Popen(["tar", "-x", "--same-owner", "-p", "-C", str(part)], stdin=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=host_programs.ENVIRONMENT)  # fmt: skip
    try:
        while chunk := frame(stream):
            unpack.stdin.write(chunk)
    finally:
        said = unpack.communicate()[1]
    if unpack.returncode:
        raise BackupError(f"it cannot be unpacked: {host_programs.last_words(said.decode(errors='replace'))}")
    part.chmod(0o700)


def send(directory: Path, place: Path, address: str, port: int, peer: str) -> int:
    """Send a backup to a host that waits for it; return its bytes, 0 if it was there already. Raises BackupError.

    directory, place
        Where backups lie here, and the one to send.
    address, port
        Where the other host listens.
    peer
        Its certificate (PEM).
    """
    if not store.NAME.fullmatch(place.name):
        raise BackupError(f"{place}: only a backup under its own name can be sent, and {place.name!r} is none")
    with store.locked(directory):
        size = store.tree_size(place)
        to = f"the transfer to {address}:{port}"
        with _told(to), pinned_tls.connected(FOLDER, address, port, peer) as stream:
            send_frame(stream, place.name.encode())
            send_frame(stream, str(size).encode())
            if exactly(stream, 1) == _HAVE:
                return 0
            _send_tar(stream, place)
            if exactly(stream, 1) != _DONE:
                raise BackupError(f"{address} did not store it")
    return size


def _send_tar(stream: ssl.SSLSocket, place: Path) -> None:
    pack = subprocess.Popen(["tar", "-c", "--numeric-owner", "-C", str(place), "."], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=host_programs.ENVIRONMENT)  # fmt: skip
    try:
        while chunk := pack.stdout.read(pinned_tls.CHUNK):
            send_frame(stream, chunk)
    finally:
        said = pack.communicate()[1]
    if pack.returncode:
        raise BackupError(f"it cannot be read: {host_programs.last_words(said.decode(errors='replace'))}")
    # An empty one is the end; a stream that merely stops is none.
    send_frame(stream, b"")
