"""One lab, all of it: hosts up and down, power, cuts. State is read from the machine, never remembered."""

from __future__ import annotations

import fcntl
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from . import lan, process
from .command import run, wait_for
from .container import Container
from .disk import is_mounted, mount_overlay, unmount
from .guest import Guest
from .identity import write_identity
from .layers import Layers, ensure_layers
from .plan import DEFAULT_FLAVOR, STATE, HostPlan, LabError, LabPlan, flavor_record, lab_plan, recorded_flavor
from .prepare import kernel_has_ipvs
from .progress import say, step

Host = Container | Guest
BOOT_SECONDS = 240
SHUTDOWN_SECONDS = 30  # what has not ended by then is killed


class Lab:
    """A lab by name. Every verb can be repeated, and goes on where an interrupted one stopped."""

    def __init__(
        self,
        name: str = "lab",
        database: str | None = None,
        without: Collection[str] = (),
        also: Collection[str] = (),
    ) -> None:
        self.plan: LabPlan = lab_plan(name, not kernel_has_ipvs(), database, without, also)
        self.key = self.plan.directory / "ssh_key"
        self.just_booted: set[str] = set()
        """Hosts that were switched on again, and whose minion has not been heard of since."""

    @contextmanager
    def only_me(self) -> Iterator[None]:
        """Keep two commands from building up and tearing down the same lab at once."""
        STATE.mkdir(parents=True, exist_ok=True)
        with (STATE / f"{self.plan.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LabError(f"another command works on lab '{self.plan.name}' right now; wait for its end") from None
            yield

    # --- hosts ---

    def host(self, name: str) -> Host:
        return self._machine(self.plan.host(name))

    def _machine(self, host: HostPlan) -> Host:
        if host.own_kernel:
            return Guest(host, self._kernel(), self.key)
        return Container(host)

    def _kernel(self) -> Path | None:
        """The kernel layer that this lab was built with."""
        link = self.plan.directory / "kernel"
        return link.resolve() if link.exists() else None

    def machines(self) -> list[Host]:
        return [self._machine(host) for host in self.plan.hosts.values()]

    # --- up and down ---

    def up(self, mirror: str | None = None) -> None:
        """Build what is missing and boot every host that is off; returns when all of them answer."""
        self._refuse_another_database()
        own_kernel = any(host.own_kernel for host in self.plan.hosts.values())
        layers = ensure_layers(mirror, own_kernel, self.plan.database)
        self._remember(layers)
        with step("boot " + ", ".join(self.plan.hosts)):
            lan.ensure_lan(self.plan)
            for machine in self.machines():
                if not machine.is_running():
                    self._start(machine, layers)
            for machine in self.machines():
                self._wait_until_up(machine)

    def _refuse_another_database(self) -> None:
        """Disks keep the Debian that they were made with, so the databases on them cannot change their flavor."""
        if not any((host.directory / "layers").exists() for host in self.plan.hosts.values()):
            return
        # Labs that are older than the record have the default flavor.
        made_for, wanted = recorded_flavor(self.plan.name) or DEFAULT_FLAVOR, self.plan.database.name
        if made_for != wanted:
            raise LabError(
                f"--database: is '{wanted}', but the disks of lab '{self.plan.name}' were made for '{made_for}'; "
                f"throw them away first: lab down --purge --name {self.plan.name}"
            )

    def _remember(self, layers: Layers) -> None:
        self.plan.directory.mkdir(parents=True, exist_ok=True)
        flavor_record(self.plan.name).write_text(self.plan.database.name + "\n")
        if not self.key.exists():
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "mysql_ha-lab", "-f", self.key])
        for name, target in (("kernel", layers.kernel), ("sources", layers.sources)):
            link = self.plan.directory / name
            link.unlink(missing_ok=True)
            if target is not None:
                link.symlink_to(target)
        for host in self.plan.hosts.values():
            if not is_mounted(host.root):
                mount_overlay(self._disk(host, layers), host.directory)

    def _disk(self, host: HostPlan, layers: Layers) -> list[Path]:
        """The host's layers: those that its disk was made with, or else the present ones.

        An overlay whose lower layers change under it is undefined (kernel: overlayfs.rst), so a disk
        stays with its own until it is purged.
        """
        record = host.directory / "layers"
        if record.exists():
            made_with = [Path(line) for line in record.read_text().splitlines()]
            if not all(layer.exists() for layer in made_with):
                raise LabError(f"the images under {host.name}'s disk are gone; run: lab down --purge")
            return made_with
        lower = layers.lower(host)
        host.directory.mkdir(parents=True, exist_ok=True)
        record.write_text("\n".join(str(layer) for layer in lower) + "\n")
        return lower

    def _start(self, machine: Host, layers: Layers | None = None) -> None:
        host = machine.plan
        if not is_mounted(host.root):
            if not (host.directory / "layers").exists():
                raise LabError(f"{host.name} has no disk yet; run: lab up")
            layers_of_disk = [Path(line) for line in (host.directory / "layers").read_text().splitlines()]
            mount_overlay(layers_of_disk, host.directory)
        write_identity(host, self.key.with_suffix(".pub").read_text())
        lan.ensure_lan(self.plan)
        plug = lan.plug_guest if host.own_kernel else lan.plug_container
        plug(self.plan.lan_namespace, host)
        machine.boot()

    def _wait_until_up(self, machine: Host) -> None:
        seen_running = time.monotonic()

        def answers() -> bool:
            nonlocal seen_running
            if machine.is_running():
                seen_running = time.monotonic()
                return self._quiet(machine, ["systemctl", "is-active", "--quiet", "multi-user.target"])
            # A process that is just replacing its program has no command line to be known by.
            if time.monotonic() - seen_running > 3:
                raise LabError(
                    f"{machine.plan.name} did not stay up; its console: {machine.plan.console}{process.inotify_hint()}"
                )
            return False

        wait_for(f"{machine.plan.name} to boot (its console: {machine.plan.console})", answers, BOOT_SECONDS, 0.3)

    @staticmethod
    def _quiet(machine: Host, words: list[str]) -> bool:
        try:
            return run(machine.command(words), check=False, timeout=30).returncode == 0
        except LabError:
            return False

    def down(self, purge: bool = False) -> None:
        """Stop every host and remove every process, mount and namespace; with ``purge`` the disks too."""
        self.thaw_all()
        if not purge:
            self._shut_down_all()
        for machine in self.machines():
            machine.power_off()
        for name in self._namespaces():
            process.kill(process.in_namespace(name), name)
        for host in self.plan.hosts.values():
            unmount(host.root)
            lan.unplug(self.plan.lan_namespace, host)
        lan.remove_lan(self.plan)
        if purge:
            shutil.rmtree(self.plan.directory, ignore_errors=True)

    def _shut_down_all(self) -> None:
        """Ask every host to power off, and wait for all of them together."""
        for machine in self.machines():
            if machine.is_running():
                machine.ask_to_power_off()
        with suppress(LabError):
            wait_for("", lambda: not any(machine.is_running() for machine in self.machines()), SHUTDOWN_SECONDS)

    def _namespaces(self) -> set[str]:
        return {self.plan.lan_namespace, *(host.namespace for host in self.plan.hosts.values())}

    # --- power ---

    def power_off(self, name: str) -> None:
        """Power loss of one host: no process of it gets a chance to say goodbye."""
        self.just_booted.discard(name)
        self.host(name).power_off()

    def boot(self, name: str) -> None:
        """Switch a host on again with the disk that it had."""
        machine = self.host(name)
        if machine.is_running():
            say(f"{name} is on already")
        else:
            self._start(machine)
        self._wait_until_up(machine)
        self.just_booted.add(name)

    def freeze(self, name: str, process_name: str | None = None) -> None:
        """Stop a host, or the processes of that name on it, in their tracks (SIGSTOP)."""
        process.send(self._victims(name, process_name), signal.SIGSTOP)

    def thaw(self, name: str, process_name: str | None = None) -> None:
        """Let them go on (SIGCONT)."""
        process.send(self._victims(name, process_name), signal.SIGCONT)

    def thaw_all(self) -> None:
        for machine in self.machines():
            process.send(machine.all_processes(), signal.SIGCONT)

    def _victims(self, name: str, process_name: str | None) -> list[int]:
        machine = self.host(name)
        if isinstance(machine, Guest):
            if process_name:
                raise LabError(
                    f"{name} has a kernel of its own; freeze a process there with: "
                    f"lab exec {name} -- pkill -STOP {process_name}"
                )
            return machine.all_processes()
        found = [pid for pid in machine.all_processes() if process_name in (None, process.name_of(pid))]
        if not found:
            raise LabError(f"no process '{process_name}' on {name}" if process_name else f"{name} is off")
        return found

    # --- commands and what they say ---

    def run(
        self, name: str, words: Sequence[str], *, check: bool = True, stdin: str | None = None, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root on a host and return what it said."""
        return run(self.host(name).command(list(words)), check=check, stdin=stdin, timeout=timeout)

    def popen(self, name: str, words: Sequence[str]) -> subprocess.Popen[str]:
        """Start a command on a host and read its output while it runs."""
        return subprocess.Popen(
            self.host(name).command(list(words)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def status(self) -> list[tuple[str, str, str, str]]:
        """Name, address, kind and state of each host."""
        rows = []
        for machine in self.machines():
            host = machine.plan
            kind = "own kernel" if host.own_kernel else "container"
            if not machine.is_running():
                state = "off"
            elif self._quiet(machine, ["systemctl", "is-active", "--quiet", "multi-user.target"]):
                state = "up"
            else:
                state = "booting or frozen"
            rows.append((host.name, str(host.address), kind, state))
        return rows
