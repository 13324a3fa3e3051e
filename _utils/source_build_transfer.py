"""
A kept build on its way from one host to another, piece by piece, seen from between them. Knows nothing of Salt.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

#: Asks a host for what a function returns, with its arguments; raises AskError if it does not.
Ask = Callable[[str, str, list[Any]], Any]


class AskError(Exception):
    """A host did not answer, or said that something is wrong."""


def hand_over(name: str, giver: str, taker: str, ask: Ask) -> dict[str, Any]:
    """
    Give the newest build that one host keeps to another one; returns its ``version``, ``identity`` and ``size``. Raises
    AskError.

    name
        What the program is called.
    giver, taker
        The hosts.
    ask
        How they are asked.
    """
    kept = ask(giver, "source_build.kept", [name])
    if not kept:
        raise AskError(f"{giver} keeps no build of {name}")
    newest = kept[0]
    if not any(one["identity"] == newest["identity"] for one in ask(taker, "source_build.kept", [name])):
        offset, is_complete = 0, False
        while not is_complete:
            piece = ask(giver, "source_build.export", [name, newest["identity"], offset])
            size = len(base64.b64decode(piece["data"]))
            if not size:
                raise AskError(f"{giver} has no more than {offset} of the {newest['size']} bytes")
            is_complete = ask(taker, "source_build.take", [piece["kept"], piece["data"], offset])
            offset += size
    return {field: newest[field] for field in ("version", "identity", "size")}
