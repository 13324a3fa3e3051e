"""keepalived is upgraded, put back and put right on running directors, and every failure leaves one that runs."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mysql_ha_lab import cluster as look
from mysql_ha_lab import salt
from mysql_ha_lab.client import Probe
from mysql_ha_lab.command import wait_for
from mysql_ha_lab.lab import Lab
from mysql_ha_lab.plan import DIRECTORS
from mysql_ha_lab.salt import HostResult
from pillars import EXAMPLE, as_yaml

NEW = EXAMPLE["keepalived"]["version"]
OLD = "2.2.7"
BUILT = "mysql_ha-director-keepalived-source_build-installed"
CONFIGURED = "mysql_ha-director-config-keepalived-configured"
LOADED = "mysql_ha-director-service-keepalived-loaded"
KEPT = "/usr/local/lib/mysql_ha/builds/kept"
MANUAL, PROGRAM = "/usr/share/man/man8/keepalived.8", "/usr/sbin/keepalived"
# keepalived has had it since 2.2.8.
NEWER_KEYWORD = {"global_defs": {"json_version": 2}}


class Directors:
    """The two directors, and the keepalived that the pillar says."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def use(self, version: str = NEW, **words: Any) -> None:
        """pillar.example with another keepalived, and ``words`` said of it."""
        pillar = copy.deepcopy(EXAMPLE)
        if version != NEW:
            pillar["keepalived"] |= self.source(f"keepalived-{version}.tar.gz")
        pillar["keepalived"] |= {"version": version, **words}
        salt.set_pillar(self.lab, as_yaml(pillar))

    def source(self, name: str) -> dict[str, Any]:
        """Where the master has a tarball, and its hash."""
        data = (self.root("master") / "srv/lab/mysql_ha/sources" / name).read_bytes()
        return {
            "source": f"salt://mysql_ha/sources/{name}",
            "source_hash": f"sha256={hashlib.sha256(data).hexdigest()}",
        }

    def root(self, host: str) -> Any:
        return self.lab.plan.host(host).root

    def apply(self, *arguments: str, host: str = "lvs1", sls: str = "mysql_ha.director") -> HostResult:
        return salt.apply(self.lab, *arguments, target=host, sls=sls, report=False)[host]

    def run(self, *words: str, host: str = "lvs1", check: bool = True) -> str:
        return self.lab.run(host, list(words), check=check).stdout

    def installed(self, host: str = "lvs1") -> str:
        """The version that the installed program says it is, which has to run for that."""
        said = self.lab.run(host, [PROGRAM, "--version"])
        return (said.stdout + said.stderr).split("Keepalived v")[1].split(" ")[0]

    def process(self, host: str = "lvs1") -> str:
        return self.run("systemctl", "show", "--property=MainPID", "--value", "keepalived", host=host).strip()

    def running(self, host: str = "lvs1") -> str:
        """The version that runs, as it said when it started."""
        since = self.run("systemctl", "show", "-P", "InvocationID", "keepalived", host=host).strip()
        said = self.run("journalctl", "-o", "cat", f"_SYSTEMD_INVOCATION_ID={since}", host=host)
        return said.split("Starting Keepalived v")[1].split(" ")[0]

    def forget(self, version: str, host: str = "lvs1") -> None:
        """No build of this version is kept."""
        for manifest in (self.root(host) / KEPT.lstrip("/")).glob("keepalived-*.json"):
            if json.loads(manifest.read_text())["recipe"]["version"] == version:
                manifest.unlink()

    def upgrade(self) -> dict[str, Any]:
        """The orchestration, whose steps must all be true; what it changed, by step."""
        words = ["salt-run", "--out=json", "state.orchestrate", "mysql_ha.orch.upgrade_directors"]
        said = json.loads(self.lab.run("master", words, check=False, timeout=1800).stdout)
        steps = next(iter(said["data"].values()))
        wrong = {step["__id__"]: step for step in steps.values() if step["result"] is not True}
        assert not wrong, json.dumps(wrong, indent=1)
        return {step["__id__"].removeprefix("mysql_ha-orch-upgrade_directors-salt-state-"): step["changes"]
                for step in steps.values()}  # fmt: skip


