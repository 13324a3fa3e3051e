"""Long steps on a terminal: what is going on, and how long it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

START = time.monotonic()


def say(text: str) -> None:
    """One line, with the time since the start."""
    print(f"[{time.monotonic() - START:6.1f} s] {text}", flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a step, and say how long it took once it is done."""
    say(f"{text} ...")
    began = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"{text}: FAILED after {time.monotonic() - began:.1f} s")
        raise
    say(f"{text}: {time.monotonic() - began:.1f} s")


def warn(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
