"""Which hosts a lab has, what they are called and where everything of them lies."""

from __future__ import annotations

import os
import re
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
DIRECTORS = ("lvs1", "lvs2")
DATABASES = ("mysql1", "mysql2")
NAME = re.compile(r"[a-z][a-z0-9]{0,7}")


class LabError(Exception):
    """Something the person at the terminal can act on; shown without a traceback."""


@dataclass(frozen=True)
class HostPlan:
    """One host: its name, its address, and whether it needs a kernel of its own."""

    lab: str
    name: str
    address: netaddr.IPAddress
    own_kernel: bool

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
    """All hosts of one lab."""

    name: str
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


def lab_plan(name: str, directors_need_kernel: bool) -> LabPlan:
    """Plan a lab called ``name`` (1-8 of a-z0-9); several can stand side by side."""
    if not NAME.fullmatch(name):
        raise LabError(f"--name: is '{name}'; allowed: 1 to 8 lower-case letters and digits, a letter first")
    hosts = {}
    for host, text in ADDRESSES.items():
        address = netaddr.IPAddress(text)
        if address not in LAN:
            raise LabError(f"{host}: {address} lies outside the LAN {LAN}")
        hosts[host] = HostPlan(name, host, address, directors_need_kernel and host in DIRECTORS)
    return LabPlan(name, hosts)
