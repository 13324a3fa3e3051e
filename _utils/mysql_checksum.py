"""
What a table holds and what it is, as digests that two servers can be held against each other by, MySQL or MariaDB.

A row's digest is SHA-256 over its columns in their order, each written so that no two values look alike (``field``).
A range's checksum is the sum of its rows' digests: the order of rows does not matter, a row that is there twice
counts twice, and a table's checksum does not depend on where its chunks begin. A reader needs a range of the key and
no lock: each statement is a consistent read of its own. Knows nothing of Salt.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from mysql_client import Row, quote
from mysql_dialect import Dialect

SYSTEM_SCHEMAS = ("mysql", "information_schema", "performance_schema", "sys")
#: Most rows of a chunk, and how long one may take (seconds) before the next ones get smaller.
CHUNK_ROWS, CHUNK_SECONDS = 20000, 0.5
FEWEST_ROWS = 50
#: A value of a key, in the form that ``key_select`` gives; a key; a range from after the first to the second of them.
Key = tuple[str, ...]
Range = tuple["Key | None", "Key | None"]

_WORD = 64  # bits; a checksum is two of them
# By information_schema's DATA_TYPE. What is not listed is bytes: strings, blobs, JSON, spatial types, vectors.
_KINDS = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "year"), "number"),
    **dict.fromkeys(("float", "double"), "float"),
    **dict.fromkeys(("bit", "enum", "set"), "ordinal"),
    **dict.fromkeys(("date", "time", "datetime", "timestamp", "uuid", "inet4", "inet6"), "text"),
}
_KEY_STRINGS = ("char", "varchar", "binary", "varbinary")
# Shorter ones are written out, which costs less than a digest of their own.
_SHORT_OCTETS = 256
_VALID = {
    "number": re.compile(r"-?[0-9]+(\.[0-9]+)?"),
    "ordinal": re.compile(r"[0-9]+"),
    "text": re.compile(r"[0-9A-Fa-f:. -]+"),
    "bytes": re.compile(r"([0-9A-F]{2})*"),
}
_CODECS = {"utf8mb4": "utf-8", "utf8mb3": "utf-8", "utf8": "utf-8", "latin1": "cp1252", "ascii": "ascii",
           "ucs2": "utf-16-be", "utf16": "utf-16-be", "utf16le": "utf-16-le", "utf32": "utf-32-be"}  # fmt: skip


class Column(NamedTuple):
    """One column: its name and how its values are written."""

    name: str
    kind: str  # number, float, ordinal, text, bytes
    charset: str = ""  # empty: bytes that are no characters
    octets: int = 0  # the most that a value takes; 0: not known

    @property
    def sql(self) -> str:
        return identifier(self.name)


class Table(NamedTuple):
    """A table and the key that it is read by: the primary one, or another that tells all rows apart."""

    database: str
    name: str
    columns: tuple[Column, ...]
    key: tuple[Column, ...] = ()
    index: str = ""

    @property
    def title(self) -> str:
        return title(self.database, self.name)

    @property
    def sql(self) -> str:
        return f"{identifier(self.database)}.{identifier(self.name)}"


class Digest(NamedTuple):
    """How many rows a range holds, and the sum of their digests."""

    rows: int = 0
    high: int = 0
    low: int = 0

    @property
    def checksum(self) -> str:
        return f"{self.high:016x}{self.low:016x}"

    def __add__(self, other: object) -> Digest:
        if not isinstance(other, Digest):
            return NotImplemented
        mask = (1 << _WORD) - 1
        return Digest(self.rows + other.rows, self.high + other.high & mask, self.low + other.low & mask)


def identifier(name: str) -> str:
    """A name in SQL, whatever it holds."""
    return "`" + name.replace("`", "``") + "`"


def title(database: str, name: str) -> str:
    """What people call a table: ``shop.visits``, with backticks where a part holds a dot, a space or one of them."""
    return ".".join(part if re.fullmatch(r"[^`.\s]+", part) else identifier(part) for part in (database, name))


def session(dialect: Dialect, seconds: float) -> str:
    """What a session needs for its answers to be the same everywhere: UTC, no row lock, an end after ``seconds``."""
    limit = (
        f"max_statement_time = {seconds:g}" if dialect.is_mariadb else f"max_execution_time = {round(seconds * 1000)}"
    )
    return (
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;\n"
        f"SET SESSION time_zone = '+00:00', sql_select_limit = DEFAULT, lock_wait_timeout = 10, {limit};\n"
    )


# --- what there is ---


def _where(column: str, databases: Iterable[str] | None) -> str:
    names = ", ".join(quote(name) for name in (SYSTEM_SCHEMAS if databases is None else databases))
    return f"{column} {'NOT IN' if databases is None else 'IN'} ({names or quote('')})"


def tables_sql(databases: Sequence[str] | None) -> str:
    """The tables that hold rows, and (of type SEQUENCE) those that only count; names as hexadecimal digits."""
    return (
        "SELECT HEX(TABLE_SCHEMA) AS schema_name, HEX(TABLE_NAME) AS table_name, TABLE_TYPE AS table_type "
        f"FROM information_schema.TABLES WHERE {_where('TABLE_SCHEMA', databases)} "
        "AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE');"
    )


def columns_sql(databases: Sequence[str] | None, table: str | None = None) -> str:
    """The columns of those databases, or of one table, invisible and generated ones too."""
    only = "" if table is None else f"AND TABLE_NAME = {quote(table)} "
    return (
        "SELECT HEX(TABLE_SCHEMA) AS schema_name, HEX(TABLE_NAME) AS table_name, HEX(COLUMN_NAME) AS column_name, "
        "LOWER(DATA_TYPE) AS data_type, COALESCE(CHARACTER_SET_NAME, '') AS charset, "
        "COALESCE(CHARACTER_OCTET_LENGTH, 0) AS octets FROM information_schema.COLUMNS "
        f"WHERE {_where('TABLE_SCHEMA', databases)} {only}"
        "ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION;"
    )


def indexes_sql(dialect: Dialect, databases: Sequence[str] | None, table: str | None = None) -> str:
    """The unique indexes of those databases, or of one table, that rows can be found by."""
    only = "" if table is None else f"AND TABLE_NAME = {quote(table)} "
    usable = "IGNORED = 'NO'" if dialect.is_mariadb else "IS_VISIBLE = 'YES'"
    return (
        "SELECT HEX(TABLE_SCHEMA) AS schema_name, HEX(TABLE_NAME) AS table_name, HEX(INDEX_NAME) AS index_name, "
        "HEX(COLUMN_NAME) AS column_name, SUB_PART IS NULL AS is_whole, COALESCE(NULLABLE, '') AS nullable, "
        "INDEX_TYPE AS index_type FROM information_schema.STATISTICS "
        f"WHERE {_where('TABLE_SCHEMA', databases)} {only}AND NON_UNIQUE = 0 AND {usable} "
        "ORDER BY TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX;"
    )


def objects_sql(databases: Sequence[str] | None) -> str:
    """What there is beside tables, a digest for each: databases, views, triggers, routines (their parameters), events.

    An event's state is left out: servers switch it off on a replica by themselves.
    """
    name = "TABLE_NAME", "TRIGGER_NAME", "ROUTINE_NAME", "SPECIFIC_NAME", "EVENT_NAME"
    parts = [
        ("'database'", "SCHEMA_NAME", "''", "SCHEMATA", ["DEFAULT_COLLATION_NAME"]),
        ("'view'", "TABLE_SCHEMA", name[0], "VIEWS",
         ["VIEW_DEFINITION", "CHECK_OPTION", "DEFINER", "SECURITY_TYPE"]),
        ("'trigger'", "TRIGGER_SCHEMA", name[1], "TRIGGERS",
         ["EVENT_OBJECT_TABLE", "EVENT_MANIPULATION", "ACTION_TIMING", "ACTION_ORDER", "ACTION_STATEMENT", "SQL_MODE",
          "DEFINER"]),
        ("LOWER(ROUTINE_TYPE)", "ROUTINE_SCHEMA", name[2], "ROUTINES",
         ["DTD_IDENTIFIER", "ROUTINE_DEFINITION", "SQL_DATA_ACCESS", "IS_DETERMINISTIC", "SECURITY_TYPE", "SQL_MODE",
          "ROUTINE_COMMENT", "DEFINER"]),
        ("LOWER(ROUTINE_TYPE)", "SPECIFIC_SCHEMA", name[3], "PARAMETERS",
         ["ORDINAL_POSITION", "PARAMETER_MODE", "PARAMETER_NAME", "DTD_IDENTIFIER", "COLLATION_NAME"]),
        ("'event'", "EVENT_SCHEMA", name[4], "EVENTS",
         ["EVENT_DEFINITION", "EVENT_TYPE", "EXECUTE_AT", "INTERVAL_VALUE", "INTERVAL_FIELD", "STARTS", "ENDS",
          "ON_COMPLETION", "SQL_MODE", "TIME_ZONE", "EVENT_COMMENT", "DEFINER"]),
    ]  # fmt: skip
    selects = [
        f"SELECT {kind} AS kind, HEX({schema}) AS schema_name, HEX({object_name}) AS object_name, "
        f"CONCAT_WS(',', {', '.join(_optional(column) for column in columns)}) AS digest "
        f"FROM information_schema.{source} WHERE {_where(schema, databases)}"
        for kind, schema, object_name, source, columns in parts
    ]
    return "\nUNION ALL ".join(selects) + ";"


def _optional(column: str) -> str:
    return f"IF({column} IS NULL, '-', SHA2({column}, 256))"


def text(digits: str | None) -> str:
    """A name from its hexadecimal digits: no name is mistaken for NULL, and none breaks a line."""
    return bytes.fromhex(digits or "").decode(errors="replace")


def tables(columns: Iterable[Row], indexes: Iterable[Row]) -> dict[tuple[str, str], Table]:
    """The tables with their columns and keys, from the answers to ``columns_sql`` and ``indexes_sql``."""
    found: dict[tuple[str, str], list[Column]] = {}
    types: dict[tuple[str, str, str], str] = {}
    for row in columns:
        place, name, data_type = _place(row), text(row["column_name"]), row["data_type"] or ""
        found.setdefault(place, []).append(
            Column(name, _KINDS.get(data_type, "bytes"), row["charset"] or "", int(row["octets"] or 0))
        )
        types[(*place, name)] = data_type
    keys: dict[tuple[str, str], dict[str, list[Column] | None]] = {}
    for row in indexes:
        place, index = _place(row), text(row["index_name"])
        name = text(row["column_name"])
        column = next((one for one in found.get(place, []) if one.name == name), None)
        parts = keys.setdefault(place, {}).setdefault(index, [])
        if column is None or parts is None or not _can_bound(column, types[(*place, name)], row):
            keys[place][index] = None
        else:
            parts.append(column)
    return {
        place: Table(*place, tuple(parts), *_best(keys.get(place, {}))) for place, parts in found.items()
    }  # fmt: skip


def _place(row: Row) -> tuple[str, str]:
    return text(row["schema_name"]), text(row["table_name"])


def _can_bound(column: Column, data_type: str, row: Row) -> bool:
    """Whether values of a column say where a range begins: all of them, never NULL, the same when written down."""
    is_writable = column.kind in ("number", "ordinal", "text") or data_type in _KEY_STRINGS
    return is_writable and row["is_whole"] == "1" and row["nullable"] != "YES" and row["index_type"] == "BTREE"


def _best(keys: Mapping[str, list[Column] | None]) -> tuple[tuple[Column, ...], str]:
    usable = {name: parts for name, parts in keys.items() if parts}
    if not usable:
        return (), ""
    name = min(usable, key=lambda one: (one != "PRIMARY", len(usable[one]), one))
    return tuple(usable[name]), name


def objects(rows: Iterable[Row]) -> dict[str, str]:
    """``view shop.recent`` and so on, with a digest of each, from the answer to ``objects_sql``."""
    found: dict[str, list[str]] = {}
    for row in rows:
        schema, name = text(row["schema_name"]), text(row["object_name"])
        label = f"{row['kind']} {title(schema, name) if name else identifier(schema)}"
        found.setdefault(label, []).append(row["digest"] or "")
    return {label: digest_of("\n".join(sorted(parts))) for label, parts in sorted(found.items())}


def normalised(create: str) -> str:
    """SHOW CREATE TABLE without where AUTO_INCREMENT stands, which is each server's own."""
    return re.sub(r"^(\) ENGINE=\w+) AUTO_INCREMENT=[0-9]+", r"\1", create, count=1, flags=re.MULTILINE)


