"""
Replication between the two databases, and from them to replicas, as states.
"""

from salt.exceptions import CommandExecutionError

import mysql_copy
import mysql_dialect
import mysql_join

__virtualname__ = "mysql_replication"

# CR_SSL_CONNECTION_ERROR; MariaDB does not say what is wrong.
BROKEN_TLS = "2026"
# ER_MASTER_FATAL_ERROR_READING_BINLOG: also what a source says that was made anew while this server read from it.
LOST_LOGS = "1236"
# ER_REPLICA_FATAL_SAME_UUID, until the one that is a copy of the other has got its own.
SAME_UUID = "13117"
# Seconds that a transaction may take to get from one master to the other.
LAG = 10
# Milliseconds; MySQL takes no more than this.
FOREVER = 4294967295


def __virtual__():
    return __virtualname__


def replicating(
    name,
    nodes,
    port,
    user,
    wait=120,
    tls=True,
    ca_file="",
    connect_retry=1,
    heartbeat=0.25,
    seed="",
    server=None,
):
    """
    This server replicates from its peer: by GTID, over TLS with a verified certificate. The peer's own run sets up
    the other direction.

    Careful by design: a running replication that is as specified is not touched; nothing is reset, skipped or
    re-pointed by itself; servers are only joined while one has everything that the other has. A server without data
    gets a copy of a peer that has some. A peer that cannot be reached is no error: what is safe alone is done, and a
    later run does the rest.

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

    tls
        Whether the replication is encrypted and the peer's certificate verified.

    ca_file
        The file with the CA that signs the databases' certificates; empty: the server verifies in its own way,
        which MariaDB can from 11.4 on.

    connect_retry
        Seconds (1 to 60) between two tries to reach the peer. There is no last one.

    heartbeat
        Seconds (0.1 to 60) after which an idle peer says that it is there.

    seed
        When both servers hold something that the other cannot get: whose data is kept, one of the two minions' ids. The
        other one's data directory is kept aside and replaced by a copy. Empty: nothing is done, and both are named.

    server
        ``service``, ``flavor`` and ``config`` of this server, which a copy needs; None: no copy is made.

    .. code-block:: yaml

        mysql1:
          mysql_replication.replicating:
            - nodes: {{ settings.nodes | json }}
            - port: 3306
            - user: repl
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    databases = {node: entry for node, entry in nodes.items() if entry.get("role") == "database"}
    peer = next((other for other in databases if other != name), None)
    if name not in databases or peer is None:
        return dict(ret, result=False, comment=f"{name} is not one of two databases among {', '.join(nodes)}.")
    source = _source(databases[peer], port, user, tls, ca_file, connect_retry, heartbeat)
    return _attempt(_replicating, ret, source, peer, source, nodes[name]["server_id"], wait, seed, server)


def _source(entry, port, user, tls, ca_file, connect_retry, heartbeat):
    """Where to replicate from, as ``mysql_replication.replicate_from`` takes it, by a database's entry among nodes."""
    return {"host": entry["address"], "port": port, "user": user, "tls": tls, "ca_file": ca_file,
            "connect_retry": connect_retry, "heartbeat": float(heartbeat)}  # fmt: skip


def _attempt(work, ret, source, *arguments):
    try:
        return work(ret, *arguments)
    except CommandExecutionError as error:
        if __opts__["test"] and not ret["changes"]:
            # A server that is not installed or not started yet: all of it is still to be done.
            changes = __salt__["mysql_replication.differences"](source, fresh=True)
            return dict(ret, result=None, changes=changes, comment=f"Would be set up once the server runs ({error}).")
        return dict(ret, result=False, comment=str(error))


