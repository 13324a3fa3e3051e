"""
Accounts and databases of applications on this minion's MySQL or MariaDB server, and the account that the other
database replicates with. Each server makes them for itself, outside its binary log: there they would be
transactions that the other server lacks.
"""

from salt.exceptions import CommandExecutionError

import mysql_accounts
import mysql_client
import mysql_dialect
from mysql_client import SqlError
from mysql_passwords import PasswordError

__virtualname__ = "mysql_account"

PASSWORDS_KEY = "mysql_ha:secrets:accounts"  # noqa: S105 - where the passwords are, not the passwords
# What the other server needs to replicate, to see what there is, and to take a copy when it has nothing.
REPLICATION_GRANTS = {
    "mysql": ["REPLICATION SLAVE", "SELECT", "BACKUP_ADMIN"],
    "mariadb": ["REPLICATION SLAVE", "BINLOG MONITOR", "SELECT", "SHOW VIEW", "TRIGGER", "EVENT", "RELOAD"],
}
REPLICATION_KEY = "mysql_ha:secrets:replication"


def __virtual__():
    return __virtualname__


def differences(accounts, replication=None, flavor=""):
    """
    What accounts have otherwise than specified, as ``{"user@host field": {old, new}}``; passwords are hidden. Whether
    a password is right is told by what the server stores of it.

    accounts
        ``mysql_ha:database:accounts``; the passwords are in ``mysql_ha:secrets:accounts``.

    replication
        The account that the other database replicates with: ``user``, ``hosts`` (a list) and ``require`` (ssl, none);
        its password is ``mysql_ha:secrets:replication``.

    flavor
        ``mariadb`` or ``mysql``: compare with an empty server of that kind, without asking this one.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_account.differences '{shop: {hosts: ["192.168.1.%"], grants: {"shop.*": [SELECT]}}}'
    """
    if flavor:
        return _all_differences(_wanted(accounts, replication, flavor), {}, [])
    dialect, version = _server()
    wanted = _wanted(accounts, replication, dialect.name)
    present = _present(accounts, replication, dialect, version)
    return _all_differences(wanted, present, _leaving(accounts, wanted, present))


def make(accounts, replication=None):
    """
    Bring accounts to what is specified. Sessions stay; what is right already is not touched.

    accounts, replication
        As for :py:func:`differences`.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_account.make '{shop: {hosts: ["192.168.1.%"], grants: {"shop.*": [SELECT]}}}'
    """
    dialect, version = _server()
    wanted = _wanted(accounts, replication, dialect.name)
    present = _present(accounts, replication, dialect, version)
    for account in wanted:
        statements = mysql_accounts.statements(account, present.get((account.user, account.host)))
        if statements:
            _write(statements)
    for user, host in _leaving(accounts, wanted, present):
        _write(mysql_accounts.removal(user, host))


def missing_databases(names):
    """
    Those of the databases that the server does not have.

    names
        A list of names.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_account.missing_databases '[shop]'
    """
    found = {row["name"] for row in _local("SELECT schema_name AS name FROM information_schema.schemata;")}
    return [name for name in names if name not in found]


def make_databases(names):
    """
    Create databases, with the server's own character set.

    names
        A list of names.

    CLI Example:

    .. code-block:: bash

        salt 'mysql*' mysql_account.make_databases '[shop]'
    """
    quoted = ["`" + name.replace("`", "``") + "`" for name in names]
    _write("SET SESSION sql_log_bin = 0;\n" + "".join(f"CREATE DATABASE IF NOT EXISTS {name};\n" for name in quoted))


def _wanted(accounts, replication, flavor):
    passwords = __salt__["config.get"](PASSWORDS_KEY, default=None) or {}
    wanted = _described(accounts, passwords, flavor, PASSWORDS_KEY)
    if replication:
        password = __salt__["config.get"](REPLICATION_KEY, default=None)
        if not password:
            raise CommandExecutionError(f"{REPLICATION_KEY}: is not set for {__grains__['id']}")
        description = {
            replication["user"]: {
                "hosts": replication["hosts"],
                "require": replication.get("require", "ssl"),
                "grants": {"*.*": REPLICATION_GRANTS[flavor]},
            }
        }
        wanted += _described(description, {replication["user"]: password}, flavor, REPLICATION_KEY)
    return wanted


def _described(description, passwords, flavor, key):
    try:
        return mysql_accounts.accounts(description, passwords, flavor)
    except PasswordError as error:
        raise CommandExecutionError(f"{key}: {error}") from error


def _present(accounts, replication, dialect, version):
    users = [*accounts, *([replication["user"]] if replication else [])]
    return mysql_accounts.present(_local, dialect.name, version, users) if users else {}


def _leaving(accounts, wanted, present):
    """Accounts that have to go: those that are said to be absent, and hosts of a managed user that nobody names."""
    gone = [(user, host) for user, host in present if accounts.get(user, {}).get("absent")]
    managed = [account for account in wanted if account.user in accounts]
    ours = {key: found for key, found in present.items() if key[0] in accounts}
    return list(dict.fromkeys([*gone, *mysql_accounts.strays(managed, ours)]))


def _all_differences(wanted, present, leaving):
    changes = {}
    for account in wanted:
        found = mysql_accounts.differences(account, present.get((account.user, account.host)))
        changes |= {f"{account.user}@{account.host} {field}": change for field, change in found.items()}
    return changes | {f"{user}@{host} account": {"old": "present", "new": None} for user, host in leaving}


def _server():
    text = _local("SELECT @@version AS version;")[0]["version"]
    try:
        return mysql_dialect.identify(text), mysql_dialect.version(text)
    except ValueError as error:
        raise CommandExecutionError(str(error)) from error


def _write(sql):
    with mysql_dialect.writable(_local):
        _local(sql)


def _local(sql):
    try:
        return mysql_client.local(sql)
    except SqlError as error:
        raise CommandExecutionError(f"the database server on {__grains__['id']}: {error}") from error
