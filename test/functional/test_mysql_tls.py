"""Certificates for real: made and checked through Salt's own state system, and verified by the openssl program."""

from __future__ import annotations

import contextlib
import copy
import grp
import ipaddress
import logging
import os
import pwd
import signal
import stat
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import salt.loader
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError, SaltInvocationError

ADDRESS = "192.168.1.5"
GROUP = grp.getgrgid(os.getgid()).gr_name
FIELDS = {"subject", "issuer", "sans", "not_after", "key", "trusted"}


def openssl(*words):
    return subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)


def verified(folder, *options) -> str:
    """What openssl says about the certificate as a server's and as a client's; empty when all is well."""
    said = ""
    for purpose in ("sslserver", "sslclient"):
        done = openssl("verify", "-x509_strict", "-purpose", purpose, "-CAfile", folder / "ca.pem", *options,
                       folder / "cert.pem")  # fmt: skip
        said += "" if done.returncode == 0 else done.stdout + done.stderr
    return said


def belong_together(folder) -> bool:
    key = openssl("pkey", "-in", folder / "key.pem", "-pubout").stdout
    certificate = openssl("x509", "-in", folder / "cert.pem", "-noout", "-pubkey").stdout
    return key.startswith("-----BEGIN PUBLIC KEY-----") and key == certificate


def fits(folder, pillar) -> bool:
    """The same, and that the CA of the pillar signed it: faster, for a test that asks a hundred times."""
    own = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
    key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    if (
        own.public_key() != key.public_key()
        or (folder / "ca.pem").read_text() != pillar["mysql_ha"]["secrets"]["tls_ca"]
    ):
        return False
    own.verify_directly_issued_by(x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes()))
    return True


def name(text):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def pem(thing) -> str:
    if isinstance(thing, x509.Certificate):
        return thing.public_bytes(serialization.Encoding.PEM).decode()
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return thing.private_bytes(serialization.Encoding.PEM, form, none).decode()


