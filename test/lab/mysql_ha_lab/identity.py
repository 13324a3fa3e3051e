"""What makes a copy of the images a particular host: name, address, keys, Salt's configuration."""

from __future__ import annotations

import uuid
from pathlib import Path

from .plan import ADDRESSES, LAN, OPTIONAL, HostPlan

SALT_COMMANDS = ["salt", "salt-call", "salt-key", "salt-run", "salt-ssh", "spm"]
NETWORK_SCRIPT = """#!/bin/sh
# The kernel calls a guest's interface vec0; every host here has eth0.
set -e
if [ -e /sys/class/net/vec0 ]; then
    ip link set vec0 down
    ip link set vec0 name eth0
fi
ip link set lo up
ip link set eth0 up
ip addr replace {address}/{prefix} brd + dev eth0
"""
NETWORK_UNIT = """[Unit]
Description=The host's address in the LAN
DefaultDependencies=no
After=systemd-sysctl.service systemd-udevd.service
Before=network-pre.target network.target network-online.target sshd.service
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lab-network

[Install]
WantedBy=sysinit.target
"""
SALT_UNIT = """[Unit]
Description=Salt {role}
After=network-online.target lab-network.service

[Service]
Type=notify
NotifyAccess=all
LimitNOFILE=100000
ExecStart=/opt/salt/bin/salt-{role}
KillMode=process
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""
MINION = """id: {name}
master: {master}
acceptance_wait_time: 1
random_reauth_delay: 2
recon_default: 500
recon_max: 3000
enable_fqdns_grains: false
enable_gpu_grains: false
"""
MASTER = """interface: 0.0.0.0
file_roots:
  base: [/srv/formula, /srv/lab]
pillar_roots:
  base: [/srv/pillar]
worker_threads: 4
fileserver_list_cache_time: 1
timeout: 60
gather_job_timeout: 10
"""


def write_identity(host: HostPlan, ssh_public_key: str) -> None:
    """Write the host's own files into its (mounted) disk; the same each time."""
    root = host.root
    write(root / "etc/hostname", host.name + "\n")
    names = "".join(f"{address} {name}\n" for name, address in (ADDRESSES | OPTIONAL).items())
    write(root / "etc/hosts", "127.0.0.1 localhost\n" + names)
    identity = uuid.uuid5(uuid.NAMESPACE_DNS, host.machine).hex
    write(root / "etc/machine-id", identity + "\n")
    write(root / "root/.ssh/authorized_keys", ssh_public_key, 0o600)
    script = NETWORK_SCRIPT.format(address=host.address, prefix=LAN.prefixlen)
    write(root / "usr/local/sbin/lab-network", script, 0o755)
    _unit(root, "lab-network", NETWORK_UNIT, "sysinit.target")
    write(root / "etc/salt/minion.d/lab.conf", MINION.format(name=host.name, master=ADDRESSES["master"]))
    _unit(root, "salt-minion", SALT_UNIT.format(role="minion"), "multi-user.target")
    for command in SALT_COMMANDS:
        _link(root / "usr/local/bin" / command, f"/opt/salt/bin/{command}")
    if host.name == "master":
        write(root / "etc/salt/master.d/lab.conf", MASTER)
        _unit(root, "salt-master", SALT_UNIT.format(role="master"), "multi-user.target")


def write(place: Path, text: str, mode: int = 0o644) -> None:
    """Write a file with its folders, without touching an equal one."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() or not place.exists() or place.read_text() != text:
        place.unlink(missing_ok=True)
        place.write_text(text)
    place.chmod(mode)


def _unit(root: Path, name: str, text: str, target: str) -> None:
    units = root / "etc/systemd/system"
    write(units / f"{name}.service", text)
    wants = units / f"{target}.wants"
    wants.mkdir(parents=True, exist_ok=True)
    _link(wants / f"{name}.service", f"../{name}.service")


def _link(place: Path, target: str) -> None:
    if not place.is_symlink():
        place.symlink_to(target)
