"""The lab's Salt: keys, the formula's files on the master, state runs and what they said."""

from __future__ import annotations

import fnmatch
import json
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .command import wait_for
from .identity import write
from .lab import Lab
from .plan import REPOSITORY, LabError
from .progress import say, say_meanwhile, step

FORMULA_PARTS = ["FORMULA", "mysql_ha", "_modules", "_states", "_utils", "_beacons", "_runners", "_output"]
PILLAR_TOP = "base:\n  '*':\n    - mysql_ha\n    - lab\n"
CA = "mysql_ha_ca"
APPLY_SECONDS = 2400
# What a Salt master says when a worker of it will answer no request ever; only another start helps.
LOST_WORKER = "worker will be non-functional"
SILENCE_SECONDS = 5 if sys.stdout.isatty() else 60


@dataclass(frozen=True)
class HostResult:
    """What a state run did on one host."""

    host: str
    states: list[dict[str, Any]]
    error: str = ""

    @property
    def failed(self) -> list[dict[str, Any]]:
        return [state for state in self.states if state["result"] is False]

    @property
    def pending(self) -> list[dict[str, Any]]:
        return [state for state in self.states if state["result"] is None]

    @property
    def changed(self) -> list[dict[str, Any]]:
        return [state for state in self.states if state["changes"]]

    @property
    def ok(self) -> bool:
        return not self.error and not self.failed

    def line(self) -> str:
        """One line for the terminal."""
        if self.error:
            return f"{self.host}: {self.error}"
        took = sum(float(state.get("duration") or 0) for state in self.states) / 1000
        verdict = f"{len(self.failed)} FAILED" if self.failed else "ok"
        pending = f", {len(self.pending)} would change" if self.pending else ""
        return f"{self.host}: {verdict}, {len(self.states)} states, {len(self.changed)} changed{pending}, {took:.0f} s"

    def problems(self) -> str:
        """The failed states with what they said."""
        return "\n".join(f"{self.host}: {state['id']}: {state['comment']}" for state in self.failed)


def set_up(lab: Lab, pillar: Path) -> None:
    """Bring formula, tarballs and pillar onto the master, and accept the hosts' keys."""
    copy_formula(lab)
    set_pillar(lab, pillar.read_text())
    set_lab_pillar(lab)
    with step("accept the keys of " + ", ".join(lab.plan.hosts)):
        wait_for(
            "the Salt master",
            lambda: lab.run("master", ["salt-key", "--out=json"], check=False).returncode == 0,
            120,
            1,
        )
        for host in lab.plan.hosts:
            accept_key(lab, host)
        wait_for_minions(lab)


# The labs whose master was given the runners by this process.
_SYNCED: set[str] = set()


def sync_master(lab: Lab) -> None:
    """Let the master have the runners of its copy of the formula. (From then on salt-ssh takes _utils from there, too,
    whatever the formula has.)"""

    def synced() -> bool:
        # The file server's list of files may be a second old.
        for kind in ("runners", "utils"):
            lab.run("master", ["salt-run", f"saltutil.sync_{kind}"])
        return lab.run("master", ["salt-run", "mysql_ha.compare", "[x]"], check=False).returncode == 3

    wait_for("the master's runners", synced, 60, 1)


def compare(lab: Lab, *words: str, status: int | None = None) -> dict[str, Any]:
    """What ``salt-run mysql_ha.compare`` says of the two databases' rows; its exit status must go with it."""
    if lab.plan.name not in _SYNCED:
        sync_master(lab)
        _SYNCED.add(lab.plan.name)
    run = lab.run("master", ["salt-run", "--out=json", "mysql_ha.compare", *words], check=False, timeout=600)
    found = json.loads(run.stdout)
    assert run.returncode == found["retcode"], run.stderr
    assert status is None or run.returncode == status, found
    return found


def copy_formula(lab: Lab, source: Path = REPOSITORY) -> None:
    """Make the master's copy of the formula equal to the one in ``source``."""
    root = lab.plan.host("master").root
    copy_tree(source, root / "srv/formula")
    for tarball in (lab.plan.directory / "sources").glob("*.tar.*"):
        place = root / "srv/lab/mysql_ha/sources" / tarball.name
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tarball, place)


