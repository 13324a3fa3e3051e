"""
What the kernel of a director is set to, now and by a file for the next boot: IPVS's own settings, and forwarding where
an endpoint needs it for NAT.
"""

from pathlib import Path

from salt.exceptions import CommandExecutionError

import director_sysctls

__virtualname__ = "director_sysctl"

PATH = "/etc/sysctl.d/90-mysql_ha.conf"
# What settings that are not valid end with.
_ERRORS = (AttributeError, KeyError, TypeError, ValueError)


def __virtual__():
    return __virtualname__


def differences(settings, path=PATH):
    """
    What this kernel and the file have otherwise than the settings say. Changes nothing. A mapping with

    - ``changes``: ``{name of a sysctl, or the file: {old, new}}``
    - ``impossible``: sentences about what the pillar asks of a kernel that does not have it
    - ``skipped``: names of defaults that this kernel does not have, and does without
    - ``released``: names that leave the file; their values stay until the next boot
    - ``warnings``: sentences about other files that say otherwise and are read later at a boot
    - ``loaded``: whether the kernel has IPVS loaded; without it, it has none of IPVS's names

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets.

    path
        The file, in ``/etc/sysctl.d``, which is the formula's alone.

    CLI Example:

    .. code-block:: bash

        salt lvs1 director_sysctl.differences '{"nodes": {}, "endpoints": {}, "kernel": {"sysctls": {}}}'
    """
    wanted, absent, text = _wanted(settings)
    loaded = director_sysctls.has_ipvs(director_sysctls.PROC)
    changes, impossible, skipped = {}, [], []
    try:
        for one in wanted:
            if one.name in absent:
                if one.is_default:
                    skipped.append(one.name)
                else:
                    impossible.append(f"{one.key}: asks for {one.name}, which this kernel does not have")
                continue
            now = director_sysctls.read(one.name, director_sysctls.PROC)
            if now is None or not director_sysctls.is_same(one.name, now, one.value):
                changes[one.name] = {"old": now, "new": one.value}
        old = _read(path)
        warnings = director_sysctls.overridden(path, wanted)
    except OSError as error:
        raise CommandExecutionError(f"What the kernel is set to cannot be read: {error}") from error
    if old != text:
        changes[path] = {"old": None if old is None else "another one", "new": "as specified"}
    released = set(director_sysctls.values(old or "")) - {one.name for one in wanted}
    return {"changes": changes, "impossible": impossible, "skipped": skipped, "released": sorted(released),
            "warnings": warnings, "loaded": loaded}  # fmt: skip


def apply(settings, path=PATH):
    """
    Have the kernel, and the file for the next boot, be as the settings say.

    settings, path
        As for :py:func:`differences`.

    Returns the ``changes`` that were made, and sentences about what ``failed``. Raises ``CommandExecutionError`` before
    anything is changed if this kernel cannot do it.

    CLI Example:

    .. code-block:: bash

        salt lvs1 director_sysctl.apply '{"nodes": {}, "endpoints": {}, "kernel": {"sysctls": {}}}'
    """
    found = differences(settings, path)
    if not found["loaded"]:
        raise CommandExecutionError("This kernel has not loaded IPVS (modprobe ip_vs), so it has no net.ipv4.vs.")
    if found["impossible"]:
        raise CommandExecutionError("\n  ".join(["Nothing was changed:", *found["impossible"]]))
    done, failed = {}, []
    for name, change in found["changes"].items():
        try:
            if name == path:
                _write(path, _wanted(settings)[2])
            else:
                director_sysctls.write(name, change["new"], director_sysctls.PROC)
        except OSError as error:
            failed.append(f"{name}: {change['new']} is refused: {error.strerror}")
        else:
            done[name] = change
    return {"changes": done, "failed": failed}


def _wanted(settings):
    """What is asked for, which of it this kernel lacks, and the file. Until IPVS is loaded, none of its names lacks."""
    try:
        wanted = director_sysctls.wanted(settings)
    except _ERRORS as error:
        raise CommandExecutionError(f"The settings make no sysctls: {error}") from error
    loaded = director_sysctls.has_ipvs(director_sysctls.PROC)
    try:
        absent = {
            one.name
            for one in wanted
            if (loaded or not one.name.startswith(director_sysctls.IPVS))
            and director_sysctls.read(one.name, director_sysctls.PROC) is None
        }
    except OSError as error:
        raise CommandExecutionError(f"What the kernel is set to cannot be read: {error}") from error
    return wanted, absent, director_sysctls.text(wanted, absent)


def _read(path):
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _write(path, text):
    """The file is there whole, or as it was."""
    place = Path(path)
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}.part")
    part.write_text(text, encoding="utf-8")
    part.chmod(0o644)
    part.replace(place)
