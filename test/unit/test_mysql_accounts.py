"""Accounts and what is stored of passwords, on answers that real servers gave; the rules for descriptions."""

import hashlib
import json
import re
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mysql_accounts as subject
import mysql_passwords as passwords
from mysql_account_rules import errors
from mysql_accounts import Account, Present

# What servers answered to accounts that SQL made there, and the passwords that were given to them in clear.
SERVERS = json.loads((Path(__file__).parent / "mysql_accounts_answers.json").read_text())
MYSQL, OLD, NEW = "MySQL 9.7.4", "MariaDB 10.11.18", "MariaDB 11.8.9"
STORED = [
    (server["flavor"], row["User"], *server["passwords"][row["User"]], bytes.fromhex(row["authentication"]))
    for server in SERVERS.values()
    for row in server["users"]
    if row["User"] in server["passwords"]
]
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=8, max_size=32)
FENCE = "SET SESSION sql_log_bin = 0;\n"


def found(name):
    """``present`` on one of the servers, and what was asked."""
    server, asked = SERVERS[name], []

    def sql(text):
        asked.append(text)
        if "SHOW PRIVILEGES" in text:
            return [{"Privilege": word} for word in server["privileges"]]
        if grants := re.search(r"SHOW GRANTS FOR '(\w+)'@", text):
            return [{"Grants": line} for line in server["grants"][grants[1]]]
        return server["users"]

    users = [row["User"] for row in server["users"]]
    got = subject.present(sql, server["flavor"], tuple(server["version"]), users)
    return {user: present for (user, _), present in got.items()}, asked


def right(account: Account) -> Present:
    """The account as a server has it after ``statements``."""
    made = passwords.stored(account.plugin, account.password)
    return Present(account.plugin, made, account.require, account.grants, {})


def words(*names: str) -> frozenset[str]:
    return frozenset(names)


SHOP = Account("shop", "10.%", "mysql_native_password", "a password", "SSL", {"shop.*": words("SELECT", "INSERT")},
               "mariadb")  # fmt: skip
WHO = "'shop'@'10.%'"


# What is stored of passwords


@pytest.mark.parametrize(("password", "salt", "digest"), [
    ("Hello world!", "saltstringsaltst", "a5C8Ofk71MUIoKve2QuP9FMl.dwNgseF5tR1LGAL7iB"),
    ("a" * 70, "./0123456789AZaz", "BmOyg8N9yFN94PqO4WCPkgFV7Uv9Bu7dYNwgO/SMunB"),
    ("x", "0", "JPKo8gu43U8ATUfeYEYrVH3weOIgRJXPUS0VB4QHiE4"),
])  # fmt: skip
def test_sha256_crypt_is_that_of_the_c_library(password, salt, digest) -> None:
    assert passwords._sha256_crypt(password.encode(), salt.encode(), 5000).decode() == digest


def test_the_public_key_is_that_of_rfc_8032() -> None:
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")  # 7.1, test 1
    key = passwords._public_key(hashlib.sha512(seed).digest())
    assert key.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def test_ed25519_is_that_of_the_manual() -> None:
    assert passwords.stored("ed25519", "secret") == b"ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY"


@pytest.mark.parametrize(("flavor", "user", "plugin", "password", "stored"), STORED)
def test_what_a_server_stored_is_recognised(flavor, user, plugin, password, stored) -> None:
    assert passwords.belongs(plugin, stored, password)
    for wrong in (password + "x", password[:-1], password.upper(), "", None):
        assert not passwords.belongs(plugin, stored, wrong)
    assert not passwords.belongs(plugin, stored[:-1], password)


def test_every_plugin_was_recorded() -> None:
    assert {plugin for _, _, plugin, *_ in STORED} == {name for names in passwords.PLUGINS.values() for name in names}
    assert any(stored.startswith(b"$A$00A$") for *_, stored in STORED), "9.7 has 10000 rounds, in hexadecimal"


@pytest.mark.parametrize("plugin", ["caching_sha2_password", "mysql_native_password", "ed25519", "parsec"])
@settings(max_examples=15, deadline=None)
@given(TEXT, TEXT)
def test_what_is_made_is_recognised(plugin, password, other) -> None:
    made = passwords.stored(plugin, password)
    assert passwords.belongs(plugin, made, password)
    assert passwords.belongs(plugin, made, other) == (password == other)
    assert password.encode() not in made


def test_salts_are_new_each_time_and_can_be_given() -> None:
    for plugin, salt in (("caching_sha2_password", b"0123456789abcdefghij"), ("parsec", b"123456789012345678")):
        assert passwords.stored(plugin, "a password") != passwords.stored(plugin, "a password")
        assert passwords.stored(plugin, "a password", salt) == passwords.stored(plugin, "a password", salt)
    made = passwords.stored("caching_sha2_password", "a password")
    assert re.fullmatch(rb"\$A\$005\$[0-9A-Za-z]{20}[./0-9A-Za-z]{43}", made)
    assert re.fullmatch(rb"P0:[+/0-9A-Za-z]{24}:[+/0-9A-Za-z]{43}", passwords.stored("parsec", "a password"))


