"""
A backup sent from one host to another, as a tar in a stream over TLS 1.3. Knows nothing of Salt.

No new trust is needed: each side makes a certificate for this one transfer, whoever asked for it (Salt, the trusted
channel) gives each side the other's, and each takes no other than exactly that one.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mysql_backups as store
from mysql_backups import BackupError

FOLDER = Path("/run/mysql_ha-transfer")
#: How long the two wait for each other, and how long a stream may stand still, in seconds.
MEET_SECONDS, IDLE_SECONDS = 120, 600
_CHUNK = 1 << 20
# X509_V_FLAG_NO_CHECK_TIME: certificates are compared whole, and the hosts' clocks may differ.
_NO_CHECK_TIME = 0x200000
_HAVE, _WANT, _DONE = b"h", b"w", b"d"


def introduce() -> str:
    """Make this host's key and certificate for one transfer, and return the certificate (PEM). Raises BackupError."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(mode=0o700)
    subject = ["-days", "2", "-subj", "/CN=mysql_ha-transfer"]
    store.run([store.program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
               "-nodes", *subject, "-keyout", FOLDER / "key.pem", "-out", FOLDER / "cert.pem"])  # fmt: skip
    return certificate()


def certificate() -> str:
    """The certificate that ``introduce`` made last (PEM). Raises BackupError when there is none."""
    try:
        return (FOLDER / "cert.pem").read_text(encoding="ascii")
    except OSError as error:
        raise BackupError(f"this host has no certificate for a transfer: {error}") from error


def _context(purpose: int, peer: str) -> ssl.SSLContext:
    context = ssl.SSLContext(purpose)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags = ssl.VerifyFlags(_NO_CHECK_TIME)
    context.load_verify_locations(cadata=peer)
    context.load_cert_chain(FOLDER / "cert.pem", FOLDER / "key.pem")
    return context


def _is(stream: ssl.SSLSocket, peer: str) -> bool:
    return stream.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(peer)


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
        try:
            with _accepted(address, port, peer) as stream:
                return _received(stream, directory)
        except (OSError, struct.error) as error:
            raise BackupError(f"the transfer to this host broke off: {error}") from error
        finally:
            shutil.rmtree(FOLDER, ignore_errors=True)


@contextmanager
def _accepted(address: str, port: int, peer: str) -> Iterator[ssl.SSLSocket]:
    """The one connection that shows the right certificate; others are dropped."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, peer)
    end = time.monotonic() + MEET_SECONDS
    with socket.create_server((address, port)) as listener:
        while (left := end - time.monotonic()) > 0:
            listener.settimeout(left)
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                break
            connection.settimeout(min(left, 10))
            try:
                stream = context.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()
                continue
            with stream:
                if _is(stream, peer):
                    stream.settimeout(IDLE_SECONDS)
                    yield stream
                    return
    raise BackupError(f"no sender came to {address}:{port} within {MEET_SECONDS} s")


def _received(stream: ssl.SSLSocket, directory: Path) -> tuple[str, int]:
    name = _frame(stream).decode("ascii", errors="replace")
    size = int(_frame(stream))
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
                              stderr=subprocess.PIPE, env=store.ENVIRONMENT)  # fmt: skip
    try:
        while chunk := _frame(stream):
            unpack.stdin.write(chunk)
    finally:
        said = unpack.communicate()[1]
    if unpack.returncode:
        raise BackupError(f"it cannot be unpacked: {store.last_words(said.decode(errors='replace'))}")
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
        try:
            with _connected(address, port, peer) as stream:
                _send_frame(stream, place.name.encode())
                _send_frame(stream, str(size).encode())
                if _exactly(stream, 1) == _HAVE:
                    return 0
                _send_tar(stream, place)
                if _exactly(stream, 1) != _DONE:
                    raise BackupError(f"{address} did not store it")
        except (OSError, struct.error) as error:
            raise BackupError(f"the transfer to {address}:{port} broke off: {error}") from error
        finally:
            shutil.rmtree(FOLDER, ignore_errors=True)
    return size


@contextmanager
def _connected(address: str, port: int, peer: str) -> Iterator[ssl.SSLSocket]:
    context = _context(ssl.PROTOCOL_TLS_CLIENT, peer)
    end = time.monotonic() + MEET_SECONDS
    while True:
        try:
            connection = socket.create_connection((address, port), timeout=5)
            break
        except OSError as error:
            if time.monotonic() > end:
                raise BackupError(f"nobody listens on {address}:{port}: {error}") from error
            time.sleep(0.5)
    connection.settimeout(IDLE_SECONDS)
    with context.wrap_socket(connection) as stream:
        if not _is(stream, peer):
            raise BackupError(f"{address}:{port} is not the host that was introduced")
        yield stream


def _send_tar(stream: ssl.SSLSocket, place: Path) -> None:
    pack = subprocess.Popen(["tar", "-c", "--numeric-owner", "-C", str(place), "."], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=store.ENVIRONMENT)  # fmt: skip
    try:
        while chunk := pack.stdout.read(_CHUNK):
            _send_frame(stream, chunk)
    finally:
        said = pack.communicate()[1]
    if pack.returncode:
        raise BackupError(f"it cannot be read: {store.last_words(said.decode(errors='replace'))}")
    # An empty one is the end; a stream that merely stops is none.
    _send_frame(stream, b"")


def _send_frame(stream: ssl.SSLSocket, data: bytes) -> None:
    stream.sendall(struct.pack(">I", len(data)) + data)


def _frame(stream: ssl.SSLSocket) -> bytes:
    (length,) = struct.unpack(">I", _exactly(stream, 4))
    if length > _CHUNK:
        raise BackupError("the sender speaks another language")
    return _exactly(stream, length)


def _exactly(stream: ssl.SSLSocket, length: int) -> bytes:
    parts, left = [], length
    while left:
        part = stream.recv(left)
        if not part:
            raise ConnectionError("the other side has gone")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
