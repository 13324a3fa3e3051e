"""
The corpus of setups: keepalived's own word on each (`keepalived -t`, on this machine), and what it then loads.

Both with keepalived 2.2.7 and 2.3.4, built as the formula builds it. What was loaded is told by keepalived's dump and
the kernel's table, on a host with IPVS; what was asked is read from the pillar by ``keepalived_wanted``, which knows
nothing of the formula's code.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import netaddr
import pytest

import corpus
import keepalived_checks
import keepalived_conf
import keepalived_dump
import keepalived_endpoint_rules
import keepalived_vrrp
import keepalived_vrrp_rules
import keepalived_wanted
import mysql_ha_pillar
from mysql_ha_lab.command import run
from mysql_ha_lab.identity import write
from mysql_ha_lab.lab import Lab
from mysql_ha_lab.layers import KEEPALIVED_SUITES, Keepalived, ensure_keepalived
from mysql_ha_lab.plan import ADDRESSES, REPOSITORY
from mysql_ha_lab.prepare import require_root

SETUPS = corpus.load()
VERSIONS = tuple(KEEPALIVED_SUITES)
LOADER = Path(__file__).parent / "guest/keepalived_load.py"
LOADER_ON_HOST = "/usr/local/lib/lab/keepalived_load.py"
UTILS_ON_HOST = "/usr/local/lib/lab/utils"
DIRECTOR = "lvs1"
# What `make test` loads; `make test-long` loads all of them, on both directors and in both versions.
SHORT = (
    "one-director", "two-directors", "article", "schedulers", "scheduler-flags", "fwmark", "group", "persistence",
    "per-server", "quorum", "tunnel-gue", "check-http", "check-times", "instances", "sync-group", "vrrp-v2-unicast",
    "vrrp-track-scripts", "ipv6-endpoint", "sample-shipped",
)  # fmt: skip
# A user that this machine need not have, for one program.
WITH_USER = 'mount --bind "$1" /etc/passwd; shift; exec "$@"'
# Schedulers that the guests' kernel was built without; keepalived's dump has them, the kernel's table cannot.
NOT_IN_KERNEL = {"twos"}
# keepalived has them only when it is built with a library that the formula's build does without.
NOT_BUILT = {"snmp_name"}
PAIRS = [(name, version) for name, setup in SETUPS.items() for version in VERSIONS if setup.is_for(version)]


def loads() -> Iterator[Any]:
    """Which director of which setup is loaded by which version."""
    for name, version in PAIRS:
        for director in SETUPS[name].directors:
            is_short = name in SHORT and director == DIRECTOR and version == VERSIONS[-1]
            yield pytest.param(name, director, version, marks=[] if is_short else [pytest.mark.long])


@functools.cache
def rendered(name: str, director: str, version: str) -> str:
    """keepalived.conf of one director."""
    pillar = SETUPS[name].for_version(version)
    return keepalived_conf.render(corpus.settings(pillar), director, pillar["secrets"])


@pytest.fixture(scope="session")
def keepaliveds() -> dict[str, Keepalived]:
    """Each version of keepalived."""
    if os.geteuid() != 0:
        reason = "NOT RUN: keepalived is built and tried in namespaces; run these tests as root"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    require_root()
    return {version: ensure_keepalived(version) for version in VERSIONS}


@pytest.fixture(scope="session")
def namespace(keepaliveds: dict[str, Keepalived]) -> Iterator[str]:
    """A network namespace with every interface that a setup names."""
    name = f"mha-{os.environ.get('MYSQL_HA_LAB_NAME', 'test')}-corpus"
    run(["ip", "netns", "delete", name], check=False)
    run(["ip", "netns", "add", name])
    run(["ip", "-n", name, "link", "set", "lo", "up"])
    names = {interface for setup in SETUPS.values() for own in setup.directors
             for interface in corpus.interfaces(setup, own)}  # fmt: skip
    for number, interface in enumerate(sorted(names)):
        run(["ip", "-n", name, "link", "add", interface, "type", "veth", "peer", "name", f"peer{number}"])
        run(["ip", "-n", name, "link", "set", interface, "up"])
        run(["ip", "-n", name, "link", "set", f"peer{number}", "up"])
    yield name
    run(["ip", "netns", "delete", name])


def test_there_are_enough_setups() -> None:
    assert len(SETUPS) >= 40
    assert all(setup.shows for setup in SETUPS.values())
    assert set(SHORT) <= set(SETUPS)


def test_every_key_is_in_some_setup() -> None:
    missing = {where: sorted(known - used) for where, (known, used) in _keys().items()}
    assert {where: keys for where, keys in missing.items() if keys} == {}


def _keys() -> dict[str, tuple[set[str], set[str]]]:
    """The keys that the formula knows, by where they stand, and those that setups use."""
    pillars = [setup.pillar for setup in SETUPS.values()]
    endpoints = [own for pillar in pillars for own in pillar["endpoints"].values()]
    servers = [own for endpoint in endpoints for own in endpoint.get("servers", {}).values()]
    checks = [check for own in [*endpoints, *servers] for check in keepalived_checks.each(own.get("check"))]
    vrrp = [pillar.get("vrrp", {}) for pillar in pillars]
    sections = {name: [own for one in vrrp for own in one.get(name, {}).values()]
                for name in ("instances", "groups", "scripts", "files", "processes", "bfds")}  # fmt: skip
    found = {
        "endpoints": (set(keepalived_endpoint_rules.ENDPOINT_KEYS) - NOT_BUILT, endpoints),
        "servers": (set(keepalived_endpoint_rules.SERVER_KEYS) - NOT_BUILT, servers),
        "urls": (set(keepalived_checks.URL) - NOT_BUILT, [url for check in checks for url in check.get("urls", ())]),
        "vrrp": (set(keepalived_vrrp_rules.DEFAULTS) | {"garp", "track", *sections}, vrrp),
        "garp": (set(keepalived_vrrp.GARP_GLOBAL), [one.get("garp", {}) for one in vrrp]),
        "sync_daemon": ({*keepalived_vrrp.SYNC_DAEMON, "interface", "instance"},
                        [one["sync_daemon"] for one in vrrp if isinstance(one.get("sync_daemon"), dict)]),
        "instances": ({*keepalived_vrrp.NOTIFY, *keepalived_vrrp.VMAC, *keepalived_vrrp.INHERITED, "priorities",
                       "interface", "garp", "routes", "rules", "endpoints", "addresses", "extra"},
                      sections["instances"]),
        "groups": ({*keepalived_vrrp.NOTIFY_GROUP, "instances", "track", "extra"}, sections["groups"]),
    }  # fmt: skip
    for name, kind in keepalived_vrrp.KINDS.items():
        if kind.table:
            found[name] = ({*kind.table, *keepalived_vrrp.BESIDE[name]}, sections[name])
    for name, kind_of_check in keepalived_checks.CHECKS.items():
        known = {*kind_of_check.keys, *(("urls",) if kind_of_check.has_urls else ())}
        found[f"check {name}"] = (known, [check for check in checks if check["type"] == name])
    return {where: (known, {key for one in used for key in one}) for where, (known, used) in found.items()}


@pytest.mark.parametrize("name", SETUPS)
def test_a_setup_that_keepalived_can_do_is_valid(name: str) -> None:
    for version in VERSIONS:
        errors = mysql_ha_pillar.errors(SETUPS[name].for_version(version))
        if SETUPS[name].is_for(version):
            assert errors == []
        else:
            assert errors != []


@pytest.mark.parametrize(("name", "version"), PAIRS)
def test_keepalived_accepts_it(
    name: str, version: str, keepaliveds: dict[str, Keepalived], namespace: str, tmp_path: Path
) -> None:
    users, number = tmp_path / "passwd", keepalived_wanted.SCRIPT_USER_NUMBER
    own = f"{keepalived_wanted.SCRIPT_USER}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin\n"
    users.write_text(Path("/etc/passwd").read_text() + own)
    for director in SETUPS[name].directors:
        config = tmp_path / f"{director}.conf"
        config.write_text(rendered(name, director, version))
        words = ["unshare", "--mount", "sh", "-ec", WITH_USER, "sh", users, *keepaliveds[version].program]
        words += ["--config-test", "--use-file", config]
        done = run(["nsenter", f"--net=/run/netns/{namespace}", *words], check=False)
        assert (done.returncode, done.stderr) == (0, "")


# --- what is loaded ---


class Director:
    """A host with IPVS in its kernel that loads one configuration after the other."""

    def __init__(self, lab: Lab, keepaliveds: dict[str, Keepalived]) -> None:
        root = lab.plan.host(DIRECTOR).root
        for keepalived in keepaliveds.values():
            shutil.copytree(
                keepalived.layer / keepalived.folder.lstrip("/"),
                root / keepalived.folder.lstrip("/"),
                dirs_exist_ok=True,
            )
        for module in (REPOSITORY / "_utils").glob("ipvs_*.py"):
            write(root / UTILS_ON_HOST.lstrip("/") / module.name, module.read_text())
        write(root / LOADER_ON_HOST.lstrip("/"), LOADER.read_text())
        lab.run(DIRECTOR, ["modprobe", "ip_vs"], check=False)
        user, number = keepalived_wanted.SCRIPT_USER, str(keepalived_wanted.SCRIPT_USER_NUMBER)
        lab.run(DIRECTOR, ["groupadd", "--gid", number, user], check=False)
        lab.run(DIRECTOR, ["useradd", "--uid", number, "--gid", number, "--no-create-home", user], check=False)
        self._folders = {version: keepalived.folder for version, keepalived in keepaliveds.items()}
        words = ["env", f"PYTHONPATH={UTILS_ON_HOST}", "python3", "-u", LOADER_ON_HOST]
        self._run = subprocess.Popen(
            lab.host(DIRECTOR).command(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def load(self, config: str, name: str, director: str, version: str) -> dict[str, Any]:
        """What keepalived and the kernel say after a configuration was loaded."""
        asked = {
            "program": f"{self._folders[version]}/keepalived",
            "config": config,
            "interfaces": corpus.interfaces(SETUPS[name], director),
        }
        self._run.stdin.write(json.dumps(asked) + "\n")
        self._run.stdin.flush()
        return json.loads(self._run.stdout.readline())

    def close(self) -> None:
        self._run.stdin.close()
        self._run.wait(60)


@pytest.fixture(scope="session")
def host(keepaliveds: dict[str, Keepalived]) -> Iterator[Director]:
    """One bare host with a kernel that has IPVS, in a lab of its own."""
    lab = Lab(os.environ.get("MYSQL_HA_LAB_NAME", "test")[:4] + "corp", without=set(ADDRESSES) - {DIRECTOR})
    with lab.only_me():
        lab.down(purge=True)
        try:
            lab.up()
            one = Director(lab, keepaliveds)
            yield one
            one.close()
        finally:
            if not os.environ.get("MYSQL_HA_LAB_KEEP"):
                lab.down(purge=True)


def differences(wanted: Any, found: Any, path: str = "") -> list[str]:
    """Where something else was found than what was wanted; a word that nobody wanted is no difference."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [line for key, value in wanted.items()
                for line in differences(value, found.get(key, "nothing"), f"{path}:{key}")]  # fmt: skip
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        return [line for index, pair in enumerate(zip(wanted, found, strict=True))
                for line in differences(*pair, f"{path}:{index}")]  # fmt: skip
    same = abs(wanted - found) < 1e-6 if _are_numbers(wanted, found) else wanted == found
    return [] if same else [f"{path}: wanted {wanted!r}, found {found!r}"]


