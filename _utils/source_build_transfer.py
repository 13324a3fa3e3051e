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
    Give the build that is installed on one host (the newest that it keeps, if that one is not kept) to another one;
    returns its ``version``, ``identity`` and ``size``. Raises AskError.

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
    chosen = next((one for one in kept if one["installed"]), kept[0])
    if not any(one["identity"] == chosen["identity"] for one in ask(taker, "source_build.kept", [name])):
        offset, is_complete = 0, False
        while not is_complete:
            piece = ask(giver, "source_build.export", [name, chosen["identity"], offset])
            size = len(base64.b64decode(piece["data"]))
            if not size:
                raise AskError(f"{giver} has no more than {offset} of the {chosen['size']} bytes")
            is_complete = ask(taker, "source_build.take", [piece["kept"], piece["data"], offset])
            offset += size
    return {field: chosen[field] for field in ("version", "identity", "size")}
