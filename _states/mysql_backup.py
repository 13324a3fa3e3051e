"""
Backups of this minion's MySQL or MariaDB server as states: the directory, the timer, and a node restored.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "mysql_backup"


def __virtual__():
    return __virtualname__


def scheduled(name, method="physical", schedule="daily", keep=7, prove=True):
    """
    A timer of systemd makes backups on this minion, proves them and removes old ones. It needs neither the master nor
    the pillar. A run that fails is a unit that failed: ``systemctl --failed`` and the journal show it.

    name
        The directory for backups, which is made.

    method
        ``physical`` or ``logical``, as for ``mysql_backup.create``.

    schedule
        When, in systemd's words (systemd.time(7), "Calendar Events"), which systemd itself checks first.

    keep
        How many stay, 1 to 10000; the newest proven one always does.

    prove
        Whether each is proven by a restore.

    .. code-block:: yaml

        /var/backups/mysql_ha:
          mysql_backup.scheduled:
            - schedule: '*-*-* 03:00'
            - keep: 14
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        wanted = __salt__["mysql_backup.units"](name, method, schedule, keep, prove)
        changes = __salt__["mysql_backup.timer_differences"](wanted)
        if not changes:
            return dict(ret, comment=f"Backups are made: {schedule}.")
        if __opts__["test"]:
            return dict(ret, result=None, changes=changes, comment=f"Backups would be made: {schedule}.")
        __salt__["mysql_backup.set_timer"](wanted, name)
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))
    return dict(ret, changes=changes, comment=f"Backups are made: {schedule}.")


def unscheduled(name):
    """
    No timer makes backups on this minion. Backups that were made stay.

    name
        Not used.

    .. code-block:: yaml

        no backups here:
          mysql_backup.unscheduled: []
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "No timer makes backups here."}
    try:
        changes = __salt__["mysql_backup.timer_differences"](None)
        if not changes:
            return ret
        if __opts__["test"]:
            return dict(ret, result=None, changes=changes, comment="The timer for backups would be removed.")
        __salt__["mysql_backup.set_timer"](None)
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))
    return dict(ret, changes=changes, comment="The timer for backups is removed; the backups are left.")


def restored(name, service, config, directory, nodes, node, port, user, tls=True, ca_file="", alone=False, wait=120):
    """
    A backup was restored into this node, which was empty, and the node has all that its peer has. For orchestrations:
    each run restores, and refuses a node with data.

    name
        A backup's name, ``latest``, ``proven``, or the path of a backup's directory.

    service, config, directory, alone, wait
        As for ``mysql_backup.restore``.

    nodes, node, port, user, tls, ca_file
        ``mysql_ha:nodes``, this minion's id there, and how to log in at the peer, as for
        ``mysql_replication.replicating``.

    .. code-block:: yaml

        latest:
          mysql_backup.restored:
            - service: mariadb
            - config: /etc/mysql/mariadb.conf.d/90-mysql_ha.cnf
            - directory: /var/backups/mysql_ha
            - nodes: {{ settings.nodes | json }}
            - node: mysql1
            - port: 3306
            - user: repl
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    peers = [entry for other, entry in nodes.items() if entry.get("role") == "database" and other != node]
    if not peers:
        return dict(ret, result=False, comment=f"{node} is not one of two databases among {', '.join(nodes)}.")
    source = None
    if not alone:
        source = {"host": peers[0]["address"], "port": port, "user": user, "tls": tls, "ca_file": ca_file}
    changes = {"data": {"old": None, "new": f"the backup {name}"}}
    try:
        refused = __salt__["mysql_backup.why_not_restored"](name, service, config, source, directory)
        if refused:
            return dict(ret, result=False, comment=refused)
        if __opts__["test"]:
            return dict(ret, result=None, changes=changes, comment=f"The backup {name} would be restored.")
        done = __salt__["mysql_backup.restore"](name, service, config, source, alone, directory, wait)
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))
    aside = f" What was there before is now {done['before']}." if done["before"] else ""
    return dict(ret, changes=changes, comment=f"{done['backup']} was restored in {done['seconds']} s.{aside}")
