"""Whether two databases hold the same: what is equal is called so under load, and each difference is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

import mysql_checksum
from mysql_checksum import Column, Table
from mysql_ha_lab.plan import DATABASES
from test_6_databases import Databases, Writer, databases  # noqa: F401 - a fixture

APART = "SET SESSION sql_log_bin = 0; "
ODD = "odd`.ü"


class Compared(Databases):
    """The two databases, and what the runner says of them."""

    def tables(self, host: str, *words: str) -> dict[str, Any]:
        return self.call(host, "mysql_checksum.tables", "databases=[lab_compare]", *words)["tables"]

    def rows(self, host: str, table: str) -> dict[int, str]:
        """The digests of a table's rows by their number."""
        found = self.call(host, "mysql_checksum.rows", "lab_compare", table, [[None, None]])[0]
        return {int(key[0]): digest for key, digest, _ in found}

    def write(self, statements: str) -> None:
        """On mysql1, and wait until mysql2 has it."""
        self.sql("mysql1", statements)
        gtids = self.call("mysql1", "mysql_checksum.gtids")
        assert self.call("mysql2", "mysql_checksum.caught_up", gtids, "wait=60") is True


@pytest.fixture(scope="module")
def pair(databases: Databases) -> Iterator[Compared]:  # noqa: F811
    """A database of the test's own."""
    pair = Compared(databases.lab)
    pair.write(f"CREATE DATABASE lab_compare; CREATE DATABASE `{ODD.replace('`', '``')}`;")
    yield pair
    for host in DATABASES:
        pair.sql(host, APART + "DROP DATABASE IF EXISTS lab_compare_2; DROP DATABASE lab_compare; "
                 f"DROP DATABASE `{ODD.replace('`', '``')}`")  # fmt: skip


# --- equal ---


class Updater(Writer):
    """A session that changes the same few rows over and over."""

    PROGRAM = Writer.PROGRAM.replace(
        "INSERT INTO visits (at, note) VALUES (NOW(6), 'writer')",
        "UPDATE hot SET note = UUID() WHERE id = 1 + FLOOR(RAND() * 3)",
    )


@pytest.mark.long
def test_what_is_written_meanwhile_is_no_difference(pair: Compared) -> None:
    pair.compare("[mysql1, mysql2]", status=0)
    count = int(pair.sql("mysql1", "SELECT COUNT(*) FROM shop.visits"))
    writers = [Writer(pair.lab, "192.168.1.5"), Writer(pair.lab, "192.168.1.6")]
    rounds = [pair.compare("databases=[shop]") for _ in range(4)]
    written = sum(writer.end() for writer in writers)
    assert written > 100
    assert [found["result"] for found in rounds] == ["equal"] * 4, rounds
    assert rounds[-1]["rows"] > rounds[0]["rows"] >= count
    pair.compare("databases=[shop]", status=0)


@pytest.mark.long
def test_rows_that_never_rest_are_not_called_different_and_hide_no_difference(pair: Compared) -> None:
    pair.write("CREATE TABLE shop.hot (id INT PRIMARY KEY, note VARCHAR(64)); "
               "INSERT INTO shop.hot VALUES (1, ''), (2, ''), (3, ''), (4, ''), (5, '')")  # fmt: skip
    try:
        writer = Updater(pair.lab, "192.168.1.5")
        for _ in range(3):
            found = pair.compare("databases=[shop]")
            assert found["result"] in ("equal", "undecided"), found
            assert set(found.get("undecided", {})) <= {"shop.hot"}
        pair.sql("mysql2", APART + "UPDATE shop.hot SET note = 'x' WHERE id = 5")
        found = pair.compare("databases=[shop]", status=1)
        assert found["different"]["shop.hot"]["other_values"] == ["id=5"]
        assert writer.end() > 100
    finally:
        pair.write("DROP TABLE shop.hot")


# --- different ---


