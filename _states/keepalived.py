"""
keepalived's configuration as a state.
"""

import difflib

import salt.utils.files
from salt.exceptions import CommandExecutionError

__virtualname__ = "keepalived"


def __virtual__():
    return __virtualname__


def configured(name, settings):
    """
    keepalived.conf is what the settings say. The new file is checked by ``keepalived --config-test`` on
    this host before it replaces the old one; when keepalived refuses it, the old one stays and the comment
    has keepalived's own words. ``changes`` hold a diff in which the password is hidden.

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
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))
    old = _read(name)
    if old == new:
        return _write(ret, name, new)  # owner and mode
    changes = {
        "keepalived.conf": {"old": None if old is None else "present", "new": "present"},
        "diff": _diff(old, new),
    }
    if __opts__["test"]:
        return dict(ret, result=None, changes=changes, comment=f"{name} would be written.")
    ret = _write(ret, name, new)
    if ret["result"]:
        ret["changes"] = changes
        ret["comment"] = f"{name} has been written and keepalived accepts it."
    return ret


def _write(ret, name, text):
    # show_changes is off because Salt's diff would show the password.
    written = __states__["file.managed"](
        name, contents=text, mode="0600", user="root", group="root", makedirs=True, show_changes=False,
        check_cmd=None if __opts__["test"] else "keepalived --config-test --use-file",
    )  # fmt: skip
    if written["result"] is False:
        comment = f"{name} was not changed, keepalived refuses the new one: {written['comment']}"
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


def _diff(old, new):
    hide = __salt__["keepalived.redact"]
    before = hide(old or "").splitlines(keepends=True)
    after = hide(new).splitlines(keepends=True)
    diff = "".join(difflib.unified_diff(before, after, "old", "new"))
    return diff or "only the password changed"
