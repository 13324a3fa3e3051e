"""Which statements make a digest, where chunks end, and which key a table is read by; the servers are in the lab."""

import re
import sqlite3

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import mysql_checksum as checksum
import mysql_dialect
from mysql_checksum import Column, Digest, Table

NUMBER, TEXT = Column("id", "number"), Column("note", "bytes", "utf8mb4", 256)
VISITS = Table("shop", "visits", (NUMBER, TEXT), (NUMBER,), "PRIMARY")
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
TRIPLES = st.tuples(*[st.integers(-2, 2)] * 3)


def hexadecimal(text: str) -> str:
    return text.encode().hex().upper()


def column_row(name, data_type="int", charset="", octets="0", table="visits"):
    return {"schema_name": hexadecimal("shop"), "table_name": hexadecimal(table), "column_name": hexadecimal(name),
            "data_type": data_type, "charset": charset, "octets": octets}  # fmt: skip


def index_row(name, column, **other):
    row = {"schema_name": hexadecimal("shop"), "table_name": hexadecimal("visits"), "index_name": hexadecimal(name),
           "column_name": None if column is None else hexadecimal(column), "is_whole": "1", "nullable": "",
           "index_type": "BTREE"}  # fmt: skip
    return row | other


# --- names and values ---


@given(NAMES)
def test_a_name_stays_within_its_backticks(name: str) -> None:
    quoted = checksum.identifier(name)
    assert quoted[0] == quoted[-1] == "`"
    assert re.fullmatch(r"(``|[^`])*", quoted[1:-1], flags=re.DOTALL)
    assert quoted[1:-1].replace("``", "`") == name


@given(st.tuples(NAMES, NAMES), st.tuples(NAMES, NAMES))
def test_no_two_tables_have_the_same_title(one, other) -> None:
    assert (checksum.title(*one) == checksum.title(*other)) == (one == other)


def test_a_plain_title_has_no_backticks() -> None:
    assert checksum.title("shop", "visits") == "shop.visits"
    assert checksum.title("a.b", "c") == "`a.b`.c"


@pytest.mark.parametrize(("column", "value", "literal"), [
    (NUMBER, "-5", "-5"),
    (Column("a", "number"), "1.50", "1.50"),
    (Column("a", "ordinal"), "3", "3"),
    (Column("a", "text"), "2026-01-02 03:04:05.000001", "'2026-01-02 03:04:05.000001'"),
    (TEXT, "C3A4", "_utf8mb4 X'C3A4'"),
    (TEXT, "", "_utf8mb4 X''"),
    (Column("a", "bytes"), "00FF", "X'00FF'"),
])  # fmt: skip
def test_a_keys_value_in_sql(column, value, literal) -> None:
    assert checksum.literal(column, value) == literal


@given(st.sampled_from([NUMBER, TEXT, Column("a", "ordinal"), Column("a", "text"), Column("a", "bytes")]), st.text())
def test_no_value_of_a_key_leaves_its_literal(column, value) -> None:
    try:
        literal = checksum.literal(column, value)
    except ValueError:
        return
    assert re.fullmatch(r"-?[0-9.]+|(_utf8mb4 )?X'[0-9A-F]*'|'[0-9A-Fa-f:. -]+'", literal)


@pytest.mark.parametrize(("column", "value", "shown"), [
    (NUMBER, "5", "5"),
    (TEXT, "C3A4", "ä"),
    (TEXT, "FF", "0xFF"),
    (Column("a", "bytes", "latin1"), "E4", "ä"),
    (Column("a", "bytes", "utf16"), "00E4", "ä"),
    (Column("a", "bytes"), "6162", "0x6162"),
])  # fmt: skip
def test_a_keys_value_for_people(column, value, shown) -> None:
    assert checksum.readable(column, value) == shown


# --- statements ---


def test_a_chunks_statement() -> None:
    assert checksum.chunk_sql(VISITS, (("5",), ("9",)), 100) == (
        "SELECT COUNT(*) AS row_count, COUNT(digest) AS digested, "
        "COALESCE(SUM(CAST(CONV(LEFT(digest, 16), 16, 10) AS UNSIGNED)), 0) AS high, "
        "COALESCE(SUM(CAST(CONV(SUBSTRING(digest, 17, 16), 16, 10) AS UNSIGNED)), 0) AS low FROM (SELECT "
        "SHA2(CONCAT(IF(`id` IS NULL, '-', CONCAT(`id`)), ',', IF(`note` IS NULL, '-', HEX(`note`))), 256) AS digest "
        "FROM `shop`.`visits` FORCE INDEX (`PRIMARY`) WHERE `id` > 5 AND `id` <= 9 ORDER BY `id` LIMIT 100) AS one_row;"
    )
    assert checksum.bound_sql(VISITS, (None, ("9",)), 50) == (
        "SELECT CONCAT(`id`) AS k0 FROM `shop`.`visits` FORCE INDEX (`PRIMARY`) WHERE `id` <= 9 ORDER BY `id` "
        "LIMIT 1 OFFSET 49;"
    )


