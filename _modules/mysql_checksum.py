"""
What the tables of this minion's MySQL or MariaDB server hold, as checksums that two servers can be held against each
other by. All of it only reads, in chunks, and locks no row. ``salt-run mysql_ha.compare`` does the comparing.
"""

import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

import mysql_checksum as checksum
import mysql_client
import mysql_dialect
import mysql_gtid
from mysql_client import SqlError

__virtualname__ = "mysql_checksum"

# ER_NO_SUCH_TABLE, ER_BAD_DB_ERROR: dropped since it was listed.
GONE = (1146, 1049)


def __virtual__():
    return __virtualname__


def tables(databases=None, rows=checksum.CHUNK_ROWS, pause=0, timeout=60):
    """
    Every table of this server with how many ``rows`` it has, their ``checksum``, a digest of its ``definition``, and
    in how many ``chunks`` and ``seconds`` it was read; beside ``tables`` there are ``objects`` (databases, views,
    triggers, routines, events, and a digest of each) and the server's transactions ``gtids_before`` and
    ``gtids_after``.

    Equal rows have the equal checksum on each version of MySQL and MariaDB, in whatever order they are stored, as long
    as their columns have the same types and character sets.

    databases
        Which ones, a list; all but the system's if left out.

    rows
        The most rows of a chunk (1 to 1000000). Where these take more than half a second, chunks get smaller. A table
        that has neither a primary key nor another unique one without NULL is one chunk.

    pause
        Milliseconds (0 to 60000) between two chunks.

    timeout
        Seconds (1 to 86400) after which the server is told to give a chunk up; that is an error.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_checksum.tables databases='[shop]' pause=20
    """
    dialect = _dialect()
    before = gtids()
    listed = definitions(databases)
    for entry in listed["tables"].values():
        if entry["counts_only"]:
            continue
        began = time.monotonic()
        table = _table(dialect, entry["database"], entry["table"])
        total, chunks_made = _read(dialect, table, _number("rows", rows, 1, 10**6), pause, timeout)
        seconds = round(time.monotonic() - began, 3)
        entry |= {"rows": total.rows, "checksum": total.checksum, "chunks": chunks_made, "seconds": seconds}
    wanted = ("rows", "checksum", "definition", "chunks", "seconds")
    return {
        "tables": {
            name: {field: entry[field] for field in wanted if field in entry}
            for name, entry in listed["tables"].items()
        },
        "objects": listed["objects"],
        "gtids_before": before,
        "gtids_after": gtids(),
    }


def _read(dialect, table, most, pause, timeout):
    total, start, made, rows = checksum.Digest(), None, 0, min(most, 1000)
    while True:
        end = _bound(dialect, table, (start, None), rows, timeout) if table.key else None
        began = time.monotonic()
        total += _chunk(dialect, table, (start, end), None, timeout)
        made += 1
        if end is None:
            return total, made
        rows = checksum.next_rows(rows, most, time.monotonic() - began)
        start = end
        _pause(pause)


def definitions(databases=None):
    """
    What there is, without reading a row: ``tables`` by name, each with its ``database`` and ``table``, a digest of its
    ``definition`` (where AUTO_INCREMENT stands is left out), its ``key`` (the columns that it is read by; empty when
    it has none that tells all rows apart) and ``counts_only`` (a MariaDB sequence); and ``objects``: databases, views,
    triggers, routines and events, with a digest of each. An event's state is left out.

    databases
        Which ones, a list; all but the system's if left out.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_checksum.definitions databases='[shop]'
    """
    wanted = _names(databases)
    dialect = _dialect()
    known = checksum.tables(
        _local(dialect, checksum.columns_sql(wanted)), _local(dialect, checksum.indexes_sql(dialect, wanted))
    )
    found = {}
    for row in _local(dialect, checksum.tables_sql(wanted)):
        place = checksum.text(row["schema_name"]), checksum.text(row["table_name"])
        if place not in known or (wanted is not None and place[0] not in wanted):
            continue
        try:
            create = _create(dialect, *place)
        except SqlError as error:
            if error.code in GONE:
                continue
            raise _failed(error) from error
        table = known[place]
        found[table.title] = {
            "database": table.database,
            "table": table.name,
            "definition": checksum.digest_of(checksum.normalised(create)),
            "key": [column.name for column in table.key],
            "counts_only": row["table_type"] == "SEQUENCE",
        }
    return {
        "tables": dict(sorted(found.items())),
        "objects": checksum.objects(_local(dialect, checksum.objects_sql(wanted))),
    }


