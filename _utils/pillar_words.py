"""
How the rules for the pillar speak of values: the same words in every sentence. Knows nothing of Salt.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping


def kind(value: object) -> str:
    """Return what a value is, without showing it."""
    if value is None:
        return "empty"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    return "text" if isinstance(value, str) else f"of type {type(value).__name__}"


def literal(value: object) -> str:
    """Return a single value as an operator would recognise it, on one line and of bounded length."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # An address of a download may carry a user and a password.
        shown = re.sub(r"//[^/@]*@", "//<hidden>@", value)
        return repr(shown) if len(shown) <= 60 else f"{shown[:60]!r}..."
    if isinstance(value, int):
        # Python refuses to write numbers of more than 4300 digits.
        return str(value) if abs(value) < 10**20 else "a number of more than 20 digits"
    return repr(value) if isinstance(value, float) else kind(value)


def did_you_mean(key: object, known: Iterable[str]) -> str:
    """Return a question if an unknown key resembles a known one."""
    # difflib needs time that grows with the square of the length.
    if not isinstance(key, str) or len(key) > 64:
        return ""
    close = difflib.get_close_matches(key, known, 1) or difflib.get_close_matches(key.upper(), known, 1)
    return f" (did you mean {close[0]}?)" if close else ""


def is_whole(value: object, low: int, high: int) -> bool:
    """Return whether a value is a whole number in a range; YAML's ``yes`` is no number."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def unquote(value: object) -> str:
    """Return a remark on a number that is in quotes."""
    return ", text in quotes and not a number" if isinstance(value, str) and value.isdigit() else ""
