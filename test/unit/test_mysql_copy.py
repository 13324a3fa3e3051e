"""The parts of a copy that need no server: statements, positions, the pipe."""

from __future__ import annotations

import io
import time

import pytest

import mysql_copy
from mysql_client import Peer


def test_the_clone_statement_quotes_what_it_is_given() -> None:
    said = mysql_copy.clone_statements(Peer("192.168.1.5", 3306, "re'pl", True, "/ca.pem"), "se'cr\\et", 50)
    assert "SET GLOBAL clone_valid_donor_list = '192.168.1.5:3306';" in said
    assert "SET GLOBAL clone_ssl_ca = '/ca.pem';" in said
    assert said.count("_bandwidth = 50;") == 2
    statement = "CLONE INSTANCE FROM 're''pl'@'192.168.1.5':3306 IDENTIFIED BY 'se''cr\\\\et' REQUIRE SSL;"
    assert statement in said
    assert "REQUIRE NO SSL" in mysql_copy.clone_statements(Peer("192.168.1.5", 3306, "repl", False), "x")


# What 11.8 and 10.11 begin a dump with (--master-data=2), and what a row might.
HEADERS = [
    (b"-- CHANGE MASTER TO MASTER_USE_GTID=slave_pos;\n\n-- CHANGE MASTER TO MASTER_LOG_FILE='binlog.000001', "
     b"MASTER_LOG_POS=4048238;\n", "SELECT BINLOG_GTID_POS('binlog.000001', 4048238) AS position;"),
    (b"--\nCHANGE MASTER TO MASTER_LOG_FILE='binlog.000009', MASTER_LOG_POS=4;\n",
     "SELECT BINLOG_GTID_POS('binlog.000009', 4) AS position;"),
    (b"INSERT INTO x VALUES ('CHANGE MASTER TO MASTER_LOG_FILE='binlog.000009', MASTER_LOG_POS=4;", None),
    (b"", None),
]  # fmt: skip


@pytest.mark.parametrize(("header", "sql"), HEADERS)
def test_the_position_of_a_dump(header: bytes, sql: str | None) -> None:
    assert mysql_copy.position_sql(header) == sql


@pytest.mark.parametrize(
    ("before", "at", "state"),
    [
        ("1-1-5,2-2-9", "1-1-7,2-2-9", "1-1-7,2-2-9"),
        # What another server once wrote in a domain stays known; the last one to write is named last.
        ("1-2-3,1-1-5", "1-1-7", "1-2-3,1-1-7"),
        ("1-1-5,1-2-6", "1-1-7", "1-2-6,1-1-7"),
        ("", "1-1-7", "1-1-7"),
        ("1-1-5", "", "1-1-5"),
    ],
)
def test_the_state_of_a_copy(before: str, at: str, state: str) -> None:
    assert mysql_copy.binlog_state(before, at) == state


def test_the_last_position_is_one_a_domain() -> None:
    assert mysql_copy.last_position("1-2-3,1-1-5,2-2-9") == "1-1-5,2-2-9"
    assert mysql_copy.last_position("") == ""


def reader(data: bytes, size: int = mysql_copy.CHUNK):
    source = io.BytesIO(data)
    return lambda: source.read(size)


def test_all_bytes_pass_and_the_first_of_them_are_kept() -> None:
    data = bytes(range(256)) * 8192
    sink, told = io.BytesIO(), []
    header = mysql_copy.pump(reader(data, 4096), sink, 0, told.append)
    assert sink.getvalue() == data
    assert header == data[: mysql_copy.HEADER]
    assert told[-1] == len(data)


def test_a_limit_is_kept() -> None:
    began = time.monotonic()
    mysql_copy.pump(reader(bytes(3 << 20)), io.BytesIO(), 6, lambda _: None)
    assert time.monotonic() - began >= 0.45


def test_a_pause_is_no_end_until_somebody_says_so() -> None:
    parts = iter([b"a", None, None, b"b", b""])
    sink, pauses = io.BytesIO(), []
    mysql_copy.pump(lambda: next(parts), sink, 0, lambda _: None, lambda: pauses.append(1))
    assert (sink.getvalue(), len(pauses)) == (b"ab", 2)

    def give_up() -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        mysql_copy.pump(lambda: None, sink, 0, lambda _: None, give_up)


def test_a_copy_gets_more_room_than_its_pages() -> None:
    assert mysql_copy.room(0) == mysql_copy.SPARE_BYTES
    assert mysql_copy.room(10 << 30) > 11 << 30
