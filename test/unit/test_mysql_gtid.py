"""GTID sets of both dialects, against sets of plain numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mysql_gtid as gtid

ONE = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
TWO = "3e11fa47-71ca-11e1-9e33-c80aa9429563"
spans = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 8)), max_size=6)
sets = st.dictionaries(st.sampled_from([ONE, TWO, f"{ONE}:tag"]), spans, max_size=3)


def written(given_set) -> str:
    return ",\n".join(
        ":".join([name, *(f"{low}-{low + more}" if more else str(low) for low, more in parts)])
        for name, parts in given_set.items()
        if parts
    )


def naive(given_set) -> set[tuple[str, int]]:
    return {(name, number) for name, parts in given_set.items() for low, more in parts
            for number in range(low, low + more + 1)}  # fmt: skip


def numbers(parsed) -> set[tuple[str, int]]:
    return {(":".join(filter(None, origin)), number) for origin, parts in parsed.items()
            for low, high in parts for number in range(low, high + 1)}  # fmt: skip


@given(sets)
def test_a_mysql_set_is_read_as_it_is_meant(one) -> None:
    parsed = gtid.parse_mysql(written(one))
    assert numbers(parsed) == naive(one)
    assert gtid.count(parsed) == len(naive(one))
    assert gtid.parse_mysql(gtid.text(parsed, mariadb=False)) == parsed


@given(sets, sets)
def test_subtraction_and_relation(one, other) -> None:
    mine, theirs = gtid.parse_mysql(written(one)), gtid.parse_mysql(written(other))
    more, less = naive(one) - naive(other), naive(other) - naive(one)
    assert numbers(gtid.subtract(mine, theirs)) == more
    compared = gtid.compare(mine, theirs, mariadb=False)
    expected = {(True, True): "diverged", (True, False): "ahead", (False, True): "behind", (False, False): "equal"}
    assert compared.relation == expected[bool(more), bool(less)]
    assert numbers(gtid.parse_mysql(compared.only_there)) == less


@pytest.mark.parametrize(("here", "there", "relation", "only_here", "only_there"), [
    ("", "", "equal", "", ""),
    (None, "1-1-5", "behind", "", "1-1-(1-5)"),
    ("1-1-9,1-2-4", "1-1-9", "ahead", "1-2-(1-4)", ""),
    ("1-1-5", "2-2-3", "diverged", "1-1-(1-5)", "2-2-(1-3)"),
    ("1-1-6", "1-1-5", "ahead", "1-1-6", ""),
    ("01-1-6", "1-1-6", "equal", "", ""),
])  # fmt: skip
def test_mariadbs_sets_are_compared_per_domain_and_server(here, there, relation, only_here, only_there) -> None:
    compared = gtid.compare(gtid.parse_mariadb(here), gtid.parse_mariadb(there), mariadb=True)
    assert compared == (only_here, only_there, relation)


@pytest.mark.parametrize("text", ["nonsense", f"{ONE}", f"{ONE}:x-y", "1-1-5", f"{ONE}:1-", f"x{ONE}:1"])
def test_what_is_no_set_of_mysql(text) -> None:
    with pytest.raises(ValueError, match="is no GTID set of MySQL"):
        gtid.parse_mysql(text)


@pytest.mark.parametrize("text", ["nonsense", "1-1", "1-1-5-9", f"{ONE}:1-5"])
def test_what_is_no_set_of_mariadb(text) -> None:
    with pytest.raises(ValueError, match="is no GTID of MariaDB"):
        gtid.parse_mariadb(text)


@pytest.mark.parametrize(
    ("position", "theirs", "wanted"),
    [
        ("1-1-36,2-2-4", "1-1-392,2-2-4", "2-2-4,1-1-392"),
        ("2-2-4", "1-1-392", "2-2-4,1-1-392"),
        ("", "1-1-392", "1-1-392"),
        # The last one in its domain is another server's: what of it is here is not for this server to say.
        ("1-1-36,2-2-4", "1-2-392", "1-1-36,2-2-4"),
        ("2-2-4", "", "2-2-4"),
        ("2-2-4", "2-2-9", "2-2-4"),
        ("11-1-3", "1-1-5", "11-1-3,1-1-5"),
    ],
)
def test_what_a_server_wrote_itself_it_has(position: str, theirs: str, wanted: str) -> None:
    assert gtid.with_own(position, theirs, "1", "1") == wanted
