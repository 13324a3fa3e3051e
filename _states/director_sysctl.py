"""
What the kernel of a director is set to, as a state.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "director_sysctl"


def __virtual__():
    return __virtualname__


def managed(name, settings):
    """
    The kernel has IPVS's settings of the pillar, and forwards packets if an endpoint needs that for NAT; a file has the
    next boot set the same. The file is written whole: what has left the pillar leaves it, and the kernel keeps that
    value until it boots, since something else may need it.

    A default that this kernel does not have is left out, and the comment says so. For what the pillar itself asks the
    state fails before anything is changed. There is a warning for each setting that a file which is read later changes.

    name
        The file, in ``/etc/sysctl.d``, which is the formula's alone.

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets.

    .. code-block:: yaml

        /etc/sysctl.d/90-mysql_ha.conf:
          director_sysctl.managed:
            - settings: {nodes: {}, endpoints: {}, kernel: {sysctls: {expire_nodest_conn: 1}}}
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        found = __salt__["director_sysctl.differences"](settings, name)
        if found["warnings"]:
            ret["warnings"] = found["warnings"]
        if found["impossible"]:
            return dict(ret, result=False, comment="\n  ".join(["Nothing was changed:", *found["impossible"]]))
        comment = [f"The kernel does not have {one}, a default, and does without it." for one in found["skipped"]]
        if found["released"]:
            comment.append(f"These keep their values until the next boot: {', '.join(found['released'])}.")
        if found["changes"] and __opts__["test"]:
            comment.insert(0, "The kernel would be set as specified.")
            return dict(ret, result=None, changes=found["changes"], comment="\n".join(comment))
        if found["changes"] or not (found["loaded"] or __opts__["test"]):
            done = __salt__["director_sysctl.apply"](settings, name)
            ret["changes"] = done["changes"]
            if done["failed"]:
                return dict(ret, result=False, comment="\n  ".join(["The kernel refuses:", *done["failed"]]))
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))
    return dict(ret, comment="\n".join(["The kernel is set as specified.", *comment]))
