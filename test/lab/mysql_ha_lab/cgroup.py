"""A place of its own for each container in the kernel's control group trees.

systemd-nspawn puts a container's tree below the group that it is started in, always under the same name. Two
containers started from one shell would share it: one's systemd then removes, or kills, what is the other's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PARENT = "mysql_ha-lab"


def trees() -> list[Path]:
    """Where the trees are mounted that systemd works in: version 2's, and beside it version 1's named one."""
    found: dict[str, Path] = {}  # by device: a tree can be mounted in several places
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            before, _, after = line.partition(" - ")
            kind, _, options = after.split()[:3]
            if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
                found.setdefault(before.split()[2], Path(before.split()[4]))
    return list(found.values())


def fresh(name: str) -> Callable[[], None]:
    """Make empty groups of this name; returns what a child process calls to enter them."""
    remove(name)
    doors = []
    for tree in trees():
        place = tree / PARENT / name
        place.mkdir(parents=True)
        doors.append(str(place / "cgroup.procs"))

    def enter() -> None:
        # Between fork and exec: nothing here but system calls.
        for door in doors:
            handle = os.open(door, os.O_WRONLY)
            os.write(handle, b"0")
            os.close(handle)

    return enter


def left(name: str) -> list[Path]:
    """The groups of this name that exist."""
    return [place for tree in trees() if (place := tree / PARENT / name).is_dir()]


def members(name: str) -> list[int]:
    """The processes in the groups of this name, whatever became of the namespaces that they lived in."""
    listed = [file for place in left(name) for file in place.rglob("cgroup.procs")]
    return sorted({int(pid) for file in listed for pid in file.read_text().split()})


def remove(name: str) -> None:
    """Remove the groups of this name with all below them; their processes have ended before."""
    for place in left(name):
        for folder, _, _ in os.walk(place, topdown=False):
            Path(folder).rmdir()
        with suppress(OSError):  # another container's is there still
            place.parent.rmdir()
