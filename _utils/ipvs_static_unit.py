"""
The unit of systemd that brings static services back at boot: what it runs, and when. Knows nothing of Salt.
"""

from __future__ import annotations

from pathlib import Path

import ipvs_codec
import ipvs_kernel
import ipvs_model
import ipvs_netlink
import ipvs_plan
import ipvs_rules
import ipvs_static
import ipvs_text
import systemd_program

SERVICE = "mysql_ha-ipvs.service"
#: The program and all that it imports of ours.
MODULES = (ipvs_static, ipvs_codec, ipvs_kernel, ipvs_model, ipvs_netlink, ipvs_plan, ipvs_rules, ipvs_text)
_HEADER = "# Managed by Salt (mysql_ha.director.services).\n"
OTHERWISE, RIGHT = "another one", "as specified"


def files(executable: str, record: Path) -> dict[str, str]:
    """
    The unit and the program's files, as {path: text}.

    executable
        Where Salt's interpreter is.
    record
        The file that says which services these are.
    """
    # Before keepalived takes an address over, which then has its services at once. Network and routes need not be there
    # yet: the kernel takes any server that is no broadcast address of its own.
    unit = (
        f"{_HEADER}[Unit]\nDescription=Static services in the kernel's IPVS table\n"
        f"ConditionPathExists={_quoted(record)}\n"
        "After=systemd-modules-load.service\nBefore=keepalived.service\n\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        f"ExecStart={systemd_program.command(executable, ipvs_static, [str(record)])}\n{systemd_program.CONFINED}\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    return systemd_program.files(SERVICE, unit, MODULES)


def _quoted(path: Path) -> str:
    """A path in a unit, where % begins a specifier."""
    return str(path).replace("%", "%%")


def state(executable: str, record: Path) -> str | None:
    """
    How the unit is there, in a word; None if it is not. Raises OSError.

    executable, record
        As for :py:func:`files`.
    """
    now = systemd_program.installed(SERVICE, MODULES)
    if not now:
        return None
    is_right = now == files(executable, record) and systemd_program.is_("enabled", SERVICE)
    return RIGHT if is_right else OTHERWISE


def change(name: str, old: str | None, new: str | None) -> dict[str, dict[str, str | None]]:
    """What changes of a file or unit, as {name: {old, new}} in a word each; empty if nothing does."""
    return {} if old == new else {name: {"old": "present" if old and new is None else old, "new": new}}


def install(executable: str, record: Path) -> None:
    """Have the unit run at each boot. Raises OSError and ProgramError."""
    systemd_program.install(files(executable, record))
    systemd_program.systemctl("daemon-reload")
    systemd_program.systemctl("enable", SERVICE)


def remove() -> None:
    """Have no such unit. Raises OSError and ProgramError."""
    if (systemd_program.UNITS / SERVICE).exists():
        # Stopping it does nothing to the table.
        systemd_program.systemctl("disable", "--now", SERVICE)
    systemd_program.remove(SERVICE, MODULES)
    systemd_program.systemctl("daemon-reload")
