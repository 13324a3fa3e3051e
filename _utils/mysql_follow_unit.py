"""
The service of systemd that has a replica follow a master that is there: its program's files, its unit, what differs.
Knows nothing of Salt.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import mysql_client
import mysql_dialect
import mysql_follow
import mysql_gtid
import mysql_handshake

SERVICE = "mysql_ha-follow.service"
UNIT = Path("/etc/systemd/system") / SERVICE
FOLDER = Path("/usr/local/lib/mysql_ha")
#: The program and all that it imports of ours; a copy, since the minion's cache is emptied at will.
MODULES = (mysql_follow, mysql_client, mysql_dialect, mysql_gtid, mysql_handshake)
_HEADER = "# Managed by Salt (mysql_ha.replica.follow).\n"


def python(executable: str) -> str:
    """
    The interpreter that the program is run with: the one that runs Salt, by the name that an upgrade of Salt leaves as
    it is.

    executable
        Where Salt's interpreter is, such as /opt/saltstack/salt/bin/python3.10.
    """
    plain = Path(executable).with_name("python3")
    return str(plain) if plain.exists() and plain.resolve() == Path(executable).resolve() else executable


def files(executable: str, masters: Mapping[str, str]) -> dict[str, str]:
    """
    The unit and the program's files, as {path: text}.

    executable
        Where Salt's interpreter is.
    masters
        The masters' addresses, ``host:port``, by name.
    """
    program = FOLDER / "mysql_follow.py"
    # -P would keep Salt's folder out of the way, but is there only from Python 3.11 on; -s and -E are everywhere.
    words = [python(executable), "-sE", str(program), *(f"{name}={address}" for name, address in masters.items())]
    command = " ".join(word.replace("%", "%%") for word in words)
    unit = (
        f"{_HEADER}[Unit]\nDescription=Have this replica follow a master that is there\n\n"
        f"[Service]\nExecStart={command}\nRestart=always\nRestartSec=5\n"
        "ProtectSystem=strict\nProtectHome=true\nPrivateTmp=true\nNoNewPrivileges=true\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    return {str(UNIT): unit} | {
        str(FOLDER / f"{module.__name__}.py"): Path(module.__file__ or "").read_text(encoding="utf-8")
        for module in MODULES
    }


def installed() -> dict[str, str]:
    """The unit and the program's files that are there, as {path: text}."""
    found = {}
    for place in (UNIT, *(FOLDER / f"{module.__name__}.py" for module in MODULES)):
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
        place = Path(path)
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        part = place.with_name(f".{place.name}.part")
        part.write_text(text, encoding="utf-8")
        part.chmod(0o644)
        part.replace(place)
