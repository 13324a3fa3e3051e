"""
The cluster as a whole, seen from the master.
"""

import salt.client

import mysql_checksum
import mysql_compare

__virtualname__ = "mysql_ha"

EXIT_STATUS = {"equal": 0, "different": 1, "undecided": 2, "not compared": 3}
ASK_SECONDS = 30
LEAST_AND_MOST = {"rows": (100, 10**6), "pause": (0, 60000), "tries": (1, 20), "wait": (0, 3600), "keys": (1, 1000),
                  "timeout": (1, 86400)}  # fmt: skip


def __virtual__():
    return __virtualname__


def compare(
    minions=None,
    databases=None,
    rows=mysql_checksum.CHUNK_ROWS,
    pause=0,
    tries=2,
    wait=60,
    keys=20,
    timeout=60,
):
    """
    Whether two databases hold the same, row by row, while both serve and replicate. The minions do the reading, with
    ``mysql_checksum``; only checksums and keys come to the master, and no privilege is needed between the databases.

    Returns ``result``: ``equal``; ``different`` (exit status 1); ``undecided`` (exit status 2), when something
    differed at each look, and changed in between or could still be on its way; or ``not compared`` (exit status 3),
    and why in ``error``. ``different`` and ``undecided`` name the tables, and what is known of them: rows ``only_on``
    one of them, rows with ``other_values``, lines of the ``definition``.

    minions
        The two databases' minion ids, a list; those of ``mysql_ha:nodes`` in the master's own pillar if left out.

    databases
        Which databases (schemas), a list; all but the system's if left out.

    rows
        The most rows of a chunk (100 to 1000000). Where these take more than half a second, chunks get smaller.

    pause
        Milliseconds (0 to 60000) between two chunks, on each of the two.

    tries
        How often (1 to 20) to look again at rows that differ.

    wait
        For how many seconds (0 to 3600) replication may take before each of these looks.

    keys
        How many differing rows of a table to list (1 to 1000). Then the table is left.

    timeout
        Seconds (1 to 86400) that one chunk may take; a table that needs more is ``undecided``.

    CLI Example:

    .. code-block:: bash

        salt-run mysql_ha.compare
        salt-run mysql_ha.compare '[mysql1, mysql2]' databases='[shop]' pause=50
    """
    given = {"rows": rows, "pause": pause, "tries": tries, "wait": wait, "keys": keys, "timeout": timeout}
    # Nothing is raised: salt-run would show a traceback, and end with 0 where an argument is wrong.
    try:
        found = _compared(minions, databases, given)
    except (mysql_compare.AskError, ValueError) as error:
        found = {"result": "not compared", "error": str(error)}
    found["retcode"] = EXIT_STATUS[found["result"]]
    # This is what an orchestration goes by.
    __context__["retcode"] = found["retcode"]
    return found


def _compared(minions, databases, given):
    for name, value in given.items():
        least, most = LEAST_AND_MOST[name]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"{name}: is {value!r}; allowed: {least} to {most}")
    if databases is not None and not (
        isinstance(databases, list) and databases and all(isinstance(name, str) for name in databases)
    ):
        raise ValueError(f"databases: is {databases!r}; allowed: a list of names")
    pair, options = _pair(minions), mysql_compare.Options(**given)
    with salt.client.get_local_client(mopts=__opts__) as client:
        return mysql_compare.Comparison(pair, _asking(client), options).run(databases)


def _pair(minions):
    if minions is None:
        minions = _databases()
        if len(minions) != 2:
            raise ValueError(
                "The master's own pillar has no two databases in mysql_ha:nodes. Give `mysql_ha` to '*_master' too in "
                "the pillar's top.sls, or say them: salt-run mysql_ha.compare '[mysql1, mysql2]'"
            )
    if not isinstance(minions, list) or len(set(map(str, minions))) != 2 or len(minions) != 2:
        raise ValueError(f"minions: is {minions!r}; allowed: a list of two minion ids")
    return tuple(str(minion) for minion in minions)


def _databases():
    # The pillar that an orchestration reads as well.
    pillar = __salt__["pillar.show_pillar"](__opts__["id"]).get("mysql_ha")
    nodes = pillar.get("nodes") if isinstance(pillar, dict) else None
    entries = nodes.items() if isinstance(nodes, dict) else ()
    return [name for name, entry in entries if isinstance(entry, dict) and entry.get("role") == "database"]


def _asking(client):
    def ask(hosts, function, arguments):
        # After the timeout the client asks, and goes on waiting while the minions say that they are at it.
        answers = client.cmd(
            list(hosts),
            f"mysql_checksum.{function}",
            kwarg=dict(arguments),
            tgt_type="list",
            timeout=ASK_SECONDS,
            full_return=True,
        )
        found = {}
        for host in hosts:
            answer = answers.get(host)
            if not isinstance(answer, dict) or "ret" not in answer:
                raise mysql_compare.AskError(f"{host} did not answer to mysql_checksum.{function}")
            if answer.get("retcode"):
                said = str(answer["ret"]).strip().split("\n")[0]
                raise mysql_compare.AskError(f"{host}: {said.removeprefix('ERROR: ')}")
            found[host] = answer["ret"]
        return found

    return ask
