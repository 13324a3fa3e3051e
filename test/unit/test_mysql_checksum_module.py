"""What the checksum module refuses, and what it makes of the server's answers; real ones are in the lab."""

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

import mysql_client


def digits(text):
    return text.encode().hex().upper()


COLUMN = {"schema_name": digits("shop"), "table_name": digits("visits"), "column_name": digits("id"),
          "data_type": "int", "charset": "", "octets": "0"}  # fmt: skip
INDEX = {"schema_name": digits("shop"), "table_name": digits("visits"), "index_name": digits("PRIMARY"),
         "column_name": digits("id"), "is_whole": "1", "nullable": "", "index_type": "BTREE"}  # fmt: skip
TABLE = {"schema_name": digits("shop"), "table_name": digits("visits"), "table_type": "BASE TABLE"}


class Server:
    """A server's answers, by a word of the statement."""

    def __init__(self) -> None:
        self.asked = []
        self.answers = {
            "@@version": [{"version": "9.7.4"}],
            "information_schema.COLUMNS": [COLUMN],
            "information_schema.STATISTICS": [INDEX],
            "information_schema.TABLES": [TABLE],
            "information_schema.VIEWS": [],
            "SHOW CREATE TABLE": [{"Create Table": "CREATE TABLE `visits` (\n) ENGINE=InnoDB AUTO_INCREMENT=5"}],
            "gtid_executed": [{"gtids": "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5,\n"}],
            " OFFSET ": [],
            "COUNT(*)": [{"row_count": "2", "digested": "2", "high": "1", "low": "2"}],
            "LEFT(SHA2": [{"k0": "7", "digest": "d" * 32}],
        }

    def local(self, sql, timeout=30):
        self.asked.append((sql, timeout))
        answer = next(answer for word, answer in self.answers.items() if word in sql)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def module(load_module, monkeypatch, server):
    monkeypatch.setattr(mysql_client, "local", server.local)
    return load_module("modules", "mysql_checksum", __grains__={"id": "mysql1"})


def test_all_tables(module, server) -> None:
    found = module.tables(["shop"])
    entry = found["tables"]["shop.visits"]
    assert (entry["rows"], entry["checksum"], entry["chunks"]) == (2, f"{1:016x}{2:016x}", 1)
    assert found["gtids_before"] == found["gtids_after"] == "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5,"
    server.answers["SHOW CREATE TABLE"] = [{"Create Table": "CREATE TABLE `visits` (\n) ENGINE=InnoDB"}]
    assert module.definitions()["tables"]["shop.visits"]["definition"] == entry["definition"]


def test_a_table_that_is_dropped_meanwhile_is_left_out(module, server) -> None:
    server.answers["SHOW CREATE TABLE"] = mysql_client.SqlError("ERROR 1146: no such table", 1146)
    assert module.definitions()["tables"] == {}
    assert module.definition("shop", "visits") == ""
    server.answers["SHOW CREATE TABLE"] = mysql_client.SqlError("ERROR 1142: denied", 1142)
    with pytest.raises(CommandExecutionError, match="the database server on mysql1: ERROR 1142: denied"):
        module.definitions()


def test_a_sequence_is_not_read(module, server) -> None:
    server.answers["information_schema.TABLES"] = [TABLE | {"table_type": "SEQUENCE"}]
    assert list(module.tables()["tables"]["shop.visits"]) == ["definition"]


def test_the_server_ends_a_statement_before_the_client_gives_up(module, server) -> None:
    module.chunks("shop", "visits", [[None, None]], timeout=7)
    sql, timeout = server.asked[-1]
    assert "max_execution_time = 7000" in sql
    assert timeout > 7


def test_rows_and_values(module, server) -> None:
    row = [["7"], "d" * 32, ["7"]]
    assert module.rows("shop", "visits", [[None, ["7"]], [["7"], None]]) == [[row], [row]]
    assert module.values("shop", "visits", [["7"]]) == [row]
    server.answers["LEFT(SHA2"] = [{"k0": "7", "digest": None}]
    with pytest.raises(CommandExecutionError, match="shop.visits: the server could not make a digest of a row"):
        module.values("shop", "visits", [["7"]])


def test_a_table_without_a_key_has_no_ranges(module, server) -> None:
    server.answers["information_schema.STATISTICS"] = []
    assert module.split("shop", "visits", [[None, None]]) == [(None, None)]
    with pytest.raises(CommandExecutionError, match="shop.visits has no key that tells all its rows apart"):
        module.rows("shop", "visits", [[None, None]])


def test_no_such_table(module) -> None:
    with pytest.raises(CommandExecutionError, match="there is no table shop.nothing on mysql1"):
        module.chunks("shop", "nothing", [[None, None]])


def test_caught_up(module) -> None:
    assert module.caught_up("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5", wait=0) is True
    assert module.caught_up("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-6", wait=0) is False
    with pytest.raises(SaltInvocationError, match="transactions: is no GTID set"):
        module.caught_up("x", wait=0)


@pytest.mark.parametrize(("function", "arguments", "words"), [
    ("tables", {"databases": "shop"}, "databases: is 'shop'; allowed: a list of names"),
    ("tables", {"rows": 0}, "rows: is 0; allowed: 1 to 1000000"),
    ("chunks", {"database": "shop", "table": "visits", "ranges": [["1"]]}, "ranges: is .*; allowed: a list of pairs"),
    ("chunks", {"database": "shop", "table": "visits", "ranges": 5}, "ranges: is 5; allowed: a list of pairs"),
    ("chunks", {"database": "shop", "table": "visits", "ranges": [[None, ["1; DROP"]]]}, "shop.visits: id: is '1; DR"),
    ("chunks", {"database": "shop", "table": "visits", "ranges": [[None, None]], "timeout": 0}, "timeout: is 0; allow"),
    ("chunks", {"database": "shop", "table": "visits", "ranges": [[None, None]], "limit": 0}, "limit: is 0; allowed"),
    ("values", {"database": "shop", "table": "visits", "keys": []}, "keys: is .*; allowed: a list of 1 to 1000"),
    ("values", {"database": "shop", "table": "visits", "keys": [["x"]]}, "shop.visits: id: is 'x'"),
    ("caught_up", {"transactions": "", "wait": -1}, "wait: is -1; allowed: 0 to 3600"),
])  # fmt: skip
def test_wrong_arguments(module, function, arguments, words) -> None:
    with pytest.raises(SaltInvocationError, match=words):
        getattr(module, function)(**arguments)
