"""
The service of systemd that has a replica follow a master that is there: what it runs. Knows nothing of Salt.
"""

from __future__ import annotations

from collections.abc import Mapping

import mysql_client
import mysql_dialect
import mysql_follow
import mysql_gtid
import mysql_handshake
import systemd_program

SERVICE = "mysql_ha-follow.service"
#: The program and all that it imports of ours.
MODULES = (mysql_follow, mysql_client, mysql_dialect, mysql_gtid, mysql_handshake)
_HEADER = "# Managed by Salt (mysql_ha.replica.follow).\n"


def files(executable: str, masters: Mapping[str, str]) -> dict[str, str]:
    """
    The unit and the program's files, as {path: text}.

    executable
        Where Salt's interpreter is.
    masters
        The masters' addresses, ``host:port``, by name.
    """
    words = [f"{name}={address}" for name, address in masters.items()]
    unit = (
        f"{_HEADER}[Unit]\nDescription=Have this replica follow a master that is there\n\n"
        f"[Service]\nExecStart={systemd_program.command(executable, mysql_follow, words)}\n"
        f"Restart=always\nRestartSec=5\n{systemd_program.CONFINED}\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    return systemd_program.files(SERVICE, unit, MODULES)


def installed() -> dict[str, str]:
    """The unit and the program's files that are there, as {path: text}."""
    return systemd_program.installed(SERVICE, MODULES)
