"""The rules for the TLS part of the pillar: every sentence, no traceback whatever it holds, no secret shown."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import mysql_tls_rules

DELETE = "(deleted)"
BODY = base64.encodebytes(b"\x30\x82\x00\x64" + bytes(range(100))).decode()
KEYS = "days, renew, key, ca_file, certificate_file, key_file"
PATHS = {"ca_file": "/etc/ssl/ca.pem", "certificate_file": "/etc/ssl/db.pem", "key_file": "/etc/ssl/private/db.key"}
PATH = "an absolute path of 2 to 255 of the characters A-Z a-z 0-9 . _ + @ = - and /"
DAYS = "a whole number from 2 to 3650"
RENEW = "a whole number from 1 to 3649"
CERTIFICATES = "one or more certificates in PEM, after a |"
KEY = "one private key in PEM, not encrypted, after a |"
NO_PEM = "is set but is no PEM: it has no line -----BEGIN ...----- with its -----END ...-----"
DAMAGED = "is set but is damaged: what is between BEGIN and END is no base64 of a certificate or key"


def pem(label: str, body: str = BODY) -> str:
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n"


CA = {"tls_ca": pem("CERTIFICATE"), "tls_ca_key": pem("PRIVATE KEY")}


def told(tls: object, secrets: object = CA, flavor: object = "mysql", **options: Any) -> list[str]:
    options = {"minion_is_database": True} | options
    return [one.removeprefix("mysql_ha:") for one in mysql_tls_rules.errors(tls, secrets, flavor, **options)]


@pytest.mark.parametrize("tls", [
    {}, {"days": 365, "renew": 30, "key": "ec"}, {"days": 3650, "renew": 3649, "key": "rsa"}, {"days": 2, "renew": 1},
])  # fmt: skip
@pytest.mark.parametrize("secrets", [
    CA,
    {"tls_ca": CA["tls_ca"] * 2, "tls_ca_key": pem("EC PRIVATE KEY")},
    {"tls_ca": "# old\r\n" + CA["tls_ca"].replace("\n", "\r\n") + "\n# new\n" + CA["tls_ca"],
     "tls_ca_key": pem("EC PARAMETERS", "BggqhkjOPQMBBw==\n") + pem("RSA PRIVATE KEY"), "vrrp": "x"},
])  # fmt: skip
def test_what_is_right(tls, secrets) -> None:
    assert told(tls, secrets) == []


def test_given_files_need_no_ca() -> None:
    assert told(PATHS, {}) == []
    assert told(PATHS | {"renew": 7}, {"replication": "x"}) == []


@pytest.mark.parametrize(("tls", "sentence"), [
    (None, f"database:tls: is empty; allowed: a mapping with the keys {KEYS}"),
    ([1], f"database:tls: is a list; allowed: a mapping with the keys {KEYS}"),
    (True, f"database:tls: is true or false; allowed: a mapping with the keys {KEYS}"),
    ({"dayz": 5}, f"database:tls:'dayz': is an unknown key; allowed: {KEYS} (did you mean days?)"),
    ({5: "MARK"}, f"database:tls:5: is an unknown key; allowed: {KEYS}"),
    ({"days": 1}, f"database:tls:days: is 1; allowed: {DAYS}"),
    ({"days": 3651}, f"database:tls:days: is 3651; allowed: {DAYS}"),
    ({"days": "365"}, f"database:tls:days: is '365', text in quotes and not a number; allowed: {DAYS}"),
    ({"days": True}, f"database:tls:days: is true; allowed: {DAYS}"),
    ({"days": 10**30}, f"database:tls:days: is a number of more than 20 digits; allowed: {DAYS}"),
    ({"days": 99.5}, f"database:tls:days: is 99.5; allowed: {DAYS}"),
    ({"days": None}, f"database:tls:days: is empty; allowed: {DAYS}"),
    ({"days": 30}, "database:tls:days: is 30; allowed: more than mysql_ha:database:tls:renew, which is 30"),
    ({"renew": 0}, f"database:tls:renew: is 0; allowed: {RENEW}"),
    ({"renew": 365}, "database:tls:renew: is 365; allowed: less than mysql_ha:database:tls:days, which is 365"),
    ({"days": 9, "renew": 9}, "database:tls:renew: is 9; allowed: less than mysql_ha:database:tls:days, which is 9"),
    ({"key": "dsa"}, "database:tls:key: is 'dsa'; allowed: ec, rsa"),
    ({"key": CA["tls_ca_key"]}, f"database:tls:key: is text of {len(CA['tls_ca_key'])} characters; allowed: ec, rsa"),
    ({"key": None}, "database:tls:key: is empty; allowed: ec, rsa"),
])  # fmt: skip
def test_what_is_wrong_with_tls(tls, sentence) -> None:
    assert told(tls) == [sentence]


@pytest.mark.parametrize(("change", "sentences"), [
    ({"ca_file": DELETE}, ["ca_file: is missing, and mysql_ha:database:tls:certificate_file is set; allowed: all "
                           "three of ca_file, certificate_file, key_file"]),
    ({"key_file": "db.key"}, [f"key_file: is 'db.key'; allowed: {PATH}"]),
    ({"key_file": "/etc/ssl/"}, [f"key_file: is '/etc/ssl/'; allowed: {PATH}"]),
    ({"key_file": "/etc/a b"}, [f"key_file: is '/etc/a b'; allowed: {PATH}"]),
    ({"key_file": "/etc/a\nssl=0"}, [f"key_file: is '/etc/a\\nssl=0'; allowed: {PATH}"]),
    ({"key_file": "/etc/a\n"}, [f"key_file: is '/etc/a\\n'; allowed: {PATH}"]),
    ({"key_file": "/etc/a#b"}, [f"key_file: is '/etc/a#b'; allowed: {PATH}"]),
    ({"key_file": "/" + "x" * 255}, [f"key_file: is text of 256 characters; allowed: {PATH}"]),
    ({"key_file": CA["tls_ca_key"]}, [f"key_file: is text of {len(CA['tls_ca_key'])} characters; allowed: {PATH}"]),
    ({"ca_file": 5, "key_file": None}, [f"ca_file: is 5; allowed: {PATH}", f"key_file: is empty; allowed: {PATH}"]),
])  # fmt: skip
def test_what_is_wrong_with_given_files(change, sentences) -> None:
    tls = {key: value for key, value in (PATHS | change).items() if value is not DELETE}
    assert told(tls, {}) == [f"database:tls:{one}" for one in sentences]


def test_both_ways_at_once() -> None:
    sentence = "secrets:tls_ca: is set, and mysql_ha:database:tls:ca_file too; allowed: one of the two ways"
    assert told(PATHS) == [sentence]


@pytest.mark.parametrize(("change", "key", "sentence"), [
    ({"tls_ca": DELETE}, "tls_ca", f"is missing, and mysql_ha:secrets:tls_ca_key is set; allowed: {CERTIFICATES}"),
    ({"tls_ca_key": DELETE}, "tls_ca_key", f"is missing, and mysql_ha:secrets:tls_ca is set; allowed: {KEY}"),
    ({"tls_ca": None}, "tls_ca", f"is empty and not text (hidden); allowed: {CERTIFICATES}"),
    ({"tls_ca": [CA["tls_ca"]]}, "tls_ca", f"is a list and not text (hidden); allowed: {CERTIFICATES}"),
    ({"tls_ca": " \n"}, "tls_ca", f"is empty (hidden); allowed: {CERTIFICATES}"),
    ({"tls_ca": "MARK"}, "tls_ca", f"{NO_PEM} (hidden); allowed: {CERTIFICATES}"),
    ({"tls_ca": "-----BEGIN CERTIFICATE-----\nMARK"}, "tls_ca", f"{NO_PEM} (hidden); allowed: {CERTIFICATES}"),
    ({"tls_ca": CA["tls_ca"] + "-----BEGIN CERTIFICATE-----\nMARK"}, "tls_ca",
     f"{NO_PEM} (hidden); allowed: {CERTIFICATES}"),
    ({"tls_ca": CA["tls_ca"].replace("\n", " ")}, "tls_ca",
     f"is set but has lost its line breaks (hidden); allowed: {CERTIFICATES}"),
    ({"tls_ca": pem("CERTIFICATE", "MARK!\n")}, "tls_ca", f"{DAMAGED} (hidden); allowed: {CERTIFICATES}"),
    ({"tls_ca": pem("CERTIFICATE", "HARK\n")}, "tls_ca", f"{DAMAGED} (hidden); allowed: {CERTIFICATES}"),
    ({"tls_ca": pem("CERTIFICATE", BODY[:40] + "\n")}, "tls_ca", f"{DAMAGED} (hidden); allowed: {CERTIFICATES}"),
    ({"tls_ca": pem("CERTIFICATE", "A\n")}, "tls_ca", f"{DAMAGED} (hidden); allowed: {CERTIFICATES}"),
    ({"tls_ca": CA["tls_ca"] + CA["tls_ca_key"]}, "tls_ca",
     f"is set but holds a private key, which belongs into tls_ca_key (hidden); allowed: {CERTIFICATES}"),
    ({"tls_ca": pem("CERTIFICATE REQUEST")}, "tls_ca",
     f"is set but holds something else than certificates (hidden); allowed: {CERTIFICATES}"),
    ({"tls_ca": "x" * 65537}, "tls_ca", f"is set but longer than 65536 characters (hidden); allowed: {CERTIFICATES}"),
    ({"tls_ca_key": 5}, "tls_ca_key", f"is a number and not text (hidden); allowed: {KEY}"),
    ({"tls_ca_key": pem("ENCRYPTED PRIVATE KEY")}, "tls_ca_key", f"is set but is encrypted (hidden); allowed: {KEY}"),
    ({"tls_ca_key": pem("EC PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: MARK\n\n" + BODY)}, "tls_ca_key",
     f"is set but is encrypted (hidden); allowed: {KEY}"),
    ({"tls_ca_key": CA["tls_ca"]}, "tls_ca_key",
     f"is set but holds something else than one private key (hidden); allowed: {KEY}"),
    ({"tls_ca_key": CA["tls_ca_key"] * 2}, "tls_ca_key",
     f"is set but holds something else than one private key (hidden); allowed: {KEY}"),
])  # fmt: skip
def test_what_is_wrong_with_the_ca(change, key, sentence) -> None:
    secrets = {name: value for name, value in (CA | change).items() if value is not DELETE}
    assert told({}, secrets) == [f"secrets:{key}: {sentence}"]


def test_mysql_needs_a_ca_and_is_told_how_to_make_one() -> None:
    for secrets in ({}, {"replication": "x"}, None, "text"):
        (sentence,) = told({}, secrets)
        assert sentence.startswith("secrets:tls_ca: is missing, and MySQL verifies no peer without a CA; allowed: ")
        assert "salt-call --local mysql_tls.new_ca" in sentence


def test_who_needs_no_ca() -> None:
    assert told({}, {}, "mariadb") == []
    assert told({}, {}, minion_is_database=False) == []
    assert told({}, {}, wanted=False) == []
    # Another role may get a part of the secrets only.
    assert told({}, {"tls_ca": CA["tls_ca"]}, minion_is_database=False) == []


MARK = "hunter2MARKhunter2"
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
keys = st.sampled_from(["days", "renew", "key", *PATHS, "tls_ca", "tls_ca_key"]) | scalars.filter(
    lambda key: key == key
)
mappings = st.dictionaries(keys, values | st.sampled_from([*CA.values(), *PATHS.values(), 30, 365]), max_size=6)


@given(tls=mappings | values, secrets=mappings | values, flavor=st.sampled_from(["mysql", "mariadb"]) | values,
       database=st.booleans() | values, wanted=st.booleans() | values)  # fmt: skip
@example(tls={"days": float("nan")}, secrets={}, flavor="mysql", database=True, wanted=True)
@example(tls={"days": 10**5000, "renew": -(10**5000)}, secrets={}, flavor="mysql", database=True, wanted=True)
@example(tls={("a",): 1, frozenset(): 2}, secrets={}, flavor=[], database={}, wanted=[])
def test_nothing_raises(tls, secrets, flavor, database, wanted) -> None:
    found = mysql_tls_rules.errors(tls, secrets, flavor, database, wanted)
    assert all(isinstance(one, str) and "\n" not in one and one.startswith("mysql_ha:") for one in found)


pieces = st.sampled_from(
    ["-----BEGIN ", "-----END ", "CERTIFICATE", "PRIVATE KEY", "-----", "\n", BODY, " ", "A", MARK]
)


@given(before=st.lists(pieces, max_size=8), after=st.lists(pieces, max_size=8), place=st.sampled_from([*CA]),
       is_list=st.booleans())  # fmt: skip
def test_no_secret_is_shown(before, after, place, is_list) -> None:
    text = "".join(before) + MARK + "".join(after)
    found = mysql_tls_rules.errors({}, CA | {place: [text] if is_list else text}, "mysql", True)
    assert MARK not in repr(found)
    for key in ("key", "key_file", "days"):
        # A private key that is pasted in the wrong place.
        tls = {key: pem("PRIVATE KEY", MARK + "\n")}
        if key != "days":
            assert MARK not in repr(mysql_tls_rules.errors(tls, CA, "mysql", True))
