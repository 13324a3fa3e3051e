"""
The service on a replica that has it follow the other master while its own is gone, as a state.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "mysql_follow"


def __virtual__():
    return __virtualname__


def running(name, nodes, port):
    """
    A service of systemd has this replica follow the other master when its own cannot be reached. It needs neither the
    master of Salt nor a password. It does nothing while replication is stopped, or has stopped at an error.

    name
        Not used.

    nodes
        ``mysql_ha:nodes``; the two databases are taken from it.

    port
        The databases' port.

    .. code-block:: yaml

        the follower:
          mysql_follow.running:
            - nodes: {{ settings.nodes | json }}
            - port: 3306
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "This replica follows a master that is there."}
    masters = {node: f"{entry['address']}:{port}" for node, entry in nodes.items() if entry.get("role") == "database"}
    try:
        changes = __salt__["mysql_follow.differences"](masters)
        if not changes:
            return ret
        if __opts__["test"]:
            return dict(ret, result=None, changes=changes, comment="The service would be set up.")
        __salt__["mysql_follow.install"](masters)
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))
    return dict(ret, changes=changes)
