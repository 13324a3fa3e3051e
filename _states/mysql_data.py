"""
The data directory of this minion's MySQL or MariaDB server as states: there, fit to be copied, rebuilt.
"""

from salt.exceptions import CommandExecutionError

import mysql_copy

__virtualname__ = "mysql_data"


def __virtual__():
    return __virtualname__


def present(name, flavor):
    """
    A server that has lost its data directory gets one with nothing in it but the system's tables. One that has
    anything at all is left alone. What interrupted copies left beside it is deleted.

    name
        The service's name.

    flavor
        ``mariadb`` or ``mysql``.

    .. code-block:: yaml

        mariadb:
          mysql_data.present:
            - flavor: mariadb
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "The data directory is there."}
    try:
        if not __salt__["mysql_server.binary"](flavor):
            return dict(ret, comment="The data directory comes with the installation.")
        folder = __salt__["mysql_data.folder"](flavor)
        ret = _without_leftovers(ret, folder)
        if __salt__["mysql_server.answers"]() or not __salt__["mysql_data.is_missing"](folder):
            return ret
        changes = ret["changes"] | {"folder": {"old": None, "new": folder}}
        if __opts__["test"]:
            return dict(ret, result=None, changes=changes, comment=f"{folder} would be made, with nothing in it.")
        __salt__["mysql_data.initialise"](flavor, folder)
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))
    return dict(ret, changes=changes, comment=f"{folder} was made, with nothing in it.")


def _without_leftovers(ret, folder):
    found = sorted(__salt__["mysql_data.leftovers"](folder))
    if not found:
        return ret
    changes = {"leftovers": {"old": found, "new": []}}
    if __opts__["test"]:
        return dict(ret, result=None, changes=changes, comment="Parts of interrupted copies would be deleted.")
    __salt__["mysql_data.sweep"](folder)
    return dict(ret, changes=changes, comment="Parts of interrupted copies were deleted.")


def copyable(name, flavor):
    """
    A copy of this server can be made over the network, for a peer that has lost its data or never had any.

    name
        The service's name.

    flavor
        ``mariadb`` or ``mysql``.

    .. code-block:: yaml

        mysql:
          mysql_data.copyable:
            - flavor: mysql
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "This server can be copied."}
    changes = {"copyable": {"old": False, "new": True}}
    if __opts__["test"] and not __salt__["mysql_server.answers"]():
        # What it needs comes with MariaDB's installation; MySQL's plugin is loaded once the server runs.
        return ret if flavor == "mariadb" else dict(ret, result=None, changes=changes, comment=_WOULD_BE)
    try:
        if __salt__["mysql_data.is_copyable"](flavor):
            return ret
        if __opts__["test"]:
            return dict(ret, result=None, changes=changes, comment=_WOULD_BE)
        __salt__["mysql_data.make_copyable"](flavor)
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))
    return dict(ret, changes=changes)


_WOULD_BE = "This server would be made fit to be copied."


def rebuilt(name, source, server, limit=0, stream=None, why=""):
    """
    Replace this server's data by a copy of another one, whatever is here. It is kept aside. Meant for
    ``mysql_ha.orch.rebuild``.

    name
        The other one's minion id, for sentences.

    source
        As for ``mysql_replication.peer``.

    server
        ``service``, ``flavor`` and ``config`` of this server.

    limit
        The most MiB a second; 0 for as fast as it goes.

    stream
        MariaDB: where the other one's files come in, as for ``mysql_data.copy_from``; None: a dump is made.

    why
        Why there is no stream, for the comment.

    .. code-block:: yaml

        mysql1:
          mysql_data.rebuilt:
            - source: {host: 192.168.1.5, port: 3306, user: repl}
            - server: {service: mariadb, flavor: mariadb, config: /etc/mysql/mariadb.conf.d/90-mysql_ha.cnf}
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    if not source.get("host"):
        return dict(
            ret,
            result=False,
            comment=f"{name!r} is no database of mysql_ha:nodes; say pillar='{{rebuild: {{from: ...}}}}'",
        )
    ret["changes"] = {"data": {"old": "kept aside", "new": f"a copy of {name}"}}
    if __opts__["test"]:
        return dict(ret, result=None, comment=f"This server would become a copy of {name}.")
    try:
        made = __salt__["mysql_data.copy_from"](source, limit=limit, stream=stream, **server)
    except CommandExecutionError as error:
        return dict(ret, result=False, changes={}, comment=str(error))
    return dict(ret, comment=mysql_copy.said(made | {"why": made.get("why") or why}, name))
