"""
The two units of systemd that make backups without the master: their text, what is installed, what differs. Knows
nothing of Salt.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import mysql_client
from host_programs import ENVIRONMENT, last_words
from mysql_backups import BackupError

UNITS = Path("/etc/systemd/system")
SERVICE, TIMER = "mysql_ha-backup.service", "mysql_ha-backup.timer"
_HEADER = "# Managed by Salt (mysql_ha.database.backup); change mysql_ha:database:backup in the pillar instead.\n"
# What of the units an operator knows from the pillar, in the words of the pillar.
_SAID = {
    "schedule": r"^OnCalendar=(.*)$",
    "directory": r"\bdirectory=(\S+)",
    "method": r"\bmethod=(\S+)",
    "keep": r"\bkeep=(\S+)",
    "prove": r"\bprove=(\S+)",
    "salt_call": r"^ExecStart=(\S+)",
}


def check(schedule: str) -> None:
    """Raise BackupError unless systemd knows such a time."""
    tool = mysql_client.program("systemd-analyze")
    if "\n" in schedule or tool is None:
        raise BackupError(f"schedule: is {schedule!r}; no systemd-analyze is here to say when that is")
    done = subprocess.run(
        [tool, "calendar", "--", schedule], capture_output=True, text=True, env=ENVIRONMENT, timeout=30
    )
    if done.returncode:
        raise BackupError(
            f"mysql_ha:database:backup:schedule: is {schedule!r}; allowed: what systemd-analyze calendar knows, which "
            f"says: {last_words(done.stderr)}"
        )


def units(salt_call: str, directory: str, method: str, schedule: str, keep: int, prove: bool) -> dict[str, str]:
    """The two units as {name: text}.

    salt_call
        Where that program is.
    directory, method, keep, prove
        The arguments of ``mysql_backup.run``.
    schedule
        When, in systemd's words.
    """
    # No pillar and no file roots: a backup hangs on neither. % begins a specifier of systemd's.
    words = [salt_call, "--local", "--retcode-passthrough", "--log-level=warning", "--out=yaml",
             "--pillar-root=/nonexistent", "--file-root=/nonexistent", "mysql_backup.run", f"directory={directory}",
             f"method={method}", f"keep={keep}", f"prove={'true' if prove else 'false'}"]  # fmt: skip
    command = " ".join(word.replace("%", "%%") for word in words)
    service = (
        f"{_HEADER}[Unit]\nDescription=Backup of the database\n\n"
        f"[Service]\nType=oneshot\nExecStart={command}\n"
        # It gives way to the server, which needs disk and processor more.
        "Nice=10\nIOSchedulingClass=best-effort\nIOSchedulingPriority=7\nTimeoutStartSec=infinity\nTimeoutStopSec=120\n"
    )
    timer = (
        f"{_HEADER}[Unit]\nDescription=When the database is backed up\n\n"
        f"[Timer]\nOnCalendar={schedule}\nPersistent=true\n\n[Install]\nWantedBy=timers.target\n"
    )
    return {SERVICE: service, TIMER: timer}


def installed() -> dict[str, str]:
    """The units that are there, as {name: text}."""
    found = {}
    for name in (SERVICE, TIMER):
        try:
            found[name] = (UNITS / name).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            continue
    return found


def differences(now: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, dict[str, str | None]]:
    """What units say otherwise than others, as {what: {old, new}} in the pillar's words, or else by the unit's name."""
    if dict(now) == dict(wanted):
        return {}
    sides = [_said(now), _said(wanted)]
    found = {
        key: {"old": sides[0].get(key), "new": sides[1].get(key)}
        for key in _SAID
        if sides[0].get(key) != sides[1].get(key)
    }
    others = [name for name in (SERVICE, TIMER) if now.get(name) != wanted.get(name)]
    return found or {name: {"old": "another one" if name in now else None, "new": "as specified"} for name in others}


def _said(units: Mapping[str, str]) -> dict[str, str]:
    text = "\n".join(units.values())
    matches = {key: re.search(pattern, text, flags=re.MULTILINE) for key, pattern in _SAID.items()}
    return {key: match[1] for key, match in matches.items() if match}


def install(wanted: Mapping[str, str]) -> None:
    """Have exactly these units, each whole or as it was."""
    for name in (SERVICE, TIMER):
        place = UNITS / name
        if name not in wanted:
            place.unlink(missing_ok=True)
            continue
        part = place.with_name(f".{name}.part")
        part.write_text(wanted[name], encoding="utf-8")
        part.chmod(0o644)
        part.replace(place)