def test_parsec_with_more_iterations() -> None:
    salt = b"123456789012345678"
    seed = hashlib.pbkdf2_hmac("sha512", b"a password", salt, 8192, 32)
    key = b64encode(passwords._public_key(hashlib.sha512(seed).digest())).rstrip(b"=")
    assert passwords.belongs("parsec", b"P3:" + b64encode(salt) + b":" + key, "a password")
    assert not passwords.belongs("parsec", passwords._parsec(b"a password", salt, 4), "a password"), (
        "no server takes it"
    )


def test_sockets_store_nothing() -> None:
    for plugin in ("auth_socket", "unix_socket"):
        assert passwords.stored(plugin, None) == b""
        assert passwords.belongs(plugin, b"", None)
        assert not passwords.belongs(plugin, b"bob", None), "then it is another user of the system"


@pytest.mark.parametrize(("plugin", "password"), [("sha256_password", "x"), ("ed25519", None), ("parsec", "")])
def test_what_cannot_be_made_is_said(plugin, password) -> None:
    with pytest.raises(passwords.PasswordError):
        passwords.stored(plugin, password)


@given(st.sampled_from(["caching_sha2_password", "mysql_native_password", "ed25519", "parsec", "x"]), st.binary())
@settings(deadline=None)
def test_nothing_stored_makes_it_raise(plugin, stored) -> None:
    assert not passwords.belongs(plugin, stored, "a password")
    assert not passwords.belongs(plugin, b"$A$000$" + stored[:20].ljust(20) + b"." * 43, "a password")


# Descriptions


def test_defaults_of_an_account() -> None:
    description = {"shop": {"hosts": ["DB.example", "%"]}, "gone": {"hosts": ["H"], "absent": True}}
    made = {flavor: subject.accounts(description, {"shop": "a password"}, flavor) for flavor in ("mysql", "mariadb")}
    assert made["mysql"] == [
        Account("shop", "db.example", "caching_sha2_password", "a password", "SSL", {}, "mysql"),
        Account("shop", "%", "caching_sha2_password", "a password", "SSL", {}, "mysql"),
    ]
    assert made["mariadb"][0].plugin == "mysql_native_password"
    assert subject.absent(description) == [("gone", "h")]


def test_a_socket_account_has_no_password_and_no_tls() -> None:
    description = {"shop": {"hosts": ["localhost"], "plugin": "unix_socket"}}
    assert subject.accounts(description, {}, "mariadb") == [
        Account("shop", "localhost", "unix_socket", None, "NONE", {}, "mariadb")
    ]


def test_a_missing_password_is_said() -> None:
    with pytest.raises(passwords.PasswordError, match="no password for the account shop"):
        subject.accounts({"shop": {"hosts": ["%"]}}, {}, "mysql")


def test_grants_of_a_description() -> None:
    grants = {"a_b.*": ["select"], "a\\_b.*": ["Insert"], "*.*": ["usage"], "c.t": ["ALL", "SELECT", "grant option"]}
    made = subject.accounts({"shop": {"hosts": ["%"], "grants": grants, "require": "x509"}}, {"shop": "x"}, "mysql")
    assert made[0].grants == {"a\\_b.*": {"SELECT", "INSERT"}, "c.t": {"ALL PRIVILEGES", "GRANT OPTION"}}
    assert made[0].require == "X509"


@pytest.mark.parametrize(("name", "key", "quoted"), [
    ("*.*", "*.*", "*.*"), ("shop.*", "shop.*", "`shop`.*"), ("shop_x.*", r"shop\_x.*", r"`shop\_x`.*"),
    (r"shop\_x.*", r"shop\_x.*", r"`shop\_x`.*"), ("sh%.*", "sh%.*", "`sh%`.*"), ("s_x.t_y", "s_x.t_y", "`s_x`.`t_y`"),
    (r"s\_x.t", "s_x.t", "`s_x`.`t`"), ("`a.b`.*", "`a.b`.*", "`a.b`.*"), ("`a``b`.`*`", "`a``b`.`*`", "`a``b`.`*`"),
    ("`shop`.`orders`", "shop.orders", "`shop`.`orders`"), ("a'\"b.c;d", "a'\"b.c;d", "`a'\"b`.`c;d`"),
])  # fmt: skip
def test_objects(name, key, quoted) -> None:
    assert subject.key(name) == key
    assert subject.key(key) == key
    assert subject._quoted(key) == quoted


@pytest.mark.parametrize("name", ["", "shop", "shop.", ".x", "*.x", "a.b.c", "`a.*", "``.*", "a`b.*"])
def test_what_is_no_object(name) -> None:
    with pytest.raises(ValueError, match="."):
        subject.key(name)


@given(st.text(min_size=1), st.none() | st.text(min_size=1))
def test_no_name_leaves_its_quotes(schema, table) -> None:
    name = subject._join(schema, table)
    assert subject.split(name) == (schema, table)
    quoted = r"`(?:[^`]|``)+`"
    assert re.fullmatch(rf"{quoted}\.(?:{quoted if table is not None else '[*]'})", subject._quoted(name), re.DOTALL)


