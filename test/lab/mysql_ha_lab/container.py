"""Hosts that share this machine's kernel: systemd-nspawn with a full systemd inside."""

from __future__ import annotations

import os
import signal
import subprocess

from . import cgroup, process
from .command import CLEAN_ENVIRONMENT
from .plan import HostPlan, LabError

# arp_ignore and arp_announce are per network namespace, so they may be written; /sys and /proc/sys of the
# machine stay as they are (layers.py disarms the system-wide settings that Debian would apply at boot).
NSPAWN_ENVIRONMENT = {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
POWER_OFF = signal.SIGRTMIN + 4  # systemd(1): start poweroff.target


class Container:
    """One host as a container."""

    def __init__(self, plan: HostPlan) -> None:
        self.plan = plan

    def boot(self) -> None:
        """Start the host; returns at once, see ``is_up``."""
        words = [
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--machine={self.plan.machine}",
            f"--hostname={self.plan.name}", "--capability=CAP_NET_ADMIN,CAP_SYS_NICE", "--link-journal=no",
            "--resolv-conf=off", "--timezone=off", "--console=pipe",
            f"--network-namespace-path=/run/netns/{self.plan.namespace}", "-D", str(self.plan.root), "--boot",
        ]  # fmt: skip
        enter_own_group = cgroup.fresh(self.plan.machine)
        with self.plan.console.open("ab") as console:
            subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                preexec_fn=enter_own_group,
                env=CLEAN_ENVIRONMENT | NSPAWN_ENVIRONMENT,
            )

    def leader(self) -> int | None:
        """The host's process 1, as this machine numbers it."""
        for pid in process.in_namespace(self.plan.namespace):
            if process.is_first_in_its_container(pid):
                return pid
        return None

    def supervisors(self) -> list[int]:
        return process.with_word(f"--machine={self.plan.machine}")

    def is_running(self) -> bool:
        return bool(self.leader() or self.supervisors())

    def command(self, words: list[str], interactive: bool = False) -> list[str]:
        """The words that run a command on the host."""
        leader = self.leader()
        if leader is None:
            raise LabError(f"{self.plan.name} is off; switch it on with: lab boot {self.plan.name}")
        environment = [f"{key}={value}" for key, value in CLEAN_ENVIRONMENT.items()]
        if interactive:
            environment.append(f"TERM={os.environ.get('TERM', 'dumb')}")
        # nsenter waits outside for its child inside: ended alone, it would leave the command running.
        die_with_parent = ["setpriv", "--pdeathsig=KILL"]
        return ["nsenter", "--all", f"--target={leader}", "env", "-i", *environment, *die_with_parent, *words]

    def all_processes(self) -> list[int]:
        return process.in_namespace(self.plan.namespace)

    def ask_to_power_off(self) -> None:
        leader = self.leader()
        process.send([leader] if leader else [], POWER_OFF)

    def power_off(self) -> None:
        """Power loss: process 1 is killed, and the kernel kills all others with it."""
        leader = self.leader()
        process.kill([leader] if leader else [], self.plan.name)
        process.kill([*self.supervisors(), *self.all_processes()], self.plan.name)
        process.kill(cgroup.members(self.plan.machine), self.plan.name)
        cgroup.remove(self.plan.machine)