@pytest.fixture(scope="module")
def directors(cluster: Lab) -> Iterator[Directors]:
    one = Directors(cluster)
    salt.sync_master(cluster)
    yield one
    one.use()
    if any(one.installed(name) != NEW or one.running(name) != NEW for name in DIRECTORS):
        one.upgrade()
    for result in salt.apply(cluster, target="lvs*", report=False).values():
        assert result.ok, result.error or result.problems()


def state(result: HostResult, name: str) -> dict[str, Any]:
    return next(one for one in result.states if one["id"] == name)


def unchanged(directors: Directors, result: HostResult, *words: str) -> None:
    """A run failed with these words, and the keepalived of before is installed and runs."""
    told = state(result, BUILT)
    assert (told["result"], told["changes"]) == (False, {})
    assert all(word in told["comment"] for word in words), told["comment"]
    assert directors.installed() == NEW
    assert directors.run("systemctl", "is-active", "keepalived").strip() == "active"


def test_damage_is_put_right_without_a_compiler(directors: Directors) -> None:
    process = directors.process()
    directors.run("rm", MANUAL)
    directors.run("sh", "-c", f"cp {PROGRAM} /tmp/whole && printf x >> /tmp/whole && mv /tmp/whole {PROGRAM}")
    foreseen, real = directors.apply("test=True"), directors.apply()
    assert real.ok, real.problems()
    wanted = {"old": f"missing or changed: {PROGRAM}, {MANUAL}", "new": "as they were built"}
    assert state(foreseen, BUILT)["changes"] == state(real, BUILT)["changes"] == {"files": wanted}
    assert state(real, BUILT)["comment"].endswith("installed from the build that was kept.")
    # What runs is no longer what is installed. It runs on, and it is said.
    assert "Restart pending" in state(real, LOADED)["comment"]
    assert directors.process() == process
    assert directors.apply().changed == []


def test_an_orchestration_restarts_what_waits_for_it_and_nothing_else(directors: Directors) -> None:
    other = directors.process("lvs2")
    changes = directors.upgrade()
    assert [step for step, what in changes.items() if what] in (["standby-lvs1"], ["holder-lvs1"])
    assert directors.process("lvs2") == other
    assert "Restart pending" not in state(directors.apply(), LOADED)["comment"]


def test_another_hash_than_the_pillars_changes_nothing(directors: Directors) -> None:
    directors.use(OLD, source_hash=f"sha256={'0' * 64}")
    unchanged(directors, directors.apply(sls="mysql_ha.director.keepalived"), f"keepalived {OLD}: no tarball from")


def test_a_build_goes_from_one_director_to_the_other(directors: Directors) -> None:
    directors.run("sh", "-c", f"rm {KEPT}/keepalived-*", host="lvs2")
    words = ["salt-run", "--out=json", "mysql_ha.hand_over", "keepalived", "lvs1", "lvs2"]
    done = json.loads(directors.lab.run("master", words).stdout)
    assert (done["result"], done["version"]) == ("handed over", NEW)
    kept = [salt.call(directors.lab, name, "source_build.kept", "keepalived")[name] for name in DIRECTORS]
    assert [one["version"] for one in kept[1]] == [NEW]
    assert kept[1][0] in kept[0]
    directors.use()
    directors.run("rm", MANUAL, host="lvs2")
    result = directors.apply(host="lvs2", sls="mysql_ha.director.keepalived")
    assert state(result, BUILT)["comment"].endswith("installed from the build that was kept."), result.problems()


# --- the long series ---