def copy_tree(source: Path, target: Path) -> None:
    """Make ``target`` hold what a master serves of a tree of this formula, and nothing that was there before."""
    for part in FORMULA_PARTS:
        mirror(source / part, target / part)


def mirror(source: Path, target: Path) -> None:
    """Make a folder, or a file, equal to another one."""
    if target.is_dir():
        shutil.rmtree(target)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def set_pillar(lab: Lab, text: str) -> None:
    """Give the cluster this pillar (YAML)."""
    root = lab.plan.host("master").root
    write(root / "srv/pillar/top.sls", PILLAR_TOP)
    write(root / "srv/pillar/mysql_ha.sls", text)


def set_lab_pillar(lab: Lab) -> None:
    """Add what this lab's databases need to whatever the pillar says: their flavor, and a CA where they need one."""
    flavor = lab.plan.database
    place = lab.plan.host("master").root / "srv/pillar/lab.sls"
    if place.exists():
        return
    write(place, f"mysql_ha: {{database: {{flavor: {flavor.pillar}}}}}\n")
    if not flavor.verifies_alone:
        give_ca(lab)


def give_ca(lab: Lab) -> None:
    """Put a fresh CA into the pillar, made on the master as the documentation says it; instead of one that is there."""
    pillar = lab.plan.host("master").root / "srv/pillar"
    write(pillar / "lab.sls", f"mysql_ha: {{database: {{flavor: {lab.plan.database.pillar}}}}}\ninclude: [{CA}]\n")
    (pillar / f"{CA}.sls").unlink(missing_ok=True)
    local = ["salt-call", "--local", "--file-root=/srv/formula"]
    lab.run("master", [*local, "saltutil.sync_all"])
    lab.run("master", [*local, "mysql_tls.new_ca", "shop", f"path=/srv/pillar/{CA}.sls"])


def allow_ssh(lab: Lab, *hosts: str) -> None:
    """Let the master reach these hosts by salt-ssh."""
    root = lab.plan.host("master").root
    write(root / "root/.ssh/lab", lab.key.read_text(), 0o600)
    roster = {
        host: {"host": str(lab.plan.host(host).address), "user": "root", "priv": "/root/.ssh/lab"} for host in hosts
    }
    write(root / "etc/salt/roster", json.dumps(roster))


def accept_key(lab: Lab, host: str) -> None:
    def accepted() -> bool:
        keys = json.loads(lab.run("master", ["salt-key", "--out=json"]).stdout or "{}")
        if host in keys.get("minions_pre", []):
            lab.run("master", ["salt-key", "--accept", host, "--yes"])
            return True
        return host in keys.get("minions", [])

    wait_for(f"the key of {host}", accepted, 180, 1)


def wait_for_minions(lab: Lab, hosts: Collection[str] | None = None, timeout: float = 300) -> None:
    """Wait until these minions answer, or all; LabError says who does not, and what the services said."""
    asked = sorted(hosts or lab.plan.hosts)
    silent: set[str] = set()
    restarted = False

    def all_answer() -> bool:
        nonlocal silent, restarted
        silent = silent_minions(lab, asked)
        if silent and not restarted and LOST_WORKER in journal(lab, "master", "salt-master", 1000):
            say("the Salt master lost a worker at its start (saltstack/salt 61734); it is started again")
            lab.run("master", ["systemctl", "restart", "salt-master"])
            restarted = True
        return not silent

    try:
        wait_for("every minion to answer", all_answer, timeout, 1)
        lab.just_booted.difference_update(asked)
    except LabError as error:
        said = [complaints(lab, "master", "salt-master"), *(complaints(lab, host, "salt-minion") for host in silent)]
        raise LabError("\n".join([f"{error}; silent: {', '.join(sorted(silent))}", *said])) from None


def complaints(lab: Lab, host: str, service: str) -> str:
    """The last that a host's service said, for an error message."""
    return f"{service} on {host}: {journal(lab, host, service, 12)[-1500:] or 'said nothing'}"


def journal(lab: Lab, host: str, service: str, lines: int) -> str:
    """The last lines that a host's service said, or why they cannot be read."""
    words = ["journalctl", "--no-pager", "--quiet", "-o", "cat", "-n", str(lines), "-u", service]
    try:
        return lab.run(host, words, check=False, timeout=30).stdout.strip()
    except LabError as error:
        return str(error)


