"""
The pillars of a whole cluster, looked at together: what is wrong with each, and what should be the same in all and
is not.

Plain Python that knows nothing of Salt. Nothing is raised here, whatever the pillars hold, and no secret is shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import mysql_ha_pillar
from mysql_ha_pillar import ROOT
from pillar_rules import label, part
from pillar_words import kind, literal

ALL = "all nodes"
#: Where Salt says what it could not render of a pillar.
RENDER_ERRORS = "_errors"

#: The secrets that must be the same for all nodes of these roles.
_SHARED_SECRETS = {
    "vrrp": ("director",),
    "replication": ("database", "replica"),
    "tls_ca": ("database", "replica"),
    "tls_ca_key": ("database", "replica"),
}
_SHARED_ACCOUNTS = ("database", "replica")
# Values below keys with such names can hold a password, or be one.
_TELLING = re.compile(r"^(settings|extra|quorum_up|quorum_down)$|pass|secret|auth|token|script|notify|payload|digest")
# The ids that a minion can have here; any other could mean something to what looks its pillar up.
_MINION_ID = re.compile(r"[A-Za-z0-9._-]{1,63}")
# What Salt says without details, which can hold lines of a pillar file.
_RENDER_ERROR = re.compile(
    r"(?:Rendering|Specified) SLS '?[A-Za-z0-9._-]{1,100}'?(?: failed| in environment '?\w{1,60}'? is not available)"
)
_COUNTED = 1000
_MISSING = object()


def listed(pillar: object) -> list[str]:
    """Return the minion ids in ``mysql_ha:nodes`` of a minion's whole pillar, in its order."""
    names = part(part(pillar, ROOT), "nodes")
    return [name for name in names if is_minion_id(name)]


def is_minion_id(name: object) -> bool:
    """Return whether this can be the minion id of a node."""
    return isinstance(name, str) and _MINION_ID.fullmatch(name) is not None and name not in (".", "..")


def gather(names: Iterable[str], ask: Callable[[str], object], onwards: bool) -> dict[str, object]:
    """
    Return the whole pillar of each of these minions, as ``ask`` tells it.

    onwards
        Whether to go on to the nodes that these pillars list.
    """
    found: dict[str, object] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name in found:
            continue
        try:
            found[name] = ask(name)
        except Exception as error:  # Pillars are made of other people's programs, which raise whatever they like.
            found[name] = {RENDER_ERRORS: [type(error).__name__]}
        if onwards:
            waiting += listed(found[name])
    return found


def cluster(master: str, ask: Callable[[str], object]) -> tuple[dict[str, object], str | None]:
    """
    Return the pillars of all nodes that the master's own pillar leads to, and the master's name if its own is one.

    Raises ``ValueError`` when there are none.
    """
    found = gather([master], ask, onwards=True)
    if len(found) > 1 or listed(found[master]):
        return found, None if master in listed(found[master]) else master
    # Its own pillar may be what is wrong.
    said = problems(found[master], master, is_node=False)
    why = [
        "The master's own pillar has no mysql_ha:nodes. Give `mysql_ha` to '*_master' too in the pillar's top.sls, or "
        "say the nodes: '[lvs1, lvs2, mysql1, mysql2]'",
        *said,
    ]
    raise ValueError("\n".join(why))


def findings(pillars: Mapping[str, object], master: str | None = None) -> dict[str, Any]:
    """Return what is to be said of a cluster: ``result``, the ``nodes``, their ``errors`` and ``differences``."""
    said = {"errors": errors(pillars, master), "differences": differences(pillars)}
    return {
        "result": "wrong" if any(said.values()) else "ok",
        "nodes": [name for name in pillars if name != master],
        **{key: value for key, value in said.items() if value},
    }


def problems(whole: object, name: str, is_node: bool = True) -> list[str]:
    """
    Return what is wrong with one minion's pillar, one sentence each.

    whole
        The whole pillar that the master gives this minion.
    is_node
        Whether it is meant to be a node of the cluster; the master, which reads the pillar too, need not be one.
    """
    found = []
    if (failed := _not_rendered(whole)) is not None:
        found.append(failed)
    if not isinstance(whole, Mapping) or ROOT not in whole:
        if failed is None and is_node:
            found.append(f"{ROOT}: is missing in the pillar of this minion; allowed: the pillar's top.sls gives it")
        return found
    pillar = whole[ROOT]
    try:
        found += mysql_ha_pillar.errors(pillar, name)
    except Exception as error:  # No rule raises. Should one nevertheless, the others are said.
        found.append(f"{ROOT}: cannot be checked ({type(error).__name__}); please report this as a fault")
    nodes = pillar.get("nodes") if isinstance(pillar, Mapping) else None
    if is_node and isinstance(nodes, Mapping) and name not in nodes:
        found.append(f"{ROOT}:nodes: does not list {label(name)}, which has this pillar and thus nothing to do")
    return found