def test_rows_that_the_binary_log_never_saw_are_found_with_their_keys(pair: Compared) -> None:
    pair.write("CREATE TABLE lab_compare.few (id INT PRIMARY KEY, note VARCHAR(64)); "
               "INSERT INTO lab_compare.few VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')")  # fmt: skip
    words = "databases=[lab_compare]"
    assert pair.compare(words, status=0)["rows"] == 4
    here, there = (pair.call(host, "mysql_checksum.gtids") for host in DATABASES)
    pair.sql("mysql2", APART + "UPDATE lab_compare.few SET note = 'B' WHERE id = 2; DELETE FROM lab_compare.few "
             "WHERE id = 3; INSERT INTO lab_compare.few VALUES (9, 'i')")  # fmt: skip
    found = pair.compare(words, status=1)
    assert found["different"] == {
        "lab_compare.few": {
            "only_on": {"mysql1": ["id=3"], "mysql2": ["id=9"]},
            "other_values": ["id=2"],
            "rows": {"mysql1": 4, "mysql2": 4},
        }
    }
    # The same transactions all the while: they prove nothing.
    assert [pair.call(host, "mysql_checksum.gtids") for host in DATABASES] == [here, there]
    pair.sql("mysql2", APART + "REPLACE INTO lab_compare.few VALUES (2, 'b'), (3, 'c'); DELETE FROM lab_compare.few "
             "WHERE id = 9")  # fmt: skip
    pair.compare(words, status=0)
    pair.write("DROP TABLE lab_compare.few")


@pytest.mark.long
def test_what_is_defined_otherwise_is_found(pair: Compared) -> None:
    pair.write(
        "CREATE TABLE lab_compare.defined (id INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(64)); "
        "INSERT INTO lab_compare.defined (note) VALUES ('a'); "
        "CREATE VIEW lab_compare.seen AS SELECT id FROM lab_compare.defined; "
        "CREATE FUNCTION lab_compare.one(x INT) RETURNS INT DETERMINISTIC RETURN 1; "
        "CREATE EVENT lab_compare.nightly ON SCHEDULE EVERY 1 DAY DO DELETE FROM lab_compare.defined WHERE id < 0; "
        "CREATE TRIGGER lab_compare.before_insert BEFORE INSERT ON lab_compare.defined FOR EACH ROW SET NEW.note = 'x'"
    )
    words = "databases=[lab_compare]"
    pair.compare(words, status=0)
    pair.sql(
        "mysql2",
        APART + "ALTER TABLE lab_compare.defined ADD extra INT; "
        "CREATE TABLE lab_compare.more (id INT PRIMARY KEY); "
        "DROP VIEW lab_compare.seen; CREATE VIEW lab_compare.seen AS SELECT id + 1 AS id FROM lab_compare.defined; "
        "DROP FUNCTION lab_compare.one; "
        "CREATE FUNCTION lab_compare.one(x BIGINT) RETURNS INT DETERMINISTIC RETURN 1; "
        "DROP EVENT lab_compare.nightly; DROP TRIGGER lab_compare.before_insert; "
        "CREATE TRIGGER lab_compare.before_insert BEFORE INSERT ON lab_compare.defined FOR EACH ROW SET NEW.note = 'y'",
    )
    found = pair.compare(words, status=1)["different"]
    assert found.pop("lab_compare.defined")["definition"] == {
        "mysql1": [], "mysql2": [line for line in pair.call("mysql2", "mysql_checksum.definition", "lab_compare",
                                                            "defined").replace("  ", "").split("\n") if "extra" in line]
    }  # fmt: skip
    assert found == {
        "lab_compare.more": {"only_on": "mysql2"},
        "event lab_compare.nightly": {"only_on": "mysql1"},
        "function lab_compare.one": {"definition": "differs"},
        "trigger lab_compare.before_insert": {"definition": "differs"},
        "view lab_compare.seen": {"definition": "differs"},
    }
    for host in DATABASES:
        pair.sql(host, APART + "DROP DATABASE lab_compare; CREATE DATABASE lab_compare")