def digest_of(words: str) -> str:
    """A text's digest, in the length of the others."""
    return hashlib.sha256(words.encode()).hexdigest()[:32]


# --- what it holds ---


def field(column: Column) -> str:
    """A column's value as text that no other value has; a hyphen alone is NULL."""
    name = column.sql
    if column.kind in ("number", "text"):
        written = f"CONCAT({name})"
    elif column.kind == "float":
        # A FLOAT as text has six digits; as a DOUBLE it has all. Multiplied, minus zero stays what it is.
        written = f"CONCAT({name} * 1E0)"
    elif column.kind == "ordinal":
        written = f"CONCAT(CAST({name} AS UNSIGNED))"
    elif 0 < column.octets <= _SHORT_OCTETS:
        written = f"HEX({name})"
    else:
        written = f"SHA2({name}, 256)"
    return f"IF({name} IS NULL, '-', {written})"


def row_digest(table: Table) -> str:
    """The digest of a row, as hexadecimal digits. NULL if the server cannot make it (max_allowed_packet)."""
    fields = ", ',', ".join(field(column) for column in table.columns)
    return f"SHA2(CONCAT({fields}), 256)"


def literal(column: Column, value: str) -> str:
    """A key's value in SQL. Raises ValueError for one that ``key_select`` never gave."""
    if not isinstance(value, str) or not _VALID[column.kind].fullmatch(value):
        raise ValueError(f"{column.name}: is {value!r}; allowed: what a range or a key of this table had")
    if column.kind in ("number", "ordinal"):
        return value
    if column.kind == "text":
        return quote(value)
    return f"_{column.charset} X'{value}'" if column.charset else f"X'{value}'"


