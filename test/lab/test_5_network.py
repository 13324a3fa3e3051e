"""What a director's kernel is set to, and what it lets in.

The guests' kernel has no nftables for IPv4 and IPv6, so there the rules are refused in words. The rules themselves are
tried on the databases' hosts, whose kernel is this machine's: they stand in for directors, with a keepalived that has
no endpoints. The client, which is none of them, forges adverts.
"""

from __future__ import annotations

import copy
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import corpus
import keepalived_conf
from mysql_ha_lab import cluster as look
from mysql_ha_lab import salt
from mysql_ha_lab.client import PASSWORD, VIP
from mysql_ha_lab.command import wait_for
from mysql_ha_lab.identity import write
from mysql_ha_lab.lab import Lab
from mysql_ha_lab.layers import ensure_keepalived
from mysql_ha_lab.plan import ADDRESSES, DATABASES, DIRECTORS, REPOSITORY
from mysql_ha_lab.salt import HostResult
from pillars import EXAMPLE, as_yaml

PYTHON = "/opt/salt/bin/python"
SYSCTL = "mysql_ha-director-kernel-director_sysctl-managed"
LOADED = "mysql_ha-director-firewall-director_firewall-loaded"
ABSENT = "mysql_ha-director-firewall-director_firewall-absent"
SYSCTL_FILE, RULES = "/etc/sysctl.d/90-mysql_ha.conf", "/etc/mysql_ha/firewall.nft"
UNIT = "mysql_ha-firewall.service"
TABLE = ["nft", "list", "table", "inet", "mysql_ha"]
IDLE = f"""
import pymysql, time
session = pymysql.connect(host="{VIP}", user="shop", password="{PASSWORD}", autocommit=True)
print(session._sock.getsockname()[1], flush=True)
for _ in range(11):
    time.sleep(10)
    session.cursor().execute("SELECT 1")
"""


def pillar(sysctls: dict[str, Any] | None = None, firewall: bool = False, **endpoints: Any) -> str:
    """pillar.example with these settings of the kernel, with the firewall or without, and these further endpoints."""
    found = copy.deepcopy(EXAMPLE)
    found["kernel"]["sysctls"] |= sysctls or {}
    found["firewall"]["vrrp"] = firewall
    found["endpoints"] |= endpoints
    return as_yaml(found)


def state(result: HostResult, name: str) -> dict[str, Any]:
    """What one state said."""
    return next(one for one in result.states if one["id"] == name)


@contextmanager
def using(lab: Lab, text: str) -> Iterator[None]:
    """Another pillar, and afterwards pillar.example with what follows from it on the directors."""
    salt.set_pillar(lab, text)
    try:
        yield
    finally:
        salt.set_pillar(lab, (REPOSITORY / "pillar.example").read_text())
        for result in salt.apply(lab, target="lvs*", report=False).values():
            assert result.ok, result.error or result.problems()


# --- the directors' kernel ---


def set_kernel(lab: Lab, *arguments: str) -> HostResult:
    """Apply the SLS for the kernel, and nothing else, on the first director."""
    return salt.apply(lab, *arguments, target="lvs1", sls="mysql_ha.director.kernel", report=False)["lvs1"]


def sysctl(lab: Lab, host: str, name: str) -> str:
    return " ".join(lab.run(host, ["sysctl", "-n", name]).stdout.split())


def test_the_kernel_is_as_the_pillar_says(cluster: Lab) -> None:
    wanted = {"expire_nodest_conn": "1", "expire_quiescent_template": "1", "conn_reuse_mode": "1",
              "sync_threshold": "3 0", "sync_refresh_period": "60", "backup_only": "0"}  # fmt: skip
    for director in DIRECTORS:
        assert {name: sysctl(cluster, director, f"net.ipv4.vs.{name}") for name in wanted} == wanted


def test_the_modules_are_loaded_before_their_settings_at_boot(cluster: Lab) -> None:
    """IPVS has its settings only while it is loaded; what a boot makes of that is in test_2_cluster."""
    words = ["systemctl", "show", "--property=After", "--value", "systemd-sysctl.service"]
    for director in DIRECTORS:
        assert "systemd-modules-load.service" in cluster.run(director, words).stdout.split()
        assert "ip_vs" in cluster.run(director, ["sh", "-c", "cat /etc/modules /etc/modules-load.d/*.conf"]).stdout


