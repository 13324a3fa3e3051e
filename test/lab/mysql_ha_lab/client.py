"""The lab's client: an application's account and table, and a probe that notices what applications would."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .command import wait_for
from .identity import write
from .lab import Lab

PROBE = Path(__file__).with_name("probe.py")
PROBE_ON_CLIENT = "/usr/local/lib/lab/probe.py"
SESSIONS = Path(__file__).with_name("sessions.py")
SESSIONS_ON_CLIENT = "/usr/local/lib/lab/sessions.py"
PASSWORD = "shop-lab-only"
VIP = "192.168.1.100"
# Through the binary log, so that both databases get it from wherever it is run.
APPLICATION = f"""
CREATE DATABASE IF NOT EXISTS shop;
CREATE USER IF NOT EXISTS 'shop'@'192.168.1.%' IDENTIFIED BY '{PASSWORD}';
GRANT ALL ON shop.* TO 'shop'@'192.168.1.%';
CREATE TABLE IF NOT EXISTS shop.visits (id BIGINT AUTO_INCREMENT PRIMARY KEY, at DATETIME(6), note VARCHAR(64));
"""


def sql(lab: Lab, host: str, statements: str) -> str:
    """Statements on a database, as its root; the rows, tab-separated, without headings."""
    words = [lab.plan.database.client, "--batch", "--skip-column-names"]
    return lab.run(host, words, stdin=statements).stdout.strip()


def set_up(lab: Lab) -> None:
    """Make the application's account and table, and bring the probe to the client."""
    sql(lab, "mysql1", APPLICATION)
    wait_for(
        "the application's table on mysql2",
        lambda: (
            "visits" in sql(lab, "mysql2", "SHOW TABLES FROM shop").split()
            if "shop" in sql(lab, "mysql2", "SHOW DATABASES")
            else False
        ),
        60,
    )
    write(lab.plan.host("client").root / PROBE_ON_CLIENT.lstrip("/"), PROBE.read_text())
    write(lab.plan.host("client").root / SESSIONS_ON_CLIENT.lstrip("/"), SESSIONS.read_text())


def connect(lab: Lab, count: int, *options: str) -> list[dict[str, Any]]:
    """So many new connections through the VIP, one after another."""
    done = lab.run(
        "client",
        [
            "/opt/salt/bin/python",
            PROBE_ON_CLIENT,
            VIP,
            "--count",
            str(count),
            "--period",
            "0",
            "--limit",
            "5",
            *options,
        ],
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@dataclass(frozen=True)
class Gap:
    """The longest time between two answers that a client got."""

    seconds: float
    failed: int
    attempts: int


class Background:
    """A program on the client that runs beside the test and prints a JSON object a line."""

    def __init__(self, lab: Lab, *words: str) -> None:
        self.lines: list[dict[str, Any]] = []
        self._run = lab.popen("client", ["/opt/salt/bin/python", "-u", *words])
        self._reader = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        assert self._run.stdout is not None
        for line in self._run.stdout:
            self.lines.append(json.loads(line))

    def start(self) -> None:
        self._reader.start()

    def __exit__(self, *_: object) -> None:
        self._run.terminate()
        try:
            self._run.wait(10)
        except subprocess.TimeoutExpired:
            self._run.kill()
            self._run.wait()
        self._reader.join(10)

    def wait_until(self, what: str, true_of: Callable[[list[dict[str, Any]]], bool], timeout: float = 60) -> None:
        wait_for(what, lambda: true_of(list(self.lines)), timeout)

    def mark(self) -> int:
        """Where we are, to ask later what happened since."""
        return len(self.lines)


class Sessions(Background):
    """Long-lived sessions through virtual addresses: ``Sessions(lab, {"192.168.1.100": 200})``."""

    def __init__(self, lab: Lab, wanted: dict[str, int]) -> None:
        super().__init__(lab, SESSIONS_ON_CLIENT, PASSWORD, *(f"{host}={count}" for host, count in wanted.items()))

    def __enter__(self) -> Sessions:
        self.start()
        self.wait_until("the sessions to be open", lambda lines: any("asked" in line for line in lines), 120)
        return self

    @property
    def opened(self) -> list[tuple[str, int]]:
        """The virtual address and server_id of each."""
        return [tuple(one) for one in self.lines[0]["open"]]

    def broken(self, since: int = 0) -> list[dict[str, Any]]:
        """Those that broke since a mark."""
        return [line for line in list(self.lines)[since:] if "error" in line]

    def all_asked(self, since: int, times: int = 2, timeout: float = 120) -> None:
        """Wait until each session has been asked so often since the mark."""

        def done(lines: list[dict[str, Any]]) -> bool:
            # The first round had begun before.
            return sum("asked" in line for line in lines[since:]) > times

        self.wait_until("every session to be asked", done, timeout)


class Probe(Background):
    """The probe running on the client in the background."""

    def __init__(self, lab: Lab, *options: str) -> None:
        super().__init__(lab, PROBE_ON_CLIENT, VIP, *options)

    def __enter__(self) -> Probe:
        self.start()
        self.wait_until("the probe's first answer", lambda lines: any("server" in line for line in lines))
        return self

    def steady(self, since: int, answers: int = 40, timeout: float = 90) -> None:
        """Wait until the last ``answers`` attempts since the mark were all served."""

        def is_steady(lines: list[dict[str, Any]]) -> bool:
            last = lines[since:][-answers:]
            return len(last) == answers and all("server" in line for line in last)

        self.wait_until("clients to be served steadily", is_steady, timeout)

    def gap(self, since: int) -> Gap:
        """The longest time without an answer since the mark (the answer before it included)."""
        lines = list(self.lines)
        start = max(0, since - 1)
        times = [line["at"] + line["took"] for line in lines[start:] if "server" in line]
        longest = max((later - earlier for earlier, later in zip(times, times[1:], strict=False)), default=float("inf"))
        failed = sum("error" in line for line in lines[since:])
        return Gap(longest, failed, len(lines) - since)

    def servers(self, since: int) -> dict[int, int]:
        """How many of the attempts since the mark each server answered."""
        counts: dict[int, int] = {}
        for line in list(self.lines)[since:]:
            if "server" in line:
                counts[line["server"]] = counts.get(line["server"], 0) + 1
        return counts
