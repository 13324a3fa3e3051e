"""
Two hosts that meet over TLS 1.3 for one stream between them. Knows nothing of Salt.

No new trust is needed: each side makes a certificate for this one stream, whoever asked for it (Salt, the trusted
channel) gives each side the other's, and each takes no other than exactly that one.

Sources: Python manual, "ssl"; RFC 8446; tcp(7), "TCP_USER_TIMEOUT" and "TCP_KEEPIDLE".
"""

from __future__ import annotations

import shutil
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import host_programs
from host_programs import ProgramError

#: How long the two wait for each other, and how long a stream may stand still, in seconds.
MEET_SECONDS, IDLE_SECONDS = 120, 600
#: The most bytes of one frame.
CHUNK = 1 << 20
# A host without power says nothing more; its silence is noticed after some 30 seconds, whatever the stream waits for.
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 2}
# X509_V_FLAG_NO_CHECK_TIME: certificates are compared whole, and the hosts' clocks may differ.
_NO_CHECK_TIME = 0x200000


class MeetingError(Exception):
    """The two hosts did not come together; nothing was sent."""


def introduce(folder: Path) -> str:
    """Make this host's key and certificate for one stream in a folder, and return the certificate (PEM).

    Whatever the folder held is removed; so is the folder when the stream ends. Raises MeetingError.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        host_programs.run([
            host_programs.find("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-days", "2", "-subj", "/CN=mysql_ha", "-keyout", folder / "key.pem", "-out", folder / "cert.pem",
        ])  # fmt: skip
    except ProgramError as error:
        raise MeetingError(f"no certificate could be made: {error}") from error
    return certificate(folder)


def certificate(folder: Path) -> str:
    """The certificate that ``introduce`` made last (PEM). Raises MeetingError when there is none."""
    try:
        return (folder / "cert.pem").read_text(encoding="ascii")
    except OSError as error:
        raise MeetingError(f"this host has no certificate for a transfer: {error}") from error


@contextmanager
def accepted(
    folder: Path, address: str, port: int, peer: str, idle: float = IDLE_SECONDS, meet: float | None = None
) -> Iterator[ssl.SSLSocket]:
    """The one connection that shows the right certificate; others are dropped. Raises MeetingError.

    folder
        Where ``introduce`` was; it is removed at the end.
    address, port
        Where to listen.
    peer
        The other side's certificate (PEM).
    idle
        For how many seconds the stream may stand still; then OSError is raised.
    meet
        For how many seconds to wait; ``MEET_SECONDS`` if not said.
    """
    meet = MEET_SECONDS if meet is None else meet
    try:
        context = _context(ssl.PROTOCOL_TLS_SERVER, folder, peer)
        end = time.monotonic() + meet
        with _listening(address, port) as listener:
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
                        listener.close()
                        _be_patient(stream, idle)
                        yield stream
                        return
        raise MeetingError(f"no sender came to {address}:{port} within {meet:.0f} s")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def connected(folder: Path, address: str, port: int, peer: str, idle: float = IDLE_SECONDS) -> Iterator[ssl.SSLSocket]:
    """A connection to a host that waits in ``accepted``; parameters and errors are as there."""
    try:
        context = _context(ssl.PROTOCOL_TLS_CLIENT, folder, peer)
        end = time.monotonic() + MEET_SECONDS
        while True:
            try:
                connection = socket.create_connection((address, port), timeout=5)
                break
            except OSError as error:
                if time.monotonic() > end:
                    raise MeetingError(f"nobody listens on {address}:{port}: {error}") from error
                time.sleep(0.5)
        _be_patient(connection, idle)
        with context.wrap_socket(connection) as stream:
            if not _is(stream, peer):
                raise MeetingError(f"{address}:{port} is not the host that was introduced")
            yield stream
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def send_frame(stream: ssl.SSLSocket, data: bytes) -> None:
    """Send some bytes, at most ``CHUNK``, with their length. An empty frame can then be the end of something: a stream
    that merely stops is none."""
    stream.sendall(struct.pack(">I", len(data)) + data)


def frame(stream: ssl.SSLSocket) -> bytes:
    """The bytes of the next frame. Raises ConnectionError."""
    (length,) = struct.unpack(">I", exactly(stream, 4))
    if length > CHUNK:
        raise ConnectionError("the sender speaks another language")
    return exactly(stream, length)


def exactly(stream: ssl.SSLSocket, length: int) -> bytes:
    """The next so many bytes. Raises ConnectionError when the stream ends before."""
    parts, left = [], length
    while left:
        part = stream.recv(left)
        if not part:
            raise ConnectionError("the other side has gone")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _listening(address: str, port: int) -> socket.socket:
    try:
        return socket.create_server((address, port))
    except OSError as error:
        raise MeetingError(f"this host cannot listen on {address}:{port}: {error}") from error


def _context(purpose: int, folder: Path, peer: str) -> ssl.SSLContext:
    try:
        context = ssl.SSLContext(purpose)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags = ssl.VerifyFlags(_NO_CHECK_TIME)
        context.load_verify_locations(cadata=peer)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    except (OSError, ValueError) as error:
        raise MeetingError(f"no certificates for a transfer: {error}") from error
    return context


def _is(stream: ssl.SSLSocket, peer: str) -> bool:
    return stream.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(peer)


def _be_patient(connection: socket.socket, idle: float) -> None:
    connection.settimeout(idle)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    # What was sent, and is not taken; keepalives are not sent meanwhile.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(idle * 1000))