@pytest.mark.parametrize(("flavor", "written", "shown"), [
    ("mysql", "all", "ALL PRIVILEGES"), ("mysql", "select", "SELECT"), ("mysql", "show_databases", "SHOW DATABASES"),
    ("mysql", "BINLOG MONITOR", "REPLICATION CLIENT"), ("mysql", "replica monitor", "REPLICATION CLIENT"),
    ("mysql", "REPLICATION REPLICA", "REPLICATION SLAVE"), ("mysql", "Xa_Recover_Admin", "XA_RECOVER_ADMIN"),
    ("mysql", "REPLICATION SLAVE ADMIN", "REPLICATION_SLAVE_ADMIN"), ("mysql", "CONNECTION ADMIN", "CONNECTION_ADMIN"),
    ("mariadb", "REPLICATION CLIENT", "BINLOG MONITOR"), ("mariadb", "REPLICA  MONITOR", "SLAVE MONITOR"),
    ("mariadb", "REPLICATION REPLICA", "REPLICATION SLAVE"), ("mariadb", "READ ONLY ADMIN", "READ_ONLY ADMIN"),
    ("mariadb", "read_only_admin", "READ_ONLY ADMIN"), ("mariadb", "CONNECTION_ADMIN", "CONNECTION ADMIN"),
    ("mariadb", "REPLICATION_SLAVE_ADMIN", "REPLICATION SLAVE ADMIN"), ("mariadb", "grant option", "GRANT OPTION"),
    ("mariadb", "some_new word", "SOME_NEW WORD"),
])  # fmt: skip
def test_privileges_by_any_name(flavor, written, shown) -> None:
    assert subject.privilege(written, flavor) == shown
    assert subject.privilege(shown, flavor) == shown


# What a server has


@pytest.mark.parametrize("server", SERVERS)
def test_grants_that_a_server_showed(server) -> None:
    monitor = "REPLICATION CLIENT" if server == MYSQL else "BINLOG MONITOR"
    grants = found(server)[0]["fix_mixed"].grants
    assert grants.keys() == {"*.*", "shop.*", r"shop\_x.*", "sh_p%.*", "shop.orders", "shop.`*`",
                             "`shop.dot``q'*`.`t.1`"}  # fmt: skip
    assert grants["*.*"] == {"PROCESS", "REPLICATION SLAVE", monitor}
    assert grants["shop.*"] == {"SELECT", "INSERT"}
    assert grants["shop.orders"] == {"SELECT (`a`)", "INSERT (`c,(x`)", "UPDATE"}
    assert grants["sh_p%.*"] == {"SELECT"}
    schema = grants[r"shop\_x.*"]
    assert schema >= {"ALL PRIVILEGES", "GRANT OPTION", "EVENT", "EXECUTE", "SELECT"}
    assert ("DELETE HISTORY" in schema) == (server != MYSQL)
    assert ("SHOW CREATE ROUTINE" in schema) == (server == NEW), "since 11.3"
    table = grants["`shop.dot``q'*`.`t.1`"]
    assert table >= {"ALL PRIVILEGES", "TRIGGER"}
    assert not table & {"EVENT", "EXECUTE", "GRANT OPTION"}


@pytest.mark.parametrize("server", SERVERS)
def test_all_on_everything_is_told_by_the_server(server) -> None:
    accounts, asked = found(server)
    grants = accounts["fix_all"].grants["*.*"]
    assert grants >= {"ALL PRIVILEGES", "GRANT OPTION", "SUPER", "SELECT"}
    assert not grants & {"USAGE", "PROXY"}
    assert ("XA_RECOVER_ADMIN" in grants) == (server == MYSQL)
    assert ("READ_ONLY ADMIN" in grants) == (server != MYSQL)
    assert sum("SHOW PRIVILEGES" in text for text in asked) == 1, "only for the account that may have them all"
    wanted = Account("fix_all", "%", *SERVERS[server]["passwords"]["fix_all"], "X509",
                     {"*.*": words("ALL PRIVILEGES", "GRANT OPTION")}, SERVERS[server]["flavor"])  # fmt: skip
    assert subject.differences(wanted, accounts["fix_all"]) == {}


def test_all_but_one_dynamic_privilege_is_not_all() -> None:
    lines = [line.replace("XA_RECOVER_ADMIN", "") for line in SERVERS[MYSQL]["grants"]["fix_all"]]
    row = {"User": "x", "Host": "h", "plugin": None, "authentication": None, "ssl_type": None, "alternatives": "0"}

    def sql(text):
        if "SHOW PRIVILEGES" in text:
            return [{"Privilege": word} for word in SERVERS[MYSQL]["privileges"]]
        return [{"": line} for line in lines] if "SHOW GRANTS" in text else [row, {**row, "User": "X"}]

    got = subject.present(sql, "mysql", (8, 4), ["x"])
    assert got.keys() == {("x", "h")}, "what only a collation takes for the name is not the user"
    assert "ALL PRIVILEGES" not in got["x", "h"].grants["*.*"]
    assert got["x", "h"][:3] == ("", b"", "NONE")


def test_partial_revokes() -> None:
    present = found(MYSQL)[0]["fix_revoke"]
    assert present.grants == {"*.*": {"SELECT", "INSERT", "XA_RECOVER_ADMIN"}}
    assert present.revokes == {"mysql.*": {"INSERT"}}


@pytest.mark.parametrize("server", SERVERS)
def test_tls_that_a_server_showed(server) -> None:
    shown = {user: present.require for user, present in found(server)[0].items()}
    shown = {user: shown[user] for user in ("fix_mixed", "fix_all", "fix_none", "fix_subject")}
    assert shown == {"fix_mixed": "SSL", "fix_all": "X509", "fix_none": "NONE", "fix_subject": "SPECIFIED"}


