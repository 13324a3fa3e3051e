"""
keepalived's configuration as states: the file, what the running keepalived works with, and the kernel's table.
"""

import difflib
import time

import salt.utils.files
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "keepalived"

# How long keepalived may take to begin with a reload that somebody has just asked for.
GRACE_SECONDS = 1.0


def __virtual__():
    return __virtualname__


def configured(name, settings):
    """
    keepalived.conf is what the settings say. The new file is checked by ``keepalived --config-test`` on
    this host before it replaces the old one; when keepalived refuses it, the old one stays and the comment
    has keepalived's own words. ``changes`` hold a diff in which the password is hidden.

    In test mode it is checked too, if the keepalived of the settings' version is installed already, and the user that
    runs its programs is there. There is a warning for each virtual address that is in none of the networks of its
    interface.

    name
        Path of keepalived.conf.

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets.

    .. code-block:: yaml

        /etc/keepalived/keepalived.conf:
          keepalived.configured:
            - settings: {cluster: shop, nodes: {}, endpoints: {}}
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name} is as specified."}
    try:
        new = __salt__["keepalived.config"](settings)
        warnings = __salt__["keepalived.foreign_addresses"](settings)
        old = _read(name)
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))
    if warnings:
        ret["warnings"] = warnings
    if old == new:
        return _write(ret, name, new)  # owner and mode
    changes = {
        "keepalived.conf": {"old": None if old is None else "present", "new": "present"},
        "diff": _diff(old, new),
    }
    if not __opts__["test"] or _can_check(settings, new):
        found = __salt__["keepalived.check_text"](new)
        if not found["accepted"]:
            comment = f"{name} was not changed, keepalived refuses the new one: {found['comment']}"
            return dict(ret, result=False, comment=__salt__["keepalived.redact"](comment))
    if __opts__["test"]:
        return dict(ret, result=None, changes=changes, comment=f"{name} would be written.")
    ret = _write(ret, name, new)
    if ret["result"]:
        ret["changes"] = changes
        ret["comment"] = f"{name} has been written and keepalived accepts it."
    return ret


def loaded(name, settings, timeout=30):
    """
    keepalived runs with the configuration that the settings make. If it does not, it is told to reload, and waited for;
    if it does, nothing happens, whatever was changed in its files. It is never restarted: after an upgrade the former
    version runs on, and the comment says ``Restart pending`` until :py:func:`restarted` has done that. Should the
    former version not take the new configuration, it keeps its own, and this fails.

    Some keywords it takes only when it starts, and refuses a reload that changes them: then this fails and names them.

    name
        Path of keepalived.conf.

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets.

    timeout
        For how many seconds (1 to 3600) to wait at most.

    .. code-block:: yaml

        /etc/keepalived/keepalived.conf:
          keepalived.loaded:
            - settings: {cluster: shop, nodes: {}, endpoints: {}}
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "keepalived runs with this configuration."}
    try:
        found = _in_use(settings)
        if not found["running"]:
            if __opts__["test"]:
                return dict(ret, comment="keepalived does not run yet; when it starts it reads its configuration.")
            return dict(ret, result=False, comment="keepalived does not run on this host.")
        pending = ""
        if found["replaced"]:
            pending = f" Restart pending: {found['replaced']} still runs. {_HOW}"
        if found["configuration"] is None:
            return dict(ret, comment=f"keepalived runs; with which configuration cannot be seen.{pending}")
        if found["configuration"]:
            return dict(ret, comment=ret["comment"] + pending)
        if found["only_at_start"]:
            keywords = ", ".join(found["only_at_start"])
            return dict(ret, result=False, comment=(
                f"keepalived takes these keywords only when it starts, and refuses to reload until then: {keywords}. "
                f"{_HOW}"
            ))  # fmt: skip
        if found["replaced"]:
            told = __salt__["keepalived.in_use_accepts"](settings)
            if not told["accepted"]:
                return dict(ret, result=False, comment=(
                    f"What still runs ({found['replaced']}) keeps its configuration until it is restarted: "
                    f"{told['comment']}\n{_HOW}"
                ))  # fmt: skip
    except (CommandExecutionError, SaltInvocationError) as error:
        return dict(ret, result=False, comment=str(error))
    return _reload(ret, settings, timeout, f"keepalived has reloaded and runs with this configuration.{pending}")


def mod_watch(name, sfun=None, settings=None, timeout=30, **_):
    """
    What :py:func:`loaded` does when something that it watches has changed: the same, unless it cannot be seen what
    keepalived runs with. Then it reloads.

    name, settings, timeout
        See :py:func:`loaded`.

    sfun
        The function that watches.
    """
    if sfun != "loaded":
        return {"name": name, "result": False, "changes": {}, "comment": f"keepalived.{sfun} watches nothing."}
    ret = loaded(name, settings, timeout)
    try:
        found = __salt__["keepalived.in_use"](settings)
        if not ret["result"] or not found["running"] or found["configuration"] is not None:
            return ret
    except (CommandExecutionError, SaltInvocationError) as error:
        return dict(ret, result=False, changes={}, comment=str(error))
    return _reload(ret, settings, timeout, "keepalived has reloaded.")


def _reload(ret, settings, timeout, comment):
    ret["changes"] = {"configuration": {"old": "another one", "new": ret["name"]}}
    if __opts__["test"]:
        return dict(ret, result=None, comment="keepalived would reload.")
    try:
        __salt__["keepalived.reload"](settings, timeout)
    except (CommandExecutionError, SaltInvocationError) as error:
        return dict(ret, result=False, changes={}, comment=str(error))
    return dict(ret, comment=comment)


