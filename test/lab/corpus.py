"""
The corpus: setups of keepalived in the words of the pillar, from the smallest to 500 endpoints with 10 servers each.

One file a setup in ``keepalived_corpus``: ``shows`` says why it is there; ``pillar`` is laid over BASE; ``interfaces``
are those that a director has beside the formula's own; ``since`` is the first keepalived that can do it. What comes
from a sample of keepalived's own names it (``sample``) and says where it is otherwise (``differs``).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import netaddr
import yaml

from mysql_ha_lab.plan import REPOSITORY

FOLDER = Path(__file__).parent / "keepalived_corpus"
BASE: dict[str, Any] = {
    "cluster": "corpus",
    "nodes": {
        "lvs1": {"role": "director", "address": "192.168.1.2", "priority": 150},
        "lvs2": {"role": "director", "address": "192.168.1.11", "priority": 100},
        "mysql1": {"role": "database", "address": "192.168.1.5", "server_id": 1, "weight": 3},
        "mysql2": {"role": "database", "address": "192.168.1.6", "server_id": 2, "weight": 2},
    },
    "endpoints": {"write": {"address": "192.168.1.100", "port": 3306, "serves": "all", "check": "tcp"}},
    "secrets": {"replication": "corpus-only"},
}
MANY = [f"192.168.7.{last}/32" for last in range(1, 255)]
#: Samples of keepalived 2.3.4 that the pillar cannot say, and why.
CANNOT = {
    "keepalived.conf.vrrp.static_ipaddress": "an address that no instance moves is the host's own affair; a line of "
    "static_ipaddress starts with an address, and extra takes keywords only",
}


@dataclass(frozen=True)
class Setup:
    """One setup."""

    name: str
    shows: str
    pillar: dict[str, Any]
    interfaces: list[str] = field(default_factory=list)
    since: str = ""
    sample: str = ""
    differs: str = ""

    @property
    def directors(self) -> list[str]:
        return [name for name, node in self.pillar["nodes"].items() if node["role"] == "director"]

    def is_for(self, version: str) -> bool:
        """Whether a version of keepalived can do it."""
        return not self.since or numbers(self.since) <= numbers(version)

    def for_version(self, version: str) -> dict[str, Any]:
        """The pillar, which names the version of keepalived."""
        pillar = copy.deepcopy(self.pillar)
        source = f"salt://mysql_ha/sources/keepalived-{version}.tar.gz"
        built = {"version": version, "source": source, "source_hash": "sha256=" + "0" * 64}
        pillar["keepalived"] = {**built, **pillar.get("keepalived", {})}
        return pillar


def interfaces(setup: Setup, director: str) -> dict[str, list[str]]:
    """The interfaces that a director has, with an address each."""
    node = setup.pillar["nodes"][director]
    own = netaddr.IPAddress(node["address"])
    main = node.get("interface", setup.pillar.get("interface", "eth0"))
    found = {main: [f"{own}/{24 if own.version == 4 else 64}"]}
    for name in setup.interfaces:
        # eth1 is in 192.168.2.0/24, and so on; routes of the corpus rely on it.
        number = int(name[-1]) + 1 if name[:3] == "eth" and name[3:].isdigit() else 60
        found.setdefault(name, [f"192.168.{number}.{2 if director == 'lvs1' else 11}/24"])
    return found


def numbers(version: str) -> tuple[int, ...]:
    """A version in numbers."""
    return tuple(map(int, version.split(".")))


def load() -> dict[str, Setup]:
    """All setups, by name."""
    found = {path.stem: _setup(path.stem, yaml.safe_load(path.read_text())) for path in sorted(FOLDER.glob("*.yaml"))}
    return {**found, "large": large()}


def _setup(name: str, given: dict[str, Any]) -> Setup:
    given = dict(given)
    pillar = {**copy.deepcopy(BASE), **given.pop("pillar")}
    pillar["secrets"] = {**BASE["secrets"], **pillar["secrets"]}
    for instance in pillar.get("vrrp", {}).get("instances", {}).values():
        if instance.get("addresses") == "MANY":
            instance["addresses"] = list(MANY)
    return Setup(name=name, pillar=pillar, **given)


def large(endpoints: int = 500, servers: int = 10) -> Setup:
    """So many endpoints with so many servers each."""
    vips = netaddr.IPNetwork("10.1.0.0/16")
    reals = netaddr.IPNetwork("10.2.0.0/16")
    pillar = copy.deepcopy(BASE)
    pillar["checks"] = {"interval": 30, "connect_timeout": 20}
    pillar["endpoints"] = {
        f"service{number}": {
            "address": str(vips[number + 1]),
            "port": 8000 + number,
            "scheduler": ("wrr", "wlc", "rr", "lc", "sed")[number % 5],
            "check": "tcp",
            "servers": {
                f"server{own}": {"address": str(reals[number * servers + own + 1]), "weight": own + 1}
                for own in range(servers)
            },
        }
        for number in range(endpoints)
    }
    return Setup("large", f"{endpoints} endpoints with {servers} servers each", pillar)


def settings(pillar: dict[str, Any]) -> dict[str, Any]:
    """The pillar with the formula's defaults, as map.jinja lays them under it."""
    defaults = yaml.safe_load((REPOSITORY / "mysql_ha/defaults.yaml").read_text())
    return _over(defaults, pillar)


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    found = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = _over(found[key], value) if both else value
    return found
