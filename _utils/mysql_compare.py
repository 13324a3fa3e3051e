"""
Hold the tables of two servers against each other while both take writes: from checksums of chunks down to single rows.

What differs at a first look may only be on its way. So it is looked at again once each server has the transactions
that the other one had at that look, and only what then still differs, and no longer changes, is called different. What
differs and does not come to rest is called undecided. Asks the servers through whatever it is given (the functions of
_modules/mysql_checksum.py), and knows nothing of Salt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mysql_checksum import CHUNK_ROWS, next_rows

#: ``ask(hosts, function, arguments)``: each host's answer. Raises AskError.
Ask = Callable[[Sequence[str], str, Mapping[str, Any]], Mapping[str, Any]]
Span = tuple[Any, Any]
Key = tuple[str, ...]

# A chunk that differs is cut into pieces of half this many rows, and pieces of at most this many are listed.
LISTED_ROWS = 200
# How many chunks the first question about a table has, and each later one; how many pieces are listed, and how many
# rows are looked at again at a time.
FIRST_CHUNKS, CHUNKS, PIECES, ROWS = 5, 50, 10, 200
# A range is read up to so many times the rows that a chunk should have: the other server may have many more there.
BEYOND = 4


class AskError(Exception):
    """A server did not answer, or said that it cannot."""


class Options(NamedTuple):
    """How carefully to look, and how much to say."""

    rows: int = CHUNK_ROWS  # most rows of a chunk
    pause: int = 0  # milliseconds between two chunks
    tries: int = 2  # how often what differs is looked at again
    wait: int = 60  # seconds to wait for replication before each of these
    keys: int = 20  # how many differing rows of a table are listed
    timeout: int = 60  # seconds that one chunk may take


class Seen(NamedTuple):
    """A row on both servers: its digests, None where it is not, and its key for people."""

    first: str | None
    second: str | None
    shown: str

    @property
    def is_equal(self) -> bool:
        return self.first == self.second


class Chunk(NamedTuple):
    """A range that differs, and how many rows it has on each server."""

    span: Span
    rows: tuple[int, int]


class Comparison:
    """One comparison of two servers."""

    def __init__(
        self,
        names: tuple[str, str],
        ask: Ask,
        options: Options = Options(),  # noqa: B008 - a NamedTuple does not change
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.names = names
        self.options = options
        self.late: set[str] = set()  # who did not get in time what the other one has
        self._ask = ask
        self._sleep = sleep

    def run(self, databases: Sequence[str] | None = None) -> dict[str, Any]:
        """Compare everything, or some databases. Raises AskError when a server does not say what it has."""
        began = time.monotonic()
        different, undecided, same = self._definitions(databases)
        rows = 0
        for name, entry in same.items():
            try:
                found = _Table(self, entry).compare()
            except AskError as error:
                undecided[name] = {"error": str(error)}
                continue
            rows += found.pop("read")
            if found.pop("is_different"):
                different[name] = found
            elif found:
                undecided[name] = found
        result: dict[str, Any] = {
            "result": "different" if different else "undecided" if undecided else "equal",
            "servers": list(self.names),
            "tables": len(same),
            "rows": rows,
            "seconds": round(time.monotonic() - began, 1),
        }
        result |= {key: value for key, value in (("different", different), ("undecided", undecided)) if value}
        if self.late:
            result["late"] = (
                f"{', '.join(sorted(self.late))} did not get within {self.options.wait} s what the other one has; "
                "look at mysql_replication.status"
            )
        return result

    def _definitions(
        self, databases: Sequence[str] | None
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, dict[str, Any]]]:
        """What is not there or defined otherwise, the same as long as replication is late, and what can be compared."""
        arguments = {"databases": None if databases is None else list(databases)}
        for left in range(self.options.tries, -1, -1):
            first, second = self.both("definitions", arguments)
            found = self._defined_otherwise(first, second)
            if not found or not left:
                break
            self.catch_up()
        for name, what in found.items():
            if "definition" in what and name in first["tables"]:
                what["definition"] = self._lines(first["tables"][name])
        same = {
            name: entry
            for name, entry in first["tables"].items()
            if name in second["tables"] and name not in found and not entry["counts_only"]
        }
        return ({}, found, same) if self.late else (found, {}, same)

    def _defined_otherwise(self, first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for kind in ("tables", "objects"):
            for name in sorted({*first[kind], *second[kind]}):
                one, other = first[kind].get(name), second[kind].get(name)
                if one is None or other is None:
                    found[name] = {"only_on": self.names[0 if other is None else 1]}
                elif (one["definition"] != other["definition"]) if kind == "tables" else (one != other):
                    found[name] = {"definition": "differs"}
        return found

    def _lines(self, entry: Mapping[str, Any]) -> dict[str, list[str]]:
        """The lines of a table's definition that only one of the servers has."""
        texts = self.both("definition", {"database": entry["database"], "table": entry["table"]})
        lines = [[line.strip() for line in text.split("\n")] for text in texts]
        return {
            self.names[place]: [line for line in lines[place] if line not in lines[1 - place]] for place in (0, 1)
        }  # fmt: skip

    def both(self, function: str, arguments: Mapping[str, Any]) -> tuple[Any, Any]:
        """The answers of both servers, asked at once."""
        answers = self._ask(self.names, function, arguments)
        return answers[self.names[0]], answers[self.names[1]]

    def one(self, place: int, function: str, arguments: Mapping[str, Any]) -> Any:
        """The answer of one of the servers."""
        name = self.names[place]
        return self._ask([name], function, arguments)[name]

    def catch_up(self) -> None:
        """Wait until each server has what the other one has now; one that was late is not waited for again."""
        sets = self.both("gtids", {})
        for place in (0, 1):
            name = self.names[place]
            wait = 0 if name in self.late else self.options.wait
            if self.one(place, "caught_up", {"transactions": sets[1 - place], "wait": wait}):
                self.late.discard(name)
            else:
                self.late.add(name)
        # MariaDB names a transaction as its own a moment before others see its rows.
        self._sleep(0.5)