def certificate(subject, issuer=None, days=(-1, 100), sans=(f"IP:{ADDRESS}", "DNS:mysql1"), ca=False, purposes=None,
                key=None):  # fmt: skip
    """A certificate and its key, made without the module under test; ``issuer`` is another such pair."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(timezone.utc)
    signer = issuer[0].subject if issuer else name(subject)
    builder = (
        x509.CertificateBuilder().subject_name(name(subject)).issuer_name(signer)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0])).not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )  # fmt: skip
    names = [x509.IPAddress(ipaddress.ip_address(one[3:])) if one.startswith("IP:") else x509.DNSName(one[4:])
             for one in sans]  # fmt: skip
    if names and not ca:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    signing = issuer[1] if issuer else key
    algorithm = None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(signing, algorithm), key


def pillar_of(pair, *more):
    """A pillar with a CA; more certificates may stand before and after it in the bundle."""
    bundle = "".join(pem(one) for one in (pair[0], *more))
    return {"mysql_ha": {"secrets": {"tls_ca": bundle, "tls_ca_key": pem(pair[1])}}}


@pytest.fixture(scope="module")
def minion(loaders):
    return loaders("mysql1")


@pytest.fixture(scope="module")
def new_ca(minion):
    """``new_ca("shop")``: the pillar that the module makes."""
    return lambda title="shop", **options: yaml.safe_load(minion.modules.mysql_tls.new_ca(title, **options))


@pytest.fixture(scope="module")
def ca(new_ca):
    return new_ca()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "etc" / "tls"


@pytest.fixture
def apply(minion, folder):
    """``apply(pillar)``: the state ``certificate``, as a run of Salt has it; ``given=True``: the other one."""

    def run(pillar, function="certificate", test=False, **arguments):
        arguments = {"name": str(folder), "address": ADDRESS, "group": GROUP} | arguments
        chunks = [{key: value} for key, value in arguments.items()]
        done = minion.modules.state.high(
            {"tls": {"mysql_tls": [*chunks, function]}}, test=test, pillar=copy.deepcopy(pillar)
        )
        (ret,) = done.raw.values()
        return ret

    return run


@pytest.fixture
def modules(minion):
    """``modules(pillar)``: the execution modules of a minion with this pillar."""
    return lambda pillar: salt.loader.minion_mods({**minion.opts, "pillar": pillar}, loaded_base_name="functional_tls")


def applied_twice(apply, pillar, **arguments):
    """Test mode, the run, and the run after it: predicted, done, and nothing more to do."""
    predicted = apply(pillar, test=True, **arguments)
    done = apply(pillar, **arguments)
    again = apply(pillar, **arguments)
    assert (predicted["result"], done["result"], again["result"]) == (None, True, True), (predicted, done, again)
    assert predicted["changes"] == done["changes"]
    assert again["changes"] == {}
    return done


def sets(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("set-"))


# The formula's own CA


@pytest.mark.parametrize("key", ["ec", "rsa"])
def test_a_first_run_makes_what_openssl_accepts(apply, ca, folder, key) -> None:
    done = applied_twice(apply, ca, key=key, hostnames=["db1.example.com"])
    assert set(done["changes"]) == FIELDS
    assert all(change["old"] is None for change in done["changes"].values())
    assert verified(folder, "-verify_ip", ADDRESS) == ""
    assert verified(folder, "-verify_hostname", "mysql1") == ""
    assert verified(folder, "-verify_hostname", "db1.example.com") == ""
    assert "IP address mismatch" in verified(folder, "-verify_ip", "192.168.1.6")
    assert "hostname mismatch" in verified(folder, "-verify_hostname", "mysql2")
    assert belong_together(folder)
    text = openssl("x509", "-in", folder / "cert.pem", "-noout", "-text").stdout
    assert "CA:FALSE" in text
    assert "Digital Signature" + (", Key Encipherment" if key == "rsa" else "") in text


def test_modes_and_owners(apply, ca, folder) -> None:
    apply(ca)
    modes = {path.name: (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) for path in folder.iterdir()}
    (name_of_set,) = sets(folder)
    gid = os.getgid()
    assert modes == {"ca.pem": (0o644, gid), "cert.pem": (0o644, gid), "key.pem": (0o640, gid),
                     "current": (0o750, gid), name_of_set: (0o750, gid)}  # fmt: skip
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750


def test_a_new_ca_is_a_pillar_that_openssl_accepts(new_ca, tmp_path) -> None:
    secrets = new_ca("Läden", days=10)["mysql_ha"]["secrets"]
    assert set(secrets) == {"tls_ca", "tls_ca_key"}
    (tmp_path / "ca.pem").write_text(secrets["tls_ca"])
    (tmp_path / "cert.pem").write_text(secrets["tls_ca"])
    (tmp_path / "key.pem").write_text(secrets["tls_ca_key"])
    assert belong_together(tmp_path)
    text = openssl("x509", "-in", tmp_path / "ca.pem", "-noout", "-text").stdout
    assert "CA:TRUE, pathlen:0" in text
    assert "Certificate Sign, CRL Sign" in text
    assert openssl("verify", "-x509_strict", "-CAfile", tmp_path / "ca.pem", tmp_path / "ca.pem").returncode == 0


def test_a_new_ca_in_a_file_for_its_owner_only(minion, apply, tmp_path) -> None:
    place = tmp_path / "ca.sls"
    said = minion.modules.mysql_tls.new_ca("shop", path=str(place))
    assert "PRIVATE" not in said
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert apply(yaml.safe_load(place.read_text()))["result"] is True
    before = place.read_bytes()
    with pytest.raises(CommandExecutionError, match="File exists"):
        minion.modules.mysql_tls.new_ca("shop", path=str(place))
    assert place.read_bytes() == before


def test_a_new_ca_is_refused_through_a_master(minion) -> None:
    modules = salt.loader.minion_mods(
        {**minion.opts, "file_client": "remote"}, loaded_base_name="functional_tls_remote"
    )
    with pytest.raises(SaltInvocationError, match="job cache"):
        modules["mysql_tls.new_ca"]("shop")


@pytest.mark.parametrize(("days", "title"), [(0, "shop"), (True, "shop"), (7301, "shop"), (10, ""), (10, "x" * 61)])
def test_a_new_ca_from_wrong_arguments(minion, days, title) -> None:
    with pytest.raises(SaltInvocationError, match="allowed: "):
        minion.modules.mysql_tls.new_ca(title, days=days)


def test_renewal_is_due_at_its_limit(apply, ca, folder) -> None:
    """Ten days from now until the end of that day: not yet due at 10, due at 11."""
    apply(ca, days=10, renew=5)
    first = (folder / "cert.pem").read_bytes()
    assert apply(ca, days=300, renew=10)["changes"] == {}
    assert (folder / "cert.pem").read_bytes() == first
    done = applied_twice(apply, ca, days=300, renew=11)
    assert set(done["changes"]) == {"not_after"}
    assert (folder / "cert.pem").read_bytes() != first
    assert verified(folder, "-verify_ip", ADDRESS) == ""
    assert belong_together(folder)
    assert len(sets(folder)) == 1


def test_a_renewal_makes_a_new_key(apply, ca, folder) -> None:
    apply(ca, days=10, renew=5)
    first = (folder / "key.pem").read_bytes()
    apply(ca, days=300, renew=11)
    assert (folder / "key.pem").read_bytes() != first


def test_a_ca_that_ends_soon_is_not_answered_by_a_renewal_at_each_run(apply, new_ca, modules, folder) -> None:
    short = new_ca(days=20)
    done = applied_twice(apply, short)
    assert modules(short)["mysql_tls.info"](str(folder / "cert.pem"))["days_left"] == 20
    assert "in 20 days: see to a new one in time" in done["comment"]
    assert verified(folder, "-verify_ip", ADDRESS) == ""


@pytest.mark.parametrize(("arguments", "fields"), [
    ({"address": "192.168.1.6"}, {"sans"}),
    ({"address": "2001:db8::5"}, {"sans"}),
    ({"hostnames": ["db1.example.com"]}, {"sans"}),
    ({"key": "rsa"}, {"key"}),
])  # fmt: skip
def test_what_is_asked_for_otherwise_is_made_anew(apply, ca, folder, arguments, fields) -> None:
    apply(ca)
    done = applied_twice(apply, ca, **arguments)
    assert set(done["changes"]) == fields
    assert verified(folder, "-verify_ip", arguments.get("address", ADDRESS)) == ""
    assert belong_together(folder)


def test_another_ca_signs_anew(apply, ca, new_ca, folder) -> None:
    apply(ca)
    other = new_ca("other")
    done = applied_twice(apply, other)
    assert set(done["changes"]) == {"issuer", "trusted"}
    assert verified(folder, "-verify_ip", ADDRESS) == ""
    assert "CN=other CA" in openssl("x509", "-in", folder / "cert.pem", "-noout", "-issuer").stdout.replace(" = ", "=")


def test_another_ca_of_the_same_name_is_noticed(apply, ca, new_ca) -> None:
    apply(ca)
    done = applied_twice(apply, new_ca())
    assert set(done["changes"]) == {"issuer", "trusted"}
    assert done["changes"]["issuer"]["old"] != done["changes"]["issuer"]["new"]


def test_a_rollover_never_leaves_a_peer_without_trust(apply, ca, new_ca, folder, tmp_path) -> None:
    """Both trusted, then signed by the new one, then the old one gone: at each step the peer's file verifies."""
    other = new_ca("next")
    old, new = ca["mysql_ha"]["secrets"], other["mysql_ha"]["secrets"]
    bundle = old["tls_ca"] + new["tls_ca"]
    steps = [
        (old["tls_ca"], old["tls_ca_key"], FIELDS),
        (bundle, old["tls_ca_key"], {"trusted"}),
        (bundle, new["tls_ca_key"], {"issuer"}),
        (new["tls_ca"], new["tls_ca_key"], {"trusted"}),
    ]
    peer = None
    for certificates, key, fields in steps:
        done = applied_twice(apply, {"mysql_ha": {"secrets": {"tls_ca": certificates, "tls_ca_key": key}}})
        assert set(done["changes"]) == fields
        if peer:
            # A peer that has not had this step yet trusts what we present now.
            assert openssl("verify", "-CAfile", peer, folder / "cert.pem").returncode == 0
        peer = tmp_path / "peer.pem"
        peer.write_bytes((folder / "ca.pem").read_bytes())
        assert verified(folder, "-verify_ip", ADDRESS) == ""


