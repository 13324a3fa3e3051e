"""`make bench-data`: how a database gets its data while its peer serves, and what an application notices there."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import client, salt
from .command import wait_for
from .identity import write
from .lab import Lab
from .plan import DATABASES, DIRECTORS, REPOSITORY, LabError
from .prepare import prepare, require_root
from .progress import say, step, warn

LABS = {"mariadb": "benchma", "mysql": "benchmy"}
FIGURES = REPOSITORY / "build" / "bench-data.json"
PAGE = REPOSITORY / "docs" / "data.md"
MARK = "<!-- made by `make bench-data` -->"
LOAD = Path(__file__).with_name("load.py")
LOAD_ON_CLIENT = "/usr/local/lib/lab/load.py"
TABLES, ROWS, DOUBLINGS = 5, 7, 14  # so many rows, doubled so often, in each table
WIDTH = 900
STEADY_SECONDS = 20
MIB = 1 << 20
DATA = "/var/lib/mysql"
COMMITS = """
CREATE TABLE shop.commits (id BIGINT AUTO_INCREMENT PRIMARY KEY, at DATETIME(6), pad VARBINARY(400));
"""
WAYS = {
    ("mysql", "join"): "MySQL joins, clone plugin",
    ("mysql", "rebuild"): "MySQL is rebuilt, clone plugin",
    ("mariadb", "join"): "MariaDB joins, dump",
    ("mariadb", "rebuild"): "MariaDB is rebuilt, mariadb-backup",
}
Figures = dict[str, Any]


def main() -> int:
    """Run all measurements; the exit status."""
    try:
        require_root()
        prepare()
        figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
        for flavor in sys.argv[1:] or LABS:
            lab = Lab(LABS[flavor], flavor, without=DIRECTORS)
            with lab.only_me():
                lab.down(purge=True)
                try:
                    figures[flavor] = _flavor(lab)
                finally:
                    with step("take the lab down"):
                        lab.down(purge=True)
            FIGURES.parent.mkdir(exist_ok=True)
            FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    except LabError as error:
        warn(f"bench-data: {error}")
        return 1
    if set(figures) == set(LABS):
        PAGE.write_text(PAGE.read_text().split(MARK)[0] + MARK + "\n\n" + render(figures))
    print(json.dumps(figures, indent=1))
    say(f"figures: {FIGURES.relative_to(REPOSITORY)}, tables: {PAGE.relative_to(REPOSITORY)}")
    return 0


def _flavor(lab: Lab) -> Figures:
    lab.up()
    salt.set_up(lab, REPOSITORY / "pillar.example")
    _applied(lab, "mysql*")
    _applied(lab, "mysql*", sls="mysql_ha.database.copy_tools")
    client.set_up(lab)
    write(lab.plan.host("client").root / LOAD_ON_CLIENT.lstrip("/"), LOAD.read_text())
    client.sql(lab, "mysql1", COMMITS)
    with step("half a gigabyte of random rows on mysql1"):
        for number in range(TABLES):
            client.sql(lab, "mysql1", fill(f"shop.data{number}"))
    found: Figures = {"version": client.sql(lab, "mysql1", "SELECT @@version").partition("-")[0]}
    service = lab.plan.database.pillar
    lab.run("mysql2", ["sh", "-c", f"systemctl stop {service}; rm -rf {DATA}"])
    with Load(lab) as load:
        found["join"] = _measured(lab, load, lambda: _applied(lab, "mysql2"))
        _applied(lab, "mysql1")
        found["rebuild"] = _measured(lab, load, lambda: _rebuilt(lab))
    return found


def fill(table: str) -> str:
    """Statements that make a table with random rows, outside the binary log: mysql2 has nothing when it joins."""
    first = ", ".join(f"(RANDOM_BYTES({WIDTH}))" for _ in range(ROWS))
    more = f"INSERT INTO {table} (pad) SELECT RANDOM_BYTES({WIDTH}) FROM {table};\n"
    return (
        f"SET SESSION sql_log_bin = 0;\nCREATE TABLE {table} (id BIGINT AUTO_INCREMENT PRIMARY KEY, pad "
        f"VARBINARY({WIDTH}), KEY (pad(16)));\nINSERT INTO {table} (pad) VALUES {first};\n" + DOUBLINGS * more
    )


def _applied(lab: Lab, target: str, sls: str = "mysql_ha") -> None:
    for result in salt.apply(lab, target=target, sls=sls, report=False).values():
        if not result.ok:
            raise LabError(result.error or result.problems())


def _rebuilt(lab: Lab) -> None:
    pillar = json.dumps({"rebuild": {"node": "mysql2"}})
    words = ["salt-run", "--out=json", "state.orchestrate", "mysql_ha.orch.rebuild", f"pillar={pillar}"]
    done = lab.run("master", words, check=False, timeout=3600)
    if done.returncode:
        raise LabError(done.stdout[-4000:])


class Load:
    """The session that commits all the time, and what it noticed."""

    def __init__(self, lab: Lab) -> None:
        words = ["/opt/salt/bin/python", "-u", LOAD_ON_CLIENT, str(lab.plan.host("mysql1").address), client.PASSWORD]
        self._run = subprocess.Popen(lab.host("client").command(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     text=True)  # fmt: skip
        self.commits: list[tuple[float, float, str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        for line in self._run.stdout or ():
            # The last line may be a part of one.
            parts = line.rstrip("\n").split("\t")
            if len(parts) == 3:
                self.commits.append((float(parts[0]), float(parts[1]), parts[2]))

    def __enter__(self) -> Load:
        self._reader.start()
        wait_for("the first commits", lambda: len(self.commits) > 10, 60)
        return self

    def __exit__(self, *_: object) -> None:
        self._run.communicate("\n", timeout=60)

    def noticed(self, begin: float, end: float) -> dict[str, float]:
        """What it noticed from one time to another."""
        return noticed([one for one in self.commits if begin <= one[0] < end], end - begin)


def noticed(commits: list[tuple[float, float, str]], seconds: float) -> dict[str, float]:
    """Commits a second, and how long they took, in milliseconds."""
    took = sorted(one[1] * 1000 for one in commits if not one[2])
    return {
        "commits_a_second": round(len(took) / seconds, 1),
        "median_ms": round(statistics.median(took), 2),
        "p99_ms": round(took[int(len(took) * 0.99)], 2),
        "longest_ms": round(took[-1], 1),
        "errors": sum(bool(one[2]) for one in commits),
    }


class Watch:
    """When the copy was closed and open, and the most room that was taken, seen from outside the hosts."""

    def __init__(self, lab: Lab) -> None:
        self._roots = {host: lab.plan.host(host).root for host in DATABASES}
        self._before = {host: used(root) for host, root in self._roots.items()}
        self.most = dict.fromkeys(DATABASES, 0)
        self.closed: list[float] = []
        self.open: float | None = None
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._watch_room, self._watch_copy)]

    def _watch_room(self) -> None:
        while not self._ends.wait(0.5):
            for host, root in self._roots.items():
                self.most[host] = max(self.most[host], used(root) - self._before[host])

    def _watch_copy(self) -> None:
        root, began = self._roots["mysql2"], False
        while not self._ends.wait(0.1):
            if any(root.glob("etc/mysql/*/zzz-mysql_ha-copying.cnf")):
                self.closed.append(time.time())
            if (root / "var/lib/mysql_ha/copy.json").exists():
                began = True
            elif began:
                self.open = time.time()
                return

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()


def used(root: Path) -> int:
    """The bytes that a database host's data take on its disk, all copies of them."""
    total = 0
    for place in root.glob("var/lib/mysql*"):
        for folder, _, files in os.walk(place):
            for name in files:
                try:
                    total += Path(folder, name).lstat().st_blocks * 512
                except FileNotFoundError:
                    continue
    return total


