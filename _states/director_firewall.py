"""
The packet filter of a director as states.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "director_firewall"


def __virtual__():
    return __virtualname__


def loaded(name, settings):
    """
    A table of nftables lets VRRP, and what the kernels tell each other of connections, in from the other director
    alone: in the kernel now, and by a unit of systemd at each boot. Other tables are never touched. A table that
    somebody has changed or taken away is loaded again.

    New rules replace the old ones in one step, and only if nft and the kernel accept them.

    name
        The file of rules.

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets.

    .. code-block:: yaml

        /etc/mysql_ha/firewall.nft:
          director_firewall.loaded:
            - settings: {cluster: shop, nodes: {}, endpoints: {}}
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "VRRP comes in from the other director alone."}
    try:
        changes = __salt__["director_firewall.differences"](settings, name)
        if not changes:
            return ret
        if __opts__["test"]:
            return dict(ret, result=None, changes=changes, comment="The firewall would be loaded.")
        __salt__["director_firewall.load"](settings, name)
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))
    return dict(ret, changes=changes)


def absent(name):
    """
    There is no such table, no file of rules for it, and no unit that would load them. Other tables are never touched.

    name
        The file of rules.

    .. code-block:: yaml

        /etc/mysql_ha/firewall.nft:
          director_firewall.absent: []
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "This formula filters nothing here."}
    try:
        changes = __salt__["director_firewall.differences"](None, name)
        if not changes:
            return ret
        if __opts__["test"]:
            return dict(ret, result=None, changes=changes, comment="The firewall would be removed.")
        __salt__["director_firewall.remove"](name)
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))
    return dict(ret, changes=changes, comment="The firewall is removed.")
