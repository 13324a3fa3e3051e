"""
Accounts and databases of applications as states, made on each server for itself.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "mysql_account"


def __virtual__():
    return __virtualname__


def managed(name, flavor, accounts=None, replication=None):
    """
    These accounts are as specified: hosts, plugin, password, TLS requirement and privileges. Accounts of other names
    are left alone.

    name
        Not used.

    flavor
        ``mariadb`` or ``mysql``, for the prediction on a host without a server.

    accounts
        ``mysql_ha:database:accounts``.

    replication
        The account that the other database replicates with: ``user``, ``hosts`` and ``require`` (ssl, none).

    .. code-block:: yaml

        the accounts:
          mysql_account.managed:
            - flavor: mariadb
            - accounts: {shop: {hosts: [192.168.1.%], grants: {shop.*: [SELECT, INSERT, UPDATE, DELETE]}}}
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "The accounts are as specified."}
    accounts = accounts or {}
    try:
        changes = __salt__["mysql_account.differences"](accounts, replication)
        if not changes:
            return ret
        if __opts__["test"]:
            return dict(ret, result=None, changes=changes, comment="Accounts would be changed.")
        __salt__["mysql_account.make"](accounts, replication)
        left = __salt__["mysql_account.differences"](accounts, replication)
        if left:
            done = {field: change for field, change in changes.items() if field not in left}
            return dict(ret, result=False, changes=done, comment=f"The server did not take: {', '.join(left)}.")
    except CommandExecutionError as error:
        if __opts__["test"]:
            return _predicted(ret, flavor, accounts, replication, error)
        return dict(ret, result=False, comment=str(error))
    return dict(ret, changes=changes, comment="The accounts were changed.")


def _predicted(ret, flavor, accounts, replication, error):
    """A server that is not installed or not started yet: all of it is still to be done."""
    try:
        changes = __salt__["mysql_account.differences"](accounts, replication, flavor)
    except CommandExecutionError as other:
        return dict(ret, result=False, comment=str(other))
    return dict(ret, result=None if changes else True, changes=changes, comment=(
        f"Would be made once the server runs ({error})."))  # fmt: skip


def databases(name, databases):
    """
    These databases exist. One that is no longer named stays: nothing here ever drops data.

    name
        Not used.

    databases
        A list of names.

    .. code-block:: yaml

        the shop's database:
          mysql_account.databases:
            - databases: [shop]
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "The databases are there."}
    try:
        missing = __salt__["mysql_account.missing_databases"](databases) if databases else []
    except CommandExecutionError as error:
        if not __opts__["test"]:
            return dict(ret, result=False, comment=str(error))
        missing = databases
    changes = {database: {"old": None, "new": "present"} for database in missing}
    if not changes:
        return ret
    if __opts__["test"]:
        return dict(ret, result=None, changes=changes, comment="Databases would be created.")
    try:
        __salt__["mysql_account.make_databases"](missing)
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))
    return dict(ret, changes=changes, comment="The databases were created.")