def test_trusting_one_more_keeps_key_and_certificate(apply, ca, new_ca, folder) -> None:
    apply(ca)
    before = [(folder / file).read_bytes() for file in ("cert.pem", "key.pem")]
    both = copy.deepcopy(ca)
    both["mysql_ha"]["secrets"]["tls_ca"] += new_ca("next")["mysql_ha"]["secrets"]["tls_ca"]
    apply(both)
    assert [(folder / file).read_bytes() for file in ("cert.pem", "key.pem")] == before


@pytest.mark.parametrize("key", [
    rsa.generate_private_key(public_exponent=65537, key_size=2048), ec.generate_private_key(ec.SECP384R1()),
    ed25519.Ed25519PrivateKey.generate(),
], ids=["rsa", "p384", "ed25519"])  # fmt: skip
def test_a_ca_made_elsewhere(apply, folder, key) -> None:
    applied_twice(apply, pillar_of(certificate("elsewhere", ca=True, key=key)))
    done = openssl("verify", "-CAfile", folder / "ca.pem", "-verify_ip", ADDRESS, folder / "cert.pem")
    assert done.returncode == 0, done


def test_a_ca_that_was_prolonged_with_its_key_signs_nothing_anew(apply, folder) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    old, new = certificate("shop", ca=True, key=key), certificate("shop", ca=True, key=key, days=(-1, 900))
    apply(pillar_of(old), days=50)
    done = applied_twice(apply, pillar_of(new), days=50)
    assert set(done["changes"]) == {"trusted"}
    # An expired one before it does not keep the valid one from signing.
    expired = certificate("shop", ca=True, key=key, days=(-100, -1))
    applied_twice(apply, pillar_of(expired, new[0]), days=50, address="192.168.1.7")


