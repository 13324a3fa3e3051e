"""What stands in the option file, and what of it a running server has otherwise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mysql_settings as settings

NODE = {"server_id": 2, "address": "192.168.1.6"}
FLAVORS = pytest.mark.parametrize("flavor", ["mysql", "mariadb"])


@FLAVORS
def test_replication_stands_on_these(flavor) -> None:
    options = settings.options(flavor, NODE, 3306, {})
    assert (options["server_id"], options["auto_increment_offset"], options["report_host"]) == (2, 2, "192.168.1.6")
    assert {"log_bin", "relay_log", "port", "bind_address", "auto_increment_increment"} <= set(options)
    assert set(options) - set(settings.OWNED) == set(settings.defaults(flavor))
    by_gtid = {"mysql": ("gtid_mode", "ON"), "mariadb": ("gtid_domain_id", 2)}[flavor]
    assert options[by_gtid[0]] == by_gtid[1]
    assert not any("ssl" in option for option in options)


def test_each_flavor_gets_its_own_words() -> None:
    mysql, mariadb = (settings.options(flavor, NODE, 3306, {}) for flavor in ("mysql", "mariadb"))
    assert "log_replica_updates" in mysql
    assert "log_slave_updates" not in mysql
    assert {"log_slave_updates", "gtid_strict_mode", "binlog_format"} <= set(mariadb)
    assert not {"gtid_mode", "mysqlx"} & set(mariadb)


@pytest.mark.parametrize(("flavor", "said", "gone"), [
    ("mysql", "replica_net_timeout", None),
    ("mysql", "slave-net-timeout", "replica_net_timeout"),
    ("mariadb", "loose_slave_net_timeout", "slave_net_timeout"),
    ("mariadb", "replica_net_timeout", "slave_net_timeout"),
])  # fmt: skip
def test_the_pillar_wins_in_any_spelling(flavor, said, gone) -> None:
    options = settings.options(flavor, NODE, 3306, {said: 9})
    assert options[settings.plain_name(said)] == 9
    assert gone not in options


@FLAVORS
def test_a_replica_takes_no_writes_whatever_the_pillar_says(flavor) -> None:
    node = {"role": "replica", "server_id": 3, "address": "192.168.1.7", "replicates_from": "mysql1"}
    said = {"read_only": False, "super-read-only": "OFF", "loose_read_only": 0, "max_connections": 9}
    options = settings.options(flavor, node, 3306, said)
    closed = {"mysql": ["read_only", "super_read_only"], "mariadb": ["read_only", "gtid_ignore_duplicates"]}[flavor]
    assert [options[name] for name in closed] == [True, True]
    # The server goes by the last that it reads.
    assert list(options)[-2:] == closed
    assert options["max_connections"] == 9
    assert not any("auto_increment" in option for option in options)
    assert not set(closed) & set(settings.options(flavor, NODE, 3306, {}))


def test_given_certificates() -> None:
    options = settings.options("mysql", NODE, 3306, {}, {"ca": "/a", "certificate": "/b", "key": "/c"})
    assert (options["ssl_ca"], options["ssl_cert"], options["ssl_key"]) == ("/a", "/b", "/c")


values = st.one_of(st.none(), st.booleans(), st.integers(-(10**12), 10**12),
                   st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20))  # fmt: skip


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True), values, max_size=8))
def test_what_is_written_is_what_is_read(options) -> None:
    read = settings.parse(settings.render(options))
    assert read == {
        name: ("ON" if value else "OFF") if isinstance(value, bool) else value if value is None else str(value)
        for name, value in options.items()
    }
    assert settings.file_changes(settings.render(options), settings.render(options)) == {}


def test_changes_of_the_file() -> None:
    old, new = settings.render({"a": 1, "b": None, "c": "x y"}), settings.render({"a": 2, "b": None, "d": True})
    assert settings.file_changes(old, new) == {
        "a": {"old": "1", "new": "2"}, "d": {"old": None, "new": "ON"}, "c": {"old": "x y", "new": None}}  # fmt: skip
    assert settings.file_changes("", settings.render({"b": None})) == {"b": {"old": None, "new": None}}


@pytest.mark.parametrize(("option", "value", "same"), [
    ("128M", "134217728", True), ("1G", "1073741824", True), ("129M", "134217728", False), ("ON", "ON", True),
    ("1", "ON", True), ("0", "OFF", True), ("true", "ON", True), ("off", "ON", False), (None, "ON", True),
    ("row", "ROW", True), ("0.25", "0.250000", True), ("4", "5", False), ("utf8mb4", "latin1", False),
])  # fmt: skip
def test_two_ways_to_write_a_value(option, value, same) -> None:
    assert settings.same("some_option", option, value, {}) is same


def test_the_buffer_pool_is_rounded_up_to_chunks() -> None:
    running = {"innodb_buffer_pool_chunk_size": str(128 << 20)}
    assert settings.same("innodb_buffer_pool_size", "130M", str(256 << 20), running)
    assert not settings.same("innodb_buffer_pool_size", "300M", str(256 << 20), running)
    assert not settings.same("innodb_buffer_pool_size", "100M", str(256 << 20), running)


def test_what_differs_is_named_as_the_server_calls_it() -> None:
    running = {"max_connections": "151", "sync_binlog": "1", "log_bin": "ON"}
    wanted = {"loose_max_connections": "500", "sync_binlog": "1", "log_bin": "binlog", "no_variable": "1"}
    assert settings.differing(wanted, running) == {"max_connections": {"old": "151", "new": "500"}}


@pytest.mark.parametrize(("value", "statement"), [
    ("128M", "SET GLOBAL x = 134217728;\n"), ("ON", "SET GLOBAL x = ON;\n"), (None, "SET GLOBAL x = ON;\n"),
    ("0.5", "SET GLOBAL x = 0.5;\n"), ("it's", "SET GLOBAL x = 'it''s';\n"), ("-1", "SET GLOBAL x = -1;\n"),
    (settings.DEFAULT, "SET GLOBAL x = DEFAULT;\n"),
])  # fmt: skip
def test_the_running_server_is_told_the_same(value, statement) -> None:
    assert settings.set_statement("x", value) == statement


@pytest.mark.parametrize(("line", "words"), [
    ("2026-11-24T10:00:00.1Z 0 [ERROR] [MY-000067] [Server] unknown variable 'max_connectionz=100'.",
     ["unknown variable 'max_connectionz=100'"]),
    ("2026-11-24 10:00:00 0 [ERROR] /usr/sbin/mariadbd: unknown variable 'max_connectionz=100'",
     ["unknown variable 'max_connectionz=100'"]),
    ("2026-11-24T10:00:00.1Z 0 [Warning] [MY-000081] [Server] option 'port': unsigned value 0 adjusted to 1.",
     ["option 'port': unsigned value 0 adjusted to 1"]),
    ("2026-11-24 10:00:00 0 [Warning] Buffered warning: option 'port': unsigned value 99999999 adjusted to 65535",
     ["Buffered warning: option 'port': unsigned value 99999999 adjusted to 65535"]),
    ("2026-11-24 10:00:00 0 [Warning] option 'x': boolean value 'perhaps' wasn't recognized. Set to OFF.",
     ["option 'x': boolean value 'perhaps' wasn't recognized. Set to OFF"]),
    ("2026-11-24 10:00:00 0 [Warning] unknown variable 'loose_nothing=1'", []),
    ("2026-11-24T10:00:00.1Z 0 [ERROR] [MY-010119] [Server] Aborting", []),
    ("2026-11-24 10:00:00 0 [Note] Starting MariaDB", []),
    ("2026-11-24 10:00:00 0 [Warning] Could not increase number of max_open_files to more than 524287", []),
])  # fmt: skip
def test_what_a_server_says_against_its_configuration(line, words) -> None:
    assert settings.complaints([line, line]) == words


@pytest.mark.parametrize(("origin", "expected"), [
    ("", False), ("/etc/mysql/90-mysql_ha.cnf", False), ("/etc/mysql/95-other.cnf", True),
    ("/var/lib/mysql/mysqld-auto.cnf", True),
    ("/etc/mysql/zzz-mysql_ha-copying.cnf", False), ("/etc/mysql/zzz-mysql_ha-restoring.cnf", False),
])  # fmt: skip
def test_what_another_file_says_to_stay(origin, expected) -> None:
    assert settings.overrides(origin, "/etc/mysql/90-mysql_ha.cnf") is expected
