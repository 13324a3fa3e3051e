"""What the machine itself needs to carry a lab."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from .command import run
from .plan import LabError
from .progress import warn

# command -> Debian package that has it
TOOLS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "ssh": "openssh-client",
    "patchelf": "patchelf",
    "dpkg-scanpackages": "dpkg-dev",
}
NULL = Path("/dev/null")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def require_root() -> None:
    """LabError unless this process may make namespaces and mounts."""
    if os.geteuid() != 0:
        raise LabError("the lab makes network namespaces and mounts: run it as root (sudo)")


def missing_packages() -> list[str]:
    """The Debian packages that this machine lacks."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    missing = {package for tool, package in TOOLS.items() if shutil.which(tool, path=path) is None}
    if not KEYRING.exists():
        missing.add("debian-archive-keyring")
    return sorted(missing)


def prepare() -> list[str]:
    """Install what is missing with apt-get; returns the packages that were installed."""
    require_root()
    _warn_of_closed_null()
    missing = missing_packages()
    if not missing:
        return []
    if shutil.which("apt-get") is None:
        raise LabError(f"this machine has no apt-get; install the equivalents of: {' '.join(missing)}")
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    run(["apt-get", "update", "-q"], env=env)
    run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing], env=env, timeout=1200)
    return missing


def _warn_of_closed_null() -> None:
    """Containers get /dev/null with the mode that it has here; a wrong one keeps their D-Bus from starting."""
    mode = stat.S_IMODE(NULL.stat().st_mode)
    if mode != 0o666:
        warn(f"{NULL} of this machine has mode {mode:04o}, and so has every host's: services that do not run as root "
             f"fail there; mend it: chmod 666 {NULL}")  # fmt: skip


def kernel_has_ipvs() -> bool:
    """True where this machine's own kernel offers IPVS, so that directors can be containers."""
    if Path("/proc/net/ip_vs").exists():
        return True
    if shutil.which("modprobe") is None:
        return False
    return run(["modprobe", "ip_vs"], check=False).returncode == 0
