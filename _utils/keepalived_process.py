"""
The keepalived that runs on this host, as ``/proc`` shows it: which configuration it has read, and what it knows.

Knows nothing of Salt. keepalived reads its files once, into a file in memory that all its processes share, and works
with that (``read_config_file`` in ``lib/parser.c``, 2.2.7 to 2.4.3). So that file tells for sure what it runs with.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
#: Where the process that checks servers writes its number, by how keepalived was started; and the one that speaks VRRP.
CHECKER_FILES = ("/run/keepalived/checkers.pid", "/run/checkers.pid")
VRRP_FILES = ("/run/keepalived/vrrp.pid", "/run/vrrp.pid")
#: Keywords that keepalived takes only when it starts: a reload that finds another value is not made at all
#: (``reload_config`` in ``keepalived/core/main.c``).
ONLY_AT_START = ("net_namespace", "net_namespace_ipvs", "instance", "nftables", "nftables_ipvs", "disable_local_igmp",
                 "tmp_config_directory")  # fmt: skip
_COPY = re.compile(r"/memfd:/keepalived/.*|(/var)?/run/#\d+ \(deleted\)")
_POLL_SECONDS = 0.02


class Keepalived(NamedTuple):
    """A running keepalived."""

    pid: int
    checker: int | None
    """The process that checks servers; ``None`` if there is none, as without virtual servers."""


def find() -> Keepalived | None:
    """Return the keepalived of this network namespace; ``None`` if none runs."""
    own = (PROC / "self/ns/net").stat().st_ino
    parents: dict[int, int] = {}
    for place in PROC.glob("[0-9]*"):
        try:
            program = str((place / "exe").readlink()).removesuffix(" (deleted)")
            if program.rpartition("/")[2] == "keepalived" and (place / "ns/net").stat().st_ino == own:
                # "PID (NAME) STATE PPID ...", and a name may hold anything.
                parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    # One that only tests a configuration has no children, and one that runs has always some.
    mains = [pid for pid, parent in parents.items() if parent not in parents and pid in parents.values()]
    if not mains:
        return None
    main = next((parents[pid] for pid in map(_number_in, CHECKER_FILES) if parents.get(pid) in mains), min(mains))
    return Keepalived(main, _checker([pid for pid, parent in parents.items() if parent == main]))


def _checker(children: Sequence[int]) -> int | None:
    """Return which of keepalived's own processes checks servers."""
    for pid in map(_number_in, CHECKER_FILES):
        if pid in children:
            return pid
    # Another keepalived, of another network namespace, has taken the file over: it is the one that is nothing else.
    vrrp = [pid for pid in map(_number_in, VRRP_FILES) if pid in children]
    rest = [pid for pid in children if pid not in vrrp]
    return rest[0] if vrrp and len(rest) == 1 else None


def _number_in(path: str) -> int:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return 0


def program(keepalived: Keepalived) -> str:
    """Return where the program that runs can be run once more, even if its file has been replaced since."""
    return str(PROC / str(keepalived.pid) / "exe")


def is_replaced(keepalived: Keepalived) -> bool:
    """Return whether the program that runs is no longer the one in its file."""
    return str(Path(program(keepalived)).readlink()).endswith(" (deleted)")


def configuration(keepalived: Keepalived) -> str | None:
    """Return what keepalived has read, without its comments; ``None`` if that cannot be seen. It may hold secrets."""
    for place in (PROC / str(keepalived.pid) / "fd").glob("*"):
        try:
            if _COPY.fullmatch(str(place.readlink())):
                return place.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
    return None


def same(one: str, other: str) -> bool:
    """Return whether two configurations are the same to keepalived."""
    return _lines(one) == _lines(other)


def only_at_start(old: str, new: str) -> list[str]:
    """Return the keywords that differ and that keepalived takes only when it starts."""

    def chosen(text: str) -> Mapping[str, list[str]]:
        lines = [line.split() for line in _lines(text)]
        return {keyword: [words for words in lines if words[0] == keyword] for keyword in ONLY_AT_START}

    before, after = chosen(old), chosen(new)
    return [keyword for keyword in ONLY_AT_START if before[keyword] != after[keyword]]


def _lines(text: str) -> list[str]:
    """Return what counts of a configuration."""
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith(("#", "!"))]


def data(keepalived: Keepalived, name: str = "", seconds: float = 3.0) -> str | None:
    """
    Have keepalived write what it knows of its servers, and return that; ``None`` if it does not within some seconds.

    name
        ``state_dump_file`` of its configuration, if there is one.

    Only the process that checks is asked: the others would write the VRRP password too.
    """
    if keepalived.checker is None:
        return None
    root = PROC / str(keepalived.checker) / "root"
    place = root / _data_file(keepalived.checker, name).lstrip("/")
    before = _identity(place)
    end = time.monotonic() + seconds
    # While it reloads, keepalived may lose a question.
    ask_again = 0.0
    try:
        while time.monotonic() < end:
            if time.monotonic() >= ask_again:
                os.kill(keepalived.checker, signal.SIGUSR1)
                ask_again = time.monotonic() + 1.0
            time.sleep(_POLL_SECONDS)
            now = _identity(place)
            if now is not None and now != before and not _is_open(keepalived.checker, now):
                return _taken(place, before is None)
    except OSError:
        return None
    return None


def _data_file(pid: int, name: str) -> str:
    """Return where a process writes its data (``open_dump_file`` in ``keepalived/core/global_data.c``)."""
    folder = "/tmp"  # noqa: S108 - keepalived's choice, and it writes there with care
    for entry in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
        if entry.startswith(b"TMPDIR=/"):
            folder = os.fsdecode(entry[7:])
    given, _, own = name.rpartition("/")
    folder = given if name.startswith("/") else folder
    stem, dot, ending = (own or "keepalived.data").rpartition(".")
    return f"{folder}/{stem}_check.{ending}" if dot else f"{folder}/{ending}_check"


def _identity(place: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of its name; keepalived makes a new one while the old is there."""
    try:
        found = place.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _is_open(pid: int, identity: tuple[int, int]) -> bool:
    """Return whether a process has a file open: it still writes it."""
    for place in (PROC / str(pid) / "fd").glob("*"):
        try:
            found = place.stat()
        except OSError:
            continue
        if (found.st_dev, found.st_ino) == identity:
            return True
    return False


def _taken(place: Path, remove: bool) -> str | None:
    """Return what a file holds that root wrote, and leave none where there was none."""
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as file:
        if os.fstat(descriptor).st_uid != 0:
            return None
        text = file.read()
    if remove:
        place.unlink(missing_ok=True)
    return text
