"""
What a server stores of a password, for each authentication plugin: made here, and recognised. Knows nothing of Salt.

Only made hashes travel to a server, and stored ones are compared here: neither needs a password in a statement,
where logs could keep it. Nothing here takes care to need the same time for each password, since nobody who could
measure it is answered.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from base64 import b64decode, b64encode

#: Plugins that store something of a password, by the flavor of the server; the first is what we choose.
PLUGINS = {
    "mysql": ("caching_sha2_password", "mysql_native_password"),
    "mariadb": ("mysql_native_password", "ed25519", "parsec"),
}
#: The plugin that asks the operating system who is at the other end of the unix socket.
SOCKET_PLUGINS = {"mysql": "auth_socket", "mariadb": "unix_socket"}

# The field of Ed25519, its constant d and its base point, in extended coordinates (RFC 8032, 5.1 and 5.1.4).
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202
_Y = 46316835694926478169428394003475163141307993866256225615783033603165251855960
_BASE = (_X, _Y, 1, _X * _Y % _P)
_Point = tuple[int, int, int, int]

_CRYPT_DIGITS = "./" + string.digits + string.ascii_uppercase + string.ascii_lowercase
_CRYPT_ROUNDS = 5000  # the server's own default, and its minimum (caching_sha2_password_digest_rounds)
_SALT_LETTERS = string.ascii_letters + string.digits
_SHA2 = re.compile(rb"\$A\$([0-9A-F]{3})\$(.{20})([./0-9A-Za-z]{43})", re.DOTALL)
# Servers take the factors 0 to 3: 1024 to 8192 iterations (MariaDB manual, "Authentication Plugin - PARSEC").
_PARSEC = re.compile(rb"P([0-3]):([+/0-9A-Za-z]{24}):[+/0-9A-Za-z]{43}")


class PasswordError(Exception):
    """There is no hash to be made: the plugin is not known here, or there is no password."""


def stored(plugin: str, password: str | None, salt: bytes | None = None) -> bytes:
    """
    Return what a server stores of a password. Raises PasswordError.

    plugin
        ``caching_sha2_password``, ``mysql_native_password``, ``ed25519``, ``parsec``; or a socket plugin, which
        stores nothing.
    password
        The password; not needed for a socket plugin.
    salt
        20 bytes (caching_sha2_password) or 18 (parsec), chosen at random if ``None``. The former must be ASCII
        without NUL and ``$``, as in what the server makes itself (MySQL source, "generate_user_salt").
    """
    if plugin in SOCKET_PLUGINS.values():
        return b""
    if not password:
        raise PasswordError("there is no password")
    if plugin == "caching_sha2_password":
        letters = "".join(secrets.choice(_SALT_LETTERS) for _ in range(20)).encode()
        return _caching_sha2(password.encode(), salt or letters, _CRYPT_ROUNDS)
    if plugin == "mysql_native_password":
        return native_hash(password).encode()
    if plugin == "ed25519":
        # Not RFC 8032's secret key but the password is hashed (MariaDB manual, "Authentication Plugin - ed25519").
        return b64encode(_public_key(hashlib.sha512(password.encode()).digest())).rstrip(b"=")
    if plugin == "parsec":
        return _parsec(password.encode(), salt or secrets.token_bytes(18), 0)
    raise PasswordError(f"the authentication plugin {plugin!r} is not known here")


def belongs(plugin: str, found: bytes, password: str | None) -> bool:
    """
    Return whether what a server stores belongs to a password; raises nothing, whatever is stored.

    plugin
        The plugin of the account. With one that is not known here nothing belongs to any password.
    found
        The bytes of ``authentication_string``; the salt and the number of rounds are in them.
    password
        The password; not needed for a socket plugin, which must have nothing stored: else it names another user of
        the system.
    """
    try:
        if plugin == "caching_sha2_password" and (parts := _SHA2.fullmatch(found)):
            rounds = int(parts[1], 16) * 1000
            return bool(password) and rounds > 0 and _caching_sha2(password.encode(), parts[2], rounds) == found
        if plugin == "parsec" and (parts := _PARSEC.fullmatch(found)):
            return bool(password) and _parsec(password.encode(), b64decode(parts[2]), int(parts[1])) == found
        return stored(plugin, password) == found
    except PasswordError:
        return False


def _caching_sha2(password: bytes, salt: bytes, rounds: int) -> bytes:
    """``$A$``, thousands of rounds in hexadecimal, salt, digest (MySQL source, sha2_password, "serialize")."""
    return b"$A$%03X$%s%s" % (rounds // 1000, salt, _sha256_crypt(password, salt, rounds))


def _sha256_crypt(password: bytes, salt: bytes, rounds: int) -> bytes:
    """The digest of U. Drepper's "Unix crypt using SHA-256", of which the step numbers are; MySQL's salt is longer."""

    def sha256(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    def repeated(data: bytes, length: int) -> bytes:
        return (data * (length // len(data) + 1))[:length]

    size = len(password)
    other = sha256(password + salt + password)  # 4 to 8
    start = password + salt + repeated(other, size)  # 1 to 3, 9, 10
    bits = size
    while bits:  # 11
        start += other if bits & 1 else password
        bits >>= 1
    digest = sha256(start)  # 12
    p = repeated(sha256(password * size), size)  # 13 to 16
    s = repeated(sha256(salt * (16 + digest[0])), len(salt))  # 17 to 20
    for turn in range(rounds):  # 21
        middle = (s if turn % 3 else b"") + (p if turn % 7 else b"")
        digest = sha256(p + middle + digest if turn & 1 else digest + middle + p)
    # 22: three bytes at a time make four digits, the lowest first; the last two make three. Each byte of a triple is
    # 21 places, modulo 30, behind its like in the triple before.
    text = ""
    for start_at in range(0, 21 * 10, 21):
        text += _digits([digest[(start_at + offset) % 30] for offset in (0, 10, 20)], 4)
    return (text + _digits([digest[31], digest[30]], 3)).encode()


def _digits(values: list[int], count: int) -> str:
    """Bytes, the highest first, as digits of crypt(3), the lowest first."""
    number = int.from_bytes(values, "big")
    return "".join(_CRYPT_DIGITS[number >> 6 * place & 63] for place in range(count))


def _parsec(password: bytes, salt: bytes, factor: int) -> bytes:
    """'P', factor, salt, public key (MariaDB manual, "Authentication Plugin - PARSEC"); the derived key is the seed."""
    seed = hashlib.pbkdf2_hmac("sha512", password, salt, 1024 << factor, 32)
    key = _public_key(hashlib.sha512(seed).digest())
    return b"P%d:%s:%s" % (factor, b64encode(salt), b64encode(key).rstrip(b"="))


def _public_key(expanded: bytes) -> bytes:
    """Ed25519's public key from the 64 bytes that its secret key hashes to (RFC 8032, 5.1.5)."""
    scalar = int.from_bytes(expanded[:32], "little") & ((1 << 254) - 8) | 1 << 254
    result: _Point = (0, 1, 1, 0)
    power = _BASE
    while scalar:
        if scalar & 1:
            result = _add(result, power)
        power = _add(power, power)
        scalar >>= 1
    x, y, z, _ = result
    inverse = pow(z, -1, _P)
    return ((x * inverse % _P & 1) << 255 | y * inverse % _P).to_bytes(32, "little")


def _add(one: _Point, other: _Point) -> _Point:
    """The sum of two points of the curve (RFC 8032, 5.1.4, where these letters are)."""
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = other
    a, b = (y1 - x1) * (y2 - x2) % _P, (y1 + x1) * (y2 + x2) % _P
    c, d = 2 * t1 * t2 * _D % _P, 2 * z1 * z2 % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def native_hash(password: str) -> str:
    """What mysql_native_password stores: '*' and the doubled SHA-1 (MariaDB manual, "PASSWORD")."""
    twice = hashlib.sha1(hashlib.sha1(password.encode()).digest()).hexdigest()
    return "*" + twice.upper()