def definition(database, table):
    """
    A table's definition as the server writes it, without where AUTO_INCREMENT stands; empty when there is no such
    table.

    database, table
        Their names.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_checksum.definition shop visits
    """
    try:
        return checksum.normalised(_create(_dialect(), str(database), str(table)))
    except SqlError as error:
        if error.code in GONE:
            return ""
        raise _failed(error) from error


def _create(dialect, database, table):
    sql = f"SHOW CREATE TABLE {checksum.identifier(database)}.{checksum.identifier(table)};"
    return _run(dialect, sql, 60)[0].get("Create Table") or ""


def split(database, table, ranges, rows=checksum.CHUNK_ROWS, count=50, pause=0, timeout=60):
    """
    Cut ranges of a table's key into such of so many rows. A range is a list of two keys, from after the first to the
    second one; null is the table's begin and end. What is left after ``count`` cuts stays in one piece.

    database, table
        Their names.

    ranges
        A list of ranges.

    rows
        How many rows a piece gets (1 to 1000000).

    count
        How many cuts to make at the most (0 to 10000).

    pause
        Milliseconds (0 to 60000) between two cuts.

    timeout
        Seconds (1 to 86400) after which the server is told to give one up; that is an error.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_checksum.split shop visits '[[null, null]]' rows=1000
    """
    dialect = _dialect()
    known = _table(dialect, database, table)
    spans = _ranges(ranges)
    if not known.key:
        return spans
    most = _number("rows", rows, 1, 10**6)
    made = checksum.split(
        spans,
        _number("count", count, 0, 10**4),
        lambda span: _bound(dialect, known, span, most, timeout),
        lambda: _pause(pause),
    )
    return [[list(end) if end else None for end in span] for span in made]


def chunks(database, table, ranges, limit=None, pause=0, timeout=60):
    """
    The ``rows``, ``checksum`` and ``seconds`` of each of these ranges, as a list.

    database, table
        Their names.

    ranges
        A list of ranges, as :py:func:`split` gives them.

    limit
        How many rows of a range to read at the most (1 to 10000000); all if left out. A range that holds more has
        this number as ``rows``.

    pause
        Milliseconds (0 to 60000) between two of them.

    timeout
        Seconds (1 to 86400) after which the server is told to give one up; that is an error.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_checksum.chunks shop visits '[[null, ["1000"]], [["1000"], null]]'
    """
    dialect = _dialect()
    known = _table(dialect, database, table)
    most = None if limit is None else _number("limit", limit, 1, 10**7)
    found = []
    for span in _ranges(ranges):
        if found:
            _pause(pause)
        began = time.monotonic()
        total = _chunk(dialect, known, span, most, timeout)
        seconds = round(time.monotonic() - began, 3)
        found.append({"rows": total.rows, "checksum": total.checksum, "seconds": seconds})
    return found


def rows(database, table, ranges, limit=1000, timeout=60):
    """
    The rows of each of these ranges, as a list of lists; a row is its key, its digest, and its key for people.

    database, table
        Their names; the table must have a key.

    ranges
        A list of ranges, as :py:func:`split` gives them.

    limit
        How many rows of each to read at the most (1 to 100000).

    timeout
        Seconds (1 to 86400) after which the server is told to give a range up; that is an error.

    CLI Example:

    .. code-block:: bash

        salt mysql1 mysql_checksum.rows shop visits '[[null, ["100"]]]'
    """
    dialect = _dialect()
    known = _table(dialect, database, table, has_key=True)
    most = _number("limit", limit, 1, 10**5)
    return [
        _described(known, _local(dialect, _sql(checksum.rows_sql, known, span, most), timeout))
        for span in _ranges(ranges)
    ]


def values(database, table, keys, timeout=60):
    """
    The rows with these keys, as far as they are there, in one list of rows as :py:func:`rows` gives them.

    database, table
        Their names; the table must have a key.

    keys
        A list of keys, as :py:func:`rows` gives them (1 to 1000).

    timeout
        Seconds (1 to 86400) after which the server is told to give up; that is an error.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_checksum.values shop visits '[["17"], ["18"]]'
    """
    dialect = _dialect()
    known = _table(dialect, database, table, has_key=True)
    if not isinstance(keys, list) or not 1 <= len(keys) <= 1000:
        raise SaltInvocationError(f"keys: is {str(keys)[:100]}; allowed: a list of 1 to 1000 keys")
    return _described(known, _local(dialect, _sql(checksum.keys_sql, known, [_key(key) for key in keys]), timeout))