@pytest.mark.parametrize("server", [OLD, NEW])
def test_a_second_way_in_is_seen(server) -> None:
    accounts = found(server)[0]
    assert [user for user, present in accounts.items() if present.alternatives] == ["fix_or"]
    assert accounts["fix_or"].grants == {"*.*": {"GRANT OPTION"}}, "limits follow it"
    wanted = Account("fix_or", "localhost", "mysql_native_password", "correct horse 5", "SSL",
                     {"*.*": words("GRANT OPTION")}, "mariadb")  # fmt: skip
    assert subject.differences(wanted, accounts["fix_or"]) == {
        "plugin": {"old": "mysql_native_password or others", "new": "mysql_native_password"}
    }
    assert "ALTER USER 'fix_or'@'localhost' IDENTIFIED VIA" in subject.statements(wanted, accounts["fix_or"])


@pytest.mark.parametrize("server", SERVERS)
def test_no_grants_and_no_more_calls_than_needed(server) -> None:
    accounts, asked = found(server)
    assert accounts["fix_none"].grants == accounts["fix_socket"].grants == {}
    assert sum("SHOW GRANTS" in text for text in asked) == len(accounts)
    assert all("SET SESSION sql_quote_show_create = 1;" in text for text in asked if "SHOW GRANTS" in text)
    assert subject.present(lambda text: pytest.fail("nothing to ask"), "mysql", (8, 0), []) == {}


def test_what_is_read() -> None:
    assert subject.look_sql("mysql", (8, 4), ["a'b", "c"]).endswith(
        "FROM mysql.user u WHERE u.User IN ('a''b', 'c');\n"
    )
    assert "HEX(u.authentication_string)" in subject.look_sql("mysql", (8, 4), ["a"])
    mariadb = subject.look_sql("mariadb", (10, 11), ["a"])
    assert "JSON_LENGTH(p.Priv, '$.auth_or'), 0) > 1 AS alternatives" in mariadb
    assert "JOIN mysql.global_priv" in mariadb
    assert "u.is_role = 'N'" in mariadb


@pytest.mark.parametrize(
    "column", ["x) ON *.* TO `a`@`b`", "`) ON *.* TO ``@``", "a`, `b", "ON `s`.`t` TO `a`@`b`", "("]
)
def test_no_name_of_a_column_passes_for_an_object(column) -> None:
    quoted = column.replace("`", "``")
    line = f"GRANT SELECT (`{quoted}`, `z`), INSERT ON `shop`.`t` TO `u`@`h`"
    granted, _ = subject._privileges([line], "mysql")
    assert granted == {"shop.t": {f"SELECT (`{quoted}`)", "SELECT (`z`)", "INSERT"}}


@pytest.mark.parametrize("line", [
    "GRANT `r`@`%` TO `u`@`h`", "GRANT `r` TO `u`@`h` WITH ADMIN OPTION", "SET DEFAULT ROLE `r` FOR `u`@`h`", "",
    "GRANT PROXY ON ``@`%` TO `u`@`h` WITH GRANT OPTION", "GRANT EXECUTE ON PACKAGE BODY `s`.`p` TO `u`@`h`",
    "GRANT EXECUTE ON FUNCTION `s`.`f` TO `u`@`h`", "GRANT USAGE ON *.* TO `u`@`h`",
    "GRANT USAGE ON *.* TO `u`@`h` IDENTIFIED VIA x USING ' WITH GRANT OPTION x'",
])  # fmt: skip
def test_lines_that_are_left_alone(line) -> None:
    assert subject._privileges([line], "mariadb") == ({}, {})


def test_hosts_that_are_not_described() -> None:
    here = {("shop", "10.%"): right(SHOP), ("shop", "%"): right(SHOP), ("other", "%"): right(SHOP)}
    assert subject.strays([SHOP], here) == [("shop", "%")]


# What is to be done


@pytest.mark.parametrize("account", [
    SHOP, SHOP._replace(plugin="caching_sha2_password", flavor="mysql"), SHOP._replace(plugin="ed25519"),
    SHOP._replace(plugin="parsec"), SHOP._replace(plugin="unix_socket", password=None),
    SHOP._replace(plugin="auth_socket", password=None, flavor="mysql"),
])  # fmt: skip
def test_what_is_right_stays(account) -> None:
    assert subject.differences(account, right(account)) == {}
    assert subject.statements(account, right(account)) == ""


def test_an_account_from_nothing() -> None:
    assert subject.differences(SHOP, None) == {
        "account": {"old": None, "new": "present"},
        "plugin": {"old": None, "new": "mysql_native_password"},
        "require": {"old": None, "new": "SSL"},
        "grants on shop.*": {"old": [], "new": ["INSERT", "SELECT"]},
    }
    assert subject.statements(SHOP, None) == (
        FENCE + f"CREATE USER {WHO} IDENTIFIED VIA mysql_native_password USING "
        "'*5BB77F1C6D5B7A7D0ABB1B2B8D7F9A5B' REQUIRE SSL;\n"
        f"GRANT INSERT, SELECT ON `shop`.* TO {WHO};\n"
    ).replace("*5BB77F1C6D5B7A7D0ABB1B2B8D7F9A5B", passwords.native_hash("a password"))