def wait_for_booted(lab: Lab, target: str) -> None:
    """Wait until those of the target answer that have just come back: what is published before a minion has subscribed
    is lost, and ``salt`` would wait for its answer until the timeout."""
    if booted := fnmatch.filter(lab.just_booted, target):
        wait_for_minions(lab, booted)


def silent_minions(lab: Lab, hosts: Collection[str]) -> set[str]:
    """Those of the hosts whose minion does not answer."""
    words = ["salt", "--out=json", "--static", "-t", "5", "-L", ",".join(hosts), "test.ping"]
    try:
        answers = json.loads(lab.run("master", words, check=False).stdout)
    except ValueError:
        return set(hosts)
    return {host for host in hosts if answers.get(host) is not True}


def call(lab: Lab, target: str, *words: str, timeout: int = 600) -> dict[str, Any]:
    """A module function on some minions, as data by host."""
    wait_for_booted(lab, target)
    done = lab.run(
        "master",
        ["salt", "--out=json", "--static", "-t", str(timeout), target, *words],
        check=False,
        timeout=timeout + 60,
    )
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise LabError(f"salt '{target}' {' '.join(words)}: {(done.stdout + done.stderr)[-2000:]}") from None


def apply(
    lab: Lab, *arguments: str, target: str = "*", sls: str = "mysql_ha", report: bool = True
) -> dict[str, HostResult]:
    """``salt TARGET state.apply mysql_ha ARGUMENTS``; results by host, told as each host finishes."""
    wait_for_booted(lab, target)
    # queue: a run that was started by a killed command still goes on; this one then waits for it.
    words = ["env", "PYTHONUNBUFFERED=1", "salt", "--out=json", "--out-indent=-1", "-t", str(APPLY_SECONDS), target,
             "state.apply", sls, "queue=True", *arguments]  # fmt: skip
    began = time.monotonic()
    results: dict[str, HostResult] = {}
    run = lab.popen("master", words)
    try:
        for host, answer in _answers(run, lambda: _say_waiting(lab, target, results) if report else None):
            results[host] = _result(host, answer)
            if report:
                say(results[host].line())
        errors = run.stderr.read() if run.stderr else ""
    finally:
        run.kill()
        run.communicate()
    if not results:
        raise LabError(f"nobody answered to: {' '.join(words)}\n{errors[-2000:]}")
    if report:
        say(f"salt '{target}' state.apply {' '.join([sls, *arguments])}: {time.monotonic() - began:.0f} s")
    return results


def _answers(run: subprocess.Popen[str], on_silence: Callable[[], object]) -> Iterator[tuple[str, Any]]:
    """The hosts' answers as they come in; ``on_silence`` is called whenever there was none for a while."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in run.stdout or ():
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=SILENCE_SECONDS)
        except queue.Empty:
            on_silence()
            continue
        if line is None:
            return
        try:
            answer = json.loads(line)
        except ValueError:
            continue
        yield from answer.items()


def _say_waiting(lab: Lab, target: str, results: dict[str, HostResult]) -> None:
    waiting = [host for host in lab.plan.hosts if host not in results and fnmatch.fnmatch(host, target)]
    say_meanwhile(f"still at work: {', '.join(waiting)}")


def _result(host: str, answer: Any) -> HostResult:
    if not isinstance(answer, dict):
        text = "; ".join(str(part) for part in answer) if isinstance(answer, list) else str(answer)
        return HostResult(host, [], text or "no answer")
    states = []
    for tag, state in answer.items():
        if not isinstance(state, dict):
            return HostResult(host, [], f"{tag}: {state}")
        states.append(
            {
                "id": state.get("__id__", tag),
                "function": _function(tag),
                "result": state.get("result"),
                "changes": state.get("changes") or {},
                "comment": state.get("comment", ""),
                "name": state.get("name", ""),
                "duration": state.get("duration"),
                "order": state.get("__run_num__", 0),
                "sls": state.get("__sls__", ""),
            }
        )
    return HostResult(host, sorted(states, key=lambda state: state["order"]))


def _function(tag: str) -> str:
    parts = tag.split("_|-")
    return f"{parts[0]}.{parts[-1]}"
