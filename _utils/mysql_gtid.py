"""
GTID sets of both dialects: parse, compare, subtract. Knows nothing of Salt.

MySQL names transactions by the server that first committed them, ``uuid:1-5:7`` (with tags since 8.3,
``uuid:tag:1-3``; MySQL manual, "GTID Sets"). MariaDB counts within a domain, ``domain-server-number``, and its
binary log's state says how far each server got in each (MariaDB manual, "Global Transaction ID").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

#: Where transactions come from: (uuid, tag) in MySQL, (domain, server) in MariaDB.
Origin = tuple[str, str]
#: Their numbers: spans with both ends, in order and apart from each other.
Spans = tuple[tuple[int, int], ...]
GtidSet = Mapping[Origin, Spans]

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_SPAN = re.compile(r"([0-9]+)(?:-([0-9]+))?")
_MARIADB = re.compile(r"([0-9]+)-([0-9]+)-([0-9]+)")


def parse_mysql(text: str | None) -> dict[Origin, Spans]:
    """``@@gtid_executed`` as a set. Raises ValueError."""
    found: dict[Origin, list[tuple[int, int]]] = {}
    for part in _parts(text):
        uuid, *rest = (word.strip().lower() for word in part.split(":"))
        if not _UUID.fullmatch(uuid) or not rest:
            raise ValueError(f"is no GTID set of MySQL: {part!r}")
        tag = ""
        for word in rest:
            if span := _SPAN.fullmatch(word):
                low = int(span[1])
                found.setdefault((uuid, tag), []).append((low, int(span[2] or low)))
            elif _TAG.fullmatch(word):
                tag = word
            else:
                raise ValueError(f"is no GTID set of MySQL: {part!r}")
    return {origin: _merged(spans) for origin, spans in found.items()}


def parse_mariadb(text: str | None) -> dict[Origin, Spans]:
    """``@@gtid_binlog_state``, which lists each server that ever wrote in a domain, as a set. Raises ValueError."""
    found: dict[Origin, list[tuple[int, int]]] = {}
    for part in _parts(text):
        gtid = _MARIADB.fullmatch(part)
        if not gtid:
            raise ValueError(f"is no GTID of MariaDB: {part!r}")
        found.setdefault((str(int(gtid[1])), str(int(gtid[2]))), []).append((1, int(gtid[3])))
    return {origin: _merged(spans) for origin, spans in found.items()}


def _parts(text: str | None) -> list[str]:
    return [part for part in (word.strip() for word in (text or "").split(",")) if part]


def _merged(spans: Iterable[tuple[int, int]]) -> Spans:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(span for span in spans if span[0] <= span[1]):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def subtract(one: GtidSet, other: GtidSet) -> dict[Origin, Spans]:
    """What ``one`` holds and ``other`` does not."""
    left = {origin: _without(spans, other.get(origin, ())) for origin, spans in one.items()}
    return {origin: spans for origin, spans in left.items() if spans}


def _without(spans: Spans, taken: Spans) -> Spans:
    left: list[tuple[int, int]] = []
    for low, high in spans:
        start = low
        for first, last in taken:
            if last < start or first > high:
                continue
            if first > start:
                left.append((start, first - 1))
            start = last + 1
        if start <= high:
            left.append((start, high))
    return tuple(left)


def count(gtids: GtidSet) -> int:
    """How many transactions a set holds."""
    return sum(high - low + 1 for spans in gtids.values() for low, high in spans)


def text(gtids: GtidSet, mariadb: bool) -> str:
    """A set for people, in its dialect's own writing; MariaDB's with a span where it would name the last one only."""
    parts = []
    for (first, second), spans in sorted(gtids.items()):
        ranges = [str(low) if low == high else f"{low}-{high}" for low, high in spans]
        if mariadb:
            parts += [f"{first}-{second}-{one if one.isdigit() else f'({one})'}" for one in ranges]
        else:
            parts.append(":".join([first, *([second] if second else []), *ranges]))
    return ",".join(parts)


def with_own(position: str, theirs: str, domain: str, server: str) -> str:
    """
    A MariaDB replica's position, with its server's own transactions counted in as far as the source has them: this
    server wrote them. Else a source whose binary log begins later than the last one that came back refuses it (1236),
    as it does when asked to go on from one that it does not have yet.

    position, theirs
        ``@@gtid_slave_pos``, and the source's ``@@gtid_binlog_state``.
    domain, server
        This server's ``gtid_domain_id`` and ``server_id``.
    """
    own = next((gtid for gtid in _parts(theirs) if gtid.startswith(f"{domain}-{server}-")), None)
    others = [gtid for gtid in _parts(position) if not gtid.startswith(f"{domain}-")]
    return ",".join([*others, own]) if own else position


class Comparison(NamedTuple):
    """Two servers' sets, as text: what only this one holds, what only the other one holds, and how they relate."""

    only_here: str
    only_there: str
    relation: str  # equal, ahead, behind, diverged


def compare(here: GtidSet, there: GtidSet, mariadb: bool) -> Comparison:
    """Hold one server's set against another's."""
    more, less = subtract(here, there), subtract(there, here)
    relation = {(False, False): "equal", (True, False): "ahead", (False, True): "behind"}.get(
        (bool(more), bool(less)), "diverged"
    )
    return Comparison(text(more, mariadb), text(less, mariadb), relation)
