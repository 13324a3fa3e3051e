"""
States about the formula as a whole.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "mysql_ha"


def __virtual__():
    return __virtualname__


def pillar_valid(name):
    """
    The pillar describes a cluster that can work. Meant to run first, with ``failhard``: a wrong pillar
    then stops the run before anything changes. The comment lists all errors at once.

    name
        Not used.

    .. code-block:: yaml

        mysql_ha-sync-mysql_ha-pillar_valid:
          mysql_ha.pillar_valid:
            - failhard: true
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "The pillar describes a cluster that can work."}
    try:
        errors = __salt__["mysql_ha.pillar_errors"]()
    except CommandExecutionError as error:
        errors = [str(error)]
    except KeyError as missing:
        errors = [f"{missing} is not loaded: a module cannot be imported, and the minion's debug log says why"]
    if errors:
        ret["result"] = False
        ret["comment"] = "\n".join(
            ["The pillar cannot work; nothing was changed:", *(f"  {error}" for error in errors)]
        )
    return ret
