"""
The packet filter of a director: a table of nftables that lets VRRP, and what the kernels tell each other of
connections, in from the other director alone. Other tables are never touched.
"""

import os
import tempfile
from pathlib import Path

from salt.exceptions import CommandExecutionError

import director_firewall
import host_programs
from host_programs import ProgramError

__virtualname__ = "director_firewall"

PATH = "/etc/mysql_ha/firewall.nft"
UNITS = Path("/etc/systemd/system")
TABLE = f"table {director_firewall.FAMILY} {director_firewall.TABLE}"
SECONDS = 60
# What settings that are not valid end with.
_ERRORS = (AttributeError, KeyError, TypeError, ValueError)
# In numbers, and without counters: so the same rules are the same text.
_LIST = ["--stateless", "--numeric", "list", "table", director_firewall.FAMILY, director_firewall.TABLE]
# As the system's file of tables, which a namespace of its own has empty.
_LOAD_AND_LIST = 'nft --file "$1" && shift && exec nft "$@"'


def __virtual__():
    return __virtualname__


def rules(settings):
    """
    The rules for this minion, as nft reads them.

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets.

    Raises ``CommandExecutionError`` when the settings do not describe a director of this name.

    CLI Example:

    .. code-block:: bash

        salt lvs1 director_firewall.rules '{"cluster": "shop", "nodes": {}, "endpoints": {}}'
    """
    try:
        return director_firewall.text(settings, __grains__["id"])
    except _ERRORS as error:
        raise CommandExecutionError(f"The firewall of {__grains__['id']}: {error}") from error


def differences(settings, path=PATH):
    """
    What is otherwise than specified, as ``{what: {old, new}}``: the file, its unit, the ``table`` in the kernel, and
    whether the unit is ``enabled`` and ``active``. Changes nothing.

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets; None where there is to be no trace of it.

    path
        The file of rules.

    CLI Example:

    .. code-block:: bash

        salt lvs1 director_firewall.differences None
    """
    try:
        return _leftovers(path) if settings is None else _lacks(settings, path)
    except (OSError, ProgramError) as error:
        raise CommandExecutionError(f"What this host filters cannot be read: {error}") from error


def load(settings, path=PATH):
    """
    Write the rules and their unit, once nft and the kernel accept them, and load them, now and at each boot. They
    replace the old ones in one step.

    settings, path
        As for :py:func:`differences`.

    Raises ``CommandExecutionError`` with the words of nft if it refuses them; then the old ones stay.

    CLI Example:

    .. code-block:: bash

        salt lvs1 director_firewall.load '{"cluster": "shop", "nodes": {}, "endpoints": {}}'
    """
    text = rules(settings)
    place, unit = Path(path), UNITS / director_firewall.SERVICE
    try:
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        part = place.with_name(f".{place.name}.part")
        part.write_text(text, encoding="utf-8")
        part.chmod(0o644)
        try:
            _check(part)
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)
            _remove_if_empty(place.parent)
        _write(unit, director_firewall.unit(host_programs.find("nft"), path))
    except (OSError, ProgramError) as error:
        raise CommandExecutionError(f"The firewall could not be written: {error}") from error
    _systemctl("daemon-reload")
    _systemctl("enable", director_firewall.SERVICE)
    _systemctl("reload" if _is("active") else "restart", director_firewall.SERVICE)
    left = differences(settings, path)
    if left:
        raise CommandExecutionError(
            f"The firewall was loaded, and is not there ({', '.join(left)}): something else takes it away; "
            f"see: journalctl --unit {director_firewall.SERVICE}"
        )


def remove(path=PATH):
    """
    Take the table, its file and its unit away. Other tables stay as they are.

    path
        The file of rules.

    CLI Example:

    .. code-block:: bash

        salt lvs1 director_firewall.remove
    """
    place, unit = Path(path), UNITS / director_firewall.SERVICE
    if unit.exists():
        _systemctl("disable", "--now", director_firewall.SERVICE)
    try:
        if _table() is not None:
            host_programs.run([host_programs.find("nft"), director_firewall.REMOVE], timeout=SECONDS)
        unit.unlink(missing_ok=True)
        place.unlink(missing_ok=True)
        _remove_if_empty(place.parent)
    except (OSError, ProgramError) as error:
        raise CommandExecutionError(f"The firewall could not be removed: {error}") from error
    _systemctl("daemon-reload")


def _lacks(settings, path):
    """What is not as the settings say."""
    text, found = rules(settings), {}
    nft = _nft()
    wanted = {path: text, str(UNITS / director_firewall.SERVICE): director_firewall.unit(nft or "nft", path)}
    for name, content in wanted.items():
        old = _read(name)
        if old != content:
            found[name] = {"old": None if old is None else "another one", "new": "as specified"}
    now = _table()
    if now is None or now != _as_listed(text):
        found["table"] = {"old": None if now is None else "another one", "new": "as specified"}
    for word in ("enabled", "active"):
        if not _is(word):
            found[word] = {"old": False, "new": True}
    return found


def _leftovers(path):
    """What is there and should not be."""
    found = {
        name: {"old": "present", "new": None}
        for name in (path, str(UNITS / director_firewall.SERVICE))
        if os.path.lexists(name)
    }
    if _table() is not None:
        found["table"] = {"old": "present", "new": None}
    return found


def _nft():
    """Where nft is; None before its package is there."""
    try:
        return host_programs.find("nft")
    except ProgramError:
        return None


def _table():
    """Our table in the kernel, as nft lists it; None if there is none."""
    nft = _nft()
    if nft is None:
        return None
    status, said = host_programs.outcome([nft, *_LIST], timeout=SECONDS)
    return None if status else said


def _as_listed(text):
    """The rules as nft would list them: loaded into a network namespace of their own, which ends with that."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="mysql_ha-firewall.", suffix=".nft") as file:
        file.write(text)
        file.flush()
        words = [host_programs.find("unshare"), "--net", "sh", "-c", _LOAD_AND_LIST, "sh", file.name, *_LIST]
        status, said = host_programs.outcome(words, timeout=SECONDS)
    if status:
        raise ProgramError(_explained(said))
    return said


def _check(path):
    """Raise unless nft and this kernel accept a file of rules."""
    status, said = host_programs.outcome([host_programs.find("nft"), "--check", "--file", path], timeout=SECONDS)
    if status:
        raise ProgramError(f"nft refuses it, and what was there before stays: {_explained(said)}")


def _explained(said):
    """The words of nft, and what they mean where it is known."""
    words = host_programs.last_words(said)
    if "not supported" in words:
        return f"this kernel has no nftables for IPv4 and IPv6 together (CONFIG_NF_TABLES_INET): {words}"
    return words


def _read(path):
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _write(place, text):
    """The file is there whole, or as it was."""
    part = place.with_name(f".{place.name}.part")
    part.write_text(text, encoding="utf-8")
    part.chmod(0o644)
    part.replace(place)


def _remove_if_empty(folder):
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _is(state):
    try:
        host_programs.run(["systemctl", f"is-{state}", "--quiet", director_firewall.SERVICE])
    except ProgramError:
        return False
    return True


def _systemctl(*words):
    try:
        host_programs.run(["systemctl", *words], timeout=SECONDS)
    except ProgramError as error:
        raise CommandExecutionError(f"systemctl {' '.join(words)} failed: {error}") from error
