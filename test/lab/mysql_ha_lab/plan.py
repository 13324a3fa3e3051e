"""Which hosts a lab has, what they are called and where everything of them lies."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import netaddr

REPOSITORY = Path(__file__).resolve().parents[3]
CACHE = Path(os.environ.get("MYSQL_HA_LAB_CACHE", "/var/cache/mysql_ha-lab"))
STATE = Path(os.environ.get("MYSQL_HA_LAB_STATE", "/var/lib/mysql_ha-lab"))

LAN = netaddr.IPNetwork("192.168.1.0/24")
# The lab's own foot in the LAN, from which it reaches the guests by ssh.
LAB_ADDRESS = netaddr.IPAddress("192.168.1.254")
ADDRESSES = {
    "master": "192.168.1.20",
    "lvs1": "192.168.1.2",
    "lvs2": "192.168.1.11",
    "mysql1": "192.168.1.5",
    "mysql2": "192.168.1.6",
    "client": "192.168.1.30",
}
# Hosts that a lab has only when asked for.
OPTIONAL = {"replica1": "192.168.1.7"}
DIRECTORS = ("lvs1", "lvs2")
DATABASES = ("mysql1", "mysql2")
NAME = re.compile(r"[a-z][a-z0-9]{0,7}")
SUITE = "trixie"
# Only there are the kernel recent enough for seccomp (1.5 times faster), keepalived 2.3.4's tarball, and MySQL.
NEWER_SUITE = "sid"


class LabError(Exception):
    """Something the person at the terminal can act on; shown without a traceback."""


@dataclass(frozen=True)
class Flavor:
    """A database server: its packages, the Debian that has them, and its command line client.

    A database host runs that Debian as a whole. One suite's server on another suite's system would be a
    mixture that nobody has in production: MySQL from sid would replace trixie's C library, and MariaDB 10.11
    would run with libraries that it was not built for.
    """

    name: str
    suite: str
    packages: tuple[str, ...]
    client: str
    pillar: str  # what the pillar calls it
    verifies_alone: bool = False  # can check a peer's certificate without a CA


DEFAULT_FLAVOR = "mariadb"
_MARIADB_BACKUP = ("mariadb-backup", "zstd")
FLAVORS = {
    flavor.name: flavor
    for flavor in (
        Flavor(DEFAULT_FLAVOR, SUITE, ("mariadb-server", *_MARIADB_BACKUP), "mariadb", "mariadb", verifies_alone=True),
        Flavor("mysql", NEWER_SUITE, ("mysql-server", "zstd"), "mysql", "mysql"),
        Flavor("mariadb-10.11", "bookworm", ("mariadb-server", *_MARIADB_BACKUP), "mariadb", "mariadb"),
    )
}


@dataclass(frozen=True)
class HostPlan:
    """One host: its name, its address, whether it needs a kernel of its own, and the database it may have."""

    lab: str
    name: str
    address: netaddr.IPAddress
    own_kernel: bool
    database: Flavor | None = None

    @property
    def directory(self) -> Path:
        return STATE / self.lab / self.name

    @property
    def root(self) -> Path:
        """Where the host's file system is mounted on this machine."""
        return self.directory / "root"

    @property
    def console(self) -> Path:
        return self.directory / "console.log"

    @property
    def namespace(self) -> str:
        """The network namespace that the host's processes live in."""
        return f"mha-{self.lab}-lan" if self.own_kernel else f"mha-{self.lab}-{self.name}"

    @property
    def machine(self) -> str:
        """The name that marks the host's processes on this machine."""
        return f"mha-{self.lab}-{self.name}"

    @property
    def port(self) -> str:
        """The bridge port in the LAN's namespace."""
        return f"p-{self.name}"

    @property
    def mac(self) -> str:
        """A locally administered address that carries the host's IPv4 address."""
        return "52:54:" + ":".join(f"{octet:02x}" for octet in self.address.words)


@dataclass(frozen=True)
class LabPlan:
    """All hosts of one lab, and what its databases are."""

    name: str
    database: Flavor
    hosts: dict[str, HostPlan] = field(default_factory=dict)

    @property
    def lan_namespace(self) -> str:
        return f"mha-{self.name}-lan"

    @property
    def directory(self) -> Path:
        return STATE / self.name

    def host(self, name: str) -> HostPlan:
        """The host of that name; LabError lists the names there are."""
        if name not in self.hosts:
            raise LabError(f"no host '{name}' in the lab; there are: {', '.join(self.hosts)}")
        return self.hosts[name]


def lab_plan(
    name: str,
    directors_need_kernel: bool,
    database: str | None = None,
    without: Collection[str] = (),
    also: Collection[str] = (),
) -> LabPlan:
    """Plan a lab called ``name`` (1-8 of a-z0-9); several can stand side by side.

    Without ``database`` its databases are what they already were, and MariaDB in a new lab. ``without``
    leaves hosts out, and ``also`` names those of OPTIONAL that it has beside those that it already has.
    """
    if not NAME.fullmatch(name):
        raise LabError(f"--name: is '{name}'; allowed: 1 to 8 lower-case letters and digits, a letter first")
    flavor = _flavor(database or recorded_flavor(name) or DEFAULT_FLAVOR)
    hosts = {}
    for host, text in (ADDRESSES | OPTIONAL).items():
        if host in without or (host in OPTIONAL and host not in also and not (STATE / name / host).exists()):
            continue
        address = netaddr.IPAddress(text)
        if address not in LAN:
            raise LabError(f"{host}: {address} lies outside the LAN {LAN}")
        own_kernel = directors_need_kernel and host in DIRECTORS
        hosts[host] = HostPlan(name, host, address, own_kernel, flavor if host in (*DATABASES, *OPTIONAL) else None)
    return LabPlan(name, flavor, hosts)


def flavor_record(name: str) -> Path:
    """The file in a lab's directory that says which flavor its databases' disks were made for."""
    return STATE / name / "database"


def recorded_flavor(name: str) -> str | None:
    """The flavor of a lab that is there already."""
    record = flavor_record(name)
    return record.read_text().strip() if record.exists() else None


def _flavor(name: str) -> Flavor:
    if name not in FLAVORS:
        raise LabError(f"--database: is '{name}'; allowed: {', '.join(FLAVORS)}")
    return FLAVORS[name]
