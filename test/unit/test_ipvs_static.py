"""Static services: what is ours, what becomes of it when a run is interrupted, and the program that runs at boot."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError

import host_programs
import ipvs_kernel
import ipvs_rules as rules
import ipvs_static
import ipvs_static_kept
import ipvs_static_unit
import systemd_program
from ipvs_model import Entry, Table
from ipvs_plan import ADD, DELETE, Change
from ipvs_static import Asked
from ipvs_strategies import tables

WEB, DNS, MARK, SQL = "tcp 192.0.2.1:80", "udp 192.0.2.1:53", "fwmark 5 ipv4", "tcp 192.0.2.9:3306"
ONE, TWO = "192.0.2.5", "192.0.2.6"
SERVICE = {"scheduler": "rr", "servers": {ONE: {"weight": 3}, TWO: {"weight": 3}}}
ENDPOINT = {"address": "192.0.2.9", "port": 3306, "check": "tcp", "servers": {"one": {"address": ONE}}}
AT_WEB = {"address": "192.0.2.1", "port": 80, "check": "tcp", "servers": {"one": {"address": ONE}}}


class Kernel:
    """A kernel's table that is a variable."""

    def __init__(self, present: dict[str, Any] | None = None) -> None:
        self.present: Table = rules.table(present or {})
        self.refuses: set[str] = set()
        self.is_loaded = True
        self.made: list[str] = []

    def __enter__(self) -> Kernel:
        if not self.is_loaded:
            raise ipvs_kernel.IpvsError("Cannot reach IPVS: load it with: modprobe ip_vs", 2, True)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def table(self) -> Table:
        return {key: Entry(entry.service, dict(entry.servers)) for key, entry in self.present.items()}

    def connections(self, _: object) -> dict[Any, Any]:
        return {}

    def make(self, changes: list[Change]) -> ipvs_kernel.Outcome:
        done, refused = [], []
        for change in changes:
            if change.name in self.refuses:
                refused.append(ipvs_kernel.Refusal(change, 1, "EPERM: why"))
                continue
            done.append(change)
            self.made.append(f"{change.action} {change.name}")
            if change.server is None:
                assert (change.key in self.present) == (change.action != ADD)
                if change.action == DELETE:
                    del self.present[change.key]
                else:
                    there = self.present.get(change.key)
                    self.present[change.key] = Entry(change.new, there.servers if there else {})
            elif change.action == DELETE:
                del self.present[change.key].servers[change.server]
            else:
                self.present[change.key].servers[change.server] = change.new
        return ipvs_kernel.Outcome(done, refused)

    @property
    def names(self) -> set[str]:
        return {key.name for key in self.present}


def keys(*names: str) -> frozenset[Any]:
    return frozenset(map(rules.service_key, names))


def asked(*wanted: str, theirs: tuple[str, ...] = (SQL,), purge: bool = False) -> Asked:
    return Asked(rules.table(dict.fromkeys(wanted, SERVICE)), keys(*theirs), purge)


# --- the record ---


@given(tables)
def test_a_record_is_read_as_it_was_written_whatever_the_order(services: dict[str, Any]) -> None:
    table = rules.table(services)
    text = ipvs_static.text(table)
    assert text.startswith("# Managed by Salt (mysql_ha.director.services)")
    assert ipvs_static.parse(Path("/x"), text) == table
    backwards = {key: Entry(entry.service, dict(reversed(entry.servers.items())))
                 for key, entry in reversed(table.items())}  # fmt: skip
    assert ipvs_static.text(backwards) == text


@pytest.mark.parametrize(("text", "reason"), [
    ("-A -t 192.0.2.1:80 -s rr\n-Z\n", "line 2: -Z: is no option of a saved table"),
    ("-A -f -" + "9" * 5000 + " -s rr\n", "Exceeds the limit"),
    ("\ufffd\n", "line 1: "),
])  # fmt: skip
def test_a_record_that_cannot_be_read_is_named(text: str, reason: str) -> None:
    with pytest.raises(rules.Wrong) as caught:
        ipvs_static.parse(Path("/etc/ipvs.rules"), text)
    assert str(caught.value).startswith(f"/etc/ipvs.rules: is not as this formula writes it: {reason}")