def test_mysql_gets_the_hash_in_hexadecimal() -> None:
    account = SHOP._replace(plugin="caching_sha2_password", flavor="mysql")
    salt = b"0123456789abcdefghij"
    made = passwords.stored("caching_sha2_password", "a password", salt).hex().upper()
    assert f"CREATE USER {WHO} IDENTIFIED WITH caching_sha2_password AS 0x{made} REQUIRE SSL;\n" in subject.statements(
        account, None, salt
    )
    assert made != passwords.stored("caching_sha2_password", "a password").hex().upper()


@pytest.mark.parametrize(("flavor", "plugin", "sent"), [
    ("mysql", "auth_socket", "IDENTIFIED WITH auth_socket REQUIRE"),
    ("mariadb", "unix_socket", "VIA unix_socket REQUIRE"),
])  # fmt: skip
def test_sockets_are_given_nothing(flavor, plugin, sent) -> None:
    assert sent in subject.statements(SHOP._replace(plugin=plugin, password=None, flavor=flavor), None)


CHANGES = [
    ({"password": "another one"}, {"password": {"old": "(hidden)", "new": "(hidden)"}},
     f"ALTER USER {WHO} IDENTIFIED VIA mysql_native_password USING '{passwords.native_hash('another one')}';\n"),
    ({"require": "X509"}, {"require": {"old": "SSL", "new": "X509"}}, f"ALTER USER {WHO} REQUIRE X509;\n"),
    ({"plugin": "unix_socket", "password": None}, {"plugin": {"old": "mysql_native_password", "new": "unix_socket"}},
     f"ALTER USER {WHO} IDENTIFIED VIA unix_socket;\n"),
    ({"plugin": "ed25519"}, {"plugin": {"old": "mysql_native_password", "new": "ed25519"}},
     f"ALTER USER {WHO} IDENTIFIED VIA ed25519 USING '{passwords.stored('ed25519', 'a password').decode()}';\n"),
    ({"plugin": "ed25519", "password": "another one"}, {"plugin": {"old": "mysql_native_password", "new": "ed25519"},
     "password": {"old": "(hidden)", "new": "(hidden)"}},
     f"ALTER USER {WHO} IDENTIFIED VIA ed25519 USING '{passwords.stored('ed25519', 'another one').decode()}';\n"),
    ({"grants": {"shop.*": words("SELECT")}}, {"grants on shop.*": {"old": ["INSERT", "SELECT"], "new": ["SELECT"]}},
     f"REVOKE INSERT ON `shop`.* FROM {WHO};\n"),
    ({"grants": {}}, {"grants on shop.*": {"old": ["INSERT", "SELECT"], "new": []}},
     f"REVOKE INSERT, SELECT ON `shop`.* FROM {WHO};\n"),
    ({"grants": {"shop.*": words("SELECT", "UPDATE")}},
     {"grants on shop.*": {"old": ["INSERT", "SELECT"], "new": ["SELECT", "UPDATE"]}},
     f"GRANT UPDATE ON `shop`.* TO {WHO};\nREVOKE INSERT ON `shop`.* FROM {WHO};\n"),
    ({"grants": {"shop.*": words("ALL PRIVILEGES")}},
     {"grants on shop.*": {"old": ["INSERT", "SELECT"], "new": ["ALL PRIVILEGES"]}},
     f"GRANT ALL PRIVILEGES ON `shop`.* TO {WHO};\n"),
    ({"grants": {**SHOP.grants, "a.t": words("DELETE", "GRANT OPTION")}},
     {"grants on a.t": {"old": [], "new": ["DELETE", "GRANT OPTION"]}},
     f"GRANT DELETE ON `a`.`t` TO {WHO} WITH GRANT OPTION;\n"),
    ({"grants": {"shop.*": SHOP.grants["shop.*"] | {"GRANT OPTION"}}},
     {"grants on shop.*": {"old": ["INSERT", "SELECT"], "new": ["GRANT OPTION", "INSERT", "SELECT"]}},
     f"GRANT USAGE ON `shop`.* TO {WHO} WITH GRANT OPTION;\n"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "differences", "statements"), CHANGES)
def test_one_change_is_all_that_is_done(change, differences, statements) -> None:
    wanted = SHOP._replace(**change)
    assert subject.differences(wanted, right(SHOP)) == differences
    assert subject.statements(wanted, right(SHOP)) == FENCE + statements


def test_all_on_a_schema_becomes_less_without_a_gap() -> None:
    every = subject.WORDS["mysql"]["schema"]
    here = right(SHOP)._replace(grants={"shop.*": every | {"ALL PRIVILEGES"}})
    wanted = SHOP._replace(grants={"shop.*": frozenset(every - {"EVENT"})}, flavor="mysql")
    assert subject.statements(wanted, here) == FENCE + f"REVOKE EVENT ON `shop`.* FROM {WHO};\n"
    assert subject.differences(wanted, here)["grants on shop.*"]["old"] == ["ALL PRIVILEGES"]
    assert subject.differences(wanted._replace(grants={"shop.*": every}), here) == {}, "all of them are ALL"