def damaged(secrets):
    return {**secrets, "tls_ca": secrets["tls_ca"].replace("MII", "AAA", 1)}


@pytest.mark.parametrize(("change", "said"), [
    (lambda old: {}, "mysql_ha:secrets:tls_ca: is not set for mysql1; allowed: one or more CA certificates in PEM. "
                     "New: salt-call --local mysql_tls.new_ca"),
    (lambda old: {"tls_ca": old["tls_ca"]}, "mysql_ha:secrets:tls_ca_key: is not set for mysql1; allowed: its private"),
    (lambda old: {**old, "tls_ca": 5}, "mysql_ha:secrets:tls_ca: is set (hidden) but is no text"),
    (lambda old: {**old, "tls_ca": "MARK"}, "secrets:tls_ca: is set (hidden) but cannot be read; allowed: one"),
    (damaged, "mysql_ha:secrets:tls_ca: is set (hidden) but cannot be read; allowed: one"),
    (lambda old: {**old, "tls_ca_key": "MARK"}, "tls_ca_key: is set (hidden) but holds no private key in PEM"),
    (lambda old: {**old, "tls_ca_key": old["tls_ca"]}, "tls_ca_key: is set (hidden) but holds no private key in PEM"),
    (lambda old: {**old, "tls_ca_key": pem(ec.generate_private_key(ec.SECP256R1()))},
     "tls_ca_key: is set (hidden) but belongs to no certificate in mysql_ha:secrets:tls_ca, which has CN=shop CA"),
    (lambda old: {**old, "tls_ca_key": ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"MARK")).decode()}, "holds an encrypted private key"),
    (lambda old: pillar_of(certificate("gone", ca=True, days=(-9, -1)))["mysql_ha"]["secrets"], "gone has expired"),
    (lambda old: pillar_of(certificate("soon", ca=True, days=(1, 9)))["mysql_ha"]["secrets"], "(is this host's clock"),
    (lambda old: pillar_of(certificate("leaf"))["mysql_ha"]["secrets"], "CN=leaf may not sign certificates"),
])  # fmt: skip
@pytest.mark.parametrize("present", [False, True])
def test_a_ca_that_cannot_work_is_told_and_nothing_is_touched(apply, ca, folder, change, said, present) -> None:
    if present:
        apply(ca)
    before = sets(folder) if present else None
    pillar = {"mysql_ha": {"secrets": change(ca["mysql_ha"]["secrets"])}}
    for test in (True, False):
        ret = apply(pillar, test=test)
        assert (ret["result"], ret["changes"]) == (False, {})
        assert said in ret["comment"]
        assert "MARK" not in ret["comment"]
        assert "PRIVATE KEY-----" not in ret["comment"]
    assert folder.exists() is present
    assert (sets(folder) if present else None) == before


