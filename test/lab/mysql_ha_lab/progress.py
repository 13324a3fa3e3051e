"""Long steps on a terminal: what is going on, and how long it took."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

START = time.monotonic()
CLEAR_LINE = "\r\033[K"


def say(text: str) -> None:
    """One line that stays, with the time since the start."""
    print(f"{CLEAR_LINE if sys.stdout.isatty() else ''}{_timed(text)}", flush=True)


def say_meanwhile(text: str) -> None:
    """What is going on right now: on a terminal the next line takes its place."""
    if sys.stdout.isatty():
        print(f"{CLEAR_LINE}{_timed(text)[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)
    else:
        say(text)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a step, and say how long it took once it is done."""
    say_meanwhile(f"{text} ...")
    began = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"{text}: FAILED after {time.monotonic() - began:.1f} s")
        raise
    say(f"{text}: {time.monotonic() - began:.1f} s")


def warn(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _timed(text: str) -> str:
    return f"[{time.monotonic() - START:6.1f} s] {text}"