@pytest.mark.long
def test_a_table_without_a_key(pair: Compared) -> None:
    pair.write("CREATE TABLE lab_compare.loose (a INT, b TEXT); INSERT INTO lab_compare.loose VALUES "
               "(1, 'a'), (1, 'a'), (NULL, NULL)")  # fmt: skip
    words = "databases=[lab_compare]"
    pair.compare(words, status=0)
    # Twice the same row instead of twice another: as many rows, and each twice.
    pair.sql("mysql2", APART + "UPDATE lab_compare.loose SET b = 'b' WHERE a = 1")
    found = pair.compare(words, status=1)["different"]["lab_compare.loose"]
    assert found == {"rows": {"mysql1": 3, "mysql2": 3}, "key": "none: which rows differ is not known"}
    pair.sql("mysql2", APART + "UPDATE lab_compare.loose SET b = 'a' WHERE a = 1")
    pair.compare(words, status=0)
    pair.write("DROP TABLE lab_compare.loose")


@pytest.mark.long
def test_many_chunks_and_any_name_and_a_key_of_several_columns(pair: Compared) -> None:
    table = f"`{ODD.replace('`', '``')}`.`a.``b`"
    pair.write(
        f"CREATE TABLE {table} (`c``d` VARCHAR(20) CHARACTER SET utf8mb4, `é.` INT, `when` TIMESTAMP(3) NULL, "
        "note VARCHAR(64), PRIMARY KEY (`c``d`, `é.`)); CREATE TABLE lab_compare.digits (d INT PRIMARY KEY); "
        "INSERT INTO lab_compare.digits VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9); "
        f"INSERT INTO {table} SELECT CONCAT('k''\\\\', e.d, d.d, 'ä'), a.d + 10 * b.d + 100 * c.d, "
        "'2026-01-02 03:04:05.678', 'n' FROM lab_compare.digits a, lab_compare.digits b, lab_compare.digits c, "
        "lab_compare.digits d, lab_compare.digits e WHERE e.d < 2"
    )
    words = (f"databases={json.dumps([ODD])}", "rows=1000")
    assert pair.compare(*words, status=0)["rows"] == 20000
    sums = [pair.call("mysql1", "mysql_checksum.tables", f"databases={json.dumps([ODD])}", f"rows={rows}")["tables"]
            for rows in (700, 100000)]  # fmt: skip
    many, few = (found["`odd``.ü`.`a.``b`"] for found in sums)
    assert many["chunks"] > 20
    assert few["chunks"] < many["chunks"]
    assert many["checksum"] == few["checksum"]
    pair.sql("mysql2", APART + f"UPDATE {table} SET note = 'm' WHERE `c``d` = 'k''\\\\07ä' AND `é.` = 512; "
             f"DELETE FROM {table} WHERE `c``d` = 'k''\\\\19ä' AND `é.` > 997; "
             f"DELETE FROM {table} WHERE `c``d` = 'k''\\\\00ä' AND `é.` = 0")  # fmt: skip
    found = pair.compare(*words, status=1)["different"]["`odd``.ü`.`a.``b`"]
    assert found == {
        "other_values": ["c`d=k'\\07ä, é.=512"],
        "only_on": {"mysql1": ["c`d=k'\\00ä, é.=0", "c`d=k'\\19ä, é.=998", "c`d=k'\\19ä, é.=999"]},
        "rows": {"mysql1": 20000, "mysql2": 19997},
    }
    # A chunk costs no more than its own rows: the server finds both ends of it in the index.
    key = (Column("c`d", "bytes", "utf8mb4", 80), Column("é.", "number"))
    span = tuple(("k'\\11ä".encode().hex().upper(), str(number)) for number in (400, 500))
    chunk = mysql_checksum.chunk_sql(Table(ODD, "a.`b", key, key, "PRIMARY"), span, 80000)
    reads = "'Handler_read_first', 'Handler_read_key', 'Handler_read_last', 'Handler_read_next', 'Handler_read_prev'"
    told = pair.sql("mysql1", f"{chunk} SHOW SESSION STATUS WHERE Variable_name IN ({reads})")
    answer, *counters = told.split("\n")
    assert answer.split("\t")[:2] == ["100", "100"]
    assert 100 <= sum(int(counter.split("\t")[1]) for counter in counters) < 500, counters
    # A server that has lost nearly all: the other one has far more rows in the one range that is left.
    pair.sql("mysql1", APART + f"DELETE FROM {table} WHERE `é.` <> 512")
    found = pair.compare(*words, "keys=5", status=1)["different"]["`odd``.ü`.`a.``b`"]
    assert len(found["only_on"]["mysql2"]) + len(found.get("other_values", [])) == 5
    assert found["more"] == "5 differing rows are listed; there may be more"
    for host in DATABASES:
        pair.sql(host, APART + f"DROP TABLE {table}; DROP TABLE lab_compare.digits")
    pair.compare(words[0], status=0)


