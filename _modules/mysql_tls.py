"""
TLS between the databases: this host's private key and certificate, and the small CA that signs them.

The CA is in the pillar (``mysql_ha:secrets:tls_ca`` and ``tls_ca_key``). Each host makes a private key that
never leaves it, and signs its own certificate; no host needs another one for that, nor the master.
"""

import contextlib
import fcntl
import grp
import ipaddress
import os
import pwd
import re
import shutil
import stat
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

from salt.exceptions import CommandExecutionError, SaltInvocationError

# Salt's own library for certificates. The x509 module is not used: until Salt 3008 it is another one, which
# needs M2Crypto, unless the minion's configuration says `x509_v2: true`.
try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    _BROKEN = (x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
except ImportError:  # salt-ssh brings no compiled library to its targets
    x509 = None

__virtualname__ = "mysql_tls"

FOLDER = "/etc/mysql/mysql_ha-tls"
CA = "mysql_ha:secrets:tls_ca"
CA_KEY = "mysql_ha:secrets:tls_ca_key"
FILES = ("ca.pem", "cert.pem", "key.pem")
MODES = {"ca.pem": 0o644, "cert.pem": 0o644, "key.pem": 0o640}
FOLDER_MODE = 0o750
RSA_BITS = 3072
#: Certificates begin in the past, or a peer whose clock is behind would refuse them.
BACKDATED = timedelta(hours=1)
MAX_CHAIN = 8

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")


class Authority(NamedTuple):
    """What the pillar says: who signs, with which key, and all that are trusted."""

    signer: object
    key: object
    trusted: list


class Wanted(NamedTuple):
    """What the certificate of this host should be."""

    authority: Authority
    name: str
    sans: list
    not_after: datetime
    renew: timedelta
    key: str
    group: str


class Wrong(NamedTuple):
    """One thing that is not as wanted: its field, what it is and will be, and the sentence for people."""

    field: str
    old: object
    new: object
    why: str


def __virtual__():
    return __virtualname__


def new_ca(name, days=3650, path=None):
    """
    A pillar file with a new CA: ``mysql_ha:secrets:tls_ca`` (the certificate) and ``tls_ca_key`` (its private
    key). With a path it is written there, and the key is shown nowhere. Without one the text is returned,
    which works with ``--local`` only: what a master gets, it keeps in its job cache.

    name
        What the CA is for, such as the name of the cluster: 1 to 60 printable characters.

    days
        How many days it is valid, 1 to 7300.

    path
        Where to write the file, which must not exist yet; only its owner may read it.

    CLI Example:

    .. code-block:: bash

        salt-call --local mysql_tls.new_ca shop path=/srv/pillar/mysql_ha_ca.sls
    """
    if path is None and __opts__.get("file_client") != "local":
        raise SaltInvocationError(
            "mysql_tls.new_ca: was asked through a master, which would keep the private key in its job cache; "
            f"allowed: {_how_to_make()}"
        )
    name = str(name)
    if not (1 <= len(name) <= 60 and name.isprintable()):
        raise SaltInvocationError("name: is no name for a CA; allowed: 1 to 60 printable characters")
    _whole("days", days, 1, 7300)
    _need_cryptography()
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{name} CA")])
    now = _now()
    certificate = (
        _builder(subject, subject, key.public_key(), now - timedelta(days=1), _end(now, days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    lines = [
        f"# {name} CA, valid until {_date(_ends(certificate))} UTC. Whoever has the key can pass for a database:",
        "# give this file to the databases only, and keep it out of public repositories.",
        "mysql_ha:",
        "  secrets:",
    ]
    for pillar_key, pem in (("tls_ca", _pem(certificate)), ("tls_ca_key", _key_pem(key))):
        lines += [f"    {pillar_key}: |", *(f"      {line}" for line in pem.decode().splitlines())]
    text = "\n".join(lines)
    if path is None:
        return text
    with _told(f"{path}: the CA was not written"):
        _write(Path(path), f"{text}\n".encode(), 0o600, os.getegid())
    return f"{path}: {_name(subject)}, valid until {_date(_ends(certificate))} UTC"


def info(path):
    """
    What the first certificate of a file says: ``subject``, ``issuer``, ``sans`` (a list such as
    ``DNS:mysql1``, ``IP:192.168.1.5``), ``not_before`` and ``not_after`` (UTC), ``days_left`` (negative once
    it has expired), ``fingerprint`` (SHA-256), ``serial`` and ``key`` (``ec``, ``rsa`` ...).

    path
        A file with a certificate in PEM.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_tls.info /etc/mysql/mysql_ha-tls/cert.pem
    """
    _need_cryptography()
    certificate = _load_certificates(path)[0]
    return {
        "subject": _name(certificate.subject),
        "issuer": _name(certificate.issuer),
        "sans": _sans(certificate),
        "not_before": _date(_begins(certificate)),
        "not_after": _date(_ends(certificate)),
        "days_left": (_ends(certificate) - _now()) // timedelta(days=1),
        "fingerprint": _fingerprint(certificate),
        "serial": f"{certificate.serial_number:x}",
        "key": _key_kind(_public_key(certificate)),
    }


def wrong(address, name=FOLDER, hostnames=None, days=365, renew=30, key="ec", group="mysql"):
    """
    Why this host's certificate is not what it should be: a list of sentences, empty when all is well.

    address
        The address of this host that the other databases connect to.

    name
        The folder that holds ``ca.pem``, ``cert.pem`` and ``key.pem``.

    hostnames
        A list of further names of this host; the minion id always is one.

    days
        How many days a new certificate is valid, 2 to 3650 (never longer than its CA).

    renew
        How many days before its end it is renewed, 1 to less than ``days``.

    key
        What kind of private key: ``ec`` (P-256) or ``rsa`` (3072 bits).

    group
        The group that the database server runs in, which may read the private key.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_tls.wrong 192.168.1.5
    """
    wanted = _wanted(address, hostnames, days, renew, key, group)
    return [one.why for one in _compare(Path(name), wanted) if one.why]


def differences(address, name=FOLDER, hostnames=None, days=365, renew=30, key="ec", group="mysql"):
    """
    What ``mysql_tls.make`` would change, as ``{field: {old, new}}``; empty when all is well.

    address, name, hostnames, days, renew, key, group
        See ``mysql_tls.wrong``.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_tls.differences 192.168.1.5
    """
    wanted = _wanted(address, hostnames, days, renew, key, group)
    return {one.field: {"old": one.old, "new": one.new} for one in _compare(Path(name), wanted)}


def make(address, name=FOLDER, hostnames=None, days=365, renew=30, key="ec", group="mysql"):
    """
    Make this host's certificate right, and return what it then says (see ``mysql_tls.info``). What is right
    already is kept. A new certificate always comes with a new private key: nothing pins the old one, and one
    that leaked unnoticed ends with its certificate.

    The files are written aside as a whole set, and one rename puts the set in place: at no time, and after no
    interruption, do a key and a certificate lie there that do not belong together. The server reads them at
    its start, or when told to.

    address, name, hostnames, days, renew, key, group
        See ``mysql_tls.wrong``.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_tls.make 192.168.1.5
    """
    wanted = _wanted(address, hostnames, days, renew, key, group)
    folder = Path(name)
    with _told(f"{folder}: the certificate was not made"):
        try:
            gid = grp.getgrnam(group).gr_gid
        except KeyError:
            raise CommandExecutionError(
                f"{folder}: the private key is to be readable by the group {group}, which does not exist on this "
                "host; install the database server, or have the group made, first"
            ) from None
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        with _locked(folder):
            found = _compare(folder, wanted)
            if {one.field for one in found} - {"leftovers"}:
                _put(folder, _new_set(folder, wanted, found), gid)
            for old in _leftovers(folder):
                shutil.rmtree(folder / old)
        return info(folder / "cert.pem")


def given_wrong(certificate_file, ca_file, key_file, address, hostnames=None, user="mysql"):
    """
    Why certificates that somebody else puts on this host cannot serve: a list of sentences, each with a path;
    empty when they can. Nothing is changed.

    certificate_file
        The certificate in PEM, followed by intermediate ones if there are any.

    ca_file
        The certificates that are trusted, in PEM.

    key_file
        The private key in PEM, not encrypted.

    address, hostnames
        The address of this host that the other databases connect to, and a list of names; the certificate
        must have them all as subject alternative names.

    user
        The system's user that the database server runs as; whether it may read the files is not checked as
        long as it does not exist.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_tls.given_wrong /etc/ssl/db.pem /etc/ssl/ca.pem /etc/ssl/private/db.key 192.168.1.5
    """
    _need_cryptography()
    wanted = [f"IP:{_address(address)}", *(f"DNS:{one}" for one in _names(hostnames))]
    said = []
    chain = _try(said, _load_certificates, certificate_file)
    trusted = _try(said, _load_certificates, ca_file)
    key = _try(said, _load_key, key_file)
    if chain:
        said += [f"{certificate_file}: {why}" for why in _unfit(chain[0], wanted)]
        if key and _public_bytes(key.public_key()) != _public_bytes(_public_key(chain[0])):
            said.append(f"{key_file}: is not the key of the certificate in {certificate_file}")
        if trusted and not _is_trusted(chain, trusted):
            said.append(
                f"{certificate_file}: was issued by {_name(chain[0].issuer)}, and no valid chain leads from it to a CA "
                f"in {ca_file}, which has {'; '.join(_name(one.subject) for one in trusted)}"
            )
    if key and stat.S_IMODE(Path(key_file).stat().st_mode) & stat.S_IRWXO:
        mode = stat.S_IMODE(Path(key_file).stat().st_mode)
        said.append(f"{key_file}: has the mode {mode:04o}, so that everybody may use it; allowed: 0640 or less")
    for path in (certificate_file, ca_file, key_file):
        said += _unreadable(Path(path), user)
    return said


def _wanted(address, hostnames, days, renew, key, group):
    """Check what was asked, and return it together with the CA of the pillar."""
    _need_cryptography()
    _whole("days", days, 2, 3650)
    _whole("renew", renew, 1, days - 1)
    if key not in ("ec", "rsa"):
        raise SaltInvocationError(f"key: is {key!r}; allowed: ec, rsa")
    authority = _authority()
    names = dict.fromkeys([str(__grains__["id"]), *_names(hostnames)])
    return Wanted(
        authority=authority,
        name=str(__grains__["id"]),
        sans=[*(f"DNS:{one}" for one in names), f"IP:{_address(address)}"],
        not_after=min(_end(_now(), days), _ends(authority.signer)),
        renew=timedelta(days=renew),
        key=key,
        group=group,
    )


def _whole(what, value, low, high):
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SaltInvocationError(f"{what}: is {value!r}; allowed: a whole number of days from {low} to {high}")


def _address(address):
    try:
        return ipaddress.ip_address(str(address))
    except ValueError:
        raise SaltInvocationError(f"address: is {address!r}; allowed: an IP address such as 192.168.1.5") from None


def _names(hostnames):
    names = [hostnames] if isinstance(hostnames, str) else list(hostnames or ())
    for one in names:
        if not isinstance(one, str) or not _HOST_NAME.fullmatch(one):
            raise SaltInvocationError(f"hostnames: holds {one!r}; allowed: names of hosts such as db1.example.com")
    return names


def _authority():
    """Return the CA of the pillar; every complaint names the key, and none shows its value."""
    trusted = _pillar_certificates()
    key = _pillar_key()
    matching = [one for one in trusted if _public_bytes(_public_key(one)) == _public_bytes(key.public_key())]
    if not matching:
        names = "; ".join(_name(one.subject) for one in trusted)
        raise CommandExecutionError(
            f"{CA_KEY}: is set (hidden) but belongs to no certificate in {CA}, which has {names}; allowed: the "
            "private key of one of them"
        )
    # A CA can be prolonged with the key that it has: then there are two, and the one that is valid counts.
    signer = next((one for one in matching if _is_valid_now(one)), matching[0])
    if _ends(signer) <= _now():
        raise CommandExecutionError(
            f"{CA}: {_name(signer.subject)} has expired on {_date(_ends(signer))} UTC; allowed: a valid CA. A new one "
            f"with its key: {_how_to_make()}"
        )
    if not _is_valid_now(signer):
        raise CommandExecutionError(
            f"{CA}: {_name(signer.subject)} is valid from {_date(_begins(signer))} UTC, and here it is "
            f"{_date(_now())} UTC; allowed: a valid CA (is this host's clock right?)"
        )
    if not _is_ca(signer):
        raise CommandExecutionError(
            f"{CA}: {_name(signer.subject)} may not sign certificates; allowed: a certificate with CA:TRUE and, if it "
            "has a key usage, keyCertSign"
        )
    return Authority(signer, key, trusted)


def _pillar(key, what):
    value = __salt__["config.get"](key, default=None)
    if not isinstance(value, str) or not value.strip():
        state = "is not set" if not value else "is set (hidden) but is no text"
        raise CommandExecutionError(f"{key}: {state} for {__grains__['id']}; allowed: {what}. New: {_how_to_make()}")
    return value.encode()


def _how_to_make():
    return "salt-call --local mysql_tls.new_ca NAME path=FILE"


def _pillar_certificates():
    what = "one or more CA certificates in PEM"
    try:
        return _parse_certificates(_pillar(CA, what))
    except ValueError:
        raise CommandExecutionError(f"{CA}: is set (hidden) but cannot be read; allowed: {what}") from None


def _pillar_key():
    what = "its private key in PEM, not encrypted"
    value = _pillar(CA_KEY, what)
    try:
        return _parse_key(value)
    except ValueError as error:
        raise CommandExecutionError(f"{CA_KEY}: is set (hidden) but {error}; allowed: {what}") from None


def _compare(folder, wanted):
    """Return everything about the files that is not as wanted."""
    with _told(f"{folder}: cannot be looked at"):
        found = [*_compare_certificate(folder, wanted), *_compare_key(folder, wanted)]
        signs = bool(found)
        found += _compare_trusted(folder, wanted)
        found += _compare_permissions(folder, wanted)
        found += _compare_leftovers(folder)
        signs = signs or any(one.field == "permissions" and "key.pem" in one.old for one in found)
        if signs and not any(one.field == "not_after" for one in found):
            old = _date(_ends(_load_certificates(folder / "cert.pem")[0]))
            if old != _date(wanted.not_after):
                found.append(Wrong("not_after", old, _date(wanted.not_after), ""))
        return found


def _compare_certificate(folder, wanted):
    path, signer = folder / "cert.pem", wanted.authority.signer
    issuer = f"{_name(signer.subject)} (key id {_key_id(signer)[:16]})"
    subject = f"CN={wanted.name}"
    try:
        certificate = _load_certificates(path)[0]
        sans, end, usage = _sans(certificate), _ends(certificate), _extended_usage(certificate)
    except CommandExecutionError as error:
        yield Wrong("subject", None, subject, str(error))
        yield Wrong("issuer", None, issuer, "")
        yield Wrong("sans", None, wanted.sans, "")
        yield Wrong("not_after", None, _date(wanted.not_after), "")
        return
    if _name(certificate.subject) != subject:
        yield Wrong("subject", _name(certificate.subject), subject, f"{path}: is for {_name(certificate.subject)}, "
                    f"not for {subject}")  # fmt: skip
    if not _is_signed_by(certificate, signer):
        old = f"{_name(certificate.issuer)} (key id {_issuer_key_id(certificate)[:16]})"
        yield Wrong("issuer", old, issuer, f"{path}: was not signed by {issuer} but by {old}")
    if sans != wanted.sans:
        yield Wrong("sans", sans, wanted.sans, f"{path}: is for {', '.join(sans) or 'no name'}, not for "
                    f"{', '.join(wanted.sans)}")  # fmt: skip
    if not {"serverAuth", "clientAuth"} <= set(usage):
        yield Wrong("usage", usage, ["clientAuth", "serverAuth"], f"{path}: may not be used by a server and a client")
    if _begins(certificate) > _now():
        yield Wrong("not_before", _date(_begins(certificate)), "now",
                    f"{path}: is valid from {_date(_begins(certificate))} UTC only")  # fmt: skip
    # With a CA that itself ends soon a new certificate would be no better, and each run would make one.
    if end - _now() <= wanted.renew and (end < wanted.not_after or end <= _now()):
        verb = "has expired" if end <= _now() else "expires"
        yield Wrong("not_after", _date(end), _date(wanted.not_after), f"{path}: {verb} on {_date(end)} UTC")


def _compare_key(folder, wanted):
    path = folder / "key.pem"
    try:
        key = _load_key(path)
    except CommandExecutionError as error:
        yield Wrong("key", None, wanted.key, str(error))
        return
    kind = _key_kind(key.public_key())
    if kind != wanted.key:
        yield Wrong("key", kind, wanted.key, f"{path}: is a key of the kind {kind}, not {wanted.key}")
        return
    with contextlib.suppress(CommandExecutionError):
        certificate = _load_certificates(folder / "cert.pem")[0]
        if _public_bytes(_public_key(certificate)) != _public_bytes(key.public_key()):
            yield Wrong("key", f"{kind}, of another certificate", kind,
                        f"{path}: is not the key of the certificate in {folder / 'cert.pem'}")  # fmt: skip


def _compare_trusted(folder, wanted):
    new = [_trusted_name(one) for one in wanted.authority.trusted]
    try:
        old = [_trusted_name(one) for one in _load_certificates(folder / "ca.pem")]
    except CommandExecutionError as error:
        yield Wrong("trusted", None, new, str(error))
        return
    if old != new:
        yield Wrong("trusted", old, new, f"{folder / 'ca.pem'}: holds other certificates than {CA}")


def _trusted_name(certificate):
    return f"{_name(certificate.subject)} ({_fingerprint(certificate)[:16]})"


def _compare_permissions(folder, wanted):
    """Owner, group and mode of what is there; what is missing has been told already."""
    old, new = [], []
    for path, mode in [(folder, FOLDER_MODE), *((folder / file, MODES[file]) for file in FILES)]:
        if not path.exists():
            continue
        status = path.stat()
        is_state = f"{path.name} {stat.S_IMODE(status.st_mode):04o} {_owner(status)}"
        should = f"{path.name} {mode:04o} {_user_name(os.geteuid())}:{wanted.group}"
        if is_state != should:
            old.append(is_state)
            new.append(should)
    for file in FILES:
        link = folder / file
        if link.exists() and not _is_link_to(link, f"current/{file}"):
            old.append(f"{file} is a file of its own")
            new.append(f"{file} is a link into the folder current")
    if old:
        yield Wrong("permissions", ", ".join(old), ", ".join(new), f"{folder}: {', '.join(old)}; allowed: "
                    f"{', '.join(new)}")  # fmt: skip


def _compare_leftovers(folder):
    """A run that was killed may have left a set, and in it a private key that nothing needs."""
    leftovers = _leftovers(folder)
    if leftovers:
        why = f"{folder}: holds {', '.join(leftovers)}, left by a run that was killed"
        yield Wrong("leftovers", leftovers, [], why)


def _leftovers(folder):
    current = folder / "current"
    used = str(current.readlink()) if current.is_symlink() else None
    return sorted(path.name for path in folder.glob("set-*") if path.name != used)


def _owner(status):
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    return f"{_user_name(status.st_uid)}:{group}"


def _user_name(uid):
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _new_set(folder, wanted, found):
    """Return the contents of the three files; key and certificate are kept if only something else is wrong."""
    trusted = b"".join(_pem(one) for one in wanted.authority.trusted)
    fields = {one.field for one in found}
    # A key that others may have read is as good as lost.
    exposed = any(one.field == "permissions" and "key.pem" in one.old for one in found)
    if fields <= {"trusted", "permissions", "leftovers"} and not exposed:
        return {file: (folder / file).read_bytes() for file in ("cert.pem", "key.pem")} | {"ca.pem": trusted}
    if wanted.key == "rsa":
        key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    return {"ca.pem": trusted, "cert.pem": _pem(_sign(wanted, key.public_key())), "key.pem": _key_pem(key)}


def _sign(wanted, public_key):
    signer, key = wanted.authority.signer, wanted.authority.key
    usages = ("digital_signature", "key_encipherment") if wanted.key == "rsa" else ("digital_signature",)
    names = [_general_name(one) for one in wanted.sans]
    purposes = [x509.ExtendedKeyUsageOID.SERVER_AUTH, x509.ExtendedKeyUsageOID.CLIENT_AUTH]
    try:
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, wanted.name)])
        builder = (
            _builder(subject, signer.subject, public_key, _now() - BACKDATED, wanted.not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(*usages), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier(bytes.fromhex(_key_id(signer)), None, None), critical=False)
        )
        # Ed25519 and Ed448 have their hash built in.
        algorithm = hashes.SHA256() if isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)) else None
        return builder.sign(key, algorithm)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CommandExecutionError(f"no certificate for {wanted.name}: {error}") from None