def test_no_record_is_an_empty_one(tmp_path: Path) -> None:
    assert ipvs_static.read(tmp_path / "none") is None
    assert ipvs_static.parse(tmp_path, None) == {}


# --- what has to change ---


@pytest.mark.parametrize(("wanted", "record", "present", "purge", "gone"), [
    # Only what we put in goes.
    ((), (WEB,), (WEB, DNS, SQL), False, {WEB}),
    ((WEB,), (), (WEB, DNS, SQL), False, set()),
    ((WEB,), (DNS,), (WEB, DNS, SQL), False, {DNS}),
    # What has gone already is no matter.
    ((WEB,), (DNS,), (WEB, SQL), False, set()),
    # A service of ours that is keepalived's now.
    ((), (SQL,), (SQL,), False, set()),
    # Strangers go too, keepalived's stay.
    ((WEB,), (), (WEB, DNS, MARK, SQL), True, {DNS, MARK}),
    ((), (WEB,), (WEB, DNS, SQL), True, {WEB, DNS}),
    # A mark of one family is not that of the other.
    ((), (MARK,), (MARK, "fwmark 5 ipv6"), False, {MARK}),
])  # fmt: skip
def test_what_goes(wanted, record, present, purge, gone) -> None:
    table = rules.table({name: {} if name.endswith("ipv6") else SERVICE for name in present})
    changes = ipvs_static.changes(asked(*wanted, purge=purge), rules.table(dict.fromkeys(record, SERVICE)), table)
    assert {change.name for change in changes} == gone
    assert all(change.action == DELETE for change in changes)


def test_what_is_equal_is_not_touched_and_what_is_not_is_put_right() -> None:
    present = rules.table({WEB: {"scheduler": "wlc", "servers": {ONE: {"weight": 9}, "192.0.2.7": {}}}, DNS: SERVICE})
    changes = ipvs_static.changes(asked(WEB, DNS), {}, present)
    told = [f"{change.action} {change.name}" for change in changes]
    assert told == [f"edit {WEB}", *(f"{what}:80" for what in (
        f"add {WEB} -> {TWO}", f"edit {WEB} -> {ONE}", f"delete {WEB} -> 192.0.2.7"))]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(tables, tables, tables, tables, st.booleans())
def test_nobody_elses_service_is_touched(ours, before, theirs, strangers, purge) -> None:
    wanted, record = rules.table(ours), rules.table(before)
    others = {key: entry for key, entry in rules.table(theirs).items() if key not in wanted}
    strange = {key: entry for key, entry in rules.table(strangers).items() if key not in others}
    kernel = Kernel()
    kernel.present = {**record, **strange, **others}
    want = Asked(wanted, frozenset(others), purge)
    kernel.make(ipvs_static.changes(want, record, kernel.table()))
    kept = {} if purge else {key: entry for key, entry in strange.items() if key not in record and key not in wanted}
    assert kernel.present == {**kept, **others, **wanted}
    assert ipvs_static.changes(want, record, kernel.present) == []
    assert ipvs_static.changes(want, wanted, kernel.present) == []


def test_the_record_claims_what_is_still_to_go_but_not_what_is_keepalives() -> None:
    record = rules.table(dict.fromkeys([WEB, DNS, SQL], SERVICE))
    assert {key.name for key in ipvs_static.claimed(asked(MARK, WEB), record)} == {MARK, WEB, DNS}
    assert ipvs_static.claimed(asked(WEB), {}) == asked(WEB).wanted


# --- on a host ---