def errors(pillars: Mapping[str, object], master: str | None = None) -> dict[str, list[str]]:
    """
    Return what is wrong with these pillars, each sentence once, below the names of those that it is true for.

    pillars
        The whole pillar of each minion.
    master
        Which of the minions is the master itself, if it is among them.
    """
    owners: dict[str, list[str]] = {}
    for name, whole in pillars.items():
        for sentence in problems(whole, name, is_node=name != master):
            if name not in owners.setdefault(sentence, []):
                owners[sentence].append(name)
    nodes = [name for name in pillars if name != master]
    grouped: dict[str, list[str]] = {}
    for sentence, names in owners.items():
        # What the master reads is told by what the nodes get, unless it is wrong there only.
        having = [name for name in names if name != master]
        if not having:
            heading = f"{master} (the master itself)"
        else:
            heading = ALL if having == nodes and len(nodes) > 1 else ", ".join(having)
        grouped.setdefault(heading, []).append(sentence)
    return grouped


def differences(pillars: Mapping[str, object]) -> list[str]:
    """
    Return what the pillars of one cluster do not have in common and should, one sentence each.

    For each group of minions with a pillar of its own the first key is named that is otherwise there than for most.
    """
    given = {name: whole[ROOT] for name, whole in pillars.items()
             if isinstance(whole, Mapping) and isinstance(whole.get(ROOT), Mapping)}  # fmt: skip
    return [*_public_differences(given), *_secret_differences(given)]


def _not_rendered(whole: object) -> str | None:
    """Say that the master could not make the pillar, without details that could show a line of it."""
    if not isinstance(whole, Mapping):
        return f"its pillar is {kind(whole)} and no mapping"
    said = whole.get(RENDER_ERRORS)
    if not said:
        return None
    found = [match[0] for line in said if isinstance(line, str) and (match := _RENDER_ERROR.search(line))] \
        if isinstance(said, (list, tuple)) else []  # fmt: skip
    what = f" ({'; '.join(dict.fromkeys(found))})" if found else ""
    return f"the master cannot make all of its pillar{what}; the master's log says why"


def _public_differences(given: Mapping[str, Mapping[Any, Any]]) -> Iterator[str]:
    """Say where pillars differ in what is no secret."""
    public = {name: {key: value for key, value in pillar.items() if key != "secrets"} for name, pillar in given.items()}
    groups = _groups(public, lambda one, other: next(_walk(one, other), None) is None)
    if not groups:
        return
    # The first of the largest.
    most = max(groups, key=len)
    for group in groups:
        if group is most:
            continue
        found = _walk(public[most[0]], public[group[0]])
        path, here, there = next(found)
        more = sum(1 for _, _ in zip(range(_COUNTED), found, strict=False))
        is_hidden = _is_hidden(path, [(name, given[name]) for name in (most[0], group[0])])
        yield _difference(path, (here, most), (there, group), is_hidden) + _others(more)


def _others(count: int) -> str:
    """Say how many more keys differ."""
    if not count:
        return ""
    return f"; {count if count < _COUNTED else f'at least {count}'} more key{' differs' if count == 1 else 's differ'}"


def _difference(
    path: Sequence[str], one: tuple[object, list[str]], other: tuple[object, list[str]], is_hidden: bool
) -> str:
    """Say that two groups of minions have two values."""
    where = ":".join((ROOT, *path))
    (here, most), (there, few) = one, other
    if here is _ORDER:
        return f"{where}: {_join(few)} {'has' if len(few) == 1 else 'have'} them in another order than {_join(most)}"
    shown = [_shown(value, is_hidden) for value in (here, there)]
    if shown[0] == shown[1]:
        return f"{where}: differs between {_join(most)} and {_join(few)}{' (hidden)' if is_hidden else ''}"
    return f"{where}: is {shown[0]} for {_join(most)}, and {shown[1]} for {_join(few)}"


def _shown(value: object, is_hidden: bool) -> str:
    """Return a value as it may be shown."""
    if value is _MISSING:
        return "left out"
    if is_hidden:
        return "set (hidden)"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    return literal(value)