def _replicating(ret, peer, source, wanted_id, wait, seed, own):
    if own and mysql_copy.is_closed(__salt__["mysql_data.status"]()):
        # Before anything else is asked: it may have another id until the copy is complete.
        return _copy(ret, peer, source, own, "a copy that was interrupted is made again", keep=False)
    server = __salt__["mysql_replication.server"]()
    unfit = _unfit(server, wanted_id, source)
    if unfit:
        return _refused(ret, unfit)
    status = __salt__["mysql_replication.status"]()
    differences = __salt__["mysql_replication.differences"](source)
    if status is None:
        return _join(ret, peer, source, server, differences, wait, seed, own)
    if "source" in differences:
        return _refused(
            ret,
            f"This server replicates from {status['source']}, not from {peer} ({_address(source)}), and is not "
            f"re-pointed by itself. If you want that: {__salt__['mysql_replication.forget']()} Then apply again.",
        )
    if not status["gtid"]:
        return _refused(
            ret,
            f"This server replicates from {peer} by file and position, which loses its place when a server is "
            "replaced, and is not converted by itself: transactions may have been skipped on the way. Compare the "
            f"data first, then: {__salt__['mysql_replication.forget']()} Then apply again.",
        )
    if differences:
        return _change(ret, peer, source, differences, wait)
    return _running(ret, peer, status, source)


