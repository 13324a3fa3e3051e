"""What a comparison says of a pair of servers that are not there: differences are found, and what moves is none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mysql_checksum
import mysql_compare
from mysql_compare import AskError, Comparison, Options

NAMES = ("mysql1", "mysql2")


class Pair:
    """Two servers with one table, whose rows are {number: value}; ``meanwhile`` happens before each question."""

    def __init__(self, first: dict, second: dict, has_key: bool = True) -> None:
        self.rows = {"mysql1": dict(first), "mysql2": dict(second)}
        entry = {"database": "shop", "table": "t", "definition": "d", "key": ["id"] if has_key else [],
                 "counts_only": False}  # fmt: skip
        self.defined = {name: {"tables": {"shop.t": dict(entry)}, "objects": {}} for name in NAMES}
        self.meanwhile: Callable[[str], None] = lambda _: None
        self.late: set[str] = set()
        self.asked: list[tuple[str, str, dict]] = []
        self.longest = 0

    def ask(self, hosts, function, arguments):
        self.meanwhile(function)
        self.asked += [(host, function, dict(arguments)) for host in hosts]
        # Its rows are called `rows` too.
        answer = self.listed if function == "rows" else getattr(self, function)
        return {host: answer(host, arguments) for host in hosts}

    def compare(self, **options):
        return Comparison(NAMES, self.ask, Options(**options), sleep=lambda _: None).run()

    def definitions(self, host, _):
        return self.defined[host]

    def definition(self, host, _):
        return self.defined[host]["tables"]["shop.t"]["definition"]

    def gtids(self, host, _):
        return f"set of {host}"

    def caught_up(self, host, arguments):
        other = NAMES[1 - NAMES.index(host)]
        assert arguments["transactions"] == f"set of {other}"
        return host not in self.late

    def _inside(self, host, span):
        lower, upper = span
        return sorted(
            (number, value)
            for number, value in self.rows[host].items()
            if (lower is None or number > int(lower[0])) and (upper is None or number <= int(upper[0]))
        )

    def split(self, host, arguments):
        def bound(span):
            inside = self._inside(host, span)
            count = arguments["rows"]
            return [str(inside[count - 1][0])] if len(inside) >= count else None

        return [list(span) for span in
                mysql_checksum.split(arguments["ranges"], arguments["count"], bound, lambda: None)]  # fmt: skip

    def chunks(self, host, arguments):
        found = []
        for span in arguments["ranges"]:
            inside = self._inside(host, span)[: arguments.get("limit")]
            self.longest = max(self.longest, len(inside))
            found.append({"rows": len(inside), "checksum": digest(sorted(inside)), "seconds": 0.01})
        return found

    def row_list(self, inside):
        return [[[str(number)], digest((number, value)), [str(number)]] for number, value in inside]

    def listed(self, host, arguments):
        return [self.row_list(self._inside(host, span)[: arguments["limit"]]) for span in arguments["ranges"]]

    def values(self, host, arguments):
        wanted = {int(key[0]) for key in arguments["keys"]}
        return self.row_list((number, value) for number, value in self.rows[host].items() if number in wanted)


def digest(what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()[:32]


ROWS = st.dictionaries(st.integers(0, 400), st.integers(0, 1), max_size=60)


@settings(max_examples=200, deadline=None)
@given(ROWS, ROWS, st.integers(100, 150))
def test_what_differs_is_what_is_said_and_nothing_else(first, second, rows) -> None:
    found = Pair(first, second).compare(keys=1000, rows=rows)
    if first == second:
        assert found["result"] == "equal"
        assert "different" not in found
        return
    said = found["different"]["shop.t"]
    only, other = said.get("only_on", {}), said.get("other_values", [])
    assert set(only.get("mysql1", [])) == {f"id={number}" for number in first if number not in second}
    assert set(only.get("mysql2", [])) == {f"id={number}" for number in second if number not in first}
    assert set(other) == {f"id={number}" for number in first if second.get(number, first[number]) != first[number]}
    assert said["rows"] == {"mysql1": len(first), "mysql2": len(second)}


def changed(count: int, *numbers: int) -> dict:
    return {number: int(number in numbers) for number in range(count)}


@pytest.mark.parametrize("sides", [(0, 1), (1, 0)])
def test_one_row_in_many_is_found_and_no_question_is_about_too_many(sides) -> None:
    tables = [changed(20000), changed(20000, 12345)]
    pair = Pair(tables[sides[0]], tables[sides[1]])
    found = pair.compare(rows=500)
    assert found["different"]["shop.t"]["other_values"] == ["id=12345"]
    assert pair.longest <= 1000
    listed = [arguments["ranges"] for _, function, arguments in pair.asked if function == "rows"]
    assert sum(len(ranges) for ranges in listed) == 2


@pytest.mark.parametrize("sides", [(0, 1), (1, 0)])
def test_a_server_that_lost_nearly_everything_costs_no_endless_question(sides) -> None:
    tables = [changed(20000), {5: 0}]
    pair = Pair(tables[sides[0]], tables[sides[1]])
    found = pair.compare(rows=500, keys=7)
    said = found["different"]["shop.t"]
    assert sum(len(rows) for rows in said["only_on"].values()) == 7
    # Chunks are cut by the first server; of the second it is not known how many more rows it has.
    assert list(said["rows"].values()) == [[20000, 1], [1, "at least 2000"]][sides[0]]
    assert said["more"] == "7 differing rows are listed; there may be more"
    assert pair.longest <= 500 * mysql_compare.BEYOND
    assert len(pair.asked) < 200


def test_what_arrives_between_the_looks_is_no_difference() -> None:
    pair = Pair(changed(50), changed(40))

    def replicate(function: str) -> None:
        if function == "caught_up":
            pair.rows["mysql2"] = dict(pair.rows["mysql1"])

    pair.meanwhile = replicate
    assert pair.compare()["result"] == "equal"


def test_a_row_that_always_changes_is_undecided_and_a_row_at_rest_is_found_beside_it() -> None:
    pair = Pair(changed(50), changed(50))
    steps = iter(range(2, 10**6))

    def write(_: str) -> None:
        pair.rows["mysql2"][7] = pair.rows["mysql1"][7]
        pair.rows["mysql1"][7] = next(steps)

    pair.meanwhile = write
    found = pair.compare()
    assert found["result"] == "undecided"
    assert found["undecided"]["shop.t"]["undecided"] == ["id=7"]
    pair.rows["mysql2"][9] = -1
    found = pair.compare()
    assert found["result"] == "different"
    assert found["different"]["shop.t"]["other_values"] == ["id=9"]
    assert found["different"]["shop.t"]["undecided"] == ["id=7"]


def test_what_may_still_be_on_its_way_is_undecided() -> None:
    pair = Pair(changed(50), changed(40))
    pair.late.add("mysql2")
    found = pair.compare(wait=5)
    assert found["result"] == "undecided"
    assert len(found["undecided"]["shop.t"]["undecided"]) == 10
    assert found["late"].startswith("mysql2 did not get within 5 s what the other one has")
    # Waited for once, not each time.
    waits = [
        arguments["wait"] for host, function, arguments in pair.asked if (host, function) == ("mysql2", "caught_up")
    ]
    assert waits[0] == 5
    assert set(waits[1:]) == {0}


def test_a_chunk_that_outgrew_its_limit_on_both_is_read_to_its_end() -> None:
    pair = Pair(changed(50), changed(50))

    def grow(function: str) -> None:
        if function == "chunks" and len(pair.rows["mysql1"]) == 50:
            pair.rows = {"mysql1": changed(2000), "mysql2": changed(2000, 1999)}

    pair.meanwhile = grow
    assert pair.compare(rows=100)["different"]["shop.t"]["other_values"] == ["id=1999"]


def test_rows_are_listed_again_when_a_range_grew_meanwhile() -> None:
    pair = Pair(changed(50), changed(50, 3))
    grown: list[int] = []

    def grow(function: str) -> None:
        if function == "rows" and not grown:
            grown.append(1)
            for host in NAMES:
                pair.rows[host] |= {number: 0 for number in range(50, 2000)}

    pair.meanwhile = grow
    assert pair.compare()["different"]["shop.t"]["other_values"] == ["id=3"]


def test_a_table_without_a_key() -> None:
    assert Pair(changed(9), changed(9), has_key=False).compare()["result"] == "equal"
    found = Pair(changed(9), changed(9, 1), has_key=False).compare()
    assert found["different"]["shop.t"]["rows"] == {"mysql1": 9, "mysql2": 9}
    pair = Pair(changed(9), changed(9), has_key=False)
    steps = iter(range(2, 10**6))

    def write(_: str) -> None:
        pair.rows["mysql1"][1] = next(steps)

    pair.meanwhile = write
    assert pair.compare()["result"] == "undecided"


def test_definitions() -> None:
    pair = Pair({}, {})
    entry = pair.defined["mysql2"]["tables"]["shop.t"]
    pair.defined["mysql2"]["tables"] = {"shop.t": entry | {"definition": "e\n  x"}, "shop.u": entry}
    pair.defined["mysql1"]["objects"] = {"view shop.v": "1", "view shop.w": "1"}
    pair.defined["mysql2"]["objects"] = {"view shop.v": "2"}
    found = pair.compare()
    assert found["different"] == {
        "shop.t": {"definition": {"mysql1": ["d"], "mysql2": ["e", "x"]}},
        "shop.u": {"only_on": "mysql2"},
        "view shop.v": {"definition": "differs"},
        "view shop.w": {"only_on": "mysql1"},
    }
    # Their rows are not compared.
    assert not [function for _, function, _ in pair.asked if function in ("chunks", "rows")]
    pair.late.add("mysql1")
    assert list(pair.compare()["undecided"]) == list(found["different"])


def test_a_table_that_cannot_be_read_is_undecided_and_the_others_are_compared() -> None:
    pair = Pair(changed(5), changed(5))
    for name in NAMES:
        entry = pair.defined[name]["tables"]["shop.t"]
        pair.defined[name]["tables"] = {"shop.a": entry | {"table": "a"}, "shop.t": entry}
    ask = pair.ask

    def failing(hosts, function, arguments):
        if arguments.get("table") == "a":
            raise AskError("mysql2: the query took too long")
        return ask(hosts, function, arguments)

    pair.ask = failing
    found = pair.compare()
    assert found["result"] == "undecided"
    assert found["undecided"] == {"shop.a": {"error": "mysql2: the query took too long"}}
    assert found["rows"] == 5
