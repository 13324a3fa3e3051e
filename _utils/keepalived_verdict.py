"""
What ``keepalived --config-test`` means: its exit status and its words, put so that one finds the place in the pillar.

Plain Python that knows nothing of Salt. What the statuses mean was read in the sources of 2.2.7 to 2.4.3
(``config_test_exit`` in ``keepalived/core/main.c``, ``lib/scheduler.h``) and tried; the manual says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

#: What each exit status says. Only 0 is a configuration that keepalived takes as it stands.
MEANINGS = {
    1: "it could not begin to check; builds of Debian say this when their file of build options, "
    "/etc/keepalived/keepalived.config-opts, is missing",
    2: "a keyword lacks what has to follow it, and keepalived reads no further",
    4: "an error that it would not start with, such as an interface that it has to have",
    5: "an error, or a warning, which means that it would run with something else than what is written",
    6: "the security of scripts, or a file to include that is not there: a script that root runs, and its folders, may "
    "be changed by root alone, and there has to be a user `keepalived_script`, or `script_user` and "
    "`enable_script_security` in global_defs",
    70: "a fault in keepalived itself",
    127: "there is no such program",
    204: "no memory was left",
    # As a shell has it, which may stand between.
    143: (_ENDS_ITSELF := "2.2.7 ends itself so when a script is to run as another user than root; 2.2.8 does not"),
}
#: What keepalived says of a file that it did not read, and then ends with the status 0.
_NOT_READ = re.compile(
    r"Config files missing|is a directory - skipping|Unable to (find|read|open) configuration|"
    r"Failed to open configuration|not a regular file"
)
#: Where the pillar has what stands in these blocks, by the first word of the outermost one.
_PLACES = {
    "global_defs": "mysql_ha:keepalived:global_defs",
    "vrrp_instance": "mysql_ha:vrrp",
    "vrrp_sync_group": "mysql_ha:vrrp:groups",
    "vrrp_script": "mysql_ha:vrrp:scripts",
    "vrrp_track_file": "mysql_ha:vrrp:files",
    "track_file": "mysql_ha:vrrp:files",
    "vrrp_track_process": "mysql_ha:vrrp:processes",
    "track_process": "mysql_ha:vrrp:processes",
    "bfd_instance": "mysql_ha:vrrp:bfds",
    "virtual_server": "mysql_ha:endpoints",
    "virtual_server_group": "mysql_ha:endpoints",
}
_ELSEWHERE = "mysql_ha:keepalived:extra"
_LINE = re.compile(r"^\((?:[^()]*: )?Line (\d+)\) ")
#: More of these say no more.
_MAX_SENTENCES = 12


class Verdict(NamedTuple):
    """Whether keepalived takes a configuration, and what there is to say of it."""

    accepted: bool
    comment: str


def verdict(status: int, said: str, text: str) -> Verdict:
    """
    Return what a check came to.

    status
        The exit status; negative for a signal.
    said
        All that keepalived said.
    text
        The configuration that was checked, so that lines can be named by what stands in them.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if status == 0:
        unread = [line for line in lines if _NOT_READ.search(line)]
        if not unread:
            return Verdict(True, "keepalived accepts it.")
        return Verdict(False, "keepalived did not read the file, and ended with the status 0 nevertheless: "
                       + "; ".join(unread))  # fmt: skip
    if status < 0:
        meaning = f"the signal {-status} ended it" + (f": {_ENDS_ITSELF}" if status == -15 else "")
    else:
        meaning = f"exit status {status}: {MEANINGS.get(status, 'which has no meaning that is known')}"
    sentences = _sentences(lines, text.splitlines()) or ["it said nothing"]
    return Verdict(False, "\n".join([meaning, *(f"  {sentence}" for sentence in sentences)]))


def _sentences(said: Sequence[str], text: Sequence[str]) -> list[str]:
    """Return keepalived's own words, each with the place that it is about."""
    found = []
    for line in dict.fromkeys(said):
        match = _LINE.match(line)
        place = _place(int(match[1]), text) if match else ""
        found.append(f"{line[match.end() :]}{place}" if match and place else line)
    if len(found) > _MAX_SENTENCES:
        found[_MAX_SENTENCES:] = [f"and {len(found) - _MAX_SENTENCES} more"]
    return found


def _place(number: int, text: Sequence[str]) -> str:
    """Return what stands in a line, in which blocks, and where the pillar says it; empty if there is no such line."""
    if not 0 < number <= len(text) or not text[number - 1].strip():
        return ""
    blocks: list[str] = []
    for line in text[: number - 1]:
        words = line.strip()
        if words.startswith(("#", "!")):
            continue
        if words.endswith("{"):
            blocks.append(words[:-1].strip())
        elif words == "}" and blocks:
            blocks.pop()
    line = text[number - 1].strip().removesuffix("{").strip()
    first = (blocks or [line])[0].split(" ")[0]
    inside = f" in {' > '.join(blocks)}" if blocks else ""
    return f" (line {number}: `{line}`{inside}; see {_PLACES.get(first, _ELSEWHERE)})"