# --- every type ---

# A column's type, its first value as the digest writes it, and values that all have to differ, NULL among them.
TYPES: dict[str, tuple[str, str, list[str]]] = {
    "c_int": ("INT", "5", ["5", "-5", "0", "NULL"]),
    "c_big": ("BIGINT UNSIGNED", "18446744073709551615", ["18446744073709551615", "18446744073709551614", "NULL"]),
    "c_dec": ("DECIMAL(30,10)", "1.5000000000", ["1.5", "1.5000000001", "-1.5", "NULL"]),
    "c_float": ("FLOAT", "0.10000000149011612", ["0.1", "0.10000001", "0", "NULL"]),
    "c_double": ("DOUBLE", "0.1", ["0.1", "0.10000000000000002", "1e300", "0e0", "-0e0", "NULL"]),
    "c_bit": ("BIT(64)", str(2**64 - 1), [f"b'{'1' * 64}'", "b'0'", "b'1'", "NULL"]),
    "c_enum": ("ENUM('x','y')", "2", ["'y'", "'x'", "NULL"]),
    "c_set": ("SET('p','q')", "3", ["'p,q'", "'p'", "''", "NULL"]),
    "c_char": ("CHAR(10) CHARACTER SET utf8mb4", "61", ["'a'", "'A'", "'ä'", "''", "NULL"]),
    "c_varchar": ("VARCHAR(40) CHARACTER SET utf8mb4", "61", ["'a'", "'A'", "'a '", "''", "'NULL'", "'-'", "NULL"]),
    "c_long": ("VARCHAR(500) CHARACTER SET utf8mb4", "", ["'a'", "'A'", "'a '", "''", "'NULL'", "NULL"]),
    "c_latin": ("VARCHAR(40) CHARACTER SET latin1", "E4", ["'ä'", "'Ä'", "NULL"]),
    "c_utf16": ("VARCHAR(40) CHARACTER SET utf16", "00E4", ["'ä'", "'Ä'", "NULL"]),
    "c_text": ("TEXT", "", ["'a\\nb'", "'a\\rb'", "'a\\tb'", "''", "NULL"]),
    "c_blob": ("LONGBLOB", "", ["X'00FF'", "X'00FE'", "X'00FF00'", "''", "NULL"]),
    "c_binary": ("BINARY(4)", "61620000", ["'ab'", "'aB'", "NULL"]),
    "c_varbinary": ("VARBINARY(20)", "0001", ["X'0001'", "X'000100'", "''", "NULL"]),
    "c_json": ("JSON", "", ["'{\"a\": [1, null]}'", "'{\"a\": [1, 0]}'", "'null'", "NULL"]),
    "c_stamp": ("TIMESTAMP(6) NULL", "2026-01-02 03:04:05.000001",
                ["'2026-01-02 03:04:05.000001'", "'2026-01-02 03:04:05'", "NULL"]),
    "c_datetime": ("DATETIME", "2026-01-02 03:04:05", ["'2026-01-02 03:04:05'", "'2026-01-02 03:04:06'", "NULL"]),
    "c_time": ("TIME(3)", "-01:02:03.500", ["'-01:02:03.5'", "'01:02:03.5'", "NULL"]),
    "c_date": ("DATE", "2026-01-02", ["'2026-01-02'", "'2026-01-03'", "NULL"]),
    "c_year": ("YEAR", "2026", ["2026", "2025", "NULL"]),
    "c_point": ("POINT", "", ["ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('POINT(2 1)')", "NULL"]),
    "c_shape": ("GEOMETRY", "", ["ST_GeomFromText('LINESTRING(0 0,1 1)')", "ST_GeomFromText('POINT(1 1)')", "NULL"]),
    "c_empty": ("VARCHAR(40) CHARACTER SET utf8mb4", "", ["''", "NULL", "'-'", "' '"]),
    "c_null": ("VARCHAR(40) CHARACTER SET utf8mb4", "-", ["NULL", "''", "'-'", "'NULL'"]),
    "c_no_text": ("TEXT", "", ["''", "NULL", "' '"]),
    "c_zero": ("DOUBLE", "0", ["0e0", "-0e0", "NULL"]),
    "c_invisible": ("INT INVISIBLE", "1", ["1", "2", "NULL"]),
}  # fmt: skip
# Those whose digest is of the bytes in here.
BYTES = {
    "c_long": b"a",
    "c_no_text": b"",
    "c_text": b"a\nb",
    "c_blob": b"\x00\xff",
    "c_json": b'{"a": [1, null]}',
    # Both flavors: the reference system's number, then well-known binary.
    "c_point": bytes.fromhex("00000000" "0101000000" "000000000000F03F" "0000000000000040"),
    "c_shape": bytes.fromhex("00000000" "010200000002000000" + "00" * 16 + "000000000000F03F" * 2),
}  # fmt: skip


