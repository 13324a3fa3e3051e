"""
The configuration files of a node as this formula's SLS would have them written, and held against those that are there.

Plain Python that knows nothing of Salt. Whatever is returned is fit to be shown: passwords are hidden.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import cluster_check
import keepalived_conf
import mysql_ha_pillar
import mysql_settings
from mysql_ha_pillar import ROOT
from pillar_rules import part

SAME = "no difference"


class Declared(NamedTuple):
    """Where the file of a role is declared."""

    sls: str
    state: str
    current: str
    """The execution function that says what the host has."""


_DATABASE = Declared("salt://mysql_ha/database/config.sls", "mysql_server.configured", "mysql_server.current")
#: By role; a node with another one has no file.
DECLARED = {
    "director": Declared("salt://mysql_ha/director/config.sls", "keepalived.configured", "keepalived.current"),
    "database": _DATABASE,
    "replica": _DATABASE,
}


def arguments(rendered: object, state: str) -> dict[str, Any]:
    """
    Return what a rendered SLS gives a state, its ``name`` included.

    Raises ``ValueError`` when the SLS does not declare it.
    """
    for declaration in rendered.values() if isinstance(rendered, Mapping) else ():
        if isinstance(declaration, Mapping) and state in declaration:
            return {key: value for argument in declaration[state] for key, value in argument.items()}
    raise ValueError(f"the SLS declares no {state}")


def text(state: str, given: Mapping[str, Any], node: str, whole: object) -> str:
    """
    Return the text that a state would write.

    state, given
        The state's function and arguments.
    node
        The minion id.
    whole
        The whole pillar of that minion. Only its VRRP password is read, and replaced in the text.

    Raises ``AttributeError``, ``KeyError``, ``TypeError`` or ``ValueError`` when no file can be made of these.
    """
    if state == "mysql_server.configured":
        options = mysql_settings.options(
            given["flavor"], given["node"], given["port"], given["settings"], given.get("tls")
        )
        return mysql_settings.redact(mysql_settings.render(options))
    password = part(part(whole, ROOT), "secrets").get("vrrp")
    # One for all instances, or a mapping by their names; as `keepalived.config` takes it.
    secrets = {} if password is None else {"vrrp": password if isinstance(password, Mapping) else str(password)}
    return keepalived_conf.redact(keepalived_conf.render(given["settings"], node, secrets))


def difference(path: str, old: str | None, new: str) -> str:
    """Return what would change in a file, line by line; ``None`` for one that is not there."""
    if old == new:
        return SAME
    lines = difflib.unified_diff(
        (old or "").splitlines(),
        new.splitlines(),
        f"{path} (as it is)" if old is not None else "(no file)",
        f"{path} (from the pillar)",
        lineterm="",
    )
    # Only the end of a file can differ by nothing that a line shows.
    return "\n".join(lines) or "the same lines, ended otherwise"


class Files:
    """The files of several nodes."""

    def __init__(self, render: Callable[[str, str], object]) -> None:
        """
        Start without a file.

        render
            Returns an SLS as it is rendered for a minion: ``render("salt://...", "lvs1")``.
        """
        self.render = render
        self.files: dict[str, dict[str, str]] = {}
        self.errors: dict[str, list[str]] = {}
        self.notes: list[str] = []
        self.unanswered: list[str] = []
        self.wanted: dict[tuple[str, str], list[str]] = {}

    def add(self, node: str, whole: object) -> None:
        """Make the file of one node, unless its pillar is wrong or its role has none."""
        role = mysql_ha_pillar.node(part(whole, ROOT), node).get("role")
        declared = DECLARED.get(role) if isinstance(role, str) else None
        if cluster_check.problems(whole, node):
            return
        if declared is None:
            self.notes.append(f"{node} has no file of this formula's, in the role {role}")
            return
        try:
            given = arguments(self.render(declared.sls, node), declared.state)
            made = text(declared.state, given, node, whole)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            self.errors[node] = [f"no file can be made of its pillar: {error}"]
        except Exception as error:  # Salt's own, which show what stands around a mistake.
            self.errors[node] = [f"{declared.sls} cannot be rendered on the master ({type(error).__name__})"]
        else:
            self.files[node] = {given["name"]: made}
            self.wanted.setdefault((declared.current, given["name"]), []).append(node)

    def compare(self, ask: Callable[[list[str], str, str], Mapping[str, tuple[object, int]]]) -> None:
        """
        Put what would change in the place of what would be there.

        ask
            Has minions execute a function with a path: ``ask(["lvs1"], "file.file_exists", "/etc/hosts")`` returns what
            each of them said and its exit status; those that did not answer are not in it.
        """
        for (function, path), hosts in self.wanted.items():
            answers = dict(ask(hosts, function, path))
            # A host that has no module of ours yet can still say that it has no such file.
            bare = [host for host, (said, status) in answers.items() if status and "is not available" in str(said)]
            if bare:
                present = ask(bare, "file.file_exists", path)
                answers |= {host: (None, 0) for host in bare if present.get(host, ("", 0))[0] is False}
            for host in hosts:
                self._compare(host, function, path, answers.get(host), host in bare)

    def _compare(self, host: str, function: str, path: str, answer: tuple[object, int] | None, is_bare: bool) -> None:
        """Put what would change on one host in the place of what would be there."""
        new = self.files.pop(host)[path]
        said, status = answer or ("", 1)
        if status == 0 and (said is None or isinstance(said, str)):
            if said is None:
                self.notes.append(f"{host} has no {path} yet")
            self.files[host] = {path: difference(path, said, new)}
        elif answer is None:
            self.unanswered.append(f"{host} did not answer")
        elif is_bare:
            self.unanswered.append(f"{host} has no {function} yet: salt {host} saltutil.sync_all")
        else:
            self.unanswered.append(f"{host} cannot read its {path}: salt {host} {function} {path}")

    def join(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Return findings about the pillars together with the files."""
        lists = {"notes": [*found.get("notes", []), *self.notes], "unanswered": self.unanswered, "files": self.files}
        joined = {**found, **{key: value for key, value in lists.items() if value}}
        if self.errors:
            joined |= {"errors": {**found.get("errors", {}), **self.errors}, "result": "wrong"}
        elif self.unanswered and joined["result"] == "ok":
            joined["result"] = "incomplete"
        return joined
