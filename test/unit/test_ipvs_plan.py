"""What has to change in a table, and in which order."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ipvs_plan as plan
import ipvs_rules as rules
from ipvs_model import Entry, Table
from ipvs_plan import ADD, DELETE, EDIT, Change, Scope
from ipvs_strategies import tables

WEB, SQL, MARK = "tcp 192.168.1.100:80", "tcp 192.168.1.101:3306", "fwmark 5 ipv6"


def carried_out(changes: list[Change], present: Table) -> Table:
    """The table after these changes, by the kernel's rules: no entry twice, none edited that is not there."""
    table = {key: Entry(entry.service, dict(entry.servers)) for key, entry in present.items()}
    for change in changes:
        if change.server is None:
            assert (change.key in table) == (change.action != ADD)
            if change.action == DELETE:
                del table[change.key]
            else:
                table[change.key] = Entry(change.new, table[change.key].servers if change.key in table else {})
            continue
        servers = table[change.key].servers
        assert (change.server in servers) == (change.action != ADD)
        if change.action == DELETE:
            del servers[change.server]
        else:
            servers[change.server] = change.new
    return table


@given(tables, tables)
def test_the_changes_lead_to_the_wanted_table_and_then_there_are_none(one: dict, other: dict) -> None:
    wanted, present = rules.table(one), rules.table(other)
    changes = plan.changes(wanted, present, purge=True)
    assert carried_out(changes, present) == wanted
    assert plan.changes(wanted, wanted, purge=True) == []


@given(tables, tables, st.data())
def test_only_what_is_wanted_changes_without_purge(one: dict, other: dict, data: st.DataObject) -> None:
    # A part of what is there is wanted too, otherwise set.
    kept = {name: {"scheduler": "rr", "persistence_timeout": 5} for name in other if data.draw(st.booleans())}
    wanted, present = rules.table({**one, **kept}), rules.table(other)
    after = carried_out(plan.changes(wanted, present), present)
    assert after == {**present, **wanted}


@given(tables, tables)
def test_additions_come_first_and_removals_last(one: dict, other: dict) -> None:
    order = [change.action for change in plan.changes(rules.table(one), rules.table(other), purge=True)]
    removals = [action for action in order if action == DELETE]
    assert order[len(order) - len(removals) :] == removals
    changes = plan.changes(rules.table(one), rules.table(other))
    kinds = [(change.action, change.server is None) for change in changes]
    ranks = [(ADD, True), (EDIT, True), (ADD, False), (EDIT, False), (DELETE, False)]
    assert [ranks.index(kind) for kind in kinds] == sorted(ranks.index(kind) for kind in kinds)


def table(**changes: Any) -> Table:
    words = {
        WEB: {"scheduler": "rr", "servers": {"192.168.1.5": {"weight": 1}, "192.168.1.6": {"weight": 1}}},
        SQL: {"servers": {"192.168.1.5": {}}}, MARK: {},
    }  # fmt: skip
    words.update(changes)
    return rules.table(words)


def test_one_weight_is_one_change_with_its_field() -> None:
    wanted = table(**{WEB: {"scheduler": "rr", "servers": {"192.168.1.5": {"weight": 7}, "192.168.1.6": {}}}})
    changes = plan.changes(wanted, table())
    assert plan.as_dict(changes) == {f"{WEB} -> 192.168.1.5:80": {"weight": {"old": 1, "new": 7}}}


def test_new_and_old_entries_show_all_their_fields() -> None:
    wanted = rules.table({WEB: {"scheduler": "rr", "servers": {"192.168.1.7": {"weight": 2}}}})
    present = rules.table({WEB: {"scheduler": "rr", "servers": {"192.168.1.5": {}}}, MARK: {}})
    assert plan.as_dict(plan.changes(wanted, present, purge=True)) == {
        f"{WEB} -> 192.168.1.7:80": {"forward": {"old": None, "new": "dr"}, "weight": {"old": None, "new": 2}},
        f"{WEB} -> 192.168.1.5:80": {"forward": {"old": "dr", "new": None}, "weight": {"old": 1, "new": None}},
        MARK: {"scheduler": {"old": "wlc", "new": None}},
    }


@pytest.mark.parametrize(("scope", "ignore", "removed"), [
    (None, None, {WEB, SQL, MARK}),
    ([], None, set()),
    (["192.168.1.100"], None, {WEB}),
    (["192.168.1.0/24"], None, {WEB, SQL}),
    (["192.168.1.0/24", "fwmark 5"], [SQL], {WEB, MARK}),
    (None, ["fwmark 5 ipv6"], {WEB, SQL}),
    (None, ["fwmark 5 ipv4"], {WEB, SQL, MARK}),
    (None, ["2001:db8::/32", "192.168.1.100/32"], {SQL, MARK}),
])  # fmt: skip
def test_purge_stays_in_scope_and_off_what_is_ignored(scope: Any, ignore: Any, removed: set[str]) -> None:
    speaks_for = plan.scope_of(scope, "scope")
    ignored = plan.scope_of(ignore, "ignore", plan.Nothing)
    changes = plan.changes({}, table(), True, speaks_for, ignored)
    assert {change.name for change in changes} == removed


@pytest.mark.parametrize("word", ["192.168.1.5/24", "x", "", None, 5, "tcp x", "fwmark 0", ["192.168.1.1"]])
def test_what_is_no_scope(word: Any) -> None:
    with pytest.raises(rules.Wrong, match="scope: ?.*is .*; allowed: |scope: the fwmark: is '0'"):
        Scope([word], "scope")


def test_what_leaves_are_removed_servers_and_those_of_removed_services() -> None:
    wanted = rules.table({WEB: {"scheduler": "rr", "servers": {"192.168.1.5": {"weight": 1}}}})
    present = table()
    changes = plan.changes(wanted, present, purge=True)
    assert {(key.name, server.name) for key, server, _ in plan.leaving(changes, present)} == {
        (WEB, "192.168.1.6:80"), (SQL, "192.168.1.5:3306")}  # fmt: skip