@pytest.mark.long
def test_a_truncated_tarball_changes_nothing(directors: Directors) -> None:
    sources = directors.root("master") / "srv/lab/mysql_ha/sources"
    whole = (sources / f"keepalived-{OLD}.tar.gz").read_bytes()
    (sources / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    directors.use(OLD, **directors.source("cut.tar.gz"))
    unchanged(directors, directors.apply(sls="mysql_ha.director.keepalived"), f"keepalived {OLD}: cannot unpack")


@pytest.mark.long
def test_a_configure_that_fails_changes_nothing(directors: Directors) -> None:
    directors.use(configure_options=["--enable-snmp"])  # without its library
    result = directors.apply(sls="mysql_ha.director.keepalived")
    unchanged(directors, result, "exit status 1 from './configure", "--enable-snmp", "build.log")


@pytest.mark.long
def test_a_compiler_that_fails_changes_nothing(directors: Directors) -> None:
    directors.use(OLD)
    directors.forget(OLD)
    # configure needs one that works.
    fails = '#!/bin/sh\ncase $1 in -j*) echo cc: fatal; exit 2;; esac\nexec /usr/bin/make.away "$@"\n'
    directors.run("mv", "/usr/bin/make", "/usr/bin/make.away")
    (directors.root("lvs1") / "usr/bin/make").write_text(fails)
    directors.run("chmod", "755", "/usr/bin/make")
    try:
        result = directors.apply(sls="mysql_ha.director.keepalived")
    finally:
        directors.run("mv", "/usr/bin/make.away", "/usr/bin/make")
    unchanged(directors, result, "exit status 2 from 'make -j", "cc: fatal")


@pytest.mark.long
def test_a_power_loss_while_it_compiles(directors: Directors) -> None:
    directors.use(OLD)
    directors.forget(OLD)
    run = directors.lab.popen("lvs1", ["salt-call", "state.apply", "mysql_ha.director.keepalived"])
    wait_for("the compiler to run", lambda: directors.run("pgrep", "-x", "cc1", check=False), 600, 0.5)
    directors.lab.power_off("lvs1")
    run.wait(60)
    directors.lab.boot("lvs1")
    assert directors.installed() == NEW
    assert salt.call(directors.lab, "lvs1", "source_build.kept", "keepalived")["lvs1"][0]["version"] == NEW


@pytest.mark.long
def test_the_old_version_is_built_and_waits(directors: Directors) -> None:
    """What follows needs both builds; it also shows that nothing moves before somebody says so."""
    directors.use(OLD)
    processes = {name: directors.process(name) for name in DIRECTORS}
    for name in DIRECTORS:
        if name == "lvs2":
            words = ["salt-run", "--out=json", "mysql_ha.hand_over", "keepalived", "lvs1", "lvs2"]
            assert json.loads(directors.lab.run("master", words).stdout)["version"] == OLD
        result = directors.apply(host=name)
        assert result.ok, result.problems()
        assert (directors.installed(name), directors.running(name)) == (OLD, NEW)
        # On the lab's directors a program whose file has been replaced cannot be asked.
        assert "Restart pending: the former one still runs." in state(result, LOADED)["comment"]
    assert {name: directors.process(name) for name in DIRECTORS} == processes


@pytest.mark.long
@pytest.mark.parametrize("version", [OLD, NEW, OLD, NEW])
def test_up_and_down_under_load(directors: Directors, version: str) -> None:
    holder = look.wait_for_holder(directors.lab)
    with Probe(directors.lab, "--limit", "5") as probe:
        mark = probe.mark()
        probe.steady(mark)
        directors.use(version)
        began = time.monotonic()
        changes = directors.upgrade()
        took = time.monotonic() - began
        end = probe.mark()
        probe.steady(end)
        gap = probe.gap(mark)
    print(f"to {version}: {took:.0f} s, longest gap {gap.seconds:.2f} s, {gap.failed} of {gap.attempts} failed")
    other = next(name for name in DIRECTORS if name != holder)
    assert changes[f"standby-{other}"]
    assert changes[f"holder-{holder}"]
    assert not changes[f"standby-{holder}"]
    assert not changes[f"holder-{other}"]
    assert [directors.running(name) for name in DIRECTORS] == [version, version]
    # One planned change of the VRRP master, and no more: the address is where the standby was.
    assert look.wait_for_holder(directors.lab) == other


@pytest.mark.long
def test_a_configuration_that_the_new_version_refuses_keeps_the_old_one(directors: Directors) -> None:
    # A tarball of another version than the pillar says, or the pillar's own rules would refuse the keyword.
    directors.use(NEW, **directors.source(f"keepalived-{OLD}.tar.gz"), **NEWER_KEYWORD)
    foreseen = directors.apply("test=True")
    assert state(foreseen, BUILT)["result"] is None
    unchanged(
        directors, directors.apply(), f"keepalived {NEW} was not installed", "it refuses the configuration", "json"
    )


@pytest.mark.long
def test_what_runs_does_not_take_what_only_the_new_version_knows(directors: Directors) -> None:
    directors.use(OLD)
    directors.upgrade()
    directors.use(NEW, **NEWER_KEYWORD)
    process = directors.process()
    result = directors.apply()
    told = state(result, LOADED)
    assert told["result"] is False
    assert "What still runs (the former one) keeps its configuration until it is restarted" in told["comment"]
    assert (directors.process(), directors.installed(), directors.running()) == (process, NEW, OLD)
    assert directors.upgrade()
    assert directors.running() == NEW
    directors.use()
    assert directors.apply().ok


@pytest.mark.long
@pytest.mark.parametrize("after", [0.2, 0.5, 1, 2, 3, 4, 5, 6])
def test_a_power_loss_while_it_is_installed(directors: Directors, after: float) -> None:
    """The program is whole at any moment, and the record knows whether all of it is of one version."""
    recipes = {version: recipe(directors, version) for version in (OLD, NEW)}
    script = "while :; do for f in /root/old.json /root/new.json; do salt-call --local -l quiet source_build.install " \
             'keepalived "$(cat $f)" > /dev/null || exit 1; echo done; done; done'  # fmt: skip
    for name, version in (("old", OLD), ("new", NEW)):
        (directors.root("lvs1") / f"root/{name}.json").write_text(json.dumps(recipes[version]))
    with_output = directors.lab.popen("lvs1", ["sh", "-c", script])
    assert with_output.stdout is not None
    assert with_output.stdout.readline().strip() == "done"
    time.sleep(after)  # the moment itself is what is tried
    directors.lab.power_off("lvs1")
    with_output.wait(60)
    directors.lab.boot("lvs1")
    version = directors.installed()
    assert version in (OLD, NEW)
    directors.run("systemctl", "is-active", "keepalived")
    found = salt.call(directors.lab, "lvs1", "source_build.installed", "keepalived")["lvs1"]
    print(f"after {after} s: {version}, interrupted {found['interrupted']}, {len(found['damaged'])} damaged")
    assert found["interrupted"] or (found["recipe"]["version"], found["damaged"]) == (version, [])
    directors.use()
    assert directors.apply(sls="mysql_ha.director.keepalived").ok
    assert directors.installed() == NEW
    found = salt.call(directors.lab, "lvs1", "source_build.installed", "keepalived")["lvs1"]
    assert (found["interrupted"], found["damaged"]) == (False, [])


def recipe(directors: Directors, version: str) -> dict[str, Any]:
    """The recipe of a version, as the formula makes it."""
    directors.use(version)
    said = salt.call(directors.lab, "lvs1", "state.show_sls", "mysql_ha.director.keepalived")["lvs1"]
    words: dict[str, Any] = {}
    for one in said[BUILT]["source_build"]:
        words |= one if isinstance(one, dict) else {}
    return {key: words[key] for key in ("version", "source_hash", "build", "stage", "proof")}


@pytest.mark.long
def test_all_of_it_goes_and_comes_back_without_a_compiler(directors: Directors) -> None:
    """Of ipvsadm, which nothing on a director needs."""
    removed = salt.call(directors.lab, "lvs2", "source_build.remove", "ipvsadm")["lvs2"]
    assert "/usr/sbin/ipvsadm" in removed
    assert directors.run("ls", KEPT, host="lvs2").count("ipvsadm") == 0
    words = ["salt-run", "--out=json", "mysql_ha.hand_over", "ipvsadm", "lvs1", "lvs2"]
    assert json.loads(directors.lab.run("master", words).stdout)["result"] == "handed over"
    directors.use()
    result = directors.apply(host="lvs2")
    assert result.ok, result.problems()
    assert look.table(directors.lab, "lvs2")
