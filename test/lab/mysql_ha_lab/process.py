"""Finding and ending the lab's own processes; everything is read from /proc, so that nothing is forgotten."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .command import wait_for


def pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def words(pid: int) -> list[str]:
    """The command line of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def with_word(word: str) -> list[int]:
    """The processes that have exactly this word on their command line."""
    return [pid for pid in pids() if word in words(pid)]


def in_namespace(name: str) -> list[int]:
    """The processes that live in a named network namespace."""
    try:
        wanted = Path(f"/run/netns/{name}").stat().st_ino
    except OSError:
        return []
    return [pid for pid in pids() if _namespace_of(pid) == wanted]


def _namespace_of(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return None


def is_first_in_its_container(pid: int) -> bool:
    """Whether the process is process 1 of a pid namespace below this machine's."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
    return len(numbers) > 1 and numbers[-1] == "1"


def name_of(pid: int) -> str:
    """The process's name as ps shows it; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def send(targets: Iterable[int], number: signal.Signals | int) -> None:
    for pid in targets:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def kill(targets: Iterable[int], what: str) -> None:
    """SIGKILL, and wait until they are gone."""
    targets = list(targets)
    send(targets, signal.SIGKILL)
    wait_for(f"the end of {what}", lambda: not any(_alive(pid) for pid in targets), 20)


def inotify_hint() -> str:
    """What to do when systemd gets no inotify instance any more, of which it says nothing itself; else empty."""
    limit = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    used = 0
    for pid in pids():
        with suppress(OSError):
            used += sum(str(link.readlink()) == "anon_inode:inotify" for link in Path(f"/proc/{pid}/fd").iterdir())
    if used < limit - 10:
        return ""
    return (
        f"\n{used} of {limit} inotify instances are in use, by other labs perhaps. Allow more: "
        "sysctl fs.inotify.max_user_instances=1024"
    )


def _alive(pid: int) -> bool:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    # A zombie whose parent does not care runs nothing any more.
    return status.rsplit(")", 1)[1].split()[0] != "Z"