def test_other_values_are_taken_at_once_and_a_name_that_leaves_the_pillar_leaves_the_file(cluster: Lab) -> None:
    asked = {"sync_threshold": [3, 50], "conntrack": 1}
    with using(cluster, pillar(asked)):
        predicted, done = set_kernel(cluster, "test=True"), set_kernel(cluster)
        assert done.ok, done.problems()
        assert state(predicted, SYSCTL)["changes"] == state(done, SYSCTL)["changes"] != {}
        assert sysctl(cluster, "lvs1", "net.ipv4.vs.sync_threshold") == "3 50"
        assert sysctl(cluster, "lvs1", "net.ipv4.vs.conntrack") == "1"
        assert not set_kernel(cluster).changed
    assert "conntrack" not in cluster.run("lvs1", ["cat", SYSCTL_FILE]).stdout
    assert sysctl(cluster, "lvs1", "net.ipv4.vs.sync_threshold") == "3 0"
    cluster.run("lvs1", ["sysctl", "-w", "net.ipv4.vs.conntrack=0"])


def test_forwarding_is_untouched_by_direct_routing_and_on_with_nat(cluster: Lab) -> None:
    name = "net.ipv4.ip_forward"
    cluster.run("lvs1", ["sysctl", "-w", f"{name}=0"])
    web = {"address": "192.168.1.110", "port": 80, "forward": "nat", "check": "none",
           "servers": {"web": {"address": "192.168.1.39"}}}  # fmt: skip
    with using(cluster, pillar(web=web)):
        done = set_kernel(cluster)
        assert state(done, SYSCTL)["changes"][name] == {"old": "0", "new": "1"}
        assert sysctl(cluster, "lvs1", name) == "1"
        assert f"{name} = 1\n" in cluster.run("lvs1", ["cat", SYSCTL_FILE]).stdout
    # Something else may forward by now; the next boot decides.
    assert sysctl(cluster, "lvs1", name) == "1"
    assert name not in cluster.run("lvs1", ["cat", SYSCTL_FILE]).stdout
    for value in ("0", "1", "0"):
        cluster.run("lvs1", ["sysctl", "-w", f"{name}={value}"])
        done = set_kernel(cluster)
        assert (done.ok, done.changed) == (True, [])
        assert sysctl(cluster, "lvs1", name) == value


@pytest.mark.long
def test_the_kernel_is_as_the_pillar_says_after_a_boot_without_salt(cluster: Lab) -> None:
    wanted = {"net.ipv4.vs.conntrack": "1", "net.ipv4.vs.sync_threshold": "3 0", "net.ipv4.ip_forward": "1"}
    web = {"address": "192.168.1.110", "port": 80, "forward": "nat", "check": "none",
           "servers": {"web": {"address": "192.168.1.39"}}}  # fmt: skip
    with using(cluster, pillar({"conntrack": 1}, web=web)):
        assert set_kernel(cluster).ok
        cluster.run("master", ["systemctl", "stop", "salt-master"])
        try:
            cluster.power_off("lvs1")
            cluster.boot("lvs1")
            assert {name: sysctl(cluster, "lvs1", name) for name in wanted} == wanted
        finally:
            cluster.run("master", ["systemctl", "start", "salt-master"])
            salt.wait_for_minions(cluster)
    cluster.power_off("lvs1")
    cluster.boot("lvs1")
    assert sysctl(cluster, "lvs1", "net.ipv4.ip_forward") == "0"
    assert sysctl(cluster, "lvs1", "net.ipv4.vs.conntrack") == "0"


@pytest.mark.long
def test_a_session_that_says_little_stays_known_to_the_director_that_stands_by(cluster: Lab) -> None:
    """Two packets each ten seconds: by packets alone it would be told of once in four minutes."""
    holder = look.wait_for_holder(cluster)
    other = next(name for name in DIRECTORS if name != holder)
    run = cluster.popen("client", [PYTHON, "-u", "-c", IDLE])
    try:
        assert run.stdout
        port = f"{int(run.stdout.readline()):04X}"
        # As soon as it is established; what the kernel gathers goes out within two seconds.
        wait_for("the session to be known", lambda: expiry(cluster, other, port), 10, 0.3)
        time.sleep(95)
        left = expiry(cluster, other, port)
        assert left is not None
        assert left > 900 - 70
    finally:
        run.kill()
        run.communicate()