def test_a_table_without_a_key_is_read_as_it_lies() -> None:
    sql = checksum.chunk_sql(VISITS._replace(key=(), index=""), (None, None), None)
    assert sql.endswith("FROM `shop`.`visits`) AS one_row;")


@pytest.mark.parametrize(("column", "field"), [
    (Column("a", "float"), "IF(`a` IS NULL, '-', CONCAT(`a` * 1E0))"),
    (Column("a", "ordinal"), "IF(`a` IS NULL, '-', CONCAT(CAST(`a` AS UNSIGNED)))"),
    (Column("a", "bytes", "", 257), "IF(`a` IS NULL, '-', SHA2(`a`, 256))"),
    (Column("a", "bytes"), "IF(`a` IS NULL, '-', SHA2(`a`, 256))"),
])  # fmt: skip
def test_a_column_in_the_digest(column, field) -> None:
    assert checksum.field(column) == field


def test_a_session_is_the_same_on_every_server_and_ends_by_itself() -> None:
    for dialect, limit in ((mysql_dialect.MYSQL, "max_execution_time = 1500"),
                           (mysql_dialect.MARIADB, "max_statement_time = 1.5")):  # fmt: skip
        words = checksum.session(dialect, 1.5)
        assert limit in words
        assert "time_zone = '+00:00'" in words
        assert "READ COMMITTED" in words


def test_databases_in_a_question() -> None:
    assert "TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')" in (
        checksum.tables_sql(None)
    )
    assert "TABLE_SCHEMA IN ('it''s', 'b')" in checksum.tables_sql(["it's", "b"])
    assert "TABLE_SCHEMA IN ('')" in checksum.tables_sql([])


@given(st.sets(TRIPLES, max_size=30), st.none() | TRIPLES, st.none() | TRIPLES)
def test_a_range_of_a_key_of_three_columns_holds_what_lies_in_it(rows, lower, upper) -> None:
    table = Table("main", "t", (), tuple(Column(name, "number") for name in "abc"), "x")
    span = tuple(None if end is None else tuple(str(value) for value in end) for end in (lower, upper))
    sql = checksum.bound_sql(table, span, 1).replace(" FORCE INDEX (`x`)", "").split("FROM")[1].split(" LIMIT")[0]
    with sqlite3.connect(":memory:") as server:
        server.execute("CREATE TABLE t (a INT, b INT, c INT)")
        server.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
        found = server.execute(f"SELECT a, b, c FROM {sql}").fetchall()
    assert found == sorted(
        row for row in rows if (lower is None or row > lower) and (upper is None or row <= upper)
    )  # fmt: skip


def test_a_key_of_another_table_is_refused() -> None:
    with pytest.raises(ValueError, match="a key of 2 values; this table's has 1"):
        checksum.bound_sql(VISITS, (("1", "2"), None), 1)
    with pytest.raises(ValueError, match="id: is '1 OR 1'"):
        checksum.keys_sql(VISITS, [("1 OR 1",)])


# --- tables ---


def test_a_tables_columns() -> None:
    found = checksum.tables(
        [column_row("id", "bigint"), column_row("no.`te", "varchar", "utf8mb4", "256"), column_row("x", "vector")], []
    )
    assert found == {
        ("shop", "visits"): Table(
            "shop", "visits",
            (Column("id", "number"), Column("no.`te", "bytes", "utf8mb4", 256), Column("x", "bytes"))),
    }  # fmt: skip


COLUMNS = [
    column_row("id"),
    column_row("a"),
    column_row("b"),
    column_row("f", "double"),
    column_row("t", "text"),
    column_row("v", "varchar", "utf8mb4", "256"),
]
GOOD = index_row("PRIMARY", "id")


@pytest.mark.parametrize(("indexes", "index", "key"), [
    ([GOOD], "PRIMARY", ["id"]),
    ([index_row("A", "a"), GOOD], "PRIMARY", ["id"]),
    ([index_row("A", "a"), index_row("A", "b"), index_row("B", "b")], "B", ["b"]),
    ([index_row("A", "a"), index_row("A", "b")], "A", ["a", "b"]),
    ([index_row("A", "a", nullable="YES")], "", []),
    ([index_row("A", "a"), index_row("A", "b", nullable="YES")], "", []),
    ([index_row("A", "b", nullable="YES"), index_row("A", "a")], "", []),
    ([index_row("A", "v")], "A", ["v"]),
    ([index_row("A", "v", is_whole="0")], "", []),
    ([index_row("A", "t")], "", []),
    ([index_row("A", "f")], "", []),
    ([index_row("A", None)], "", []),
    ([index_row("A", "a", index_type="HASH")], "", []),
])  # fmt: skip
def test_the_key_that_a_table_is_read_by(indexes, index, key) -> None:
    table = checksum.tables(COLUMNS, indexes)[("shop", "visits")]
    assert (table.index, [column.name for column in table.key]) == (index, key)