def _builder(subject, issuer, public_key, not_before, not_after):
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def _usage(*used):
    kinds = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(**{kind: kind in used for kind in kinds})


def _general_name(text):
    kind, _, value = text.partition(":")
    return x509.IPAddress(ipaddress.ip_address(value)) if kind == "IP" else x509.DNSName(value)


def _put(folder, files, gid):
    """Put a set of files in place by one rename."""
    os.chown(folder, os.geteuid(), gid)
    folder.chmod(FOLDER_MODE)
    fresh = Path(tempfile.mkdtemp(prefix="set-", dir=folder))
    for file, content in files.items():
        _write(fresh / file, content, MODES[file], gid)
    os.chown(fresh, os.geteuid(), gid)
    fresh.chmod(FOLDER_MODE)
    _sync(fresh)
    _link(folder / "current", fresh.name)
    for file in FILES:
        if not _is_link_to(folder / file, f"current/{file}"):
            _link(folder / file, f"current/{file}")
    _sync(folder)


def _write(path, content, mode, gid):
    # Nobody else may read it at any time, and a power loss after the rename must not find it empty.
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fchown(handle, os.geteuid(), gid)
        os.fchmod(handle, mode)
        os.fsync(handle)


def _link(path, target):
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    fresh.replace(path)


def _is_link_to(path, target):
    return path.is_symlink() and str(path.readlink()) == target


