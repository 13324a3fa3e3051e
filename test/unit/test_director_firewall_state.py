"""director_firewall.loaded and absent: what they do once and say beforehand; nft and systemd here only remember."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import director_firewall
import host_programs
from host_programs import ProgramError

UNIT = director_firewall.SERVICE
ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = yaml.safe_load((ROOT / "pillar.example").read_text(encoding="utf-8"))["mysql_ha"]


def pillar(**vrrp: Any) -> dict[str, Any]:
    """The example with the firewall on, and these words of its `vrrp` otherwise."""
    found = copy.deepcopy(EXAMPLE)
    found["firewall"]["vrrp"] = True
    found["vrrp"] |= vrrp
    return found


class Host:
    """A host with nft and systemctl, as far as these use them."""

    def __init__(self, load_module: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._load, self.file, self.units = load_module, place / "etc/mysql_ha/firewall.nft", place / "units"
        self.units.mkdir(parents=True)
        self.table: str | None = None
        self.has_nft = True
        self.refuses = ""
        self.flushes = False
        self.enabled = self.active = False
        self.said: list[str] = []
        monkeypatch.setattr(host_programs, "find", self._find)
        monkeypatch.setattr(host_programs, "run", self._run)
        monkeypatch.setattr(host_programs, "outcome", self._outcome)

    def _find(self, *names: str) -> str:
        if names[0] == "nft" and not self.has_nft:
            raise ProgramError("not installed: nft")
        return f"/usr/sbin/{names[0]}"

    @staticmethod
    def _listed(text: str) -> str:
        return "\n".join(line.strip() for line in text.splitlines() if not re.match(r"#|add|delete", line))

    def _outcome(self, words: list[Any], timeout: float | None = None) -> tuple[int, str]:
        words = list(map(str, words))
        if "--check" in words:
            assert Path(words[-1]).read_text().startswith("# Managed by Salt")
            return (1, self.refuses) if self.refuses else (0, "")
        if words[0].endswith("unshare"):
            return 0, self._listed(Path(words[6]).read_text())
        assert "list" in words
        return (0, self.table) if self.table is not None else (1, "Error: No such file or directory")

    def _run(self, words: list[Any], timeout: float | None = None) -> str:
        if words[0] == "systemctl":
            verb = words[1]
            if verb.startswith("is-"):
                if not getattr(self, verb[3:]):
                    raise ProgramError("exit status 1")
                return ""
            self.said.append(verb)
            if verb == "enable":
                self.enabled = True
            if verb in ("restart", "reload"):
                self.active = True
                self.table = None if self.flushes else self._listed(self.file.read_text())
            if verb == "disable":
                self.enabled = self.active = False
                self.table = None
        else:
            assert words[1] == director_firewall.REMOVE
            self.table = None
        return ""

    def run(self, function: str, *arguments: Any, test: bool = False) -> dict[str, Any]:
        module = self._load("modules", "director_firewall", __grains__={"id": "lvs1"})
        module.UNITS = self.units
        names = ("differences", "load", "remove")
        salt = {f"director_firewall.{name}": getattr(module, name) for name in names}
        state = self._load("states", "director_firewall", __opts__={"test": test}, __salt__=salt)
        return getattr(state, function)(str(self.file), *arguments)

    def loaded(self, found: Any = None, test: bool = False) -> dict[str, Any]:
        return self.run("loaded", pillar() if found is None else found, test=test)

    def absent(self, test: bool = False) -> dict[str, Any]:
        return self.run("absent", test=test)


@pytest.fixture
def host(load_module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(load_module, tmp_path, monkeypatch)


def test_it_is_loaded_once_and_that_is_predicted(host: Host) -> None:
    predicted = host.loaded(test=True)
    assert predicted["result"] is None
    assert (host.said, host.file.exists(), list(host.units.iterdir())) == ([], False, [])
    done = host.loaded()
    assert (done["result"], done["changes"]) == (True, predicted["changes"])
    assert done["changes"] == {
        str(host.file): {"old": None, "new": "as specified"},
        str(host.units / UNIT): {"old": None, "new": "as specified"},
        "table": {"old": None, "new": "as specified"},
        "enabled": {"old": False, "new": True},
        "active": {"old": False, "new": True},
    }
    assert host.said == ["daemon-reload", "enable", "restart"]
    assert host.file.read_text() == director_firewall.text(pillar(), "lvs1")
    for test in (False, True):
        again = host.loaded(test=test)
        assert (again["result"], again["changes"]) == (True, {})


def test_test_mode_knows_what_comes_before_nft_is_installed(host: Host) -> None:
    host.has_nft = False
    predicted = host.loaded(test=True)
    assert predicted["result"] is None
    assert predicted["changes"]["table"] == {"old": None, "new": "as specified"}
    done = host.loaded()
    assert (done["result"], done["changes"]) == (False, {})
    assert "not installed: nft" in done["comment"]


@pytest.mark.parametrize(("now", "old"), [(None, None), ("table inet mysql_ha {\n}", "another one")])
def test_a_table_that_is_gone_or_changed_is_loaded_again(host: Host, now: str | None, old: str | None) -> None:
    host.loaded()
    host.table, host.said = now, []
    for test in (True, False):
        done = host.loaded(test=test)
        assert done["changes"] == {"table": {"old": old, "new": "as specified"}}
    assert host.said == ["daemon-reload", "enable", "reload"]
    assert host.loaded()["changes"] == {}


def test_other_rules_replace_the_old_ones_by_reload(host: Host) -> None:
    host.loaded()
    host.said = []
    other = pillar(sync_daemon=False)
    done = host.loaded(other)
    assert done["changes"] == {
        str(host.file): {"old": "another one", "new": "as specified"},
        "table": {"old": "another one", "new": "as specified"},
    }
    assert host.said[-1] == "reload"
    assert host.loaded(other)["changes"] == {}


def test_what_nft_refuses_leaves_everything_as_it_was(host: Host) -> None:
    host.loaded()
    before, table = host.file.read_text(), host.table
    host.said, host.refuses = [], "firewall.nft:6:1-9: Error: Could not process rule: Operation not supported"
    done = host.loaded(pillar(sync_daemon=False))
    assert (done["result"], done["changes"]) == (False, {})
    assert "what was there before stays" in done["comment"]
    assert "CONFIG_NF_TABLES_INET" in done["comment"]
    assert (host.file.read_text(), host.table, host.said) == (before, table, [])
    assert [path.name for path in host.file.parent.iterdir()] == ["firewall.nft"]


def test_what_nft_refuses_from_the_beginning_leaves_no_trace(host: Host) -> None:
    host.refuses = "Error: Could not process rule: Operation not supported"
    assert host.loaded()["result"] is False
    assert (host.file.parent.exists(), list(host.units.iterdir()), host.said) == (False, [], [])


def test_rules_that_somebody_takes_away_at_once_are_a_failure(host: Host) -> None:
    host.flushes = True
    done = host.loaded()
    assert (done["result"], done["changes"]) == (False, {})
    assert "is not there (table): something else takes it away" in done["comment"]


def test_settings_that_are_none_are_a_sentence(host: Host, test_mode: bool) -> None:
    for settings in ({}, {"nodes": 5}, {**pillar(), "nodes": {}}):
        done = host.loaded(settings, test=test_mode)
        assert (done["result"], done["changes"]) == (False, {})
        assert "The firewall of lvs1" in done["comment"]


def test_off_again_leaves_no_trace_and_that_is_predicted(host: Host) -> None:
    host.loaded()
    host.said = []
    predicted = host.absent(test=True)
    assert predicted["result"] is None
    assert host.said == []
    done = host.absent()
    assert (done["result"], done["changes"]) == (True, predicted["changes"])
    assert done["changes"] == {
        str(host.file): {"old": "present", "new": None},
        str(host.units / UNIT): {"old": "present", "new": None},
        "table": {"old": "present", "new": None},
    }
    assert host.said == ["disable", "daemon-reload"]
    assert (host.table, host.enabled, host.file.parent.exists(), list(host.units.iterdir())) == (None, False, False, [])
    for test in (False, True):
        again = host.absent(test=test)
        assert (again["result"], again["changes"]) == (True, {})


def test_a_table_without_its_files_goes_too(host: Host) -> None:
    host.table = "table inet mysql_ha {\n}"
    assert host.absent()["changes"] == {"table": {"old": "present", "new": None}}
    assert host.table is None


def test_other_files_of_the_folder_stay(host: Host) -> None:
    host.loaded()
    (host.file.parent / "other").write_text("")
    host.absent()
    assert [path.name for path in host.file.parent.iterdir()] == ["other"]


def test_where_nothing_was_filtered_nothing_happens(host: Host, test_mode: bool) -> None:
    host.has_nft = False
    done = host.absent(test=test_mode)
    assert (done["result"], done["changes"], host.said) == (True, {}, [])