def _measured(lab: Lab, load: Load, work: Callable[[], None]) -> Figures:
    """One way that mysql2 gets its data."""
    with step(f"{STEADY_SECONDS} s of the load alone"):
        before = time.time()
        wait_for("", lambda: time.time() - before >= STEADY_SECONDS, STEADY_SECONDS + 60, 0.5)
    failures: list[LabError] = []

    def run() -> None:
        try:
            work()
        except LabError as error:
            failures.append(error)

    with step("the copy"), Watch(lab) as watch:
        began = time.time()
        worker = threading.Thread(target=run)
        worker.start()
        try:
            wait_for("the copy to be open", lambda: watch.open or failures, 3600, 0.1)
            wait_for("mysql2 to have caught up", lambda: failures or _has_caught_up(lab), 600, 0.2)
            caught_up = time.time()
        finally:
            worker.join()
    if failures:
        raise failures[0]
    assert watch.open is not None
    return {
        "open_seconds": round(watch.open - began, 1),
        "closed_seconds": round(watch.closed[-1] - watch.closed[0], 1),
        "caught_up_seconds": round(caught_up - began, 1),
        "most_bytes": watch.most,
        "before": load.noticed(before, began),
        "during": load.noticed(began, caught_up),
    }


def _has_caught_up(lab: Lab) -> bool:
    newest = "SELECT MAX(id) FROM shop.commits"
    try:
        there = int(client.sql(lab, "mysql1", newest))
        return int(client.sql(lab, "mysql2", newest)) >= there
    except (LabError, ValueError):
        return False


def render(figures: Figures) -> str:
    """The tables, as they stand in the docs."""
    rows = TABLES * ROWS << DOUBLINGS
    lines = [
        f"{rows} rows of {WIDTH} random bytes ({rows * WIDTH / MIB:.0f} MiB) in {TABLES} tables; MySQL "
        f"{figures['mysql']['version']}, MariaDB {figures['mariadb']['version']}.",
        "",
        "| mysql2 gets its data | closed, s | open, s | caught up, s | more room on mysql2, MiB | on mysql1, MiB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (flavor, way), title in WAYS.items():
        one = figures[flavor][way]
        room = [f"{one['most_bytes'][host] / MIB:.0f}" for host in ("mysql2", "mysql1")]
        lines.append(
            f"| {title} | {one['closed_seconds']:.0f} | {one['open_seconds']:.0f} | {one['caught_up_seconds']:.0f} "
            f"| {room[0]} | {room[1]} |"
        )
    lines += [
        "",
        "| a session that writes on mysql1 | commits a second | median, ms | p99, ms | longest, ms | errors |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (flavor, way), title in WAYS.items():
        for when, moment in (("before", f"before: {title}"), ("during", "meanwhile")):
            one = figures[flavor][way][when]
            lines.append(
                f"| {moment} | {one['commits_a_second']:.0f} | {one['median_ms']:.1f} | {one['p99_ms']:.1f} "
                f"| {one['longest_ms']:.0f} | {one['errors']:.0f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
