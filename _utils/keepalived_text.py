"""
How ``keepalived.conf`` is written: blocks, lines and the values that may stand in them.

Plain Python that knows nothing of Salt. One block per line. Nothing that could leave its place in the file is ever
written: ``ValueError`` says so, although the pillar's rules refuse such values first (keepalived 2.2.7 to 2.3.4,
``lib/parser.c``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from ipaddress import ip_address
from typing import Any, NamedTuple

from pillar_words import kind

#: Characters that open or close a block, start a comment, quote, escape, or are expanded (``lib/parser.c``).
UNSAFE = '#!{}"$@~\\'

#: keepalived cuts a line at 1024 bytes (``MAXBUF`` in ``lib/parser.h``) and takes the rest for the next line.
MAX_VALUE = 512

#: How deep blocks of the pillar's own making may stand in each other.
MAX_DEPTH = 6

# keepalived treats a line that starts with one of these as an order to read another file, inside any block.
_INCLUDE = re.compile(r"include[a-z]?")
_KEYWORD = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Line(NamedTuple):
    """One key of the pillar that becomes one line of a block."""

    keyword: str
    write: Callable[[Any], str] | None = None
    """What follows the keyword. ``None``: nothing, the keyword stands alone when the value is true."""
    since: str = ""
    """The first version of keepalived that knows the keyword; empty: all from 2.2.7 on."""


def lines(values: Mapping[str, Any], table: Mapping[str, Line]) -> list[str]:
    """
    Return the lines for the keys that are given, in the order of the table. ``None`` counts as not given.

    Some keywords of keepalived are only understood after others, so the order is not the pillar's.
    """
    found = []
    for key, line in table.items():
        value = values.get(key)
        if value is None:
            continue
        if line.write is not None:
            found.append(f"{line.keyword} {line.write(value)}")
        elif value is True:
            found.append(line.keyword)
        elif value is not False:
            raise ValueError(f"{key} is {kind(value)}; allowed: true, false")
    return found


def block(head: str, content: Iterable[str]) -> list[str]:
    """Return the lines of a block."""
    return [f"{head} {{", *(f"    {line}" for line in content), "}"]


def is_word(text: str) -> bool:
    """Return whether the text is one word of printable ASCII that keepalived reads as it stands."""
    return 0 < len(text) <= MAX_VALUE and all("!" <= char <= "~" and char not in UNSAFE for char in text)


def is_text(value: object) -> bool:
    """Return whether this is text of safe words with single or more spaces between them."""
    # Not split(): it would take a line break for a space and let it pass.
    if not isinstance(value, str) or len(value) > MAX_VALUE:
        return False
    found = [item for item in value.split(" ") if item]
    return bool(found) and all(map(is_word, found))


def is_keyword(value: object) -> bool:
    """Return whether this can be the first word of a line, and is no order to read another file."""
    return isinstance(value, str) and _KEYWORD.fullmatch(value) is not None and _INCLUDE.fullmatch(value) is None


def is_line(value: object) -> bool:
    """Return whether these words can be a line of their own, such as a route: no order to read another file."""
    return is_text(value) and _INCLUDE.fullmatch(words(value).split(" ")[0]) is None


def word(value: object) -> str:
    """Return the value if it is one safe word, else raise ``ValueError``."""
    if not isinstance(value, str) or not is_word(value):
        raise ValueError(f"not a word that keepalived.conf can hold: {value!r}")
    return value


def words(value: object) -> str:
    """Return words with one space between them, or raise ``ValueError``."""
    if isinstance(value, str) and len(value) > MAX_VALUE:
        raise ValueError(f"longer than {MAX_VALUE} characters: {value[:40]!r}...")
    if not is_text(value):
        raise ValueError(f"no words for keepalived.conf: {value!r}")
    return " ".join(item for item in str(value).split(" ") if item)


def quoted(value: object) -> str:
    """Return words in quotes, for the keywords of which keepalived reads only the first word: scripts."""
    return f'"{words(value)}"'


def address(value: object) -> str:
    """Return an address of one host as it is usually written, or raise ``ValueError``."""
    return str(ip_address(word(value)))


def number(value: object) -> str:
    """Return a number without an exponent, which keepalived does not read, or raise ``ValueError``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 10**15:
        raise ValueError(f"not a number that keepalived.conf can hold: {value!r}")
    return format(Decimal(str(value)).normalize(), "f")


def scalar(value: object) -> str:
    """Return a number, or words, as they stand after a keyword."""
    return words(value) if isinstance(value, str) else number(value)


def extra(content: object, depth: int = 0) -> list[str]:
    """
    Return lines that the pillar gives as they are, for what has no key of its own.

    A mapping of a keyword, or of a keyword and the words after it, to its value: ``True`` or ``None`` for a keyword
    alone, text or a number for what follows it, a mapping for a block, and a list for the same keyword several times.
    A keyword whose value is ``False`` is left out. Inside a block there may be addresses instead of keywords.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{kind(content)}; allowed: a mapping of keywords")
    if depth >= MAX_DEPTH:
        raise ValueError(f"blocks stand more than {MAX_DEPTH} deep in each other")
    found: list[str] = []
    for head, value in content.items():
        start = words(head)
        if not (is_line(start) if depth else is_keyword(start.split(" ")[0])):
            raise ValueError(f"not a keyword of keepalived.conf: {start.split(' ')[0]!r}")
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(item, Mapping):
                found += block(start, extra(item, depth + 1))
            elif item is True or item is None:
                found.append(start)
            elif item is not False:
                found.append(f"{start} {scalar(item)}")
    return found