def following(name, nodes, port, user, wait=120, tls=True, ca_file="", connect_retry=1, heartbeat=0.25, server=None):
    """
    This replica replicates from the master that the pillar names, by GTID, as :py:func:`replicating` does. While that
    master is gone it may follow the other one (see ``mysql_follow.running``); this state moves it back once the first
    one answers and has all that the replica has. A replica without data gets a copy of its master. One that has
    transactions which no master has is refused.

    name
        This minion's id among ``nodes``; its ``replicates_from`` names the master.

    nodes, port, user, wait, tls, ca_file, connect_retry, heartbeat, server
        As for :py:func:`replicating`.

    .. code-block:: yaml

        replica1:
          mysql_replication.following:
            - nodes: {{ settings.nodes | json }}
            - port: 3306
            - user: repl
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    masters = {
        node: _source(entry, port, user, tls, ca_file, connect_retry, heartbeat)
        for node, entry in nodes.items()
        if entry.get("role") == "database"
    }
    own = nodes.get(name, {})
    if own.get("role") != "replica" or own.get("replicates_from") not in masters:
        return dict(ret, result=False, comment=f"{name} is not a replica of one of {', '.join(masters)}.")
    # The one that is named comes first.
    named = own["replicates_from"]
    masters = {node: masters[node] for node in [named, *(one for one in masters if one != named)]}
    return _attempt(_following, ret, masters[named], masters, own["server_id"], wait, server)


def _following(ret, masters, wanted_id, wait, own):
    named, source = next(iter(masters.items()))
    if own and mysql_copy.is_closed(__salt__["mysql_data.status"]()):
        return _copy(ret, named, source, own, "a copy that was interrupted is made again", keep=False, both=False)
    here = __salt__["mysql_replication.server"]()
    unfit = _unfit(here, wanted_id, source)
    if unfit:
        return _refused(ret, unfit)
    status = __salt__["mysql_replication.status"]()
    if status is None:
        return _follow(ret, masters, here, wait, own)
    now = next((node for node, one in masters.items() if _address(one) == status["source"]), None)
    if now is None or not status["gtid"]:
        how = "" if status["gtid"] else " by file and position"
        return _refused(
            ret,
            f"This server replicates from {status['source']}{how}, not from {named} ({_address(source)}) by GTID, and "
            "is not re-pointed by itself. "
            f"If you want that: {__salt__['mysql_replication.forget']()} Then apply again.",
        )
    more = _only_here(masters, now)
    if more:
        return _refused(
            ret,
            f"This replica has transactions that no master has ({more}): somebody wrote here, or the masters have lost "
            f"them. {mysql_join.rebuild(ret['name'], now)}",
        )
    if now != named:
        return _move_back(ret, masters, now, here, status, wait)
    differences = __salt__["mysql_replication.differences"](source)
    return _change(ret, named, source, differences, wait) if differences else _running(ret, named, status, source)


def _only_here(masters, now):
    """What neither master has; empty as well while one of them, which may have it, does not answer."""
    for node in [now, *(one for one in masters if one != now)]:
        more = __salt__["mysql_replication.errant"](masters[node], wait=LAG)
        if not more:
            return ""
    return more


def _follow(ret, masters, here, wait, own):
    """A replica that replicates from nowhere yet."""
    if __opts__["test"]:
        named = next(iter(masters))
        changes = __salt__["mysql_replication.differences"](masters[named])
        return dict(ret, result=None, changes=changes, comment=f"Would replicate from {named}.")
    master, there, why = _choose(masters, wait)
    if why:
        return dict(ret, comment=f"{why}. Nothing is lost: apply again once the masters are set up.")
    decision = mysql_join.follow(here, there, ret["name"], master)
    return _decided(ret, master, masters[master], decision, own, both=False)


def _choose(masters, wait):
    """The master that a replica begins with: its name, what it is and holds, and why it has to be waited for."""
    named, other = masters
    found = {named: __salt__["mysql_replication.peer"](masters[named], wait=wait)}
    if found[named] is not None and not mysql_join.is_empty(found[named]):
        return named, found[named], ""
    found[other] = __salt__["mysql_replication.peer"](masters[other], wait=0)
    master = named if found[named] else other
    why = ""
    if found[master] is None:
        why = f"waiting for {named}: {_address(masters[named])} did not let this server in within {wait} s"
    elif mysql_join.is_empty(found[master]) and None in found.values():
        # What the other one has may be older than any binary log, and would never come.
        why = f"waiting for {other if master == named else named}: {master} holds nothing, and the other may"
    elif mysql_join.is_empty(found[master]) and not mysql_join.is_empty(found[other]):
        why = f"waiting for {master} to become a copy of {other}"
    return master, found[master], why


def _move_back(ret, masters, now, here, status, wait):
    """This replica follows the other master than the one that is named."""
    named = next(iter(masters))
    there = __salt__["mysql_replication.peer"](masters[named])
    why = ""
    if there is None:
        why = f"{named} ({_address(masters[named])}) does not let this server in"
    elif more := __salt__["mysql_replication.errant"](masters[named], wait=LAG):
        why = f"{named} does not have all yet that this replica has ({more})"
    else:
        why = mysql_join.lost(here, there, named)
    if why:
        differences = __salt__["mysql_replication.differences"](masters[now])
        if differences:
            ret = _change(ret, now, masters[now], differences, wait)
        else:
            ret = _running(ret, now, status, masters[now])
        return dict(ret, comment=f"{ret['comment']} It is not moved back: {why}.")
    differences = __salt__["mysql_replication.differences"](masters[named])
    if __opts__["test"]:
        return dict(ret, result=None, changes=differences, comment=f"Would be moved from {now} to {named}.")
    __salt__["mysql_replication.replicate_from"](masters[named])
    ret = _running(dict(ret, changes=differences), named, __salt__["mysql_replication.settled"](), masters[named])
    return dict(ret, comment=f"Moved from {now} to {named}. {ret['comment']}")


def _address(source):
    return f"{source['host']}:{source['port']}"


def _unfit(server, wanted_id, source):
    """Why a server cannot take part; empty when it can."""
    running = {
        "server_id": (server["server_id"], wanted_id),
        "log_bin": (server["log_bin"], True),
        "gtid_mode": (server["gtid_mode"], True),
    }
    wrong = [
        f"{key} {_word(is_)} instead of {_word(wanted)}" for key, (is_, wanted) in running.items() if is_ != wanted
    ]
    if wrong:
        return (
            f"The running server has {', '.join(wrong)}. Restart it in a quiet moment to bring its configuration into "
            "effect (salt-run state.orchestrate mysql_ha.orch.restart), then apply again."
        )
    if source["tls"] and not source["ca_file"] and not server["verifies_alone"]:
        return (
            f"{server['version']} cannot verify its peer's certificate without a CA. Make one "
            "(salt-call --local mysql_tls.new_ca), name the files in mysql_ha:database:tls, or say "
            "mysql_ha:database:replication:tls: false and have it all pass in clear text."
        )
    return ""


def _word(value):
    return {True: "ON", False: "OFF"}[value] if isinstance(value, bool) else str(value)


def _refused(ret, why):
    return dict(ret, result=False, comment=why)


def _join(ret, peer, source, server, differences, wait, seed, own):
    if __opts__["test"]:
        return dict(ret, result=None, changes=differences, comment=f"Would replicate from {peer}.")
    found = __salt__["mysql_replication.peer"](source, wait=wait)
    if found is None:
        return dict(ret, comment=(
            f"waiting for {peer}: {_address(source)} did not let {source['user']} in within {wait} s. Nothing is "
            f"lost: apply again once {peer} is set up."))  # fmt: skip
    decision = mysql_join.decide(server, found, ret["name"], peer, seed)
    return _decided(ret, peer, source, decision, own)


def _decided(ret, peer, source, decision, own, both=True):
    """Do what was decided about a server that replicates from nowhere yet."""
    if decision.action == mysql_join.REFUSE:
        return _refused(ret, f"Not joined with {peer}: {decision.why}.")
    if decision.action == mysql_join.WAIT:
        return dict(ret, comment=f"waiting for {peer} {decision.why}. Apply there, then here again.")
    if decision.action == mysql_join.COPY:
        if not own:
            return _refused(ret, f"Not joined with {peer}: {decision.why}. Apply mysql_ha, which makes a copy.")
        return _copy(ret, peer, source, own, decision.why, decision.keep, both)
    changes = __salt__["mysql_replication.differences"](source)
    __salt__["mysql_replication.replicate_from"](source)
    return _running(dict(ret, changes=changes), peer, __salt__["mysql_replication.settled"](), source)


def _copy(ret, peer, source, own, why, keep, both=True):
    """This server becomes a copy of its peer, and replicates from it."""
    changes = {"data": {"old": "kept aside" if keep else None, "new": f"a copy of {peer}"}}
    if __opts__["test"]:
        return dict(ret, result=None, changes=changes, comment=f"Would get a copy of {peer}: {why}.")
    made = __salt__["mysql_data.copy_from"](source, keep=keep, **own)
    changes |= __salt__["mysql_replication.differences"](source)
    __salt__["mysql_replication.replicate_from"](source)
    ret = _running(dict(ret, changes=changes), peer, __salt__["mysql_replication.settled"](), source)
    said = mysql_copy.said(made, peer, why)
    also = f" Apply to {peer} too: it may have stopped to read from here." if both else ""
    return dict(ret, comment=f"{said} {ret['comment']}{also}")


def _change(ret, peer, source, differences, wait):
    changed = dict(ret, changes=differences)
    if __opts__["test"]:
        return dict(changed, result=None, comment=f"The replication from {peer} would be changed.")
    # The peer's own run, at the same time as this one, brings the account that these need; the rest would be in vain.
    patience = wait if {"user", "password", "tls"} & set(differences) else 0
    if __salt__["mysql_replication.peer"](source, wait=patience) is None:
        # What was received is thrown away with the old settings; only a peer that is there sends it again.
        return dict(ret, comment=(
            f"waiting for {peer}: {_address(source)} does not let {source['user']} in, and the replication is only "
            f"changed ({', '.join(differences)}) while it does."))  # fmt: skip
    __salt__["mysql_replication.replicate_from"](source)
    return _running(changed, peer, __salt__["mysql_replication.settled"](), source)


def _running(ret, peer, status, source, again=True):
    """Judge a replication that is configured as specified, and start one that was stopped."""
    if status["receiver_error"].startswith(f"{BROKEN_TLS}:"):
        # A peer that is just stopping breaks an encryption off; a certificate that is refused stays refused.
        status = __salt__["mysql_replication.settled"](wait=5)
    if status["applier_error"]:
        return _refused(ret, f"The replication from {peer} has stopped: {status['applier_error']}")
    stopped = not status["applying"] or (not status["receiving"] and not status["receiver_state"])
    # The peer may have been mended, or become a copy, since this server was pointed at it.
    may_pass = status["receiver_error"].split(":")[0] in ("", LOST_LOGS, SAME_UUID)
    if stopped and not ret["changes"]:
        if not may_pass:
            return _refused(ret, f"The replication from {peer} has stopped: {status['receiver_error']}")
        ret["changes"]["running"] = {"old": False, "new": True}
        if __opts__["test"]:
            return dict(ret, result=None, comment=f"The replication from {peer} would be started.")
    if stopped and again and may_pass:
        __salt__["mysql_replication.start"](source)
        return _running(ret, peer, __salt__["mysql_replication.settled"](), source, again=False)
    if status["receiving"] and status["applying"]:
        done = "is set up and runs" if ret["changes"] else "runs"
        return dict(ret, comment=f"The replication from {peer} {done}.")
    if status["receiver_error"] and not _is_unreachable(status["receiver_error"]):
        return _refused(ret, f"The replication from {peer} cannot receive: {status['receiver_error']}")
    reason = status["receiver_error"] or status["receiver_state"] or "not connected yet"
    return dict(ret, comment=f"The replication from {peer} is as specified; waiting for {peer}: {reason}")


def _is_unreachable(error):
    """Whether a receiver's error is that of a peer that is not there."""
    return error.split(":")[0] in mysql_dialect.UNREACHABLE


