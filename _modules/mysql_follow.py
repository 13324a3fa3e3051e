"""
The service on a replica that has it follow the other master while its own is gone.
"""

import sys

from salt.exceptions import CommandExecutionError

import mysql_follow_unit
import systemd_program
from host_programs import ProgramError

__virtualname__ = "mysql_follow"


def __virtual__():
    return __virtualname__


def differences(masters):
    """
    What the service has otherwise than specified, as ``{what: {old, new}}``: files that are written, ``running`` and
    ``enabled``.

    masters
        The two masters' addresses, ``host:port``, by name.

    CLI Example:

    .. code-block:: bash

        salt replica1 mysql_follow.differences '{mysql1: "192.168.1.5:3306", mysql2: "192.168.1.6:3306"}'
    """
    found = systemd_program.differences(*_files(masters))
    for word in ("running", "enabled"):
        if not systemd_program.is_("active" if word == "running" else word, mysql_follow_unit.SERVICE):
            found[word] = {"old": False, "new": True}
    return found


def install(masters):
    """
    Install the service, start it, and have it start at boot; one that runs is started anew.

    masters
        As for :py:func:`differences`.

    CLI Example:

    .. code-block:: bash

        salt replica1 mysql_follow.install '{mysql1: "192.168.1.5:3306", mysql2: "192.168.1.6:3306"}'
    """
    try:
        systemd_program.install(_files(masters)[1])
    except OSError as error:
        raise CommandExecutionError(f"the service could not be installed: {error}") from error
    try:
        systemd_program.systemctl("daemon-reload")
        systemd_program.systemctl("enable", mysql_follow_unit.SERVICE)
        systemd_program.systemctl("restart", mysql_follow_unit.SERVICE)
    except ProgramError as error:
        raise CommandExecutionError(str(error)) from error


def _files(masters):
    try:
        return mysql_follow_unit.installed(), mysql_follow_unit.files(sys.executable, masters)
    except OSError as error:
        raise CommandExecutionError(f"the service's files cannot be read: {error}") from error
