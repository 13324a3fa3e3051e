"""
The rules for the pillar keys ``mysql_ha:database:tls`` and ``mysql_ha:secrets:tls_ca``, ``tls_ca_key``.

Plain Python that knows nothing of Salt and nothing of cryptography: whether a PEM has the right shape can be
told here, whether its certificate is any good is told on the host. No function here raises, and no sentence
shows a secret.
"""

from __future__ import annotations

import base64
import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pillar_words import is_whole, kind, literal, unquote

TLS = "mysql_ha:database:tls"
SECRETS = "mysql_ha:secrets"

# What defaults.yaml says, for the rule that joins two keys of which one may be left out.
DEFAULT_DAYS = 365
DEFAULT_RENEW = 30
MIN_DAYS, MAX_DAYS = 2, 3650
MAX_PEM = 65536

HOW_TO_MAKE = (
    "a CA of your own, made by `salt-call --local mysql_tls.new_ca NAME path=FILE`,"
    f" or {TLS}:ca_file, certificate_file and key_file"
)

_FILES = ("ca_file", "certificate_file", "key_file")
_KEYS = ("days", "renew", "key", *_FILES)
_PATH = re.compile(r"/[A-Za-z0-9._+@=-]+(/[A-Za-z0-9._+@=-]+)*")
_PATH_ALLOWED = "an absolute path of 2 to 255 of the characters A-Z a-z 0-9 . _ + @ = - and /"
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----(.*?)-----END \1-----", re.DOTALL)
_LABEL = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_CERTIFICATES_ALLOWED = "one or more certificates in PEM, after a |"
_KEY_ALLOWED = "one private key in PEM, not encrypted, after a |"
_KEY_LABELS = ("PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY")


def errors(tls: object, secrets: object, flavor: object, minion_is_database: bool, wanted: object = True) -> list[str]:
    """
    Return everything that is wrong with the TLS part of a pillar, one sentence each; ``[]`` if it is valid.

    tls
        The value of ``mysql_ha:database:tls``, with its defaults applied or without; ``{}`` if there is none.
    secrets
        The value of ``mysql_ha:secrets``. If it is no mapping, that is somebody else's sentence.
    flavor
        The value of ``mysql_ha:database:flavor``. Only MySQL needs a CA: MariaDB verifies without one.
    minion_is_database
        Whether this pillar was made for a database; other minions need no CA, and can go without.
    wanted
        The value of ``mysql_ha:database:replication:tls``.
    """
    if not isinstance(tls, Mapping):
        return [f"{TLS}: is {kind(tls)}; allowed: a mapping with the keys {', '.join(_KEYS)}"]
    part = secrets if isinstance(secrets, Mapping) else {}
    given = [key for key in _FILES if key in tls]
    found = [*_unknown(tls), *_days(tls), *_key(tls), *_paths(tls, given), *_ca(part, minion_is_database)]
    if given and "tls_ca" in part:
        found.append(f"{SECRETS}:tls_ca: is set, and {TLS}:{given[0]} too; allowed: one of the two ways")
    has_none = not given and "tls_ca" not in part and "tls_ca_key" not in part
    if flavor == "mysql" and wanted is True and minion_is_database is True and has_none:
        found.append(f"{SECRETS}:tls_ca: is missing, and MySQL verifies no peer without a CA; allowed: {HOW_TO_MAKE}")
    return found


def _unknown(tls: Mapping[Any, Any]) -> Iterator[str]:
    """Say which keys should not be there; their values are not shown."""
    for key in tls:
        if key in _KEYS:
            continue
        short = isinstance(key, str) and len(key) <= 64
        close = difflib.get_close_matches(key, _KEYS, 1) if short else []
        hint = f" (did you mean {close[0]}?)" if close else ""
        yield f"{TLS}:{literal(key)}: is an unknown key; allowed: {', '.join(_KEYS)}{hint}"


