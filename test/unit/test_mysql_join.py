"""How two servers come together: every start situation, in both dialects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mysql_join
from mysql_join import COPY, REFUSE, REPLICATE, WAIT

A, B = "aaaaaaaa-0000-0000-0000-000000000000", "bbbbbbbb-0000-0000-0000-000000000000"


def server(number: int, gtids: str = "", tables: int = 0, purged: str = "", flavor: str = "mariadb") -> dict:
    uuid = {1: A, 2: B}[number] if flavor == "mysql" else ""
    return {"server_id": number, "server_uuid": uuid, "gtids": gtids, "tables": tables, "purged": purged,
            "flavor": flavor}  # fmt: skip


def mysql(number: int, gtids: str, purged: str = "") -> dict:
    return server(number, gtids, 3, purged, "mysql")


def decide(here: dict, there: dict, seed: str = "") -> mysql_join.Decision:
    return mysql_join.decide(here, there, "mysql1", "mysql2", seed)


SITUATIONS = {
    "both empty": (server(1), server(2), REPLICATE),
    "only the peer has data": (server(1), server(2, "2-2-9", 3), COPY),
    "only the peer has data, older than its binary log": (server(1), server(2, "", 3), WAIT),
    "the peer has no tables, but accounts in its binary log": (server(1), server(2, "2-2-9"), COPY),
    "only this server has data": (server(1, "1-1-9", 3), server(2), REPLICATE),
    "only this server has data, older than its binary log": (server(1, "", 3), server(2), REPLICATE),
    "equal": (server(1, "1-1-9,2-2-4", 3), server(2, "1-1-9,2-2-4", 3), REPLICATE),
    "ahead": (server(1, "1-1-9,2-2-4", 3), server(2, "1-1-5,2-2-4", 3), REPLICATE),
    "behind": (server(1, "1-1-5", 3), server(2, "1-1-5,2-2-4", 3), REPLICATE),
    "behind, the peer has purged what this one has": (server(1, "2-2-5", 3), server(2, "2-2-9", 3, "2-2-5"), REPLICATE),
    "behind, the peer has purged what is needed": (server(1, "2-2-5", 3), server(2, "2-2-9", 3, "2-2-6"), REFUSE),
    "behind in what it wrote itself": (server(1, "1-1-5", 3), server(2, "1-1-9", 3), REFUSE),
    "diverged": (server(1, "1-1-9", 3), server(2, "2-2-9", 3), REFUSE),
    "both older than their binary logs": (server(1, "", 3), server(2, "", 3), REFUSE),
    "this one older than its binary log": (server(1, "", 3), server(2, "2-2-9", 3), REFUSE),
    "the peer older than its binary log": (server(1, "1-1-9", 3), server(2, "", 3), REFUSE),
    "no tables, but a history that the peer lacks": (server(1, "1-1-9"), server(2, "2-2-9", 3), REFUSE),
    "mysql: equal": (mysql(1, f"{A}:1-9"), mysql(2, f"{A}:1-9"), REPLICATE),
    "mysql: diverged": (mysql(1, f"{A}:1-9"), mysql(2, f"{A}:1-8,{B}:1"), REFUSE),
    "mysql: behind": (mysql(1, f"{B}:1-5"), mysql(2, f"{B}:1-9"), REPLICATE),
    "mysql: purged": (mysql(1, f"{B}:1-5"), mysql(2, f"{B}:1-9", f"{B}:1-6"), REFUSE),
    "mysql: behind in what it wrote itself": (mysql(1, f"{A}:1-5"), mysql(2, f"{A}:1-9"), REFUSE),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_situation(situation: str) -> None:
    here, there, action = SITUATIONS[situation]
    decision = decide(here, there)
    assert (decision.action, decision.keep) == (action, False)
    if action == REFUSE:
        assert "Decide whose data is kept" in decision.why
        named = {"mysql1": decide(here, there, "mysql1"), "mysql2": decide(here, there, "mysql2")}
        assert {name: found.action for name, found in named.items()} == {"mysql1": WAIT, "mysql2": COPY}
        # Nothing that this server holds is given up without being kept.
        assert named["mysql2"].keep is True
    else:
        # Whose data is kept is only asked where it has to be.
        assert decide(here, there, "mysql2") == decide(here, there, "mysql1") == decision


def test_what_is_only_on_one_is_named() -> None:
    why = decide(server(1, "1-1-9", 3), server(2, "1-1-7,2-2-9", 3)).why
    assert "(only on mysql1: 1-1-(8-9); only on mysql2: 2-2-(1-9))" in why
    lost = decide(server(1, "2-2-5", 3), server(2, "2-2-9", 3, "2-2-8")).why
    assert "mysql2 no longer has the binary logs that this server needs (2-2-(6-8))" in lost
    own = decide(server(1, "1-1-5", 3), server(2, "1-1-9", 3)).why
    assert "mysql1 has lost transactions that it once wrote itself, and that only mysql2 has (1-1-(6-9))" in own


@pytest.mark.parametrize("seed", ["", "mysql1", "mysql2"])
def test_a_copy_of_a_machine_is_never_joined(seed: str) -> None:
    one = server(1, f"{A}:1-9", 3, flavor="mysql")
    assert "the server_id 1" in decide(one, one | {"server_uuid": B}, seed).why
    decision = decide(one, one | {"server_id": 2}, seed)
    assert (decision.action, f"the server_uuid {A}" in decision.why) == (REFUSE, True)


GTIDS = st.dictionaries(st.sampled_from(["1-1", "2-2", "1-2"]), st.integers(1, 9)).map(
    lambda found: ",".join(f"{origin}-{number}" for origin, number in found.items())
)


@given(GTIDS, GTIDS, st.integers(0, 2), st.integers(0, 2), st.sampled_from(["", "mysql1", "mysql2"]))
def test_a_server_that_holds_something_is_never_replaced_unless_the_pillar_says_so(
    mine: str, theirs: str, tables: int, more: int, seed: str
) -> None:
    here, there = server(1, mine, tables), server(2, theirs, more)
    decision = decide(here, there, seed)
    if decision.action == COPY and not mysql_join.is_empty(here):
        assert decision.keep
        assert seed == "mysql2"
    if decision.action == COPY:
        assert not mysql_join.is_empty(there)


REPLICAS = {
    "both empty": (server(1), server(2), REPLICATE, ""),
    "the master has data": (server(1), server(2, "2-2-9", 3), COPY, ""),
    "the master has data, older than its binary log": (server(1), server(2, "", 3), WAIT, "to begin its binary log"),
    "the replica has data, the master none": (server(1, "2-2-9", 3), server(2), REFUSE, "mysql1 has none"),
    "equal": (server(1, "2-2-9", 3), server(2, "2-2-9", 3), REPLICATE, ""),
    "behind": (server(1, "2-2-5", 3), server(2, "2-2-9", 3), REPLICATE, ""),
    "behind, without the logs": (server(1, "2-2-5", 3), server(2, "2-2-9", 3, "2-2-6"), REFUSE, "no longer has"),
    "errant": (server(1, "1-1-1,2-2-9", 3), server(2, "2-2-9", 3), REFUSE, "that mysql1 lacks (1-1-1)"),
    "diverged": (server(1, "1-1-1", 3), server(2, "2-2-9", 3), REFUSE, "both servers hold transactions"),
    "one machine's copy": (server(1, "2-2-9", 3), server(1, "2-2-9", 3), REFUSE, "both servers have the server_id 1"),
    "MySQL, errant": (mysql(1, f"{A}:1,{B}:1-5"), mysql(2, f"{B}:1-5"), REFUSE, f"that mysql1 lacks ({A}:1)"),
}


@pytest.mark.parametrize("situation", REPLICAS)
def test_a_replica_takes_and_never_gives(situation) -> None:
    here, there, action, why = REPLICAS[situation]
    decision = mysql_join.follow(here, there, "replica1", "mysql1")
    assert decision.action == action
    assert why in decision.why
    assert not decision.keep
    if action == REFUSE and "has none" not in why and "server_id" not in why:
        assert "mysql_ha.orch.rebuild pillar='{rebuild: {node: replica1, from: mysql1}}'" in decision.why
