"""
The programs of this host, run to their end: with a known search path and environment, never with somebody's home.
Knows nothing of Salt.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mysql_client import PATH

ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/"}


class ProgramError(Exception):
    """A program is not installed, did not run, or failed; with the end of what it said."""


def find(*names: str) -> str:
    """Where the first of these programs is that is installed. Raises ProgramError."""
    for name in names:
        found = shutil.which(name, path=PATH)
        if found:
            return found
    raise ProgramError(f"not installed: {' or '.join(names)}")


def run(words: Sequence[object], lock: int | None = None, timeout: float | None = None) -> str:
    """Run a program to its end and return its standard output. Raises ProgramError.

    words
        The program and its arguments.
    lock
        A descriptor that it inherits.
    timeout
        Seconds; none for what may take hours.
    """
    command = [str(word) for word in words]
    done = _done(command, lock, timeout)
    if done.returncode:
        words_of_it = last_words(done.stderr or done.stdout)
        raise ProgramError(f"exit status {done.returncode} from {Path(command[0]).name}: {words_of_it}")
    return done.stdout


def outcome(words: Sequence[object], timeout: float | None = None) -> tuple[int, str]:
    """Run a program to its end; its exit status (negative for a signal) and all that it said. Raises ProgramError.

    words
        The program and its arguments.
    timeout
        Seconds; then it is ended.
    """
    done = _done([str(word) for word in words], None, timeout)
    return done.returncode, done.stdout + done.stderr


def _done(command: list[str], lock: int | None, timeout: float | None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end. Raises ProgramError if it did not run, or not to its end."""
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            cwd="/",
            env=ENVIRONMENT,
            pass_fds=() if lock is None else (lock,),
        )
    except subprocess.TimeoutExpired as error:
        raise ProgramError(f"{Path(command[0]).name} did not end within {timeout:g} seconds") from error
    except OSError as error:
        raise ProgramError(f"{command[0]}: {error}") from error


def last_words(said: str) -> str:
    """The end of what a program said, on one line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return "; ".join(lines[-4:])[-1000:] or "it said nothing"