def _is_hidden(path: Sequence[str], pillars: Iterable[tuple[str, Mapping[Any, Any]]]) -> bool:
    """
    Return whether the values at a path are better not shown.

    They are not below a key that can hold a password, nor where the rules find something wrong: a slip of YAML can put
    a secret there.
    """
    if any(_TELLING.search(step.lower()) for step in path):
        return True
    places = {":".join((ROOT, *path[:length])) for length in range(1, len(path) + 1)}
    said = [sentence for name, pillar in pillars for sentence in problems({ROOT: pillar}, name)]
    return any(sentence.startswith(f"{place}: ") for sentence in said for place in places)


def _secret_differences(given: Mapping[str, Mapping[Any, Any]]) -> Iterator[str]:
    """Say which secrets differ between those who must share them."""
    for key, roles in _SHARED_SECRETS.items():
        values = {name: part(pillar, "secrets").get(key, _MISSING) for name, pillar in _of_roles(given, roles).items()}
        yield from _secret_difference(f"{ROOT}:secrets:{key}", values)
    having = _of_roles(given, _SHARED_ACCOUNTS)
    # Any other key there could be a password, by a slip of YAML.
    described = [part(part(pillar, "database"), "accounts") for pillar in having.values()]
    for account in dict.fromkeys(name for accounts in described for name in accounts if isinstance(name, str)):
        values = {name: part(part(pillar, "secrets"), "accounts").get(account, _MISSING)
                  for name, pillar in having.items()}  # fmt: skip
        yield from _secret_difference(f"{ROOT}:secrets:accounts:{label(account)}", values)


def _secret_difference(path: str, values: Mapping[str, object]) -> Iterator[str]:
    """Say whether some have no secret that others have, and whether they have several."""
    groups = _groups(values, lambda one, other: next(_walk(one, other), None) is None)
    missing = [name for group in groups for name in group if values[group[0]] is _MISSING]
    having = [group for group in groups if values[group[0]] is not _MISSING]
    if having and missing:
        holders = [name for name in values if name not in missing]
        yield f"{path}: is set (hidden) for {_join(holders)}, and left out for {_join(missing)}"
    if len(having) > 1:
        yield f"{path}: differs (hidden) between {' and '.join(map(_join, having))}"


def _of_roles(given: Mapping[str, Mapping[Any, Any]], roles: Sequence[str]) -> dict[str, Mapping[Any, Any]]:
    """Return the pillars of the minions that have one of these roles, each by its own pillar."""
    return {name: pillar for name, pillar in given.items() if mysql_ha_pillar.node(pillar, name).get("role") in roles}


def _groups(values: Mapping[str, object], are_same: Callable[[object, object], bool]) -> list[list[str]]:
    """Return the names of equal values together, in the order of the first of each."""
    groups: list[list[str]] = []
    for name, value in values.items():
        for group in groups:
            if are_same(values[group[0]], value):
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


def _join(names: Sequence[str]) -> str:
    """Return names as a list in a sentence."""
    return ", ".join(names)


# The value of both when two mappings hold the same in another order, where that has a meaning.
_ORDER = object()
#: The order of nodes decides which database makes the backups.
_ORDERED = (("nodes",),)


def _walk(one: object, other: object) -> Iterator[tuple[tuple[str, ...], object, object]]:
    """
    Yield where two values differ: the path and both values; ``_MISSING`` where one of them has none.

    Not by recursion, and no two parts are held against each other twice: YAML can refer to itself.
    """
    waiting: list[tuple[tuple[str, ...], object, object]] = [((), one, other)]
    met: dict[tuple[int, int], tuple[object, object]] = {}
    while waiting:
        path, here, there = waiting.pop()
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            keys = [*here, *(key for key in there if key not in here)]
            children = [((*path, label(key)), here.get(key, _MISSING), there.get(key, _MISSING)) for key in keys]
            if path in _ORDERED and list(here) != list(there) and set(here) == set(there):
                yield path, _ORDER, _ORDER
        elif isinstance(here, (list, tuple)) and isinstance(there, (list, tuple)) and len(here) == len(there):
            children = [((*path, str(index)), *pair) for index, pair in enumerate(zip(here, there, strict=True))]
        elif _is_same(here, there):
            continue
        else:
            yield path, here, there
            continue
        if (id(here), id(there)) not in met:
            # Kept, so that their ids stay theirs.
            met[id(here), id(there)] = (here, there)
            waiting += reversed(children)


def _is_same(one: object, other: object) -> bool:
    """Return whether two single values are the same; 1 is not true, and what is no number equals itself."""
    if one is other:
        return True
    if isinstance(one, float) and isinstance(other, float) and one != one and other != other:
        return True
    return type(one) is type(other) and one == other