def readable(column: Column, value: str) -> str:
    """A key's value for people."""
    if column.kind != "bytes":
        return value
    try:
        return bytes.fromhex(value).decode(_CODECS[column.charset])
    except (KeyError, ValueError):
        return f"0x{value}"


def key_select(table: Table) -> str:
    """The key's columns, as text: ``k0``, ``k1`` and so on."""
    written = {"bytes": "HEX({})", "ordinal": "CONCAT(CAST({} AS UNSIGNED))"}
    return ", ".join(
        f"{written.get(column.kind, 'CONCAT({})').format(column.sql)} AS k{place}"
        for place, column in enumerate(table.key)
    )


def key_of(table: Table, row: Row) -> Key:
    """The key of a row that was read with ``key_select``."""
    return tuple(row[f"k{place}"] or "" for place in range(len(table.key)))


def _beyond(key: Sequence[Column], values: Sequence[str], sign: str, last: str) -> str:
    """Rows on one side of a key. The first column is said twice: so the server sees a range of the index."""
    if len(key) != len(values):
        raise ValueError(f"a key of {len(values)} values; this table's has {len(key)}")
    column, value = key[0].sql, literal(key[0], values[0])
    if len(key) == 1:
        return f"{column} {last} {value}"
    rest = _beyond(key[1:], values[1:], sign, last)
    return f"({column} {sign}= {value} AND ({column} {sign} {value} OR ({column} = {value} AND {rest})))"