def _are_numbers(*values: object) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


@pytest.mark.parametrize(("name", "director", "version"), loads())
def test_what_is_loaded_is_what_the_pillar_asks(name: str, director: str, version: str, host: Director) -> None:
    config = rendered(name, director, version)
    assert wrong(name, director, version, host.load(config, name, director, version)) == []


@pytest.mark.parametrize(
    ("line", "other", "told"),
    [
        ("weight 3", "weight 4", "weight"),
        ("connect_timeout 1", "connect_timeout 2", "connect_timeout"),
        ("lvs_sched wrr", "lvs_sched wlc", "scheduler"),
        ("priority 150", "priority 149", "priority"),
        ("192.168.1.100/32 dev eth0", "192.168.1.101/32 dev eth0", "addresses"),
    ],
)
def test_another_value_would_be_noticed(line: str, other: str, told: str, host: Director) -> None:
    name, version = "two-directors", VERSIONS[-1]
    config = rendered(name, DIRECTOR, version)
    assert line in config
    found = wrong(name, DIRECTOR, version, host.load(config.replace(line, other), name, DIRECTOR, version))
    assert any(told in sentence for sentence in found)


def wrong(name: str, director: str, version: str, loaded: dict[str, Any]) -> list[str]:
    """Where keepalived or the kernel has something else than the pillar asks for."""
    assert loaded.get("vrrp"), loaded["said"]
    pillar = SETUPS[name].for_version(version)
    checkers = keepalived_dump.checkers(loaded["check"])
    vrrp = keepalived_dump.vrrp(loaded["vrrp"])
    wanted = {
        "globals": keepalived_wanted.globals_(pillar, director),
        "endpoints": keepalived_wanted.endpoints(pillar),
        "instances": keepalived_wanted.instances(pillar, director),
        "groups": keepalived_wanted.groups(pillar),
        "scripts": keepalived_wanted.scripts(pillar),
        "files": keepalived_wanted.files(pillar),
        "processes": keepalived_wanted.processes(pillar),
        "bfds": keepalived_wanted.bfds(pillar),
        "table": _table(keepalived_wanted.table(pillar)),
    }
    # Each process knows the scripts that it runs itself.
    fifos = {
        **checkers["globals"]["fifos"],
        **{key: value for key, value in vrrp["globals"]["fifos"].items() if key == "vrrp"},
    }
    found = {
        **vrrp,
        "globals": {**vrrp["globals"], "fifos": fifos},
        "endpoints": checkers["endpoints"],
        # Which process has a file depends on who tracks it.
        "files": [own for own in wanted["files"] if own in vrrp["files"] or own in checkers["files"]],
        "bfds": keepalived_dump.bfd(loaded["bfd"]) if loaded.get("bfd") else [],
        "table": _table(loaded["table"]),
    }
    lines = differences(wanted, found)
    lines += [f"table:{service}: nobody wanted it" for service in found["table"] if service not in wanted["table"]]
    for service, own in wanted["table"].items():
        if own != found["table"].get(service, own):
            lines.append(f"table:{service}: wanted {own}, found {found['table'][service]}")
    lines += _daemons(wanted["globals"]["sync_daemon"], loaded["daemons"])
    return lines + differences(keepalived_wanted.timeouts(pillar) or loaded["timeouts"], loaded["timeouts"], "timeouts")


def _daemons(wanted: dict[str, Any] | None, daemons: dict[str, dict[str, Any]]) -> list[str]:
    """Where the kernel's daemons, of which there are those that the instance's state asks for, are not as wanted."""
    if wanted is None:
        return [f"a daemon that nobody asked for: {state}" for state in daemons]
    names = {
        "interface": "interface",
        "id": "sync_id",
        "maxlen": "max_length",
        "group": "group",
        "port": "port",
        "ttl": "ttl",
    }
    own = {names[key]: value for key, value in wanted.items() if key in names and value}
    return [line for state, daemon in daemons.items() for line in differences(own, daemon, state)]


def _table(table: dict[str, Any]) -> dict[str, Any]:
    """A table whose names and masks are written in one way."""
    found = {}
    for name, service in table.items():
        if service["scheduler"] in NOT_IN_KERNEL:
            continue
        own = dict(service)
        if "persistence_netmask" in own and "." in str(own["persistence_netmask"]):
            own["persistence_netmask"] = str(netaddr.IPAddress(own["persistence_netmask"]))
        if "scheduler_flags" in own:
            own["scheduler_flags"] = sorted(own["scheduler_flags"])
        found[name] = own
    return found