def _sync(folder):
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _locked(folder):
    """Let one run at a time write here."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _told(what):
    try:
        yield
    except OSError as error:
        raise CommandExecutionError(f"{what}: {error}") from error


def _try(said, function, *arguments):
    """Return what a function returns; what it complains about is added to the list."""
    try:
        return function(*arguments)
    except CommandExecutionError as error:
        said.append(str(error))
        return None


def _unfit(certificate, wanted):
    """Return what is wrong with a certificate as that of a server with these names."""
    sans, usage = _sans(certificate), _extended_usage(certificate)
    said = []
    if _ends(certificate) <= _now():
        said.append(f"has expired on {_date(_ends(certificate))} UTC")
    if _begins(certificate) > _now():
        said.append(f"is valid from {_date(_begins(certificate))} UTC only")
    missing = [one for one in wanted if one not in sans]
    if missing:
        said.append(f"is not for {', '.join(missing)} but for {', '.join(sans) or 'no subject alternative name'}")
    if usage and "serverAuth" not in usage:
        said.append(f"may not be used by a server, only for {', '.join(usage)}")
    return said


def _is_trusted(chain, trusted):
    """Return whether the certificate leads to one that is trusted, by way of those beside it in its file."""
    certificate, others = chain[0], list(chain[1:])
    for _ in range(MAX_CHAIN):
        if any(_is_issuer(one, certificate) for one in trusted):
            return True
        issuer = next((one for one in others if _is_issuer(one, certificate)), None)
        if issuer is None:
            return False
        others.remove(issuer)
        certificate = issuer
    return False


def _is_issuer(issuer, certificate):
    return _is_ca(issuer) and _is_valid_now(issuer) and _is_signed_by(certificate, issuer)


def _is_signed_by(certificate, issuer):
    if certificate.issuer != issuer.subject:
        return False
    key, signed, signature = _public_key(issuer), certificate.tbs_certificate_bytes, certificate.signature
    try:
        if isinstance(key, rsa.RSAPublicKey):
            scheme = getattr(certificate, "signature_algorithm_parameters", None) or padding.PKCS1v15()
            key.verify(signature, signed, scheme, certificate.signature_hash_algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(certificate.signature_hash_algorithm))
        else:
            key.verify(signature, signed)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError, AttributeError):
        return False
    return True


def _is_ca(certificate):
    constraints, usage = _extension(certificate, x509.BasicConstraints), _extension(certificate, x509.KeyUsage)
    return constraints is not None and constraints.ca and (usage is None or usage.key_cert_sign)


def _is_valid_now(certificate):
    return _begins(certificate) <= _now() < _ends(certificate)


def _unreadable(path, user):
    """Return why a user may not read a file: by modes, which an access control list may widen."""
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return []
    if account.pw_uid == 0 or not path.exists():
        return []
    groups = os.getgrouplist(user, account.pw_gid)
    real = path.resolve()
    for place, bit, verb in [*((one, 1, "enter") for one in reversed(real.parents)), (real, 4, "read")]:
        status = place.stat()
        shift = 6 if status.st_uid == account.pw_uid else 3 if status.st_gid in groups else 0
        if not status.st_mode >> shift & bit and not _has_acl(place):
            mode = f"{stat.S_IMODE(status.st_mode):04o} {_owner(status)}"
            return [f"{path}: the user {user} may not {verb} {place} ({mode})"]
    return []


def _has_acl(path):
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except OSError:
        return False


def _need_cryptography():
    if x509 is None:
        raise CommandExecutionError(
            "the Python that Salt runs on has no library `cryptography`; Salt's own packages bring it, with salt-ssh "
            "install the package python3-cryptography on the host first"
        )


def _load_certificates(path):
    try:
        return _parse_certificates(_read(path))
    except ValueError as error:
        raise CommandExecutionError(f"{path}: {error}") from None


def _load_key(path):
    try:
        return _parse_key(_read(path))
    except ValueError as error:
        raise CommandExecutionError(f"{path}: {error}") from None


def _read(path):
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise CommandExecutionError(f"{path}: is missing") from None
    except (OSError, ValueError) as error:
        raise CommandExecutionError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _parse_certificates(text):
    try:
        certificates = [x509.load_pem_x509_certificate(pem) for pem in _PEM.findall(text)]
        # Parts are parsed when they are asked for first; whatever is broken has to be told here.
        for one in certificates:
            _ = (one.subject, one.issuer, one.extensions)
    except (ValueError, TypeError, UnsupportedAlgorithm, *_BROKEN):
        raise ValueError("holds a certificate that cannot be read") from None
    if not certificates:
        raise ValueError("holds no certificate in PEM")
    return certificates


def _parse_key(text):
    """Return a private key; what the library says about one that it cannot read is not passed on."""
    try:
        return serialization.load_pem_private_key(text, password=None)
    except TypeError:
        raise ValueError("holds an encrypted private key, which nobody can open unattended") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("holds no private key in PEM that can be read") from None


def _extension(certificate, kind):
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _sans(certificate):
    extension = _extension(certificate, x509.SubjectAlternativeName)
    kinds = {x509.DNSName: "DNS", x509.IPAddress: "IP"}
    return [f"{kinds.get(type(one), type(one).__name__)}:{one.value}" for one in extension or ()]


def _extended_usage(certificate):
    known = {x509.ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth", x509.ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth"}
    return sorted(known.get(one, one.dotted_string) for one in _extension(certificate, x509.ExtendedKeyUsage) or ())


def _key_id(certificate):
    extension = _extension(certificate, x509.SubjectKeyIdentifier)
    return (extension or x509.SubjectKeyIdentifier.from_public_key(_public_key(certificate))).digest.hex()


def _issuer_key_id(certificate):
    extension = _extension(certificate, x509.AuthorityKeyIdentifier)
    return extension.key_identifier.hex() if extension and extension.key_identifier else "unknown"


def _public_key(certificate):
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None


def _public_bytes(key):
    if key is None:
        return None
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _key_kind(key):
    if isinstance(key, rsa.RSAPublicKey):
        return "rsa"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "ec"
    return "unknown" if key is None else type(key).__name__.strip("_").removesuffix("PublicKey").lower()


def _name(name):
    return name.rfc4514_string()


def _fingerprint(certificate):
    return certificate.fingerprint(hashes.SHA256()).hex()


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _now():
    return datetime.now(timezone.utc).replace(microsecond=0)


def _end(now, days):
    """Return the end of the last day; in whole days, so that a run in test mode can tell it beforehand."""
    return (now + timedelta(days=days)).replace(hour=23, minute=59, second=59)


def _begins(certificate):
    # cryptography before 42 has only the names without a time zone.
    return getattr(certificate, "not_valid_before_utc", None) or certificate.not_valid_before.replace(
        tzinfo=timezone.utc
    )


def _ends(certificate):
    return getattr(certificate, "not_valid_after_utc", None) or certificate.not_valid_after.replace(tzinfo=timezone.utc)


def _date(moment):
    return moment.strftime("%Y-%m-%d %H:%M:%S")