def _source(table: Table, span: Range, more: str = "") -> str:
    lower, upper = span
    terms = [_beyond(table.key, lower, ">", ">")] if lower else []
    terms += [_beyond(table.key, upper, "<", "<=")] if upper else []
    index = f" FORCE INDEX ({identifier(table.index)})" if table.key else ""
    where = f" WHERE {' AND '.join(terms)}" if terms else ""
    return f"FROM {table.sql}{index}{where}{more}"


def _order(table: Table) -> str:
    return " ORDER BY " + ", ".join(column.sql for column in table.key)


def bound_sql(table: Table, span: Range, rows: int) -> str:
    """The key of the row that ends a chunk of so many rows; nothing when the range holds fewer."""
    return f"SELECT {key_select(table)} {_source(table, span, _order(table))} LIMIT 1 OFFSET {int(rows) - 1};"


def chunk_sql(table: Table, span: Range, limit: int | None) -> str:
    """The digest of a range, of its first ``limit`` rows if it holds more."""
    # LIMIT also keeps the server from making each digest once for every use. Without a key there may be so many rows
    # that making them again costs less than keeping them.
    more = f"{_order(table)} LIMIT {int(limit)}" if table.key and limit else ""
    words = [f"COALESCE(SUM(CAST(CONV({part}, 16, 10) AS UNSIGNED)), 0)" for part in
             ("LEFT(digest, 16)", "SUBSTRING(digest, 17, 16)")]  # fmt: skip
    return (
        f"SELECT COUNT(*) AS row_count, COUNT(digest) AS digested, {words[0]} AS high, {words[1]} AS low "
        f"FROM (SELECT {row_digest(table)} AS digest {_source(table, span, more)}) AS one_row;"
    )


