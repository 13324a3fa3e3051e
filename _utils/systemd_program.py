"""
A small program of ours that a unit of systemd runs without Salt: its files, what of them differs, and what systemd is
told. Knows nothing of Salt.

The program is a module of ``_utils`` with all that it imports of ours. It runs from a copy of these, since the minion's
cache is emptied at will.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import host_programs
from host_programs import ProgramError

UNITS = Path("/etc/systemd/system")
FOLDER = Path("/usr/local/lib/mysql_ha")
#: What no program of ours needs.
CONFINED = "ProtectSystem=strict\nProtectHome=true\nPrivateTmp=true\nNoNewPrivileges=true\n"


def python(executable: str) -> str:
    """
    The interpreter that a program is run with: the one that runs Salt, by the name that an upgrade of Salt leaves as it
    is.

    executable
        Where Salt's interpreter is, such as /opt/saltstack/salt/bin/python3.10.
    """
    plain = Path(executable).with_name("python3")
    return str(plain) if plain.exists() and plain.resolve() == Path(executable).resolve() else executable


def command(executable: str, program: ModuleType, words: Iterable[str] = ()) -> str:
    """
    The command of a unit that runs a program.

    executable
        Where Salt's interpreter is.
    program, words
        Its module, and the program's arguments.
    """
    # -P would keep Salt's folder out of the way, but is there only from Python 3.11 on; -s and -E are everywhere.
    whole = [python(executable), "-sE", str(FOLDER / f"{program.__name__}.py"), *words]
    return " ".join(word.replace("%", "%%") for word in whole)


def places(service: str, modules: Sequence[ModuleType]) -> list[Path]:
    """Where the unit and the files of a program are."""
    return [UNITS / service, *(FOLDER / f"{module.__name__}.py" for module in modules)]


def files(service: str, unit: str, modules: Sequence[ModuleType]) -> dict[str, str]:
    """
    The unit and the files of a program, as {path: text}.

    service, unit
        The unit's name and text.
    modules
        The program and all that it imports of ours.
    """
    texts = [unit, *(Path(module.__file__ or "").read_text(encoding="utf-8") for module in modules)]
    return {str(place): text for place, text in zip(places(service, modules), texts, strict=True)}


def installed(service: str, modules: Sequence[ModuleType]) -> dict[str, str]:
    """The unit and the files of a program that are there, as {path: text}."""
    found = {}
    for place in places(service, modules):
        try:
            found[str(place)] = place.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            continue
    return found


def differences(now: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, dict[str, str | None]]:
    """What files have otherwise than others, as {path: {old, new}}, in a word each."""
    return {
        path: {"old": "another one" if path in now else None, "new": "as specified"}
        for path, text in wanted.items()
        if now.get(path) != text
    }


def install(wanted: Mapping[str, str]) -> None:
    """Have these files, each whole or as it was."""
    for path, text in wanted.items():
        write(Path(path), text)


def write(place: Path, text: str) -> None:
    """Have a file with this text, whole or as it was, even if the power is lost at any moment from now on."""
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        # Else the new name could reach the disk before the text does.
        os.fsync(file.fileno())
    part.chmod(0o644)
    part.replace(place)
    _sync(place.parent)


def unlink(place: Path) -> None:
    """Have no such file, even if the power is lost at any moment from now on."""
    place.unlink(missing_ok=True)
    if place.parent.exists():
        _sync(place.parent)


def _sync(folder: Path) -> None:
    """Have a folder's names on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(service: str, modules: Sequence[ModuleType]) -> None:
    """Have none of the files of a program."""
    for place in places(service, modules):
        unlink(place)


def is_(state: str, service: str) -> bool:
    """Whether a unit is ``active`` or ``enabled``; not if there is no systemd."""
    try:
        host_programs.run(["systemctl", f"is-{state}", "--quiet", service])
    except ProgramError:
        return False
    return True


def systemctl(*words: str) -> None:
    """Tell systemd something. Raises ProgramError."""
    try:
        host_programs.run(["systemctl", *words], timeout=60)
    except ProgramError as error:
        raise ProgramError(f"systemctl {' '.join(words)} failed: {error}") from error