def test_every_type_has_the_digest_that_it_should_and_each_change_of_a_value_changes_it(pair: Compared) -> None:
    columns = ", ".join(f"{name} {kind}" for name, (kind, _, _) in TYPES.items())
    changes = [(name, value) for name, (_, _, values) in TYPES.items() for value in values[1:]]
    names, firsts = ", ".join(TYPES), ", ".join(values[0] for _, _, values in TYPES.values())
    lines = ", ".join(f"({number}, {firsts})" for number in range(len(changes)))
    pair.write(
        f"CREATE TABLE lab_compare.types (id INT PRIMARY KEY, {columns}, twice INT AS (id * 2) VIRTUAL, "
        "thrice INT AS (id * 3) STORED); SET time_zone = '+00:00'; "
        f"INSERT INTO lab_compare.types (id, {names}) VALUES {lines};"
    )
    before = {host: pair.rows(host, "types") for host in DATABASES}
    written = {name: hashlib.sha256(BYTES[name]).hexdigest() if name in BYTES else first
               for name, (_, first, _) in TYPES.items()}  # fmt: skip
    for number in range(len(changes)):
        fields = [str(number), *written.values(), str(number * 2), str(number * 3)]
        expected = hashlib.sha256(",".join(fields).encode()).hexdigest()[:32]
        assert before["mysql1"][number] == expected, fields
    assert before["mysql2"] == before["mysql1"]
    pair.write("SET time_zone = '+00:00'; " + "; ".join(
        f"UPDATE lab_compare.types SET {name} = {value} WHERE id = {number}"
        for number, (name, value) in enumerate(changes)))  # fmt: skip
    after = {host: pair.rows(host, "types") for host in DATABASES}
    # MariaDB stores minus zero as zero, MySQL as what it is; the arc tangent tells.
    zero = changes.index(("c_zero", "-0e0"))
    is_kept = pair.sql("mysql1", f"SELECT ATAN2(c_zero, -1e0) < 0 FROM lab_compare.types WHERE id = {zero}") == "1"
    unseen = [change for number, change in enumerate(changes) if after["mysql1"][number] == before["mysql1"][number]]
    assert unseen == ([] if is_kept else [("c_zero", "-0e0")])
    assert after["mysql2"] == after["mysql1"]
    everything = pair.tables("mysql1")["lab_compare.types"]
    assert everything["rows"] == len(changes)
    assert everything["checksum"] == pair.tables("mysql2", "rows=10")["lab_compare.types"]["checksum"]
    pair.compare("databases=[lab_compare]", status=0)
    pair.write("DROP TABLE lab_compare.types")


@pytest.mark.long
def test_what_cannot_be_compared_is_said(pair: Compared) -> None:
    assert "allowed: a list of two minion ids" in pair.compare("[mysql1]", status=3)["error"]
    assert "rows: is 1; allowed: 100 to 1000000" in pair.compare("rows=1", status=3)["error"]
    assert pair.compare("[mysql1, nobody]", status=3)["error"].startswith("nobody")