@pytest.mark.parametrize("arguments", [
    {"days": 1}, {"days": 3651}, {"days": "365"}, {"renew": 365}, {"renew": 0}, {"key": "dsa"}, {"address": "mysql1"},
    {"hostnames": ["a b"]}, {"hostnames": [5]}, {"days": True},
])  # fmt: skip
def test_arguments_out_of_range_are_told(apply, ca, folder, arguments) -> None:
    ret = apply(ca, **arguments)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "allowed: " in ret["comment"]
    assert next(iter(arguments)) in ret["comment"]
    assert not folder.exists()


def test_a_group_that_does_not_exist_yet(apply, ca, folder) -> None:
    assert apply(ca, group="no-such-group", test=True)["result"] is None
    ret = apply(ca, group="no-such-group")
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "group no-such-group, which does not exist on this host" in ret["comment"]
    assert not folder.exists()


def spoil_key(folder):
    (folder / "key.pem").write_text(pem(ec.generate_private_key(ec.SECP256R1())))


def spoil_certificate(folder):
    (folder / "cert.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")


def replace_by_a_file(folder):
    text = (folder / "cert.pem").read_text()
    (folder / "cert.pem").unlink()
    (folder / "cert.pem").write_text(text)


@pytest.mark.parametrize(("spoil", "fields", "why"), [
    (spoil_key, {"key"}, "key.pem: is not the key of the certificate in"),
    (spoil_certificate, {"subject", "issuer", "sans", "not_after"}, "cert.pem: holds a certificate that"),
    (lambda folder: (folder / "key.pem").write_text(""), {"key"}, "key.pem: holds no private key in PEM"),
    (lambda folder: (folder / "key.pem").unlink(), {"key"}, "key.pem: is missing"),
    (lambda folder: (folder / "cert.pem").unlink(), {"subject", "issuer", "sans", "not_after"}, "cert.pem: is missing"),
    (lambda folder: (folder / "ca.pem").unlink(), {"trusted"}, "ca.pem: is missing"),
    (lambda folder: (folder / "ca.pem").write_text(""), {"trusted"}, "ca.pem: holds no certificate"),
    (lambda folder: (folder / "current").unlink(), FIELDS | {"leftovers"}, "cert.pem: is missing"),
    (lambda folder: (folder / "key.pem").chmod(0o644), {"permissions"}, "key.pem 0644 "),
    (lambda folder: folder.chmod(0o755), {"permissions"}, "0755 "),
    (replace_by_a_file, {"permissions"}, "cert.pem is a file of its own"),
])  # fmt: skip
def test_what_somebody_spoiled_is_told_and_made_right(apply, ca, modules, folder, spoil, fields, why) -> None:
    apply(ca)
    spoil(folder)
    said = modules(ca)["mysql_tls.wrong"](ADDRESS, name=str(folder), group=GROUP)
    assert any(why in one for one in said), said
    done = applied_twice(apply, ca)
    assert set(done["changes"]) == fields
    assert why in done["comment"]
    assert verified(folder, "-verify_ip", ADDRESS) == ""
    assert belong_together(folder)
    assert modules(ca)["mysql_tls.wrong"](ADDRESS, name=str(folder), group=GROUP) == []


