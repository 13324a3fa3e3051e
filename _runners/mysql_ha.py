"""
The cluster as a whole, seen from the master.
"""

import salt.client
import salt.config
import salt.loader

import cluster_check
import cluster_preview
import mysql_checksum
import mysql_compare
import source_build_transfer

__virtualname__ = "mysql_ha"

EXIT_STATUS = {"equal": 0, "different": 1, "undecided": 2, "not compared": 3,
               "ok": 0, "wrong": 1, "incomplete": 2, "not checked": 3,
               "handed over": 0, "not handed over": 3}  # fmt: skip
ASK_SECONDS = 30
LOOK_SECONDS = 15
NO_GRAINS = "what their pillar gives by grains is missing here, and their files are made as for Debian"
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
    return _ended(found)


def check(nodes=None):
    """
    Whether the pillars that the master gives the nodes of the cluster can work: each for itself, and together. No
    minion is asked, and nothing is changed.

    Returns ``result``: ``ok``; ``wrong`` (exit status 1); or ``not checked`` (exit status 3), and why in ``error``.
    What is wrong is in ``errors``, below the nodes that it is wrong for, and in ``differences``, where nodes are given
    what should be the same and is not. No secret is shown.

    nodes
        A minion id, or a list of them. If left out, those of ``mysql_ha:nodes`` in the master's own pillar, and all
        that their pillars list.

    CLI Example:

    .. code-block:: bash

        salt-run mysql_ha.check
        salt-run mysql_ha.check '[lvs1, lvs2]'
    """
    return _ended(_judged(nodes, lambda pillars, grains, found: found))


def preview(node=None, diff=False):
    """
    The files that ``state.apply`` would have the nodes of the cluster write: keepalived.conf on directors, the option
    file on databases and replicas. Made on the master of the same SLS, pillar and grains; nothing is changed.
    Passwords are hidden.

    Returns ``files``, by node and path, and a ``result`` like :py:func:`check`: a pillar that cannot work is told as
    there, and makes no file. ``incomplete`` (exit status 2): not every host could say what it has.

    node
        A minion id, or a list of them; all nodes if left out.

    diff
        ``True``: what would change in the files that the hosts have, line by line. Only for this the minions are asked.

    CLI Example:

    .. code-block:: bash

        salt-run mysql_ha.preview
        salt-run mysql_ha.preview lvs1 diff=True
    """
    return _ended(_judged(node, lambda pillars, grains, found: _previewed(pillars, grains, found, diff)))


def hand_over(name, giver, taker):
    """
    Give the build that is installed on one minion to another one, which then installs it without compiling. Both need
    the same operating system and processor; the build is what ``state.apply`` asks for as long as the pillar gives both
    the same version.

    Returns ``result``: ``handed over``, and the ``version``; or ``not handed over`` (exit status 3), and why in
    ``error``.

    name
        The program: ``keepalived`` or ``ipvsadm``.

    giver, taker
        The minion ids.

    CLI Example:

    .. code-block:: bash

        salt-run mysql_ha.hand_over keepalived lvs1 lvs2
    """
    try:
        for field, value in {"giver": giver, "taker": taker}.items():
            if not cluster_check.is_minion_id(value):
                raise ValueError(f"{field}: is {value!r}; allowed: a minion id, such as lvs1")
        with salt.client.get_local_client(mopts=__opts__) as client:
            done = source_build_transfer.hand_over(name, giver, taker, _asking_one(client))
    except (source_build_transfer.AskError, ValueError) as error:
        return _ended({"result": "not handed over", "error": str(error)})
    return _ended({"result": "handed over", **done})


def _ended(found):
    found["retcode"] = EXIT_STATUS[found["result"]]
    # This is what an orchestration goes by.
    __context__["retcode"] = found["retcode"]
    return found


def _judged(nodes, then):
    # Nothing is raised here either: a traceback shows what stands around the mistake, and ends with 0 in salt-run.
    try:
        pillars, master = _pillars(nodes)
        found = cluster_check.findings(pillars, master)
        grains = _grains(found["nodes"])
        if strangers := [name for name in grains if not grains[name]]:
            found["notes"] = [f"the master knows no grains of {', '.join(strangers)} yet; {NO_GRAINS}"]
        return then(pillars, grains, found)
    except ValueError as error:
        return {"result": "not checked", "error": str(error)}
    except Exception as error:  # What it says could hold a line of a pillar.
        return {"result": "not checked", "error": f"{type(error).__name__}, a fault; please report it"}


def _pillars(nodes):
    """The pillars of the nodes, by name, and the name of the master if its own is among them."""
    # The pillar that an orchestration reads as well.
    ask = __salt__["pillar.show_pillar"]
    if nodes is not None:
        names = [str(name) if type(name) is int else name for name in (nodes if isinstance(nodes, list) else [nodes])]
        if not names or not all(map(cluster_check.is_minion_id, names)):
            raise ValueError("nodes: holds something else than minion ids; allowed: such as lvs1, '[lvs1, mysql1]'")
        return cluster_check.gather(names, ask, onwards=False), None
    return cluster_check.cluster(__opts__["id"], ask)


def _grains(names):
    cached = __salt__["cache.grains"](list(names), tgt_type="list")
    return {name: cached.get(name) or {} for name in names}


def _previewed(pillars, grains, found, diff):
    made = cluster_preview.Files(lambda sls, name: _rendered(sls, name, pillars[name], grains[name]))
    for name in found["nodes"]:
        made.add(name, pillars[name])
    if diff:
        with salt.client.get_local_client(mopts=__opts__) as client:
            made.compare(lambda hosts, function, path: _answers(client, hosts, function, path))
    return made.join(found)


def _rendered(sls, name, pillar, grains):
    """An SLS as that minion would have it, by the same renderer."""
    opts = {**salt.config.DEFAULT_MINION_OPTS, **__opts__, "id": name, "file_client": "local", "pillar": pillar}
    opts["grains"] = {"os_family": "Debian", **grains, "id": name}
    functions = salt.loader.minion_mods(opts, utils=salt.loader.utils(opts), context={})
    return functions["slsutil.renderer"](sls)


def _answers(client, hosts, function, path):
    answers = client.cmd(hosts, function, [path], tgt_type="list", timeout=LOOK_SECONDS, full_return=True)
    # For one that says nothing, Salt says so in its place.
    return {host: (answer["ret"], answer.get("retcode", 0)) for host, answer in answers.items()
            if isinstance(answer, dict) and "ret" in answer and answer.get("out") != "no_return"}  # fmt: skip


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


def _asking_one(client):
    def ask(host, function, arguments):
        answers = client.cmd(host, function, arg=arguments, timeout=ASK_SECONDS, full_return=True)
        answer = answers.get(host)
        if not isinstance(answer, dict) or "ret" not in answer or answer.get("out") == "no_return":
            raise source_build_transfer.AskError(f"{host} did not answer to {function}")
        if answer.get("retcode"):
            said = str(answer["ret"]).strip().split("\n")[0]
            raise source_build_transfer.AskError(f"{host}: {said.removeprefix('ERROR: ')}")
        return answer["ret"]

    return ask


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