class _Table:
    """One table's comparison."""

    def __init__(self, comparison: Comparison, entry: Mapping[str, Any]) -> None:
        self.all = comparison
        self.options = comparison.options
        self.place = {"database": entry["database"], "table": entry["table"]}
        self.key: list[str] = entry["key"]
        self.totals = [0, 0]
        self.is_whole = [True, True]  # whether the totals are all rows
        self.different: dict[Key, Seen] = {}
        self.undecided: dict[Key, Seen] = {}

    @property
    def _limit(self) -> int:
        """How many rows of a range are read."""
        return self.options.rows * BEYOND

    def compare(self) -> dict[str, Any]:
        """What there is to say, and how many rows were read."""
        if not self.key:
            return self._compare_whole()
        left = self._refine(self._again(self._scan()))
        return self._report(left)

    # --- a table without a key ---

    def _compare_whole(self) -> dict[str, Any]:
        whole = [(None, None)]
        looks: list[tuple[Any, Any]] = []
        for _ in range(self.options.tries + 1):
            if looks:
                self.all.catch_up()
            first, second = self.all.both("chunks", self._about(ranges=whole, timeout=self.options.timeout))
            looks.append((_sum(first[0]), _sum(second[0])))
            if looks[-1][0] == looks[-1][1]:
                return {"read": first[0]["rows"], "is_different": False}
        at_rest = len(looks) < 2 or looks[-1] == looks[-2]
        return {
            "read": first[0]["rows"],
            "is_different": at_rest and not self.all.late,
            "rows": self._by_name((first[0]["rows"], second[0]["rows"])),
            "key": "none: which rows differ is not known",
        }

    # --- chunks ---

    def _scan(self) -> list[Chunk]:
        """All chunks; those that differ at a first look."""
        found: list[Chunk] = []
        rest: Span | None = (None, None)
        # Nobody knows yet how long its rows are.
        rows, count = min(self.options.rows, 1000), FIRST_CHUNKS
        while rest is not None:
            pieces = self._split(0, [rest], rows, count)
            # What is left after so many cuts is no chunk yet.
            rest = pieces.pop() if len(pieces) > count else None
            differing, counts, seconds = self._look(pieces)
            self.totals = [total + count for total, count in zip(self.totals, counts, strict=True)]
            for chunk in differing:
                self.is_whole = [so_far and rows_there < self._limit for so_far, rows_there in
                                 zip(self.is_whole, chunk.rows, strict=True)]  # fmt: skip
            found += differing
            rows, count = next_rows(rows, self.options.rows, seconds), CHUNKS
        return found

    def _again(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Those of the chunks that also differ once replication had its time."""
        if not chunks:
            return []
        self.all.catch_up()
        found: list[Chunk] = []
        for group in _groups(chunks, CHUNKS):
            found += self._look([chunk.span for chunk in group])[0]
        return found

    def _look(self, spans: Sequence[Span]) -> tuple[list[Chunk], tuple[int, int], float]:
        """The chunks that differ, how many rows all have, and how many seconds one takes on the slower server."""
        answers = self.all.both("chunks", self._about(ranges=list(spans), limit=self._limit, **self._gently()))
        found = [
            Chunk(span, (one["rows"], other["rows"]))
            for span, one, other in zip(spans, *answers, strict=True)
            # What is as long as the limit was not read to its end.
            if _sum(one) != _sum(other) or one["rows"] >= self._limit
        ]
        seconds = max(sum(answer["seconds"] for answer in side) for side in answers) / max(1, len(spans))
        counts = (sum(answer["rows"] for answer in answers[0]), sum(answer["rows"] for answer in answers[1]))
        return found, counts, seconds

    def _split(self, place: int, spans: Sequence[Span], rows: int, count: int = CHUNKS) -> list[Span]:
        arguments = self._about(ranges=list(spans), rows=rows, count=count, **self._gently())
        return [(lower, upper) for lower, upper in self.all.one(place, "split", arguments)]

    # --- from chunks to rows ---

    def _refine(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Find the differing rows, until enough are known; the chunks that were not looked into."""
        queue = list(chunks)
        while queue and len(self.different) < self.options.keys:
            short = [chunk for chunk in queue if max(chunk.rows) <= LISTED_ROWS][:PIECES]
            if short:
                queue = [chunk for chunk in queue if chunk not in short]
                queue += self._list(short)
            else:
                long, queue = queue[:PIECES], queue[PIECES:]
                queue = self._cut(long) + queue
        return queue

    def _cut(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Pieces of chunks, cut by the server that has more rows there; those that differ."""
        found: list[Chunk] = []
        for place in (0, 1):
            spans = [chunk.span for chunk in chunks if (chunk.rows[1] > chunk.rows[0]) == bool(place)]
            if spans:
                # Of so many rows that the cuts are enough for all of them.
                most = max(chunk.rows[place] for chunk in chunks if chunk.span in spans)
                pieces = self._split(place, spans, max(LISTED_ROWS // 2, most * len(spans) // CHUNKS))
                for group in _groups(pieces, CHUNKS):
                    found += self._look(group)[0]
        return found

    def _list(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Look at single rows; chunks that have become too long for it meanwhile are given back."""
        limit = LISTED_ROWS * 2
        arguments = self._about(ranges=[chunk.span for chunk in chunks], limit=limit, timeout=self.options.timeout)
        grown: list[Chunk] = []
        candidates: dict[Key, Seen] = {}
        for chunk, one, other in zip(chunks, *self.all.both("rows", arguments), strict=True):
            if max(len(one), len(other)) >= limit:
                grown.append(Chunk(chunk.span, (len(one), len(other))))
            else:
                candidates |= self._differing(one, other)
        for group in _groups(list(candidates.items()), ROWS):
            self._settle(dict(group))
            if len(self.different) >= self.options.keys:
                break
        return grown

    def _differing(self, one: Iterable[Any], other: Iterable[Any]) -> dict[Key, Seen]:
        digests = [{tuple(key): digest for key, digest, _ in side} for side in (one, other)]
        shown = {tuple(key): values for side in (other, one) for key, _, values in side}
        seen = {
            key: Seen(digests[0].get(key), digests[1].get(key), self._shown(values)) for key, values in shown.items()
        }
        return {key: row for key, row in seen.items() if not row.is_equal}

    def _settle(self, candidates: dict[Key, Seen]) -> None:
        """Look at rows again until they are equal, or have come to rest and differ."""
        before = candidates
        for _ in range(self.options.tries):
            if not candidates:
                return
            before = candidates
            self.all.catch_up()
            arguments = self._about(keys=[list(key) for key in candidates], timeout=self.options.timeout)
            now = self._differing(*self.all.both("values", arguments))
            candidates = {key: now[key] for key in candidates if key in now}
        for key, row in candidates.items():
            at_rest = row == before[key] and not self.all.late
            (self.different if at_rest else self.undecided)[key] = row

    # --- words ---

    def _report(self, left: Sequence[Chunk]) -> dict[str, Any]:
        names = self.all.names
        rows = [row for _, row in sorted(self.different.items(), key=lambda item: item[0])][: self.options.keys]
        only = {
            names[0]: [row.shown for row in rows if row.second is None],
            names[1]: [row.shown for row in rows if row.first is None],
        }
        found: dict[str, Any] = {
            "only_on": {name: shown for name, shown in only.items() if shown},
            "other_values": [row.shown for row in rows if row.first is not None and row.second is not None],
            "undecided": [row.shown for row in self.undecided.values()][: self.options.keys],
        }
        found = {field: value for field, value in found.items() if value}
        if left or len(self.different) > len(rows):
            found["more"] = f"{len(rows)} differing rows are listed; there may be more"
        if found:
            totals = zip(self.totals, self.is_whole, strict=True)
            found["rows"] = self._by_name([total if is_whole else f"at least {total}" for total, is_whole in totals])
        return found | {"read": self.totals[0], "is_different": bool(rows)}

    def _shown(self, values: Sequence[str]) -> str:
        return ", ".join(f"{name}={value}" for name, value in zip(self.key, values, strict=True))

    def _by_name(self, values: Sequence[int | str]) -> dict[str, int | str]:
        return dict(zip(self.all.names, values, strict=True))

    def _about(self, **arguments: Any) -> dict[str, Any]:
        return self.place | arguments

    def _gently(self) -> dict[str, int]:
        return {"pause": self.options.pause, "timeout": self.options.timeout}


def _sum(answer: Mapping[str, Any]) -> tuple[int, str]:
    return answer["rows"], answer["checksum"]


def _groups(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