def test_all_takes_in_no_columns_and_no_option() -> None:
    here = right(SHOP)._replace(
        grants={"a.t": words("ALL PRIVILEGES", "SELECT", "INSERT", "SELECT (`x`)", "GRANT OPTION")}
    )
    wanted = SHOP._replace(grants={"a.t": words("ALL PRIVILEGES")})
    assert subject.differences(wanted, here) == {
        "grants on a.t": {"old": ["ALL PRIVILEGES", "GRANT OPTION", "SELECT (`x`)"], "new": ["ALL PRIVILEGES"]}
    }
    assert subject.statements(wanted, here) == FENCE + f"REVOKE GRANT OPTION, SELECT (`x`) ON `a`.`t` FROM {WHO};\n"


def test_columns_are_revoked_with_the_privilege_of_the_same_name() -> None:
    here = right(SHOP)._replace(grants={**SHOP.grants, "a.t": words("SELECT", "SELECT (`x`)")})
    assert subject.statements(SHOP, here) == FENCE + f"REVOKE SELECT, SELECT (`x`) ON `a`.`t` FROM {WHO};\n"


def test_a_wildcard_in_a_schema_is_not_its_name() -> None:
    wanted = subject.accounts({"u": {"hosts": ["h"], "grants": {"a_b.*": ["SELECT"]}}}, {"u": "a password"}, "mysql")[0]
    assert subject.differences(wanted, right(wanted)._replace(grants={r"a\_b.*": words("SELECT")})) == {}
    here = right(wanted)._replace(grants={"a_b.*": words("SELECT")})
    assert subject.statements(wanted, here) == FENCE + (
        "GRANT SELECT ON `a\\_b`.* TO 'u'@'h';\nREVOKE SELECT ON `a_b`.* FROM 'u'@'h';\n"
    )


def test_a_partial_revoke_is_undone_before_what_it_took_away_is_revoked() -> None:
    wanted = SHOP._replace(grants={"*.*": words("SELECT")}, flavor="mysql")
    here = right(wanted)._replace(grants={"*.*": words("SELECT", "INSERT")}, revokes={"mysql.*": words("INSERT")})
    assert subject.differences(wanted, here) == {
        "grants on *.*": {"old": ["INSERT", "SELECT"], "new": ["SELECT"]},
        "revokes on mysql.*": {"old": ["INSERT"], "new": []},
    }
    assert subject.statements(wanted, here) == FENCE + (
        f"GRANT INSERT ON `mysql`.* TO {WHO};\nREVOKE INSERT ON *.* FROM {WHO};\n"
    )


def test_dynamic_privileges_that_may_be_handed_on() -> None:
    wanted = SHOP._replace(grants={"*.*": words("PROCESS", "CLONE_ADMIN")}, flavor="mysql")
    here = right(wanted)._replace(grants={"*.*": words("PROCESS", "CLONE_ADMIN", "XA_RECOVER_ADMIN", "GRANT OPTION")})
    assert subject.statements(wanted, here) == FENCE + (
        f"GRANT USAGE ON *.* TO {WHO} WITH GRANT OPTION;\n"
        f"REVOKE CLONE_ADMIN, XA_RECOVER_ADMIN ON *.* FROM {WHO};\n"
        f"REVOKE GRANT OPTION ON *.* FROM {WHO};\n"
        f"GRANT CLONE_ADMIN ON *.* TO {WHO};\n"
    )


@pytest.mark.parametrize(("user", "host", "quoted"), [
    ("a'b", "%", "'a''b'@'%'"), ("a\\", "h`'", "'a\\\\'@'h`'''"), ('"; DROP', "h\n", "'\"; DROP'@'h\\n'"),
])  # fmt: skip
def test_nasty_names(user, host, quoted) -> None:
    assert subject.removal(user, host) == FENCE + f"DROP USER IF EXISTS {quoted};\n"
    assert f"CREATE USER {quoted} IDENTIFIED" in subject.statements(SHOP._replace(user=user, host=host), None)


@given(TEXT, st.sampled_from(["mysql_native_password", "ed25519", "parsec", "caching_sha2_password"]))
@settings(max_examples=30, deadline=None)
def test_no_password_and_no_hash_is_shown_and_no_password_sent(password, plugin) -> None:
    secret = f"<{password}>"[:32]
    account = SHOP._replace(password=secret, plugin=plugin, flavor="mysql" if plugin.startswith("c") else "mariadb")
    here = right(account)
    told = repr([account, here, subject.differences(account, right(SHOP)), subject.differences(account, None)])
    assert secret not in told
    assert here.authentication.decode() not in told
    assert secret not in subject.statements(account, None)


# Rules

GOOD = {"hosts": ["192.168.1.%"], "grants": {"shop.*": ["SELECT"]}}
PATH = "mysql_ha:database:accounts"
SECRETS = "mysql_ha:secrets:accounts"


GIVEN = "a password"


def said(entry, flavor="mysql", user="shop", password=GIVEN):
    return errors(PATH, {user: entry}, SECRETS, {user: password}, flavor)


@pytest.mark.parametrize("flavor", ["mysql", "mariadb"])
def test_valid_descriptions(flavor) -> None:
    full = {"hosts": ["%", "localhost", "db-1.example", "10.0.0.0/255.0.0.0", "10.%", "192.168.1.5"], "require": "x509",
            "grants": {"*.*": ["PROCESS", "replication client", "SELECT"], "shop%.*": ["ALL", "GRANT OPTION"],
                       "shop.t": ["ALL", "usage"], "my\\%.*": ["INSERT"], "mysql.*": ["SELECT"]}}  # fmt: skip
    assert said(full, flavor) == []
    assert said({"hosts": ["%"]}, flavor) == []
    socket = passwords.SOCKET_PLUGINS[flavor]
    assert errors(PATH, {"a": {"hosts": ["localhost"], "plugin": socket}}, SECRETS, {}, flavor) == []
    assert errors(PATH, {"a": {"hosts": ["%"], "absent": True}}, SECRETS, {}, flavor) == []
    assert errors(PATH, {"a": GOOD}, SECRETS, None, flavor) == [], "a minion that is given no passwords"
    assert errors(PATH, {}, SECRETS, {}, flavor) == []


