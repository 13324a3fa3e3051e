"""What a director's kernel is set to: the rules and their sentences, the file for the next boot, the values of now."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

import director_sysctls
import mysql_ha_pillar

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = yaml.safe_load((ROOT / "pillar.example").read_text(encoding="utf-8"))["mysql_ha"]
KNOWN = ", ".join(director_sysctls.SYSCTLS)
NAT = {"address": "192.168.1.110", "port": 80, "check": "tcp", "forward": "nat",
       "servers": {"web": {"address": "10.0.0.31"}}}  # fmt: skip
SIX = {"address": "2001:db8::1", "port": 80, "check": "tcp", "servers": {"web": {"address": "2001:db8::31"}}}
MARK = {"fwmark": 5, "family": "ipv6", "servers": {"web": {"address": "2001:db8::31", "forward": "nat"}},
        "check": {"type": "tcp", "port": 80}}  # fmt: skip
SORRY = {"address": "192.168.1.111", "port": 80, "check": "tcp", "servers": {"web": {"address": "10.0.0.31"}},
         "sorry_server": {"address": "10.0.0.32", "forward": "nat"}}  # fmt: skip


def pillar(sysctls: Any = None, **changes: Any) -> dict[str, Any]:
    """The example, with these of its sections otherwise, and with further sysctls."""
    found = copy.deepcopy(EXAMPLE)
    for key, value in changes.items():
        found[key] = {**found[key], **value} if isinstance(value, dict) else value
    if sysctls is not None:
        found["kernel"] = {"sysctls": {**found["kernel"]["sysctls"], **sysctls}}
    return found


THRESHOLD = (
    "a list of two whole numbers, packets and period, such as [3, 50]; the first below the second, or the second 0"
)


@pytest.mark.parametrize(("name", "value", "said"), [
    ("expire_nodest_conn", 2, "is 2; allowed: 0, 1"),
    ("expire_nodest_conn", True, "is true; allowed: 0, 1"),
    ("expire_nodest_conn", "1", "is '1'; allowed: 0, 1"),
    ("conn_reuse_mode", 4, "is 4; allowed: a whole number from 0 to 3"),
    ("conn_reuse_mode", -1, "is -1; allowed: a whole number from 0 to 3"),
    ("conntrack", None, "is empty; allowed: 0, 1"),
    ("drop_entry", 4, "is 4; allowed: a whole number from 0 to 3"),
    ("drop_packet", 1.5, "is 1.5; allowed: a whole number from 0 to 3"),
    ("secure_tcp", [1], "is a list; allowed: a whole number from 0 to 3"),
    ("amemthresh", -1, "is -1; allowed: a whole number of pages from 0 to 2147483647"),
    ("am_droprate", 2147483648, "is 2147483648; allowed: a whole number from 0 to 2147483647"),
    ("debug_level", 13, "is 13; allowed: a whole number from 0 to 12"),
    ("est_nice", 20, "is 20; allowed: a whole number from -20 to 19"),
    ("conn_lfactor", 9, "is 9; allowed: a whole number from -8 to 8"),
    ("sync_ports", 3, "is 3; allowed: 1, 2, 4, 8, 16, 32, 64"),
    ("sync_ports", 128, "is 128; allowed: 1, 2, 4, 8, 16, 32, 64"),
    ("sync_ports", 0, "is 0; allowed: 1, 2, 4, 8, 16, 32, 64"),
    ("sync_qlen_max", 0, "is 0; allowed: a whole number of messages from 1 to 2147483647"),
    ("sync_refresh_period", "60", "is '60', text in quotes and not a number; allowed: a whole number of seconds "
     "from 0 to 2147483"),
    ("sync_retries", 4, "is 4; allowed: a whole number from 0 to 3"),
    ("sync_sock_size", -5, "is -5; allowed: a whole number of bytes from 0 to 2147483647"),
    ("sync_threshold", "3 50", f"is '3 50'; allowed: {THRESHOLD}"),
    ("sync_threshold", [50, 3], f"is a list of 2 numbers (50, 3); allowed: {THRESHOLD}"),
    ("sync_threshold", [3, 3], f"is a list of 2 numbers (3, 3); allowed: {THRESHOLD}"),
    ("sync_threshold", [3], f"is a list of 1 numbers (3); allowed: {THRESHOLD}"),
    ("sync_threshold", [-1, 50], f"is a list of 2 numbers (-1, 50); allowed: {THRESHOLD}"),
    ("sync_threshold", [{}, 50], f"is a list; allowed: {THRESHOLD}"),
    ("sync_version", 2, "is 2; allowed: 0, 1"),
    ("sync_persist_mode", "x", "is 'x'; allowed: 0, 1"),
    ("expire_nodest_con", 1, f"is an unknown key; allowed: {KNOWN} (did you mean expire_nodest_conn?)"),
    ("net.ipv4.vs.conntrack", 1, f"is an unknown key; allowed: {KNOWN} (did you mean conntrack?)"),
    ("est_cpulist", "0-3", f"is an unknown key; allowed: {KNOWN}"),
])  # fmt: skip
def test_a_wrong_value_is_told(name: str, value: object, said: str) -> None:
    assert mysql_ha_pillar.errors(pillar({name: value})) == [f"mysql_ha:kernel:sysctls:{name}: {said}"]


@pytest.mark.parametrize(("kernel", "said"), [
    (5, "mysql_ha:kernel: is a number; allowed: a mapping"),
    ({"sysctls": [1]}, "mysql_ha:kernel:sysctls: is a list; allowed: a mapping"),
    ({"sysctl": {}}, "mysql_ha:kernel:sysctl: is an unknown key; allowed: sysctls (did you mean sysctls?)"),
])  # fmt: skip
def test_a_wrong_section_is_told(kernel: object, said: str) -> None:
    found = copy.deepcopy(EXAMPLE)
    found["kernel"] = kernel
    assert mysql_ha_pillar.errors(found) == [said]


def test_what_would_stop_all_balancing_is_refused() -> None:
    both = {"sync_daemon": {"instance": False}}
    assert mysql_ha_pillar.errors(pillar({"backup_only": 1}, vrrp=both)) == [
        "mysql_ha:kernel:sysctls:backup_only: is 1, and with mysql_ha:vrrp:sync_daemon:instance: false both directors "
        "would balance nothing; allowed: 0, or an instance there"
    ]
    assert mysql_ha_pillar.errors(pillar({"backup_only": 1})) == []
    assert mysql_ha_pillar.errors(pillar({"backup_only": 0}, vrrp=both)) == []


def test_the_last_port_of_the_sync_daemon_is_one() -> None:
    assert mysql_ha_pillar.errors(pillar({"sync_ports": 64}, vrrp={"sync_daemon": {"port": 65500}})) == [
        "mysql_ha:kernel:sysctls:sync_ports: is 64, which from mysql_ha:vrrp:sync_daemon:port (65500) on are more than "
        "there are; allowed: so many that the last one is 65535 at most"
    ]
    assert mysql_ha_pillar.errors(pillar({"sync_ports": 32}, vrrp={"sync_daemon": {"port": 65504}})) == []


def test_every_known_name_can_be_said() -> None:
    lowest = {name: next(value for value in (1, 0, [0, 0]) if rule.accepts(value))
              for name, rule in director_sysctls.SYSCTLS.items()}  # fmt: skip
    assert mysql_ha_pillar.errors(pillar(lowest)) == []
    assert {one.name for one in director_sysctls.wanted(pillar(lowest))} == {f"net.ipv4.vs.{name}" for name in lowest}


def test_direct_routing_leaves_forwarding_alone() -> None:
    assert director_sysctls.nat_families(pillar(endpoints={"six": SIX})) == {}
    names = [one.name for one in director_sysctls.wanted(pillar())]
    assert names == [f"net.ipv4.vs.{name}" for name in director_sysctls.DEFAULTS]


@pytest.mark.parametrize(("endpoints", "names"), [
    ({"web": NAT}, ["net.ipv4.ip_forward"]),
    ({"web": SORRY}, ["net.ipv4.ip_forward"]),
    ({"web": MARK}, ["net.ipv6.conf.all.forwarding"]),
    ({"six": SIX, "web": NAT}, ["net.ipv4.ip_forward"]),
    ({"six": {**SIX, "forward": "nat"}, "web": NAT}, ["net.ipv6.conf.all.forwarding", "net.ipv4.ip_forward"]),
])  # fmt: skip
def test_nat_needs_forwarding_of_its_family_alone(endpoints: dict[str, Any], names: list[str]) -> None:
    found = pillar(endpoints=endpoints)
    assert mysql_ha_pillar.errors(found) == []
    forwarding = [one for one in director_sysctls.wanted(found) if not one.name.startswith("net.ipv4.vs.")]
    assert [one.name for one in forwarding] == names
    # What they reset when they change comes after them.
    assert director_sysctls.wanted(found)[: len(names)] == forwarding
    assert {(one.value, one.is_default) for one in forwarding} == {("1", False)}


def test_the_pillars_value_counts_and_a_default_is_known_as_one() -> None:
    found = {one.name.rpartition(".")[2]: one for one in director_sysctls.wanted(
        pillar({"conn_reuse_mode": 0, "sync_threshold": [3, 50], "conntrack": 1}))}  # fmt: skip
    assert (found["conn_reuse_mode"].value, found["conn_reuse_mode"].is_default) == ("0", False)
    assert (found["expire_nodest_conn"].value, found["expire_nodest_conn"].is_default) == ("1", True)
    assert (found["sync_threshold"].value, found["sync_threshold"].is_default) == ("3 50", False)
    assert found["conntrack"].key == "mysql_ha:kernel:sysctls:conntrack"


def test_what_the_rules_refuse_is_never_written() -> None:
    with pytest.raises(ValueError, match="conn_reuse_mode: is '1\\\\nkernel"):
        director_sysctls.wanted(pillar({"conn_reuse_mode": "1\nkernel.core_pattern = |/tmp/x"}))


def test_the_file_says_what_the_next_boot_sets() -> None:
    wanted = director_sysctls.wanted(pillar({"conntrack": 1}, endpoints={"web": NAT}))
    text = director_sysctls.text(wanted, {"net.ipv4.vs.conn_reuse_mode"})
    assert text.splitlines()[1:] == [
        "net.ipv4.ip_forward = 1",
        "net.ipv4.vs.expire_nodest_conn = 1",
        "net.ipv4.vs.expire_quiescent_template = 1",
        "# net.ipv4.vs.conn_reuse_mode = 1 (this kernel does not have it)",
        "net.ipv4.vs.sync_threshold = 3 0",
        "net.ipv4.vs.sync_refresh_period = 60",
        "net.ipv4.vs.conntrack = 1",
    ]
    assert set(director_sysctls.values(text)) == {one.name for one in wanted} - {"net.ipv4.vs.conn_reuse_mode"}


def test_files_of_sysctl_d_are_read_as_systemd_reads_them() -> None:
    text = "# a = 1\n; b = 1\n\n-net/ipv4/ip_forward=1\n net.ipv4.vs.conntrack =  1 \nnet.ipv4.conf.*.rp_filter=1\nc\n"
    assert director_sysctls.values(text) == {"net.ipv4.ip_forward": "1", "net.ipv4.vs.conntrack": "1"}


def test_a_file_that_is_read_later_and_says_otherwise_is_told(tmp_path: Path) -> None:
    wanted = director_sysctls.wanted(pillar({"conntrack": 1}))
    files = {
        "etc/sysctl.d/90-mysql_ha.conf": "net.ipv4.vs.conntrack = 1",
        "etc/sysctl.d/50-before.conf": "net.ipv4.vs.conntrack = 0",
        "etc/sysctl.d/95-mended.conf": "net.ipv4.vs.conn_reuse_mode = 0",
        "etc/sysctl.d/99-salt.conf": "net.ipv4.vs.conntrack = 0\nnet.ipv4.vs.expire_nodest_conn = 1",
        "run/sysctl.d/99-z.conf": "net.ipv4.vs.conn_reuse_mode = 1",
        "usr/lib/sysctl.d/99-salt.conf": "net.ipv4.vs.expire_nodest_conn = 0",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert director_sysctls.overridden("/etc/sysctl.d/90-mysql_ha.conf", wanted, tmp_path) == [
        "net.ipv4.vs.conntrack is 1 by mysql_ha:kernel:sysctls:conntrack, but /etc/sysctl.d/99-salt.conf says 0 and is "
        "read later: so it will be after a boot, until the next run"
    ]


@pytest.mark.parametrize(("name", "now", "value", "is_same"), [
    ("net.ipv4.vs.sync_threshold", "3\t0", "3 0", True),
    ("net.ipv4.vs.sync_threshold", "3\t50", "3 0", False),
    ("net.ipv4.vs.drop_entry", "2", "1", True),
    ("net.ipv4.vs.drop_entry", "1", "2", True),
    ("net.ipv4.vs.drop_entry", "3", "1", False),
    ("net.ipv4.vs.conn_reuse_mode", "2", "1", False),
])  # fmt: skip
def test_values_that_mean_the_same(name: str, now: str, value: str, is_same: bool) -> None:
    assert director_sysctls.is_same(name, now, value) is is_same


# --- the module and the state ---


class Kernel:
    """A kernel with these settings, and the state as Salt runs it there."""

    def __init__(self, load_module: Any, place: Path, monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
        self.proc, self.file = place / "proc", place / "sysctl.d" / "90-mysql_ha.conf"
        self._load = load_module
        monkeypatch.setattr(director_sysctls, "PROC", self.proc)
        for name, value in values.items():
            self.set(name.replace("__", "."), value)

    def set(self, name: str, value: str) -> None:
        place = self.proc / name.replace(".", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(value)

    def get(self, name: str) -> str:
        return (self.proc / name.replace(".", "/")).read_text().strip()

    def managed(self, settings: dict[str, Any], test: bool = False) -> dict[str, Any]:
        module = self._load("modules", "director_sysctl")
        functions = {"differences", "apply"}
        salt = {f"director_sysctl.{name}": getattr(module, name) for name in functions}
        return self._load("states", "director_sysctl", __opts__={"test": test}, __salt__=salt).managed(
            str(self.file), settings
        )


IPVS = {
    "net__ipv4__vs__expire_nodest_conn": "0\n",
    "net__ipv4__vs__expire_quiescent_template": "0\n",
    "net__ipv4__vs__conn_reuse_mode": "1\n",
    "net__ipv4__vs__sync_threshold": "3\t50\n",
    "net__ipv4__vs__sync_refresh_period": "0\n",
    "net__ipv4__vs__conntrack": "0\n",
    "net__ipv4__ip_forward": "0\n",
}


@pytest.fixture
def kernel(load_module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(load_module, tmp_path, monkeypatch, **IPVS)


def test_the_kernel_is_set_once_and_that_is_predicted(kernel: Kernel) -> None:
    predicted = kernel.managed(pillar(), test=True)
    assert predicted["result"] is None
    assert not kernel.file.exists()
    assert kernel.get("net.ipv4.vs.expire_nodest_conn") == "0"
    done = kernel.managed(pillar())
    assert (done["result"], done["changes"]) == (True, predicted["changes"])
    assert done["changes"] == {
        "net.ipv4.vs.expire_nodest_conn": {"old": "0", "new": "1"},
        "net.ipv4.vs.expire_quiescent_template": {"old": "0", "new": "1"},
        "net.ipv4.vs.sync_threshold": {"old": "3 50", "new": "3 0"},
        "net.ipv4.vs.sync_refresh_period": {"old": "0", "new": "60"},
        str(kernel.file): {"old": None, "new": "as specified"},
    }
    assert kernel.get("net.ipv4.vs.sync_threshold") == "3 0"
    assert kernel.file.stat().st_mode & 0o777 == 0o644
    for test in (False, True):
        again = kernel.managed(pillar(), test=test)
        assert (again["result"], again["changes"]) == (True, {})


def test_a_value_that_somebody_changed_is_set_again(kernel: Kernel) -> None:
    kernel.managed(pillar())
    kernel.set("net.ipv4.vs.conn_reuse_mode", "0\n")
    done = kernel.managed(pillar())
    assert done["changes"] == {"net.ipv4.vs.conn_reuse_mode": {"old": "0", "new": "1"}}


def test_forwarding_comes_with_nat_and_its_line_goes_with_it(kernel: Kernel) -> None:
    kernel.managed(pillar())
    assert "ip_forward" not in kernel.file.read_text()
    kernel.managed(pillar(endpoints={"web": NAT}))
    assert kernel.get("net.ipv4.ip_forward") == "1"
    assert "net.ipv4.ip_forward = 1\n" in kernel.file.read_text()
    done = kernel.managed(pillar())
    assert done["changes"] == {str(kernel.file): {"old": "another one", "new": "as specified"}}
    assert "These keep their values until the next boot: net.ipv4.ip_forward." in done["comment"]
    assert kernel.get("net.ipv4.ip_forward") == "1"
    assert "ip_forward" not in kernel.file.read_text()


def test_a_default_that_the_kernel_lacks_is_left_out_and_told(kernel: Kernel) -> None:
    (kernel.proc / "net/ipv4/vs/conn_reuse_mode").unlink()
    for _ in range(2):
        done = kernel.managed(pillar())
        assert done["result"] is True
        assert "does not have net.ipv4.vs.conn_reuse_mode, a default" in done["comment"]
    assert done["changes"] == {}
    assert "# net.ipv4.vs.conn_reuse_mode = 1 (this kernel does not have it)" in kernel.file.read_text()


def test_what_the_pillar_asks_of_a_kernel_that_lacks_it_is_refused_before_anything_changes(
    kernel: Kernel, test_mode: bool
) -> None:
    asked = pillar({"conn_lfactor": -5, "svc_lfactor": -3})
    done = kernel.managed(asked, test=test_mode)
    assert (done["result"], done["changes"]) == (False, {})
    assert done["comment"].splitlines() == [
        "Nothing was changed:",
        "  mysql_ha:kernel:sysctls:conn_lfactor: asks for net.ipv4.vs.conn_lfactor, which this kernel does not have",
        "  mysql_ha:kernel:sysctls:svc_lfactor: asks for net.ipv4.vs.svc_lfactor, which this kernel does not have",
    ]
    assert kernel.get("net.ipv4.vs.expire_nodest_conn") == "0"


def test_without_ipvs_test_mode_says_what_will_be_set_and_a_run_says_what_is_missing(
    load_module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = Kernel(load_module, tmp_path, monkeypatch, net__ipv4__ip_forward="0\n")
    predicted = bare.managed(pillar({"conn_lfactor": -5}, endpoints={"web": NAT}), test=True)
    assert predicted["result"] is None
    assert predicted["changes"]["net.ipv4.vs.conn_lfactor"] == {"old": None, "new": "-5"}
    assert predicted["changes"]["net.ipv4.ip_forward"] == {"old": "0", "new": "1"}
    done = bare.managed(pillar())
    assert (done["result"], done["changes"]) == (False, {})
    assert "modprobe ip_vs" in done["comment"]


def test_what_the_kernel_refuses_is_told_with_what_was_done(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    write = director_sysctls.write

    def refuse(name: str, value: str, proc: Path) -> None:
        if name.endswith("sync_threshold"):
            raise OSError(22, "Invalid argument")
        write(name, value, proc)

    monkeypatch.setattr(director_sysctls, "write", refuse)
    done = kernel.managed(pillar())
    assert done["result"] is False
    assert done["comment"].splitlines() == [
        "The kernel refuses:", "  net.ipv4.vs.sync_threshold: 3 0 is refused: Invalid argument"]  # fmt: skip
    assert done["changes"]["net.ipv4.vs.expire_nodest_conn"] == {"old": "0", "new": "1"}
    assert "net.ipv4.vs.sync_threshold" not in done["changes"]


def test_settings_that_are_none_are_a_sentence(kernel: Kernel, test_mode: bool) -> None:
    for settings in ({}, {"endpoints": 5}, {"endpoints": {"web": {}}}, pillar({"conntrack": "x"})):
        done = kernel.managed(settings, test=test_mode)
        assert (done["result"], done["changes"]) == (False, {})
        assert "The settings make no sysctls" in done["comment"]


def test_another_file_that_wins_at_boot_is_a_warning(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(director_sysctls, "overridden", lambda *_: ["so it will be after a boot"])
    assert kernel.managed(pillar())["warnings"] == ["so it will be after a boot"]
    assert kernel.managed(pillar())["warnings"] == ["so it will be after a boot"]
