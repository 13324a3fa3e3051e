"""
The service on a replica that has it follow the other master while its own is gone.
"""

import sys

from salt.exceptions import CommandExecutionError

import host_programs
import mysql_follow_unit
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
    found = mysql_follow_unit.differences(*_files(masters))
    for word in ("running", "enabled"):
        if not _is("active" if word == "running" else word):
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
        mysql_follow_unit.install(_files(masters)[1])
    except OSError as error:
        raise CommandExecutionError(f"the service could not be installed: {error}") from error
    _systemctl("daemon-reload")
    _systemctl("enable", mysql_follow_unit.SERVICE)
    _systemctl("restart", mysql_follow_unit.SERVICE)


def _files(masters):
    try:
        return mysql_follow_unit.installed(), mysql_follow_unit.files(sys.executable, masters)
    except OSError as error:
        raise CommandExecutionError(f"the service's files cannot be read: {error}") from error


def _is(state):
    try:
        host_programs.run(["systemctl", f"is-{state}", "--quiet", mysql_follow_unit.SERVICE])
    except ProgramError:
        return False
    return True


def _systemctl(*words):
    try:
        host_programs.run(["systemctl", *words], timeout=60)
    except ProgramError as error:
        raise CommandExecutionError(f"systemctl {' '.join(words)} failed: {error}") from error
