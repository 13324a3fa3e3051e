"""
Replication between the two databases as a state.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "mysql_replication"


def __virtual__():
    return __virtualname__


def replicating(name, nodes, port, user, wait=120):
    """
    This server lets its peer replicate from it, and replicates from its peer: by GTID, over TLS. The
    peer's own run sets up the other direction.

    Careful by design: a running replication that is as specified is not touched; nothing is reset, skipped
    or re-pointed by itself; servers are only joined while one has everything that the other has. A peer
    that cannot be reached is no error: what is safe alone is done, and a later run does the rest.

    name
        This minion's id among ``nodes``.

    nodes
        ``mysql_ha:nodes``; the two databases are taken from it.

    port
        The databases' port.

    user
        The replication account; its password is ``mysql_ha:secrets:replication``.

    wait
        For how many seconds (0 to 600) to wait for a peer that is not there yet.

    .. code-block:: yaml

        mysql1:
          mysql_replication.replicating:
            - nodes: {{ settings.nodes | json }}
            - port: 3306
            - user: repl
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    addresses = [node["address"] for node in nodes.values() if node.get("role") == "database"]
    peer = next((other for other, node in nodes.items() if node.get("role") == "database" and other != name), None)
    source = (nodes[peer]["address"], port, user)
    try:
        return _replicating(ret, peer, source, nodes[name]["server_id"], addresses, wait)
    except CommandExecutionError as error:
        if __opts__["test"] and not ret["changes"]:
            # A server that is not installed or not started yet: all of it is still to be done.
            changes = {"account": _account_change(user, addresses)}
            changes.update(__salt__["mysql_replication.differences"](*source, fresh=True))
            return dict(ret, result=None, changes=changes, comment=f"Would be set up once the server runs ({error}).")
        return dict(ret, result=False, comment=str(error))


def _replicating(ret, peer, source, wanted_id, addresses, wait):
    server = __salt__["mysql_replication.server"]()
    if not server["log_bin"] or server["server_id"] != wanted_id:
        return _refused(
            ret,
            f"The running server has server_id {server['server_id']} and its binary log is "
            f"{'on' if server['log_bin'] else 'off'}; specified are server_id {wanted_id} and a binary log. "
            "Restart it in a quiet moment to bring its configuration into effect, then apply again.",
        )
    _accounts(ret, source[2], addresses)
    status = __salt__["mysql_replication.status"]()
    differences = __salt__["mysql_replication.differences"](*source)
    if status is None:
        return _join(ret, peer, source, server, differences, wait)
    if "source" in differences:
        return _refused(
            ret,
            f"This server replicates from {status['source']}, not from {peer} ({source[0]}:{source[1]}), and "
            "is not re-pointed by itself. If that is what you want: STOP SLAVE; RESET SLAVE ALL; then apply again.",
        )
    if differences or "account" in ret["changes"] or status["receiver_error"].startswith("1045:"):
        return _repoint(ret, peer, source, differences or {"password": {"old": "(hidden)", "new": "(hidden)"}})
    return _running(ret, peer, status)


def _refused(ret, why):
    return dict(ret, result=False, comment=why)


def _accounts(ret, user, addresses):
    wrong = __salt__["mysql_replication.wrong_accounts"](user, addresses)
    if wrong:
        ret["changes"]["account"] = _account_change(user, wrong)
        if not __opts__["test"]:
            __salt__["mysql_replication.make_accounts"](user, wrong)


def _account_change(user, hosts):
    return {"old": None, "new": ", ".join(f"{user}@{host}" for host in hosts)}


def _join(ret, peer, source, server, differences, wait):
    if server["unlogged_tables"]:
        return _refused(
            ret,
            f"This server has {server['unlogged_tables']} tables that its binary log never had, so {peer} could "
            "not get them. Only empty servers, or servers with a complete binary log, are joined.",
        )
    ret["changes"].update(differences)
    if __opts__["test"]:
        return dict(ret, result=None, comment=f"Would replicate from {peer}.")
    found = __salt__["mysql_replication.peer"](*source, wait=wait)
    if found is None:
        changes = {field: change for field, change in ret["changes"].items() if field not in differences}
        return dict(ret, changes=changes, comment=(
            f"waiting for {peer}: {source[0]}:{source[1]} did not let {source[2]} in within {wait} s. Nothing is "
            f"lost: apply again once {peer} is set up."))  # fmt: skip
    reason = __salt__["mysql_replication.why_not_joined"](server["gtids"], found["gtids"])
    if reason:
        changes = {field: change for field, change in ret["changes"].items() if field not in differences}
        return dict(ret, result=False, changes=changes, comment=f"Not joined with {peer}: {reason}.")
    __salt__["mysql_replication.replicate_from"](*source)
    return _running(ret, peer, __salt__["mysql_replication.settled"]())


def _repoint(ret, peer, source, differences):
    ret["changes"].update(differences)
    if __opts__["test"]:
        return dict(ret, result=None, comment=f"The replication from {peer} would be changed.")
    __salt__["mysql_replication.replicate_from"](*source)
    return _running(ret, peer, __salt__["mysql_replication.settled"]())


def _running(ret, peer, status):
    """Judge a replication that is configured as specified, and start one that was stopped."""
    if status["applier_error"]:
        return _refused(ret, f"The replication from {peer} has stopped: {status['applier_error']}")
    stopped = not status["applying"] or (not status["receiving"] and not status["receiver_state"])
    if stopped and not ret["changes"]:
        if status["receiver_error"]:
            return _refused(ret, f"The replication from {peer} has stopped: {status['receiver_error']}")
        ret["changes"]["running"] = {"old": False, "new": True}
        if __opts__["test"]:
            return dict(ret, result=None, comment=f"The replication from {peer} would be started.")
        __salt__["mysql_replication.start"]()
        return _running(ret, peer, __salt__["mysql_replication.settled"]())
    if status["receiving"] and status["applying"]:
        done = "is set up and runs" if ret["changes"] else "runs"
        return dict(ret, comment=f"The replication from {peer} {done}.")
    if status["receiver_error"] and not _is_unreachable(status["receiver_error"]):
        return _refused(ret, f"The replication from {peer} cannot receive: {status['receiver_error']}")
    reason = status["receiver_error"] or status["receiver_state"] or "not connected yet"
    return dict(ret, comment=f"The replication from {peer} is as specified; waiting for {peer}: {reason}")


def _is_unreachable(error):
    """Whether a receiver's error is that of a peer that is not there: CR_CONN_HOST_ERROR and its like."""
    return error.split(":")[0] in ("2002", "2003", "2005", "2006", "2013", "2026")
