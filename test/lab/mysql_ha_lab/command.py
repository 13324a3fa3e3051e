"""Running programs: always as a list of words, never through a shell."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from .plan import LabError

Result = TypeVar("Result")
# Tools such as ip and nft live in sbin, which a plain user's or cron's PATH may lack.
CLEAN_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}


def run(
    words: Sequence[str | Path],
    *,
    check: bool = True,
    stdin: str | None = None,
    timeout: float = 600,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return what it said.

    Raises LabError with the program's own words when it fails (unless ``check`` is off) or takes
    longer than ``timeout`` seconds.
    """
    words = [str(word) for word in words]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=env,
            cwd=cwd,
        )
    except FileNotFoundError as error:
        raise LabError(f"'{words[0]}' is not installed on this machine; run: make lab-prepare") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"no end after {timeout:.0f} s: {' '.join(words)}") from error
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing")[-2000:]
        raise LabError(f"exit status {done.returncode} from: {' '.join(words)}\n{said}")
    return done


def wait_for(what: str, probe: Callable[[], Result | None], timeout: float, interval: float = 0.1) -> Result:
    """Ask ``probe`` until it answers something true; LabError names ``what`` after ``timeout`` seconds."""
    end = time.monotonic() + timeout
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > end:
            raise LabError(f"waited {timeout:.0f} s in vain for {what}")
        time.sleep(interval)