_HOW = "Restart one director after the other: salt-run state.orchestrate mysql_ha.orch.upgrade_directors"


def restarted(name, settings, only_standby=False, timeout=60):
    """
    The keepalived that runs is the one that is installed, with the configuration that the settings make. If it is not,
    it is restarted, and waited for. Its addresses then go to another director.

    name
        Path of keepalived.conf, which keepalived must accept before anything happens.

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets.

    only_standby
        true: where keepalived holds an address it is left running. It has to run.

    timeout
        For how many seconds (1 to 3600) to wait at most.

    .. code-block:: yaml

        /etc/keepalived/keepalived.conf:
          keepalived.restarted:
            - settings: {cluster: shop, nodes: {}, endpoints: {}}
            - only_standby: true
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "keepalived runs as it is installed."}
    try:
        found = _in_use(settings)
        if not found["running"]:
            if only_standby and not __opts__["test"]:
                return dict(ret, result=False, comment="keepalived does not run on this host.")
            changes = {"keepalived": {"old": "not running", "new": __salt__["keepalived.version"]()}}
        else:
            changes = {}
            if found["replaced"]:
                changes["keepalived"] = {"old": found["replaced"], "new": __salt__["keepalived.version"]()}
            if found["only_at_start"]:
                changes["only at start"] = {"old": "as before", "new": ", ".join(found["only_at_start"])}
        if not changes:
            return ret
        held = __salt__["keepalived.held_addresses"](settings)
        if only_standby and held:
            return dict(ret, comment=f"This director holds {', '.join(held)}: its keepalived was left running.")
        if __opts__["test"]:
            return dict(ret, result=None, changes=changes, comment="keepalived would be restarted.")
        told = __salt__["keepalived.check"](name)
        if not told["accepted"]:
            return dict(ret, result=False, comment=(
                f"keepalived was left as it is, it would not start with {name}: {told['comment']}"
            ))  # fmt: skip
        __salt__["keepalived.restart"](settings, timeout)
    except (CommandExecutionError, SaltInvocationError) as error:
        return dict(ret, result=False, comment=str(error))
    moved = f" {', '.join(held)} went to another director." if held else ""
    return dict(ret, changes=changes, comment=f"keepalived was restarted.{moved}")


def table_verified(name, settings, timeout=30):
    """
    The kernel's table is what the settings say, in all that keepalived looks after here: its services, what they are
    set to, and their servers. What keepalived does not put right by itself is put right: thresholds, services and
    servers that were there before it started, what somebody changed by hand.

    Servers that a check has taken out stay out, and weights that a check has set stay as they are. Services that are
    not of the settings' endpoints are left alone.

    name
        Not used.

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets.

    timeout
        For how many seconds (1 to 3600) to wait at most until keepalived works with the settings.

    .. code-block:: yaml

        the table is what the pillar says:
          keepalived.table_verified:
            - settings: {cluster: shop, nodes: {}, endpoints: {}}
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "The kernel's table is what the pillar says."}
    try:
        done = __salt__["keepalived.correct"](settings, timeout=timeout, test=__opts__["test"])
    except (CommandExecutionError, SaltInvocationError) as error:
        return dict(ret, result=False, comment=str(error))
    ret["changes"] = done["changes"]
    if done["failed"]:
        failures = (f"  {entry}: {reason}" for entry, reason in done["failed"].items())
        return dict(ret, result=False, comment="\n".join(["These could not be put right:", *failures]))
    if done["changes"] and __opts__["test"]:
        ret.update(result=None, comment=f"These would be put right: {', '.join(done['changes'])}.")
    elif done["changes"]:
        ret["comment"] = f"These were put right: {', '.join(done['changes'])}."
    if done["comment"]:
        ret["comment"] += f" {done['comment']}"
    return ret


def _in_use(settings):
    """What keepalived runs with; a reload that is under way has a moment to begin."""
    end = time.monotonic() + GRACE_SECONDS
    while True:
        found = __salt__["keepalived.in_use"](settings)
        if found["configuration"] is not False or __opts__["test"] or time.monotonic() > end:
            return found
        time.sleep(GRACE_SECONDS / 5)


def _can_check(settings, text):
    """Whether the keepalived that will check the configuration, and the user of its programs, are there now."""
    wanted = (settings.get("keepalived") or {}).get("version")
    if wanted is None or __salt__["keepalived.version"]() != wanted:
        return False
    return not __salt__["keepalived.lacks_user"](text)


def _write(ret, name, text):
    # show_changes is off because Salt's diff would show the password.
    try:
        written = __states__["file.managed"](
            name, contents=text, mode="0600", user="root", group="root", makedirs=True, show_changes=False
        )
    except (OSError, CommandExecutionError) as error:
        written = {"result": False, "comment": str(error)}
    if written["result"] is False:
        comment = f"{name} was not changed: {written['comment']}"
        return dict(ret, result=False, comment=__salt__["keepalived.redact"](comment))
    if written["changes"] and __opts__["test"]:
        return dict(ret, result=None, changes=written["changes"], comment=f"{name} would get other permissions.")
    return dict(ret, changes=written["changes"])


def _read(name):
    try:
        with salt.utils.files.fopen(name, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandExecutionError(f"{name} cannot be read: {error.strerror}; nothing was changed") from error


def _diff(old, new):
    hide = __salt__["keepalived.redact"]
    before = hide(old or "").splitlines(keepends=True)
    after = hide(new).splitlines(keepends=True)
    diff = "".join(difflib.unified_diff(before, after, "old", "new"))
    return diff or "only the password changed"