def expiry(lab: Lab, director: str, port: str) -> int | None:
    """In how many seconds a director forgets the connection from a port of the client's (in hexadecimal digits)."""
    for line in lab.run(director, ["cat", "/proc/net/ip_vs_conn"]).stdout.splitlines():
        words = line.split()
        if len(words) > 8 and words[0] == "TCP" and words[2] == port and words[7] == "ESTABLISHED":
            return int(words[8])
    return None


# --- a kernel that cannot filter ---


def test_programs_have_a_user_without_rights(cluster: Lab) -> None:
    for director in DIRECTORS:
        user = cluster.run(director, ["getent", "passwd", "keepalived_script"]).stdout.strip().split(":")
        assert user[5:] == ["/nonexistent", "/usr/sbin/nologin"]
        assert int(user[2]) not in (0, 65534)
        conf = cluster.run(director, ["cat", "/etc/keepalived/keepalived.conf"]).stdout
        assert "    enable_script_security\n" in conf
        assert "script_user" not in conf


@pytest.mark.long
def test_a_kernel_that_cannot_filter_says_so_and_the_director_goes_on(cluster: Lab) -> None:
    if not cluster.plan.host("lvs1").own_kernel:
        pytest.skip("NOT RUN: these directors are containers, and this machine's kernel can filter")
    holder = look.wait_for_holder(cluster)
    with using(cluster, pillar(firewall=True)):
        done = salt.apply(cluster, target="lvs1", report=False)["lvs1"]
        assert [one["id"] for one in done.failed] == [LOADED]
        assert "CONFIG_NF_TABLES_INET" in state(done, LOADED)["comment"]
        assert cluster.run("lvs1", ["test", "-e", "/etc/mysql_ha"], check=False).returncode != 0
        assert cluster.run("lvs1", ["systemctl", "is-active", "keepalived"]).stdout.strip() == "active"
    assert look.wait_for_holder(cluster) == holder


# --- the rules, on hosts that stand in for directors ---


ROUTER, ADDRESS = 77, "192.168.1.120"
FIRST, SECOND = DATABASES
FORGE = Path(__file__).parent / "guest/vrrp_forge.py"
FORGE_ON_HOST = "/usr/local/lib/lab/vrrp_forge.py"
CLIENT = ADDRESSES["client"]
FIREWALL = "mysql_ha.director.firewall"


def stand_ins(unicast: bool, firewall: bool) -> dict[str, Any]:
    """A pillar in which databases are directors, and directors databases, that only what stands here is applied of."""
    found = copy.deepcopy(EXAMPLE)
    nodes = found["nodes"]
    for number, (database, director) in enumerate(zip(DATABASES, DIRECTORS, strict=True)):
        nodes[database], nodes[director] = (
            {"role": "director", "address": ADDRESSES[database], "priority": 150 - 50 * number},
            {"role": "database", "address": ADDRESSES[director], "server_id": number + 1},
        )
    found["cluster"] = "standin"
    found["endpoints"]["write"]["address"] = "192.168.1.121"
    front = {"virtual_router_id": ROUTER, "addresses": [f"{ADDRESS}/24"]}
    found["vrrp"] |= {"preempt": True, "unicast": unicast, "sync_daemon": False, "instances": {"front": front}}
    found["firewall"]["vrrp"] = firewall
    return found


