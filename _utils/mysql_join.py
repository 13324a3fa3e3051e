"""
How a server and its peer come together, decided from what both are and hold, and never by guessing.

Knows nothing of Salt. Servers are described as ``mysql_replication.server`` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import mysql_dialect
import mysql_gtid

Server = Mapping[str, Any]
#: What is to be done. REPLICATE: point this server at its peer. COPY: replace what this one has by a copy of the
#: peer, then replicate. WAIT: the peer's own run does something first. REFUSE: nothing, an operator decides.
REPLICATE, COPY, WAIT, REFUSE = "replicate", "copy", "wait", "refuse"


class Decision(NamedTuple):
    """What is to be done, and why; ``keep``: this server holds something that has to be kept aside first."""

    action: str
    why: str = ""
    keep: bool = False


def decide(here: Server, there: Server, me: str, peer: str, seed: str = "") -> Decision:
    """
    What this server does about its peer when it does not replicate from it yet.

    here, there
        Both servers.
    me, peer
        Their names, for sentences.
    seed
        Whose data is kept when both hold something that the other cannot get: one of the two names, or empty.
    """
    same = _same(here, there)
    if same:
        return Decision(REFUSE, same)
    if is_empty(there):
        return Decision(REPLICATE)
    if is_empty(here):
        return _from_nothing(there, peer)
    conflict = _conflict(here, there, me, peer)
    if not conflict:
        return Decision(REPLICATE)
    if seed == peer:
        return Decision(COPY, f"{conflict}; mysql_ha:database:seed names {peer}", keep=True)
    if seed == me:
        return Decision(WAIT, f"to take a copy of this server: {conflict}; mysql_ha:database:seed names this server")
    return Decision(
        REFUSE,
        f"{conflict}. Decide whose data is kept. Put that server into the pillar, mysql_ha:database:seed: {me} (or "
        f"{peer}), and apply to both: the other one's data directory is then kept aside, and replaced by a copy",
    )


def follow(here: Server, there: Server, me: str, master: str) -> Decision:
    """
    What a replica does about its master when it does not replicate from it yet. It never gives anything: what it has
    and its master lacks is in the way.

    here, there
        The replica and its master.
    me, master
        Their names, for sentences.
    """
    same = _same(here, there)
    if same:
        return Decision(REFUSE, same)
    if is_empty(here) and is_empty(there):
        return Decision(REPLICATE)
    if is_empty(here):
        return _from_nothing(there, master)
    if is_empty(there):
        return Decision(REFUSE, f"this replica has data and {master} has none; is it the master that is meant?")
    why = _conflict(here, there, me, master) or surplus(here, there, me, master)
    return Decision(REFUSE, f"{why}. {rebuild(me, master)}") if why else Decision(REPLICATE)


def _from_nothing(there: Server, peer: str) -> Decision:
    """What a server that holds nothing does about one that holds something."""
    if lacks_history(there):
        # A copy would have the same tables, and nothing that tells whose they are.
        return Decision(WAIT, "to begin its binary log: it has tables, and no transaction that a copy could go on from")
    # Its binary log need not have all that a server has: older data, databases and accounts of this formula.
    return Decision(COPY, f"{peer} has data and this server has none")


def surplus(here: Server, there: Server, me: str, master: str) -> str:
    """What a replica has that its master lacks, as a clause; empty when there is nothing."""
    dialect = mysql_dialect.DIALECTS[here["flavor"]]
    more = mysql_gtid.subtract(dialect.parse(here["gtids"]), dialect.parse(there["gtids"]))
    return f"{me} has transactions that {master} lacks ({mysql_gtid.text(more, dialect.is_mariadb)})" if more else ""


def lost(here: Server, there: Server, master: str) -> str:
    """What a replica needs and its master no longer has in its binary logs, as a clause; empty when all is there."""
    dialect = mysql_dialect.DIALECTS[here["flavor"]]
    gone = mysql_gtid.subtract(dialect.parse(there["purged"]), dialect.parse(here["gtids"]))
    missing = mysql_gtid.text(gone, dialect.is_mariadb)
    return f"{master} no longer has the binary logs that this server needs ({missing})" if gone else ""


def rebuild(me: str, master: str) -> str:
    """How an operator makes a replica anew."""
    return (
        "Make this replica anew, which keeps aside what it has: salt-run state.orchestrate "
        f"mysql_ha.orch.rebuild pillar='{{rebuild: {{node: {me}, from: {master}}}}}'"
    )


def is_empty(server: Server) -> bool:
    """Whether a server holds no tables of users, and its binary log never had anything."""
    return not server["tables"] and not server["gtids"]


def lacks_history(server: Server) -> bool:
    """Whether a server holds tables from before its binary log, and that never had anything."""
    return bool(server["tables"] and not server["gtids"])


def _same(here: Server, there: Server) -> str:
    if there["server_id"] == here["server_id"]:
        return f"both servers have the server_id {here['server_id']}, and each would ignore what the other wrote"
    if here["server_uuid"] and there["server_uuid"] == here["server_uuid"]:
        return (
            f"both servers have the server_uuid {here['server_uuid']}, as copies of one machine do: stop the copy, "
            "remove auto.cnf from its data directory and start it"
        )
    return ""


def _conflict(here: Server, there: Server, me: str, peer: str) -> str:
    """Why neither of two servers that both hold something can get what the other has; empty when one can."""
    for server, name in ((here, me), (there, peer)):
        if lacks_history(server):
            return f"{name} has {server['tables']} tables that its binary log never had, and the other has data too"
    dialect = mysql_dialect.DIALECTS[here["flavor"]]
    mine, theirs = dialect.parse(here["gtids"]), dialect.parse(there["gtids"])
    compared = mysql_gtid.compare(mine, theirs, dialect.is_mariadb)
    if compared.relation == "diverged":
        return (
            f"both servers hold transactions that the other lacks (only on {me}: {compared.only_here}; only on "
            f"{peer}: {compared.only_there})"
        )
    own = (here["server_uuid"], here["server_id"])
    skipped = {origin: spans for origin, spans in mysql_gtid.subtract(theirs, mine).items() if _wrote(origin, own)}
    if skipped:
        # A server skips what carries its own server_id, and would never notice.
        missing = mysql_gtid.text(skipped, dialect.is_mariadb)
        return f"{me} has lost transactions that it once wrote itself, and that only {peer} has ({missing})"
    return lost(here, there, peer)


def _wrote(origin: mysql_gtid.Origin, own: tuple[str, int]) -> bool:
    """Whether a server wrote what is of this origin: (uuid, tag) in MySQL, (domain, server_id) in MariaDB."""
    uuid, server_id = own
    return origin[0] == uuid if uuid else origin[1] == str(server_id)
