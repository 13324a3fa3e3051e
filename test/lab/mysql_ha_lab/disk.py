"""A host's disk: an overlay whose lower layers are the images and whose upper one is the host's own."""

from __future__ import annotations

from pathlib import Path

from .command import run


def is_mounted(place: Path) -> bool:
    """Whether something is mounted exactly there."""
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        return any(line.split()[4] == str(place) for line in mounts)


def mount_overlay(layers: list[Path], place: Path) -> Path:
    """Mount ``layers`` (the topmost first) with ``place``/upper above them at ``place``/root; idempotent."""
    root = place / "root"
    if is_mounted(root):
        return root
    for directory in (root, place / "upper", place / "work"):
        directory.mkdir(parents=True, exist_ok=True)
    lower = ":".join(str(layer) for layer in layers)
    run(
        [
            "mount",
            "-t",
            "overlay",
            "mysql_ha-lab",
            "-o",
            f"lowerdir={lower},upperdir={place / 'upper'},workdir={place / 'work'}",
            root,
        ]
    )
    return root


def unmount(root: Path) -> None:
    """Unmount, also what is stacked there."""
    while is_mounted(root):
        run(["umount", root])
