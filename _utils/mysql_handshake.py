"""
Which certificate a server shows, asked as a client would: the server's status has no more of it than its dates.
Knows nothing of Salt.
"""

from __future__ import annotations

import socket
import ssl
import struct

# MySQL manual, "Protocol::SSLRequest" and "Capabilities Flags".
CLIENT_PROTOCOL_41, CLIENT_SSL, CLIENT_SECURE_CONNECTION = 0x0200, 0x0800, 0x8000
UTF8MB4 = 45
MAX_PACKET = 1 << 24


class HandshakeError(Exception):
    """The server was not reached, or does not speak TLS."""


def shown_certificate(host: str, port: int, timeout: float = 10) -> bytes:
    """The certificate, in DER, that a server shows its clients. It is not verified. Raises HandshakeError."""
    try:
        with socket.create_connection((host, port), timeout) as plain:
            greeting = _packet(plain)
            if not _capabilities(greeting) & CLIENT_SSL:
                raise HandshakeError(f"{host}:{port} has no TLS")
            wanted = CLIENT_PROTOCOL_41 | CLIENT_SSL | CLIENT_SECURE_CONNECTION
            request = struct.pack("<IIB23x", wanted, MAX_PACKET, UTF8MB4)
            plain.sendall(struct.pack("<I", len(request))[:3] + b"\x01" + request)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with context.wrap_socket(plain) as encrypted:
                return encrypted.getpeercert(binary_form=True) or b""
    except (OSError, ValueError, IndexError, struct.error) as error:
        raise HandshakeError(f"{host}:{port} shows no certificate: {error}") from error


def greeting(host: str, port: int, timeout: float) -> bool | None:
    """
    How a server greets whoever connects: True, it lets clients log in; False, it only says why it does not (too many
    connections, for example); None, there is no answer within ``timeout`` seconds (for each step of it).
    """
    try:
        with socket.create_connection((host, port), timeout) as plain:
            return _packet(plain)[0] == 10
    except (OSError, ValueError, IndexError):
        return None


def _packet(connection: socket.socket) -> bytes:
    head = _exactly(connection, 4)
    return _exactly(connection, int.from_bytes(head[:3], "little"))


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = connection.recv(size - len(found))
        if not more:
            raise ValueError("the connection ended in the greeting")
        found += more
    return found


def _capabilities(greeting: bytes) -> int:
    """The server's abilities (MySQL manual, "Protocol::HandshakeV10")."""
    if greeting[0] == 0xFF:
        raise ValueError(greeting[3:].decode(errors="replace"))
    if greeting[0] != 10:
        raise ValueError(f"a greeting of protocol {greeting[0]}")
    after_version = greeting.index(b"\0", 1) + 1
    return struct.unpack_from("<H", greeting, after_version + 13)[0]