class StandIns:
    """Two hosts with keepalived and this machine's kernel."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        keepalived = ensure_keepalived(corpus.settings({})["keepalived"]["version"])
        self._program = f"{keepalived.folder}/keepalived"
        for name in DATABASES:
            root = lab.plan.host(name).root
            shutil.copytree(keepalived.layer / keepalived.folder.lstrip("/"), root / keepalived.folder.lstrip("/"),
                            dirs_exist_ok=True)  # fmt: skip
        write(lab.plan.host("client").root / FORGE_ON_HOST.lstrip("/"), FORGE.read_text())

    def start(self, unicast: bool) -> None:
        """VRRP on both, without endpoints: their kernel need not have IPVS."""
        settings = {**corpus.settings(stand_ins(unicast, firewall=False)), "endpoints": {}}
        for name in DATABASES:
            write(self.lab.plan.host(name).root / "etc/standin.conf", keepalived_conf.render(settings, name, {}))
            words = ["systemd-run", "--quiet", "--collect", "--unit=standin", self._program, "--dont-fork",
                     "--log-console", "--use-file", "/etc/standin.conf"]  # fmt: skip
            self.lab.run(name, words)
        self.wait_for(FIRST)

    def stop(self, *names: str) -> None:
        for name in names or DATABASES:
            self.lab.run(name, ["systemctl", "stop", "standin"], check=False)

    def holders(self) -> list[str]:
        words = ["ip", "-o", "-4", "address", "show", "dev", "eth0"]
        return [name for name in DATABASES if f" {ADDRESS}/" in self.lab.run(name, words).stdout]

    def wait_for(self, holder: str) -> None:
        wait_for(f"{ADDRESS} on {holder} alone", lambda: self.holders() == [holder], 60, 0.5)

    def forge(self, seconds: int, unicast: bool) -> list[list[str]]:
        """Who held the address while the client said that it does."""
        target = ADDRESSES[FIRST] if unicast else "224.0.0.18"
        words = [PYTHON, FORGE_ON_HOST, str(seconds), CLIENT, target, str(ROUTER), ADDRESS]
        run, seen = self.lab.popen("client", words), []
        while run.poll() is None:
            seen.append(self.holders())
            time.sleep(0.2)
        said, errors = run.communicate()
        assert int(said or 0) > seconds, errors
        return seen

    def filter(self, unicast: bool, firewall: bool, *arguments: str) -> dict[str, HostResult]:
        """Apply the firewall's SLS, and nothing else, on both."""
        salt.set_pillar(self.lab, as_yaml(stand_ins(unicast, firewall)))
        try:
            return salt.apply(self.lab, *arguments, target="mysql*", sls=FIREWALL, report=False)
        finally:
            salt.set_pillar(self.lab, (REPOSITORY / "pillar.example").read_text())

    def dropped(self, name: str) -> int:
        """How many packets the rules have dropped."""
        listed = json.loads(self.lab.run(name, ["nft", "-j", *TABLE[1:]]).stdout)["nftables"]
        return sum(
            part["counter"]["packets"]
            for one in listed if one.get("rule", {}).get("chain") == "vrrp"
            for part in one["rule"]["expr"] if "counter" in part
        )  # fmt: skip

    def has_table(self, name: str) -> bool:
        return self.lab.run(name, TABLE, check=False).returncode == 0

    def assert_no_trace(self) -> None:
        for name in DATABASES:
            assert not self.has_table(name)
            for place in (RULES, f"/etc/systemd/system/{UNIT}", f"/etc/systemd/system/sysinit.target.wants/{UNIT}"):
                assert self.lab.run(name, ["test", "-e", place], check=False).returncode != 0
            assert self.lab.run(name, ["systemctl", "is-active", UNIT], check=False).stdout.strip() == "inactive"


@pytest.fixture(scope="module")
def pair(cluster: Lab) -> Iterator[StandIns]:
    """The databases' hosts with keepalived and nft, and afterwards without the firewall."""
    found = StandIns(cluster)
    for result in found.filter(unicast=False, firewall=True).values():
        # Where this machine's own kernel cannot filter there is nothing to try.
        if "CONFIG_NF_TABLES_INET" in result.problems():
            pytest.skip("NOT RUN: this machine's kernel has no nftables for IPv4 and IPv6 together")
    for result in found.filter(unicast=False, firewall=False).values():
        assert result.ok, result.error or result.problems()
    yield found
    found.stop()
    found.filter(unicast=False, firewall=False)