@pytest.mark.parametrize(("change", "flavor", "sentence"), [
    ({"require": "tls"}, "mysql", ":require: is 'tls'; allowed: none, ssl, x509"),
    ({"absent": "yes"}, "mysql", ":absent: is 'yes'; allowed: true, false"),
    ({"plugin": "mysql_native_password"}, "mysql",
     ":plugin: is 'mysql_native_password', which MySQL 9 no longer has; "),
    ({"plugin": "unix_socket"}, "mysql", ":plugin: is 'unix_socket'; allowed: caching_sha2_password, auth_socket"),
    ({"plugin": "caching_sha2_password"}, "mariadb",
     ":plugin: is 'caching_sha2_password'; allowed: mysql_native_passw"),
    ({"plugin": ["x"]}, "mysql", ":plugin: is a list; allowed: "),
    ({"plugin": "auth_socket"}, "mysql",
     ":hosts:0: is '192.168.1.%', and a unix socket is on this host; allowed: local"),
    ({"plugin": "auth_socket", "require": "ssl", "hosts": ["localhost"]}, "mysql",
     ":require: is 'ssl', and the unix socket has no TLS; "),
    ({"grant": {}}, "mysql",
     ": holds an unknown key (hidden); allowed: hosts, plugin, require, grants, absent (did you "),
    ({"hosts": None}, "mysql", ":hosts: is missing; allowed: a list of"),
    ({"hosts": "%"}, "mysql", ":hosts: is text; allowed: a list of"),
    ({"hosts": []}, "mysql", ":hosts: is an empty list; allowed: a list of"),
    ({"hosts": ["%", "%"]}, "mysql", f":hosts:1: is '%', as is {PATH}:shop:hosts:0; allowed: another one"),
    ({"hosts": ["10.0.0.0/8"]}, "mysql", ":hosts:0: is '10.0.0.0/8', a network in bits: write its netmask; allowed: "),
    ({"grants": []}, "mysql", ":grants: is a list; allowed: a mapping from"),
    ({"grants": {"shop": ["SELECT"]}}, "mysql", ":grants:'shop': is not an object that privileges are for; allowed: "),
    ({"grants": {5: ["SELECT"]}}, "mysql", ":grants:5: is not an object that privileges are for; allowed: "),
    ({"grants": {"shop.%": ["SELECT"]}}, "mysql", ":grants:'shop.%': has a %, and with a table there are no wildcards"),
    ({"grants": {"shop.*": "ALL"}}, "mysql", ":grants:'shop.*': is text; allowed: a list of privileges"),
    ({"grants": {"shop.*": []}}, "mysql", ":grants:'shop.*': is an empty list; allowed: a list of privileges"),
    ({"grants": {"shop.*": ["SELCT"]}}, "mysql", ":grants:'shop.*':0: is 'SELCT'; allowed: ALL PRIVILEGES, ALTER, "),
    ({"grants": {"shop.*": ["PROCESS"]}}, "mysql",
     "':0: is 'PROCESS', which is for *.* and not for a schema; allowed: "),
    ({"grants": {"s.t": ["BACKUP_ADMIN"]}}, "mysql", "':0: is 'BACKUP_ADMIN', which is for *.* and not for a table; "),
    ({"grants": {"s.t": ["SELECT (a)"]}}, "mysql",
     "':0: is 'SELECT (a)', and privileges on columns are not supported; "),
    ({"grants": {"s.t": [5]}}, "mysql", ":grants:'s.t':0: is 5; allowed: ALL PRIVILEGES, ALTER, "),
    ({"grants": {"mysql.*": ["INSERT"]}}, "mysql", "':0: is 'INSERT' on an object that the schema mysql is a part of"),
    ({"grants": {"my%.*": ["ALL"]}}, "mysql", "':0: is 'ALL' on an object that the schema mysql is a part of, where"),
    ({"grants": {"mysql.user": ["UPDATE"]}}, "mariadb",
     "':0: is 'UPDATE' on an object that the schema mysql is a part"),
    ({"grants": {"*.*": ["DROP"]}}, "mariadb",
     ":grants:'*.*':0: is 'DROP' on an object that the schema mysql is a part"),
    ({"grants": {"*.*": ["XA_RECOVER_ADMIN"]}}, "mariadb", ":grants:'*.*':0: is 'XA_RECOVER_ADMIN'; allowed: ALTER, "),
])  # fmt: skip
def test_each_rule(change, flavor, sentence) -> None:
    found_errors = said({**GOOD, **change}, flavor)
    assert len(found_errors) == 1
    assert found_errors[0].startswith(f"{PATH}:shop:")
    assert sentence in found_errors[0]


