"""Hosts with a kernel of their own, IPVS included: User Mode Linux, an ordinary process of this machine."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from . import process
from .command import CLEAN_ENVIRONMENT, run
from .plan import HostPlan, LabError

MEMORY = "1G"
SSH_OPTIONS = ["-F", "none", "-q", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
               "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=5",
               "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=12"]  # fmt: skip


class Guest:
    """One host as a guest kernel."""

    def __init__(self, plan: HostPlan, kernel: Path | None, key: Path) -> None:
        self.plan = plan
        self.kernel = kernel
        self.key = key

    def boot(self) -> None:
        """Start the host; returns at once, see ``is_up``."""
        if self.kernel is None:
            raise LabError(f"{self.plan.name} needs a kernel of its own and none was made; run: lab up")
        words = [
            "nsenter", f"--net=/run/netns/{self.plan.namespace}", str(self.kernel / "linux.uml"), f"mem={MEMORY}",
            "seccomp=on", f"umid={self.plan.machine}", f"uml_dir={self.plan.directory}/uml", "rootfstype=hostfs",
            f"rootflags={self.plan.root}", "rw", "init=/lib/systemd/systemd", "con0=null,fd:1", "con=null",
            "console=tty0", "quiet",
            f"vec0:transport=tap,ifname={self.plan.port},depth=128,gro=1,mac={self.plan.mac}",
        ]  # fmt: skip
        with self.plan.console.open("ab") as console:
            subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                # The guest's memory is a file there; a disk would make every page of it a write.
                env=CLEAN_ENVIRONMENT | {"TMPDIR": "/dev/shm"},  # noqa: S108
            )

    def kernels(self) -> list[int]:
        return process.with_word(f"umid={self.plan.machine}")

    def is_running(self) -> bool:
        return bool(self.kernels())

    def command(self, words: list[str], interactive: bool = False) -> list[str]:
        """The words that run a command on the host."""
        if not self.is_running():
            raise LabError(f"{self.plan.name} is off; switch it on with: lab boot {self.plan.name}")
        terminal = ["-t"] if interactive else []
        # ssh hands one string to the remote shell, so every word is quoted.
        return [
            "nsenter",
            f"--net=/run/netns/{self.plan.namespace}",
            "ssh",
            *SSH_OPTIONS,
            *terminal,
            "-i",
            str(self.key),
            f"root@{self.plan.address}",
            shlex.join(words),
        ]

    def all_processes(self) -> list[int]:
        groups = set(self.kernels())
        return [pid for pid in process.pids() if _group(pid) in groups]

    def ask_to_power_off(self) -> None:
        with suppress(LabError):
            run(self.command(["systemctl", "poweroff", "--no-block"]), check=False, timeout=30)

    def power_off(self) -> None:
        """Power loss: the guest's kernel is killed with everything in it."""
        targets = self.all_processes()
        for leader in self.kernels():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(leader, signal.SIGKILL)
        process.kill(targets, self.plan.name)


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None