def gtids():
    """
    Everything that this server's binary log ever had.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_checksum.gtids
    """
    dialect = _dialect()
    found = _local(dialect, f"SELECT {dialect.executed} AS gtids;")[0]["gtids"] or ""
    return found.replace("\n", "")


def caught_up(transactions, wait=60):
    """
    Whether this server has these transactions, at the latest after some seconds.

    transactions
        What :py:func:`gtids` said on another server.

    wait
        For how many seconds (0 to 3600) to wait for them.

    CLI Example:

    .. code-block:: bash

        salt mysql2 mysql_checksum.caught_up 1-1-29814 wait=10
    """
    dialect = _dialect()
    try:
        wanted = dialect.parse(transactions)
    except (AttributeError, ValueError) as error:
        raise SaltInvocationError(f"transactions: {error}") from error
    end = time.monotonic() + _number("wait", wait, 0, 3600)
    while mysql_gtid.subtract(wanted, dialect.parse(gtids())):
        if time.monotonic() >= end:
            return False
        time.sleep(0.25)
    return True


def _bound(dialect, table, span, count, timeout):
    found = _local(dialect, _sql(checksum.bound_sql, table, span, count), timeout)
    return checksum.key_of(table, found[0]) if found else None


def _chunk(dialect, table, span, limit, timeout):
    found = _local(dialect, _sql(checksum.chunk_sql, table, span, limit), timeout)
    try:
        return checksum.digest(table, found[0])
    except ValueError as error:
        raise CommandExecutionError(str(error)) from error


def _described(table, found):
    described = []
    for row in found:
        if row["digest"] is None:
            raise CommandExecutionError(f"{table.title}: the server could not make a digest of a row")
        key = checksum.key_of(table, row)
        shown = [checksum.readable(column, value) for column, value in zip(table.key, key, strict=True)]
        described.append([list(key), row["digest"], shown])
    return described


def _table(dialect, database, table, has_key=False):
    place = str(database), str(table)
    known = checksum.tables(
        _local(dialect, checksum.columns_sql([place[0]], place[1])),
        _local(dialect, checksum.indexes_sql(dialect, [place[0]], place[1])),
    ).get(place)
    if known is None:
        raise CommandExecutionError(f"there is no table {checksum.title(*place)} on {__grains__['id']}")
    if has_key and not known.key:
        raise CommandExecutionError(f"{known.title} has no key that tells all its rows apart")
    return known


def _sql(make, table, *arguments):
    try:
        return make(table, *arguments)
    except ValueError as error:
        raise SaltInvocationError(f"{table.title}: {error}") from error


def _ranges(ranges):
    try:
        return [(_key(lower), _key(upper)) for lower, upper in ranges]
    except (TypeError, ValueError) as error:
        message = f"ranges: is {str(ranges)[:100]}; allowed: a list of pairs of keys, such as [[null, ['100']]]"
        raise SaltInvocationError(message) from error


def _key(key):
    return None if key is None else tuple(str(value) for value in key)


def _names(databases):
    if databases is None or (isinstance(databases, list) and all(isinstance(name, str) for name in databases)):
        return databases
    raise SaltInvocationError(f"databases: is {databases!r}; allowed: a list of names")


def _number(name, value, least, most):
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise SaltInvocationError(f"{name}: is {value!r}; allowed: {least} to {most}")
    return value


def _pause(milliseconds):
    time.sleep(_number("pause", milliseconds, 0, 60000) / 1000)


def _dialect():
    try:
        return mysql_dialect.identify(mysql_client.local("SELECT @@version AS version;")[0]["version"])
    except SqlError as error:
        raise _failed(error) from error
    except ValueError as error:
        raise CommandExecutionError(str(error)) from error


def _local(dialect, sql, timeout=60):
    try:
        return _run(dialect, sql, timeout)
    except SqlError as error:
        raise _failed(error) from error


def _run(dialect, sql, timeout):
    seconds = _number("timeout", timeout, 1, 86400)
    # The server ends a statement by itself; the client would only go away and let it run on.
    return mysql_client.local(checksum.session(dialect, seconds) + sql, seconds + 30)


def _failed(error):
    return CommandExecutionError(f"the database server on {__grains__['id']}: {error}")