@pytest.mark.parametrize("unicast", [False, pytest.param(True, marks=pytest.mark.long)], ids=["multicast", "unicast"])
def test_a_forged_advert_takes_the_address_away_unless_it_is_filtered(pair: StandIns, unicast: bool) -> None:
    pair.start(unicast)
    try:
        # Without the rules the director believes whoever says that it is the owner of the address.
        assert any(FIRST not in holders for holders in pair.forge(6, unicast))
        pair.wait_for(FIRST)

        predicted = pair.filter(unicast, True, "test=True")
        for name, result in pair.filter(unicast, True).items():
            assert result.ok, result.error or result.problems()
            assert state(result, LOADED)["changes"] == state(predicted[name], LOADED)["changes"] != {}
        assert all(not result.changed for result in pair.filter(unicast, True).values())
        assert {tuple(holders) for holders in pair.forge(6, unicast)} == {(FIRST,)}
        assert pair.dropped(FIRST) > 6

        # Each still hears the other one: nobody else takes the address, and it moves when its holder ends.
        assert pair.holders() == [FIRST]
        pair.stop(FIRST)
        pair.wait_for(SECOND)
    finally:
        pair.stop()
    for result in pair.filter(unicast, False).values():
        assert result.ok, result.error or result.problems()
        assert set(state(result, ABSENT)["changes"]) == {RULES, f"/etc/systemd/system/{UNIT}", "table"}
    pair.assert_no_trace()
    assert all(not result.changed for result in pair.filter(unicast, False).values())


@pytest.mark.long
def test_the_rules_are_there_after_a_boot_before_keepalived(pair: StandIns) -> None:
    lab = pair.lab
    for result in pair.filter(unicast=False, firewall=True).values():
        assert result.ok, result.error or result.problems()
    lab.run("master", ["systemctl", "stop", "salt-master"])
    try:
        lab.power_off(SECOND)
        lab.boot(SECOND)
        assert pair.has_table(SECOND)
        assert lab.run(SECOND, ["systemctl", "is-active", UNIT]).stdout.strip() == "active"
        words = ["systemctl", "show", "--property=Before", "--value", UNIT]
        assert {"network-pre.target", "keepalived.service"} <= set(lab.run(SECOND, words).stdout.split())
    finally:
        lab.run("master", ["systemctl", "start", "salt-master"])
        salt.wait_for_minions(lab)
    assert all(not result.changed for result in pair.filter(unicast=False, firewall=True).values())


@pytest.mark.long
def test_what_somebody_else_filters_stays_theirs_and_what_they_take_away_comes_back(pair: StandIns) -> None:
    lab = pair.lab
    theirs = "add table inet theirs; add chain inet theirs input { type filter hook input priority 0; }"
    for result in pair.filter(unicast=False, firewall=True).values():
        assert result.ok, result.error or result.problems()
    lab.run(FIRST, ["nft", theirs])
    # Their service begins with `flush ruleset`, and this one follows it.
    lab.run(FIRST, ["systemctl", "start", "nftables"])
    assert not pair.has_table(FIRST)
    predicted = pair.filter(False, True, "test=True")[FIRST]
    done = pair.filter(False, True)[FIRST]
    assert state(predicted, LOADED)["changes"] == state(done, LOADED)["changes"]
    assert state(done, LOADED)["changes"] == {"table": {"old": None, "new": "as specified"}}
    for verb in ("reload", "restart"):
        lab.run(FIRST, ["systemctl", verb, "nftables"])
        wait_for(f"the table after a {verb} of nftables", lambda: pair.has_table(FIRST), 10, 0.2)
    # A rule that somebody adds is taken away, and other tables are never touched.
    lab.run(FIRST, ["nft", theirs])
    lab.run(FIRST, ["nft", "insert rule inet mysql_ha vrrp accept"])
    done = pair.filter(False, True)[FIRST]
    assert state(done, LOADED)["changes"] == {"table": {"old": "another one", "new": "as specified"}}
    assert "chain input" in lab.run(FIRST, ["nft", "list", "table", "inet", "theirs"]).stdout
    pair.filter(False, False)
    pair.assert_no_trace()
    assert "chain input" in lab.run(FIRST, ["nft", "list", "table", "inet", "theirs"]).stdout
    lab.run(FIRST, ["nft", "delete", "table", "inet", "theirs"])
    lab.run(FIRST, ["systemctl", "stop", "nftables"], check=False)