def test_a_key_that_others_may_have_read_is_not_kept(apply, ca, folder) -> None:
    apply(ca)
    before = (folder / "key.pem").read_bytes()
    (folder / "key.pem").chmod(0o644)
    apply(ca)
    assert (folder / "key.pem").read_bytes() != before


@pytest.mark.parametrize(("made", "field"), [
    ({"subject": "mysql9"}, "subject"), ({"sans": ()}, "sans"), ({"days": (-9, -1)}, "not_after"),
    ({"purposes": [x509.ExtendedKeyUsageOID.SERVER_AUTH]}, "usage"), ({"days": (1, 99)}, "not_before"),
])  # fmt: skip
def test_a_certificate_from_elsewhere_is_compared(apply, folder, made, field) -> None:
    authority = certificate("shop", ca=True, days=(-1, 900))
    both = [x509.ExtendedKeyUsageOID.SERVER_AUTH, x509.ExtendedKeyUsageOID.CLIENT_AUTH]
    made = {"subject": "mysql1", "sans": ("DNS:mysql1", f"IP:{ADDRESS}"), "purposes": both} | made
    apply(pillar_of(authority))
    leaf, key = certificate(issuer=authority, **made)
    (folder / "cert.pem").write_text(pem(leaf))
    (folder / "key.pem").write_text(pem(key))
    done = applied_twice(apply, pillar_of(authority))
    assert set(done["changes"]) - {"not_after"} == {field} - {"not_after"}
    assert field in done["changes"]