class Host:
    """A director: its kernel, its record, its unit and the program that this runs at boot."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kernel, self.record = Kernel(), place / "etc" / "ipvs.rules"
        self.enabled, self.said, self.leaving = False, [], []
        self.fails: str | None = None
        monkeypatch.setattr(systemd_program, "FOLDER", place / "lib")
        monkeypatch.setattr(systemd_program, "UNITS", place / "units")
        monkeypatch.setattr(host_programs, "run", self.systemctl)
        monkeypatch.setattr(ipvs_kernel, "Ipvs", lambda: self.kernel)
        self.unit = place / "units" / ipvs_static_unit.SERVICE

    def systemctl(self, words: list[str], **_: object) -> str:
        self.said.append(" ".join(words[1:]))
        if words[1] == self.fails or (words[1] == "is-enabled" and not self.enabled):
            raise host_programs.ProgramError("exit status 1 from systemctl: no")
        if words[1] in ("enable", "disable"):
            assert self.unit.exists()
            self.enabled = words[1] == "enable"
        return ""

    def settings(self, *services: str, ipvs: dict[str, Any] | None = None, **endpoints: Any) -> dict[str, Any]:
        own = {"services": dict.fromkeys(services, SERVICE), "purge": False, "drain": 0, **(ipvs or {})}
        return {"endpoints": {"sql": ENDPOINT, **endpoints}, "nodes": {}, "ipvs": own}

    def boot(self) -> int:
        """Power off, and on again."""
        self.kernel = Kernel()
        if not self.enabled or not self.record.exists():
            return 0
        return ipvs_static.main([str(self.record)], lambda: self.kernel)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


@pytest.fixture
def static(load_module, host):
    """``static("tcp ...")``: the state, for real or in test mode."""
    modules = load_module("modules", "ipvs", __opts__={"file_client": "local"},
                          __salt__={"keepalived.leaving": lambda _: host.leaving})  # fmt: skip
    functions = {"ipvs.diff_static": modules.diff_static, "ipvs.apply_static": modules.apply_static}

    def run(*services: str, test: bool = False, **words: Any) -> dict[str, Any]:
        state = load_module("states", "ipvs", __opts__={"test": test}, __salt__=functions)
        return state.static(str(host.record), host.settings(*services, **words))

    run.modules = modules
    return run


def done(host: Host, *arguments: Any, run: Any, **words: Any) -> set[str]:
    """What a run changed; it must succeed, be predicted, and have nothing to do the next time."""
    host.kernel.made.clear()
    predicted = run(*arguments, test=True, **words)
    assert host.kernel.made == []
    ret = run(*arguments, **words)
    assert ret["result"] is True, ret
    assert ret["changes"] == predicted["changes"]
    assert predicted["result"] is (None if ret["changes"] else True)
    host.kernel.made.clear()
    for test in (True, False):
        again = run(*arguments, test=test, **words)
        assert (again["result"], again["changes"]) == (True, {}), again
    assert host.kernel.made == []
    return set(ret["changes"])


RECORD_AND_UNIT = {ipvs_static_unit.SERVICE, "record"}


def named(host: Host, changes: set[str]) -> set[str]:
    return {"record" if name == str(host.record) else name for name in changes}


def test_services_come_go_and_come_back_at_boot(host, static) -> None:
    host.kernel.present = rules.table({SQL: SERVICE, MARK: SERVICE})
    changed = named(host, done(host, WEB, DNS, run=static))
    assert changed == {WEB, DNS, *(f"{name} -> {server}:{port}" for name, port in ((WEB, 80), (DNS, 53))
                                   for server in (ONE, TWO)), *RECORD_AND_UNIT}  # fmt: skip
    assert host.kernel.names == {SQL, MARK, WEB, DNS}
    assert host.boot() == 0
    assert host.kernel.names == {WEB, DNS}
    host.kernel.present |= rules.table({MARK: SERVICE})
    assert named(host, done(host, DNS, run=static)) == {WEB, "record"}
    assert host.kernel.names == {DNS, MARK}
    assert named(host, done(host, run=static)) == {DNS, *RECORD_AND_UNIT}
    assert host.kernel.names == {MARK}
    assert (host.record.exists(), host.unit.exists(), host.enabled) == (False, False, False)
    assert list(systemd_program.FOLDER.iterdir()) == []
    assert "disable --now mysql_ha-ipvs.service" in host.said


def test_a_host_without_static_services_is_not_touched(host, static) -> None:
    host.kernel.is_loaded = False
    assert done(host, run=static) == set()
    assert host.said == []
    assert not host.record.parent.exists()


def test_what_is_there_is_adopted(host, static) -> None:
    host.kernel.present = rules.table({WEB: SERVICE})
    assert named(host, done(host, WEB, run=static)) == RECORD_AND_UNIT
    assert named(host, done(host, run=static)) == {WEB, *RECORD_AND_UNIT}


def test_strangers_go_only_when_the_pillar_says_so(host, static) -> None:
    host.kernel.present = rules.table({MARK: SERVICE, SQL: SERVICE})
    done(host, WEB, run=static)
    assert host.kernel.names == {MARK, SQL, WEB}
    assert done(host, WEB, run=static, ipvs={"purge": True}) == {MARK}
    host.kernel.present |= rules.table({MARK: SERVICE})
    done(host, run=static, ipvs={"purge": True})
    assert host.kernel.names == {SQL}


def test_from_static_to_endpoint_and_back(host, static) -> None:
    done(host, WEB, run=static)
    # keepalived has found the service existing and has taken it over; it is not ours to touch.
    host.kernel.present = rules.table({WEB: {"scheduler": "wrr", "servers": {ONE: {}}}, SQL: SERVICE})
    before = host.kernel.table()
    assert named(host, done(host, run=static, web=AT_WEB)) == RECORD_AND_UNIT
    assert host.kernel.present == before
    # Back: in test mode it is still there, and keepalived says that it is going to remove it.
    host.leaving = [WEB]
    predicted = static(WEB, test=True)
    assert host.kernel.present == before
    del host.kernel.present[rules.service_key(WEB)]
    host.leaving = []
    ret = static(WEB)
    assert ret["result"] is True
    assert ret["changes"] == predicted["changes"]
    assert host.kernel.present[rules.service_key(WEB)] == rules.table({WEB: SERVICE})[rules.service_key(WEB)]


def test_a_purge_in_test_mode_leaves_to_keepalived_what_it_removes_itself(host, static) -> None:
    host.kernel.present = rules.table({SQL: SERVICE, DNS: SERVICE, MARK: SERVICE})
    host.leaving = [DNS]
    assert set(static(test=True, ipvs={"purge": True})["changes"]) == {MARK}


def test_servers_that_go_are_drained(host, static, monkeypatch) -> None:
    done(host, WEB, DNS, run=static)
    asked_of: list[float] = []
    apply = ipvs_kernel.apply
    monkeypatch.setattr(
        ipvs_kernel,
        "apply",
        lambda ipvs, decide, drain=0, *rest: asked_of.append(drain) or apply(ipvs, decide, drain, *rest),
    )
    done(host, DNS, run=static, ipvs={"drain": 5})
    assert asked_of[0] == 5
    # The weight is taken first.
    assert host.kernel.names == {DNS}


def test_what_the_kernel_refuses_is_told_and_stays_ours(host, static) -> None:
    done(host, WEB, run=static)
    host.kernel.refuses = {DNS, f"{DNS} -> {ONE}:53", f"{DNS} -> {TWO}:53"}
    ret = static(DNS)
    assert ret["result"] is False
    assert f"  {DNS}: EPERM: why" in ret["comment"]
    assert f"  {WEB}: kept, because something else could not be added or edited" in ret["comment"]
    assert named(host, set(ret["changes"])) == {"record"}
    assert static.modules.__context__["retcode"] == 1
    assert host.kernel.names == {WEB}
    assert {key.name for key in ipvs_static.parse(host.record, host.record.read_text())} == {WEB, DNS}
    host.kernel.refuses = set()
    assert WEB in done(host, DNS, run=static)
    assert host.kernel.names == {DNS}


def test_a_kernel_without_ipvs(host, static) -> None:
    host.kernel.is_loaded = False
    assert static(WEB, test=True)["result"] is None
    ret = static(WEB)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "modprobe ip_vs" in ret["comment"]


@pytest.mark.parametrize("fails", ["daemon-reload", "enable"])
def test_what_cannot_be_made_to_last_is_not_begun(host, static, fails) -> None:
    host.fails = fails
    ret = static(WEB)
    assert (ret["result"], ret["changes"], host.kernel.present) == (False, {}, {})
    assert ret["comment"].startswith(f"systemctl {fails}")
    assert ret["comment"].endswith("nothing in the table was changed")
    host.fails = None
    done(host, WEB, run=static)


def test_what_cannot_be_forgotten_is_told(host, static) -> None:
    done(host, WEB, run=static)
    host.fails = "disable"
    ret = static()
    assert ret["result"] is False
    assert set(ret["changes"]) == {WEB}
    assert f"  {host.record}: systemctl disable --now mysql_ha-ipvs.service failed: " in ret["comment"]
    host.fails = None
    assert named(host, done(host, run=static)) == RECORD_AND_UNIT


def test_a_record_that_somebody_broke_stops_the_run(host, static) -> None:
    done(host, WEB, run=static)
    host.record.write_text("rubbish\n")
    for test in (True, False):
        ret = static(DNS, test=test)
        assert (ret["result"], ret["changes"]) == (False, {})
        assert f"{host.record}: is not as this formula writes it: line 1: " in ret["comment"]
    host.record.unlink()
    host.record.mkdir()
    assert "cannot be read" in static(DNS)["comment"]


def test_the_unit_is_mended(host, static) -> None:
    done(host, WEB, run=static)
    host.enabled = False
    assert done(host, WEB, run=static) == {ipvs_static_unit.SERVICE}
    (systemd_program.FOLDER / "ipvs_rules.py").write_text("of a former version")
    assert done(host, WEB, run=static) == {ipvs_static_unit.SERVICE}
    (systemd_program.FOLDER / "ipvs_rules.py").unlink()
    host.record.write_text("# by hand\n" + host.record.read_text())
    assert named(host, done(host, WEB, run=static)) == RECORD_AND_UNIT


@pytest.mark.parametrize(("name", "settings_", "sentence"), [
    ("etc/x", {}, "name: is 'etc/x'; allowed: an absolute path without spaces"),
    ("/etc/x y", {}, "name: is '/etc/x y'; allowed: an absolute path without spaces"),
    (5, {}, "name: is 5; allowed: an absolute path without spaces"),
    ("/x", {"ipvs": {"services": {"x": {}}}}, "services: x: is 'x'; allowed: "),
    ("/x", {"ipvs": {"purge": 1}}, "purge: is 1; allowed: true, false"),
    ("/x", {"ipvs": {"drain": -1}}, "drain: is -1; allowed: 0 to 86400 of seconds"),
    ("/x", {"endpoints": {"a": {}}}, "settings: have endpoints that make no table: "),
    ("/x", {"endpoints": {"a": 5}}, "settings: have endpoints that make no table: "),
    ("/x", {"endpoints": {"a": AT_WEB}, "ipvs": {"services": {WEB: {}}}},
     f"services: has what endpoints have as well: {WEB}; allowed: one owner each"),
])  # fmt: skip
def test_what_cannot_work_is_a_sentence(load_module, host, static, name, settings_, sentence) -> None:
    functions = {"ipvs.diff_static": static.modules.diff_static, "ipvs.apply_static": static.modules.apply_static}
    for test in (True, False):
        state = load_module("states", "ipvs", __opts__={"test": test}, __salt__=functions)
        ret = state.static(name, settings_)
        assert (ret["result"], ret["changes"]) == (False, {})
        assert ret["comment"].startswith(sentence)


def test_keepalived_that_cannot_be_asked_is_a_sentence(load_module, host) -> None:
    def leaving(_: object) -> None:
        raise CommandExecutionError("no")

    module = load_module("modules", "ipvs", __salt__={"keepalived.leaving": leaving})
    with pytest.raises(CommandExecutionError, match="no"):
        module.diff_static(str(host.record), host.settings(WEB))


# --- interruptions ---

NAMES = (WEB, DNS, MARK)
PILLARS = st.sets(st.sampled_from(NAMES))


class Lost(BaseException):
    """The run ends here."""


@contextlib.contextmanager
def interrupted(monkeypatch: pytest.MonkeyPatch, after: int) -> Iterator[None]:
    """Nothing more happens after so many writes and changes."""
    left = [after]

    def counted(function: Any) -> Any:
        def call(*arguments: Any, **words: Any) -> Any:
            if left[0] == 0:
                raise Lost
            left[0] -= 1
            return function(*arguments, **words)

        return call

    def one_by_one(kernel: Kernel, changes: list[Change]) -> ipvs_kernel.Outcome:
        made = [outcome for change in changes for outcome in make(kernel, [change]).done]
        return ipvs_kernel.Outcome(made, [])

    make = counted(Kernel.make)
    with monkeypatch.context() as patch:
        for name in ("write", "unlink"):
            patch.setattr(systemd_program, name, counted(getattr(systemd_program, name)))
        patch.setattr(Kernel, "make", one_by_one)
        with contextlib.suppress(Lost):
            yield


def run_interrupted_run(
    place: Path, load_module: Any, pillars: Any, strangers: Any, after: int, by_power: bool
) -> None:
    """
    A run ends anywhere, perhaps by a loss of power, and the pillar has changed again before the next one: after that
    the table holds what the pillar has, and what strangers put in.
    """
    first, second, third = map(set, pillars)
    with pytest.MonkeyPatch.context() as patch:
        host = Host(place, patch)
        module = load_module("modules", "ipvs", __opts__={"file_client": "local"})

        def run(pillar: set[str]) -> None:
            assert module.apply_static(str(host.record), host.settings(*pillar))["failed"] == {}

        alien = {f"fwmark {50 + NAMES.index(name)}": SERVICE for name in strangers}
        run(first)
        host.kernel.present |= rules.table(alien)
        with interrupted(patch, after):
            run(second)
        if by_power:
            assert host.boot() == 0
            # All that was there before and is to stay is there again.
            assert first & second <= host.kernel.names <= first | second
            alien = {}
        run(third)
        assert host.kernel.present == rules.table({**alien, **dict.fromkeys(third, SERVICE)})
        assert host.record.exists() == host.unit.exists() == host.enabled == bool(third)


@pytest.mark.parametrize("by_power", [False, True])
@pytest.mark.parametrize("third", [(), (WEB,), (DNS,)])
@pytest.mark.parametrize("after", range(9))
def test_nothing_is_lost_wherever_one_service_is_replaced_by_another(
    tmp_path, load_module, after, third, by_power
) -> None:
    run_interrupted_run(tmp_path, load_module, ({WEB}, {DNS}, third), (MARK,), after, by_power)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.tuples(PILLARS, PILLARS, PILLARS), PILLARS, st.integers(0, 15), st.booleans())
def test_nothing_is_lost_by_an_interruption(tmp_path_factory, load_module, pillars, strangers, after, by_power) -> None:
    run_interrupted_run(tmp_path_factory.mktemp("host"), load_module, pillars, strangers, after, by_power)


# --- the program that runs at boot ---


@pytest.fixture
def record(tmp_path: Path) -> Path:
    place = tmp_path / "ipvs.rules"
    place.write_text(ipvs_static.text(rules.table({WEB: SERVICE, MARK: {"servers": {ONE: {"weight": 100000}}}})))
    return place


def test_at_boot_all_is_added_and_told(record, capsys) -> None:
    kernel = Kernel()
    assert ipvs_static.main([str(record)], lambda: kernel) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f"{MARK}: added", f"{WEB}: added", f"{MARK} -> {ONE}:0: added", f"{WEB} -> {ONE}:80: added",
        f"{WEB} -> {TWO}:80: added"]  # fmt: skip
    assert said.err == ""
    assert kernel.present == ipvs_static.parse(record, record.read_text())
    assert ipvs_static.main([str(record)], lambda: kernel) == 0
    assert capsys.readouterr().out == "The table has all that is in the record already.\n"


def test_it_leaves_what_is_not_in_the_record(record, capsys) -> None:
    kernel = Kernel({SQL: SERVICE, WEB: {"scheduler": "wlc", "servers": {ONE: {"weight": 1}, "192.0.2.7": {}}}})
    assert ipvs_static.main([str(record)], lambda: kernel) == 0
    assert kernel.names == {SQL, WEB, MARK}
    said = capsys.readouterr().out.splitlines()
    assert f"{WEB}: scheduler rr instead of wlc" in said
    assert f"{WEB} -> {ONE}:80: weight 3 instead of 1" in said
    assert f"{WEB} -> 192.0.2.7:80: removed" in said


def test_a_refusal_of_the_kernel_is_told_and_the_rest_is_done(record, capsys) -> None:
    kernel = Kernel()
    kernel.refuses = {MARK, f"{MARK} -> {ONE}:0"}
    assert ipvs_static.main([str(record)], lambda: kernel) == 1
    said = capsys.readouterr()
    assert f"Cannot add the service {MARK}: EPERM: why\n" in said.err
    assert f"{WEB}: added\n" in said.out
    assert kernel.names == {WEB}


def test_what_keeps_it_from_working_is_a_sentence(record, tmp_path, capsys) -> None:
    kernel = Kernel()
    kernel.is_loaded = False
    assert ipvs_static.main([str(record)], lambda: kernel) == 1
    assert "modprobe ip_vs" in capsys.readouterr().err
    record.write_text("-A -t 192.0.2.1:80 -s rr\n-Z\n")
    assert ipvs_static.main([str(record)], Kernel) == 1
    assert capsys.readouterr().err.startswith(f"{record}: is not as this formula writes it: line 2: -Z")
    assert ipvs_static.main([str(tmp_path)], Kernel) == 1
    assert "Is a directory" in capsys.readouterr().err
    assert ipvs_static.main([str(tmp_path / "none")], Kernel) == 0
    assert capsys.readouterr().out == f"There is no {tmp_path / 'none'}: nothing to do.\n"


def test_the_unit_has_all_that_its_program_imports(host) -> None:
    """The program runs with its own files alone."""
    systemd_program.install(ipvs_static_unit.files(sys.executable, host.record))
    program = systemd_program.FOLDER / "ipvs_static.py"
    words = [sys.executable, "-sE", str(program)]
    told = subprocess.run([*words, "--help"], capture_output=True, text=True, cwd="/", timeout=60)
    assert (told.returncode, "FILE" in told.stdout) == (0, True), told.stderr
    ran = subprocess.run([*words, str(host.record)], capture_output=True, text=True, cwd="/", timeout=60)
    assert (ran.returncode, ran.stdout) == (0, f"There is no {host.record}: nothing to do.\n"), ran.stderr


def test_the_unit_runs_before_keepalived(host) -> None:
    lines = ipvs_static_unit.files("/opt/salt/bin/python3", Path("/etc/mysql_ha/ipvs.rules"))[
        str(host.unit)
    ].splitlines()
    assert lines[0] == "# Managed by Salt (mysql_ha.director.services)."
    for line in (
        "Before=keepalived.service",
        "Type=oneshot",
        "RemainAfterExit=yes",
        "WantedBy=multi-user.target",
        "ConditionPathExists=/etc/mysql_ha/ipvs.rules",
        f"ExecStart=/opt/salt/bin/python3 -sE {systemd_program.FOLDER}/ipvs_static.py /etc/mysql_ha/ipvs.rules",
    ):
        assert line in lines


def test_the_settings_of_the_pillar_survive_the_way_to_the_state() -> None:
    """As they come out of the SLS, which is JSON."""
    settings_ = {"endpoints": {"web": AT_WEB}, "nodes": {}, "ipvs": {"services": {DNS: SERVICE}, "purge": True}}
    found = ipvs_static_kept.asked(json.loads(json.dumps(settings_)))
    assert found == Asked(rules.table({DNS: SERVICE}), keys(WEB), True)