@pytest.mark.parametrize(("flavor", "word"), [
    ("mysql", "ALL"), ("mysql", "SUPER"), ("mysql", "connection_admin"), ("mysql", "SYSTEM_VARIABLES_ADMIN"),
    ("mysql", "BINLOG ADMIN"), ("mysql", "CREATE USER"), ("mysql", "READ ONLY ADMIN"), ("mysql", "SET_USER_ID"),
    ("mysql", "PERSIST_RO_VARIABLES_ADMIN"), ("mysql", "SESSION_VARIABLES_ADMIN"), ("mysql", "REPLICATION_SLAVE_ADMIN"),
    ("mariadb", "ALL PRIVILEGES"), ("mariadb", "SUPER"), ("mariadb", "READ_ONLY ADMIN"), ("mariadb", "READ ONLY ADMIN"),
    ("mariadb", "BINLOG_ADMIN"), ("mariadb", "BINLOG REPLAY"), ("mariadb", "SET USER"), ("mariadb", "CONNECTION ADMIN"),
    ("mariadb", "REPLICATION REPLICA ADMIN"), ("mariadb", "CREATE USER"),
])  # fmt: skip
def test_what_passes_by_read_only_is_refused(flavor, word) -> None:
    (sentence,) = said({**GOOD, "grants": {"*.*": [word]}}, flavor)
    assert "could write where failover has stopped it by read_only" in sentence


@pytest.mark.parametrize("host", [
    "", " ", "a..b", "-x", "x-", "a b", "a'b", "192.168.1", "192.168.1.", "192.168.1.256", "1.2.3.4.%", "300.%",
    "10.0.0.1/255.0.0.0", "10.0.0.0/255.0.255.0", "10.0.0.0/", "10.0.0.0/8", "2001:db8::1", "a" * 61, "a/b", 5, None,
])  # fmt: skip
def test_hosts_that_are_malformed(host) -> None:
    (sentence,) = said({**GOOD, "hosts": [host]})
    assert sentence.startswith(f"{PATH}:shop:hosts:0: is ")


@pytest.mark.parametrize("user", ["root", "ROOT", "mysql", "mariadb", "mysql.sys", "mariadb.sys", "a b", "", "x" * 33])
def test_users_that_are_refused(user) -> None:
    assert len(said(GOOD, user=user)) == 1


@pytest.mark.parametrize(("password", "problem"), [
    ("", "is empty"), ("1234567", "is set but too short"), ("x" * 33, "is set but too long"),
    (12345678, "is a number and"),
    ("passwört1", "is set but holds a character"), ("a pass\nword", "is set but holds a character"),
    (None, "is empty and"),
])  # fmt: skip
def test_passwords(password, problem) -> None:
    (sentence,) = said(GOOD, password=password)
    assert sentence.startswith(f"{SECRETS}:shop: {problem}")
    assert sentence.endswith("(hidden); allowed: 8 to 32 printable ASCII characters, in quotes")


def test_passwords_that_are_missing_or_no_accounts() -> None:
    assert errors(PATH, {"shop": GOOD}, SECRETS, {}, "mysql") == [
        f"{SECRETS}:shop: is missing; allowed: 8 to 32 printable ASCII characters, in quotes"
    ]
    (other,) = errors(PATH, {}, SECRETS, {"hunter2hunter2": ""}, "mysql")
    assert "hunter2" not in other
    assert errors(PATH, {}, SECRETS, "hunter2", "mysql")[0].startswith(f"{SECRETS}: is text (hidden); allowed: ")
    assert errors(PATH, None, SECRETS, {}, "mysql") == [
        f"{PATH}: is empty; allowed: a mapping from user names to accounts"
    ]
    assert errors(PATH, {"shop": None}, SECRETS, None, "mysql")[0].startswith(f"{PATH}:shop: is empty; allowed: a mapp")
    assert errors(PATH, {"shop": 5}, SECRETS, None, "other") == []


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(ANYTHING, ANYTHING, st.sampled_from(["mysql", "mariadb", "x"]))
def test_nothing_makes_the_rules_raise(accounts, secrets, flavor) -> None:
    assert all(isinstance(line, str) and "\n" not in line for line in errors(PATH, accounts, SECRETS, secrets, flavor))


NAMES = ["*.*", "shop.*", "s_x.t", "`a.b`.*", "sh%.*", "`a``b`.`*`", "a.b.c", "*.x", "``.*", "a`.b", "s%.t", "s.`t%`"]
SOME = st.sampled_from(sorted({*(subject.WORDS["mysql"]["global"] | subject.WORDS["mariadb"]["global"]), "ALL", "X"}))


@given(
    st.dictionaries(st.sampled_from(NAMES), st.lists(SOME, max_size=2), max_size=2),
    st.sampled_from(["mysql", "mariadb"]),
)
def test_what_the_rules_let_pass_can_be_made(grants, flavor) -> None:
    entry = {"hosts": ["%"], "grants": grants, "plugin": passwords.PLUGINS[flavor][0]}
    if said(entry, flavor):
        return
    for account in subject.accounts({"shop": entry}, {"shop": "a password"}, flavor):
        made = subject.statements(account, None, b"0123456789abcdefghij").splitlines()
        targets = {subject.key(name) for name, words in grants.items()}
        assert [line.split(" ON ")[1].split(" TO ")[0] for line in made[2:]] == sorted(
            map(subject._quoted, account.grants), key=lambda quoted: subject.key(quoted)
        )
        assert account.grants.keys() <= targets