def test_a_folder_that_cannot_be_written(apply, ca, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    ret = apply(ca, name=str(tmp_path / "file" / "tls"))
    assert (ret["result"], ret["changes"]) == (False, {})
    assert str(tmp_path / "file") in ret["comment"]


# Killed in between

WRITERS = {"make", "_put", "_write", "_link", "_sync"}


def killed_at(line, make) -> bool:
    """Run ``make`` in a process that kills itself before the given line of the writing functions."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            left = [line]

            def trace(frame, event, _):
                if frame.f_code.co_filename.endswith("mysql_tls.py") and frame.f_code.co_name in WRITERS:
                    if event == "line":
                        left[0] -= 1
                        if left[0] == 0:
                            os.kill(os.getpid(), signal.SIGKILL)
                    return trace
                return None

            sys.settrace(trace)
            make()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("present", [False, True], ids=["fresh", "replaced"])
def test_a_run_that_is_killed_anywhere_leaves_no_half_pair(minion, ca, new_ca, modules, tmp_path, present) -> None:
    """Killed before each single line: what can be read is nothing, or all old, or all new; the next run mends it."""
    other = new_ca("other")
    old, new = modules(ca), modules(other)
    line = 0
    while True:
        line += 1
        folder = tmp_path / str(line)
        options = {"name": str(folder), "group": GROUP}
        if present:
            old["mysql_tls.make"](ADDRESS, **options)
        killed = killed_at(line, lambda options=options: new["mysql_tls.make"](ADDRESS, **options))
        if present or (folder / "key.pem").exists():
            assert fits(folder, ca) or fits(folder, other), line
        whole = killed and new["mysql_tls.wrong"](ADDRESS, **options) == []
        assert not whole or len(sets(folder)) == 1, "an old key is left and nobody says so"
        new["mysql_tls.make"](ADDRESS, **options)
        assert fits(folder, other), line
        assert new["mysql_tls.wrong"](ADDRESS, **options) == []
        assert len(sets(folder)) == 1
        assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []
        if not killed:
            break
    assert line > 50


# Secrets


def test_the_keys_are_seen_nowhere(minion, apply, ca, modules, folder, caplog) -> None:
    secrets = ca["mysql_ha"]["secrets"]
    marks = [one for one in secrets["tls_ca_key"].splitlines() if "-----" not in one]
    assert len(marks) >= 2
    with caplog.at_level(logging.DEBUG):
        seen = [apply(ca, test=True), apply(ca), apply(ca), apply(ca, address="192.168.1.9")]
        tools = modules(ca)
        seen += [tools["mysql_tls.make"](ADDRESS, name=str(folder), group=GROUP),
                 tools["mysql_tls.differences"](ADDRESS, name=str(folder), group=GROUP),
                 tools["mysql_tls.info"](str(folder / "cert.pem"))]  # fmt: skip
    marks += [one for one in (folder / "key.pem").read_text().splitlines() if "-----" not in one]
    everything = repr(seen) + caplog.text
    assert "mysql_tls" in everything
    assert not [mark for mark in marks if mark in everything]


# Given certificates


@pytest.fixture
def given_files(tmp_path):
    """``given_files(...)``: three files that are right but for what is said, and the arguments for the state."""

    def make(leaf=(), chain=None, trusted=None, key=None, authority=None, modes=0o640):
        authority = authority or certificate("their CA", ca=True)
        own = certificate(**{"subject": "mysql1", "issuer": authority, **dict(leaf)})
        contents = {"ca": trusted if trusted is not None else pem(authority[0]),
                    "cert": chain if chain is not None else pem(own[0]),
                    "key": key if key is not None else pem(own[1])}  # fmt: skip
        for file, text in contents.items():
            (tmp_path / f"{file}.pem").write_text(text)
            (tmp_path / f"{file}.pem").chmod(modes)
        return {"name": str(tmp_path / "cert.pem"), "ca_file": str(tmp_path / "ca.pem"),
                "key_file": str(tmp_path / "key.pem"), "address": ADDRESS}  # fmt: skip

    return make


@pytest.fixture
def check(minion):
    def run(arguments):
        before = {path: Path(path).read_bytes() for path in arguments.values() if Path(path).is_file()}
        chunks = [{key: value} for key, value in arguments.items()]
        rets = []
        for test in (True, False):
            done = minion.modules.state.high({"tls": {"mysql_tls": [*chunks, "given"]}}, test=test)
            (ret,) = done.raw.values()
            rets.append({key: ret[key] for key in ("result", "changes", "comment")})
        assert rets[0] == rets[1]
        assert rets[0]["changes"] == {}
        assert before == {path: Path(path).read_bytes() for path in arguments.values() if Path(path).is_file()}
        return rets[0]

    return run


def test_a_given_certificate_that_can_serve(check, given_files) -> None:
    ret = check(given_files())
    assert ret["result"] is True, ret
    assert "can serve; it is valid until" in ret["comment"]
    assert "in 99 days" not in ret["comment"]
    assert "in 9 days: see to a new one in time" in check(given_files(leaf={"days": (-1, 9.5)}))["comment"]


def test_a_given_chain(check, given_files, tmp_path) -> None:
    root = certificate("root", ca=True, key=rsa.generate_private_key(public_exponent=65537, key_size=2048))
    middle = certificate("middle", ca=True, issuer=root)
    leaf = certificate("mysql1", issuer=middle)
    files = given_files(chain=pem(leaf[0]) + pem(middle[0]), trusted=pem(root[0]), key=pem(leaf[1]))
    assert check(files)["result"] is True
    words = ["verify", "-CAfile", files["ca_file"], "-untrusted", files["name"], files["name"]]
    assert openssl(*words).returncode == 0
    (tmp_path / "cert.pem").write_text(pem(leaf[0]))
    assert "no valid chain leads from it to a CA" in check(files)["comment"]


@pytest.mark.parametrize(("made", "said"), [
    ({"leaf": {"days": (-9, -1)}}, "cert.pem: has expired on"),
    ({"leaf": {"days": (1, 9)}}, "cert.pem: is valid from"),
    ({"leaf": {"sans": ("DNS:mysql1",)}}, f"cert.pem: is not for IP:{ADDRESS} but for DNS:mysql1"),
    ({"leaf": {"sans": ()}}, f"cert.pem: is not for IP:{ADDRESS} but for no subject alternative name"),
    ({"leaf": {"purposes": [x509.ExtendedKeyUsageOID.CLIENT_AUTH]}}, "may not be used by a server, only for client"),
    ({"authority": certificate("gone", ca=True, days=(-9, -1))}, "cert.pem: was issued by CN=gone, and no valid chain"),
    ({"authority": certificate("no CA")}, "cert.pem: was issued by CN=no CA, and no valid chain"),
    ({"trusted": pem(certificate("their CA", ca=True)[0])}, "cert.pem: was issued by CN=their CA, and no valid chain"),
    ({"trusted": ""}, "ca.pem: holds no certificate in PEM"),
    ({"chain": "x"}, "cert.pem: holds no certificate in PEM"),
    ({"key": "x"}, "key.pem: holds no private key in PEM"),
    ({"key": pem(ec.generate_private_key(ec.SECP256R1()))}, "key.pem: is not the key of the certificate in"),
    ({"modes": 0o644}, "key.pem: has the mode 0644, so that everybody may use it"),
])  # fmt: skip
def test_a_given_certificate_that_cannot_serve(check, given_files, made, said) -> None:
    ret = check(given_files(**made))
    assert ret["result"] is False
    assert said in ret["comment"]
    assert ret["comment"].count("\n") == 1, "more than one complaint"


@pytest.mark.parametrize("file", ["ca.pem", "cert.pem", "key.pem"])
def test_a_given_file_that_is_missing(check, given_files, tmp_path, file) -> None:
    files = given_files()
    (tmp_path / file).unlink()
    ret = check(files)
    assert (ret["result"], ret["comment"]) == (
        False,
        f"The given certificate cannot serve:\n{tmp_path / file}: is missing",
    )
    (tmp_path / file).mkdir()
    assert f"{tmp_path / file}: cannot be read: Is a directory" in check(files)["comment"]


def test_all_that_is_wrong_is_told_at_once(check, given_files) -> None:
    made = {"leaf": {"days": (-9, -1), "sans": ()}, "trusted": pem(certificate("x", ca=True)[0]), "modes": 0o644}
    assert check(given_files(**made))["comment"].count("\n") == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take files away from itself")
def test_a_given_key_that_the_server_may_not_read(check, given_files, tmp_path) -> None:
    user = pwd.getpwnam("nobody")
    files = given_files() | {"user": "nobody"}
    # pytest's own folder is closed to others.
    own = next(place for place in tmp_path.parents if place.name.startswith("pytest-of-"))
    assert f"the user nobody may not enter {own} " in check(files)["comment"]
    for place in (tmp_path, *tmp_path.parents):
        if place.is_relative_to(own):
            place.chmod(0o755)
    try:
        for file in ("ca.pem", "cert.pem"):
            (tmp_path / file).chmod(0o644)
        ret = check(files)
        assert (ret["result"], ret["comment"].count("\n")) == (False, 1)
        assert f"{tmp_path / 'key.pem'}: the user nobody may not read {tmp_path / 'key.pem'} (0640 " in ret["comment"]
        os.chown(tmp_path / "key.pem", 0, user.pw_gid)
        assert check(files)["result"] is True
    finally:
        own.chmod(0o700)


@given(position=st.integers(0, 500), value=st.integers(0, 255), cut=st.booleans())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_damage_is_told_in_a_sentence(minion, given_files, tmp_path, position, value, cut) -> None:
    files = given_files(leaf={"sans": (f"IP:{ADDRESS}",)})
    der = bytearray(
        x509.load_pem_x509_certificate((tmp_path / "cert.pem").read_bytes()).public_bytes(serialization.Encoding.DER)
    )
    position %= len(der)
    if cut:
        del der[position:]
    else:
        der[position] = value
    text = subprocess.run(["base64"], input=bytes(der), capture_output=True).stdout.decode()
    (tmp_path / "cert.pem").write_text(f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n")
    said = minion.modules.mysql_tls.given_wrong(files["name"], files["ca_file"], files["key_file"], ADDRESS)
    assert all(isinstance(one, str) and str(tmp_path) in one for one in said), said
    with contextlib.suppress(CommandExecutionError):
        minion.modules.mysql_tls.info(files["name"])