def stopped(name):
    """
    This server neither receives nor applies. Where it replicates from is kept, so that :py:func:`replicating` goes
    on where it ended.

    name
        Not used.

    .. code-block:: yaml

        before the maintenance:
          mysql_replication.stopped: []
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "This server does not replicate."}
    try:
        status = __salt__["mysql_replication.status"]()
        if status is None or not (status["receiving"] or status["applying"] or status["receiver_state"]):
            return ret
        changes = {"running": {"old": True, "new": False}}
        if __opts__["test"]:
            return dict(ret, result=None, changes=changes, comment="The replication would be stopped.")
        __salt__["mysql_replication.stop"]()
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))
    return dict(ret, changes=changes, comment="The replication is stopped.")


def read_only(name, closed=True):
    """
    This server takes no writes but those of its replication; or it takes writes. Until its next start.

    name
        Not used.

    closed
        false: open it.

    .. code-block:: yaml

        the standby:
          mysql_replication.read_only: []
    """
    comment = "This server takes no writes." if closed else "This server takes writes."
    ret = {"name": name, "result": True, "changes": {}, "comment": comment}
    try:
        now = __salt__["mysql_replication.is_read_only"]()
        if now == closed:
            return ret
        changes = {"read_only": {"old": now, "new": closed}}
        if __opts__["test"]:
            return dict(ret, result=None, changes=changes, comment=f"Would be changed: {comment}")
        __salt__["mysql_replication.set_read_only"](closed)
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))
    return dict(ret, changes=changes)


def semi_sync(name, source=None, replica=None):
    """
    Semi-synchronous replication: whether this server waits for its peer's acknowledgement before it answers to a
    commit (for ever: it never gives that up by itself), and whether it acknowledges what it receives. Until its next
    start. On at one server at a time: a standby that waits too is slow to take over. The source first: a replica that
    connects to one without semi-sync does not acknowledge until it connects again.

    name
        Not used.

    source, replica
        The two sides; one that is left out is not touched.

    .. code-block:: yaml

        the writer:
          mysql_replication.semi_sync:
            - source: true
            - replica: false
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "Semi-sync is as specified."}
    wanted = {side: value for side, value in (("source", source), ("replica", replica)) if value is not None}
    try:
        now = __salt__["mysql_replication.semi_sync"]()
        changes = {side: {"old": now[side], "new": value} for side, value in wanted.items() if now[side] != value}
        if source and now["timeout"] < FOREVER:
            changes["timeout"] = {"old": now["timeout"], "new": "for ever"}
        if not changes:
            return ret
        if __opts__["test"]:
            return dict(ret, result=None, changes=changes, comment="Semi-sync would be changed.")
        __salt__["mysql_replication.set_semi_sync"](
            **{side: wanted[side] for side in wanted if side in changes or (side == "source" and "timeout" in changes)}
        )
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))
    return dict(ret, changes=changes)


def healthy(name, wait=0, alone=False):
    """
    This server replicates: both threads run. Changes nothing; meant as a gate, before a restart and after it.

    name
        Not used.

    wait
        For how many seconds (0 to 600) to wait until it does.

    alone
        A server that replicates from nowhere passes too.

    .. code-block:: yaml

        before the restart:
          mysql_replication.healthy: []
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "This server replicates."}
    try:
        status = __salt__["mysql_replication.settled"](0 if __opts__["test"] else wait)
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))
    if status is None and alone:
        return dict(ret, comment="This server replicates from nowhere.")
    if status is not None and status["receiving"] and status["applying"]:
        return ret
    if status is None:
        why = "it replicates from nowhere"
    else:
        why = status["applier_error"] or status["receiver_error"] or status["receiver_state"] or "it is stopped"
    return dict(ret, result=False, comment=f"This server does not replicate: {why}")