def _days(tls: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with the two numbers of days."""
    days, renew = tls.get("days", DEFAULT_DAYS), tls.get("renew", DEFAULT_RENEW)
    high = MAX_DAYS - 1
    if not is_whole(days, MIN_DAYS, MAX_DAYS):
        yield f"{TLS}:days: is {literal(days)}{unquote(days)}; allowed: a whole number from {MIN_DAYS} to {MAX_DAYS}"
    if not is_whole(renew, 1, high):
        yield f"{TLS}:renew: is {literal(renew)}{unquote(renew)}; allowed: a whole number from 1 to {high}"
    elif is_whole(days, MIN_DAYS, MAX_DAYS) and renew >= days:
        # The one that was said is the one to be mended.
        if "renew" in tls:
            key, value, allowed = "renew", renew, f"less than {TLS}:days, which is {days}"
        else:
            key, value, allowed = "days", days, f"more than {TLS}:renew, which is {renew}"
        yield f"{TLS}:{key}: is {value}; allowed: {allowed}"


def _key(tls: Mapping[Any, Any]) -> Iterator[str]:
    """Say what is wrong with the kind of key."""
    if "key" in tls and not (isinstance(tls["key"], str) and tls["key"] in ("ec", "rsa")):
        yield f"{TLS}:key: is {_short(tls['key'], 16)}; allowed: ec, rsa"


def _paths(tls: Mapping[Any, Any], given: list[str]) -> Iterator[str]:
    """Say what is wrong with the paths of given certificates."""
    for key in _FILES:
        if key not in tls:
            if given:
                yield f"{TLS}:{key}: is missing, and {TLS}:{given[0]} is set; allowed: all three of {', '.join(_FILES)}"
            continue
        path = tls[key]
        if not (isinstance(path, str) and 2 <= len(path) <= 255 and _PATH.fullmatch(path)):
            yield f"{TLS}:{key}: is {_short(path, 60)}; allowed: {_PATH_ALLOWED}"


def _ca(secrets: Mapping[Any, Any], minion_is_database: object) -> Iterator[str]:
    """Say what is wrong with the CA's certificates and its key."""
    for key, other, allowed in (
        ("tls_ca", "tls_ca_key", _CERTIFICATES_ALLOWED),
        ("tls_ca_key", "tls_ca", _KEY_ALLOWED),
    ):
        path = f"{SECRETS}:{key}"
        if key not in secrets:
            if other in secrets and minion_is_database is True:
                yield f"{path}: is missing, and {SECRETS}:{other} is set; allowed: {allowed}"
            continue
        problem = _certificates_problem(secrets[key]) if key == "tls_ca" else _key_problem(secrets[key])
        if problem:
            yield f"{path}: {problem} (hidden); allowed: {allowed}"


def _certificates_problem(value: object) -> str:
    """Return what is wrong with the CA's certificates, or nothing."""
    problem = _pem_problem(value)
    if problem:
        return problem
    labels = _LABEL.findall(str(value))
    if any("PRIVATE KEY" in label for label in labels):
        # It would go into the file that everybody may read.
        return "is set but holds a private key, which belongs into tls_ca_key"
    if any(label != "CERTIFICATE" for label in labels):
        return "is set but holds something else than certificates"
    return ""


def _key_problem(value: object) -> str:
    """Return what is wrong with the CA's private key, or nothing."""
    text = value if isinstance(value, str) else ""
    if len(text) <= MAX_PEM and ("BEGIN ENCRYPTED PRIVATE KEY" in text or "Proc-Type: 4,ENCRYPTED" in text):
        return "is set but is encrypted"
    problem = _pem_problem(value)
    if problem:
        return problem
    # `openssl ecparam -genkey` writes the curve before the key.
    labels = [label for label in _LABEL.findall(text) if label != "EC PARAMETERS"]
    if len(labels) != 1 or labels[0] not in _KEY_LABELS:
        return "is set but holds something else than one private key"
    return ""


def _pem_problem(value: object) -> str:
    """Return why a value is no PEM, or nothing."""
    if not isinstance(value, str):
        return f"is {kind(value)} and not text"
    if not value.strip():
        return "is empty"
    if len(value) > MAX_PEM:
        return f"is set but longer than {MAX_PEM} characters"
    blocks = _BLOCK.findall(value)
    if not blocks or len(blocks) != len(_LABEL.findall(value)):
        return "is set but is no PEM: it has no line -----BEGIN ...----- with its -----END ...-----"
    if any("\n" not in inner.strip("\r ") for _, inner in blocks):
        return "is set but has lost its line breaks"
    if not all(_is_der(inner) for _, inner in blocks):
        return "is set but is damaged: what is between BEGIN and END is no base64 of a certificate or key"
    return ""


def _is_der(inner: str) -> bool:
    """Return whether this is the base64 of one whole ASN.1 sequence (or object identifier: EC PARAMETERS)."""
    try:
        raw = base64.b64decode("".join(inner.split()), validate=True)
    except ValueError:
        return False
    if len(raw) < 3 or raw[0] not in (0x30, 0x06):
        return False
    # Up to 127 bytes the second byte is the length, else it says how many bytes after it are.
    count = raw[1] & 0x7F if raw[1] & 0x80 else 0
    length = int.from_bytes(raw[2 : 2 + count], "big") if count else raw[1]
    return len(raw) == 2 + count + length


def _short(value: object, longest: int) -> str:
    """Return a value unless it is a longer text: it may be a private key that was put in the wrong place."""
    if isinstance(value, str) and (len(value) > longest or "-----" in value):
        return f"text of {len(value)} characters"
    return literal(value)