def test_where_auto_increment_stands_is_no_part_of_a_definition() -> None:
    create = (
        "CREATE TABLE `t` (\n  `id` int AUTO_INCREMENT COMMENT ') ENGINE=InnoDB AUTO_INCREMENT=3',\n  PRIMARY KEY "
        "(`id`)\n) ENGINE=InnoDB AUTO_INCREMENT=7 DEFAULT CHARSET=utf8mb4 COMMENT=' AUTO_INCREMENT=7'"
    )
    assert checksum.normalised(create) == create.replace("InnoDB AUTO_INCREMENT=7", "InnoDB")
    assert checksum.normalised("CREATE TABLE `t` (\n) ENGINE=InnoDB") == "CREATE TABLE `t` (\n) ENGINE=InnoDB"


def test_a_routine_and_its_parameters_are_one_object() -> None:
    def row(kind, name, digest):
        return {"kind": kind, "schema_name": hexadecimal("shop"), "object_name": hexadecimal(name), "digest": digest}

    one = checksum.objects([row("function", "f", "1"), row("function", "f", "2"), row("database", "", "3")])
    assert list(one) == ["database `shop`", "function shop.f"]
    assert one == checksum.objects([row("database", "", "3"), row("function", "f", "2"), row("function", "f", "1")])
    other = checksum.objects([row("function", "f", "1"), row("function", "f", "4"), row("database", "", "3")])
    assert other["function shop.f"] != one["function shop.f"]


# --- sums and chunks ---

WORDS = st.integers(0, 2**64 - 1)
DIGESTS = st.builds(Digest, st.integers(0, 1000), WORDS, WORDS)


@given(st.lists(DIGESTS), st.randoms())
def test_a_sum_does_not_depend_on_the_order(digests, random) -> None:
    shuffled = list(digests)
    random.shuffle(shuffled)
    assert sum(digests, Digest()) == sum(shuffled, Digest())
    assert re.fullmatch("[0-9a-f]{32}", sum(digests, Digest()).checksum)


def test_rows_that_are_there_twice_count_twice() -> None:
    one, other = Digest(1, 5, 6), Digest(1, 7, 8)
    assert (one + one).checksum not in ((other + other).checksum, Digest().checksum)


def test_a_row_without_a_digest_is_an_error() -> None:
    row = {"row_count": "3", "digested": "3", "high": str(2**64 + 5), "low": "6"}
    assert checksum.digest(VISITS, row) == Digest(3, 5, 6)
    with pytest.raises(ValueError, match=r"shop.visits: .* digest of 1 rows; is max_allowed_packet"):
        checksum.digest(VISITS, row | {"digested": "2"})


def test_chunks_get_smaller_where_they_take_long() -> None:
    assert checksum.next_rows(1000, 5000, 0.6) == 500
    assert checksum.next_rows(60, 5000, 9) == checksum.FEWEST_ROWS
    assert checksum.next_rows(1000, 5000, 0.3) == 1000
    assert checksum.next_rows(1000, 5000, 0.1) == 2000
    assert checksum.next_rows(4000, 5000, 0.1) == 5000


@given(st.sets(st.integers(0, 60)), st.integers(1, 8), st.integers(0, 30))
@example(set(range(1, 41)), 5, 30)
def test_the_pieces_of_a_range_are_whole_and_short(keys, rows, count) -> None:
    def bound(span):
        lower, upper = span
        inside = sorted(key for key in keys if (lower is None or key > lower[0]) and (upper is None or key <= upper[0]))
        return (inside[rows - 1],) if len(inside) >= rows else None

    spans = [(None, (20,)), ((20,), None)]
    pieces = checksum.split(spans, count, bound, lambda: None)
    assert pieces[0][0] is None
    assert pieces[-1][1] is None
    assert all(one[1] == other[0] for one, other in zip(pieces, pieces[1:], strict=False))
    assert (20,) in [upper for _, upper in pieces]
    assert all(lower != upper for lower, upper in pieces)
    assert len(pieces) <= count + len(spans)
    if len(pieces) < count:
        for lower, upper in pieces:
            inside = [key for key in keys if (lower is None or key > lower[0]) and (upper is None or key <= upper[0])]
            assert len(inside) <= rows