def rows_sql(table: Table, span: Range, limit: int) -> str:
    """Keys and digests of the rows of a range, at most so many."""
    return (
        f"SELECT {key_select(table)}, LEFT({row_digest(table)}, 32) AS digest "
        f"{_source(table, span, _order(table))} LIMIT {int(limit)};"
    )


def keys_sql(table: Table, keys: Iterable[Sequence[str]]) -> str:
    """Keys and digests of the rows with these keys, as far as they are there."""
    terms = [
        " AND ".join(f"{column.sql} = {literal(column, value)}" for column, value in zip(table.key, key, strict=True))
        for key in keys
    ]
    return (
        f"SELECT {key_select(table)}, LEFT({row_digest(table)}, 32) AS digest FROM {table.sql} "
        f"FORCE INDEX ({identifier(table.index)}) WHERE ({') OR ('.join(terms)});"
    )


def digest(table: Table, row: Row) -> Digest:
    """A range's digest from the answer to ``chunk_sql``. Raises ValueError when the server could not make one."""
    count, digested = int(row["row_count"] or 0), int(row["digested"] or 0)
    if count != digested:
        raise ValueError(
            f"{table.title}: the server could not make a digest of {count - digested} rows; is max_allowed_packet "
            "smaller than when they were written?"
        )
    mask = (1 << _WORD) - 1
    return Digest(count, int(row["high"] or 0) & mask, int(row["low"] or 0) & mask)


def next_rows(rows: int, most: int, seconds: float) -> int:
    """How many rows the next chunk gets after one of ``rows`` took ``seconds``."""
    if seconds > CHUNK_SECONDS:
        return max(min(FEWEST_ROWS, most), rows // 2)
    return min(most, rows * 2) if seconds < CHUNK_SECONDS / 4 else rows


def split(
    spans: Sequence[Range], count: int, bound: Callable[[Range], Key | None], pause: Callable[[], object]
) -> list[Range]:
    """Cut ranges where ``bound`` says, ``count`` times at most; what is left then stays whole."""
    made: list[Range] = []
    for lower, upper in spans:
        start = lower
        while len(made) < count and (end := bound((start, upper))) is not None and end != upper:
            made.append((start, end))
            start = end
            pause()
        made.append((start, upper))
    return made
