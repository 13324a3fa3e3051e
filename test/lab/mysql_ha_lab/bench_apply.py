"""`make bench-apply`: what a run of `state.apply` costs on a host where there is nothing to do."""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import yaml

from . import salt
from .identity import write
from .lab import Lab
from .measuring import in_new_lab
from .plan import REPOSITORY, LabError
from .progress import say, say_meanwhile, step

LAB = "apply"
FIGURES = REPOSITORY / "build" / "bench-apply.json"
PAGE = REPOSITORY / "docs" / "states.md"
MARK = "<!-- made by `make bench-apply` -->"
ROUNDS = 5
EMPTY = "lab_empty"
HOSTS = {"lvs1": "a director", "mysql1": "a database"}
# So many endpoints, each with so many real servers.
SIZES = ((1, 2), (50, 10), (250, 10), (500, 10))
Figures = dict[str, Any]


def main() -> int:
    """Run all measurements; the exit status."""
    return in_new_lab(LAB, "bench-apply", _bench)


def _bench(lab: Lab) -> int:
    lab.up()
    salt.set_up(lab, REPOSITORY / "pillar.example")
    write(lab.plan.host("master").root / f"srv/lab/{EMPTY}.sls", f"{EMPTY}:\n  test.nop: []\n")
    _applied(lab, "*")
    lab.power_off("lvs2")
    lab.power_off("client")
    figures: Figures = {"hosts": {host: _host(lab, host) for host in HOSTS}, "sizes": {}}
    for services, servers in SIZES:
        figures["sizes"][f"{services}x{servers}"] = _size(lab, services, servers)
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    PAGE.write_text(PAGE.read_text().split(MARK)[0] + MARK + "\n\n" + render(figures))
    print(render(figures))
    say(f"figures: {FIGURES.relative_to(REPOSITORY)}, tables: {PAGE.relative_to(REPOSITORY)}")
    return 0


def _applied(lab: Lab, target: str, sls: str = "mysql_ha") -> None:
    failed = [result for result in salt.apply(lab, target=target, sls=sls, report=False).values() if not result.ok]
    if failed:
        raise LabError("\n".join(result.error or result.problems() for result in failed))


def _host(lab: Lab, host: str) -> Figures:
    with step(f"{host}: {ROUNDS} rounds"):
        rounds = []
        for number in range(1, ROUNDS + 1):
            say_meanwhile(f"{host}: round {number}")
            rounds.append({"empty": _run(lab, host, EMPTY)["seconds"], **_run(lab, host, "mysql_ha")})
    return {
        "empty": statistics.median(one["empty"] for one in rounds),
        "seconds": statistics.median(one["seconds"] for one in rounds),
        "sls": {
            sls: statistics.median(one["sls"][sls] for one in rounds) for sls in rounds[0]["sls"]
        },
    }  # fmt: skip


def _run(lab: Lab, host: str, sls: str) -> Figures:
    """One run that changes nothing: its seconds in all, and those of the states of each SLS."""
    began = time.monotonic()
    said = lab.run(host, ["salt-call", "--out=json", "--log-level=quiet", "state.apply", sls], check=False)
    took = time.monotonic() - began
    states = json.loads(said.stdout)["local"]
    if not isinstance(states, dict):
        raise LabError(f"{host}: state.apply {sls}: {states}")
    wrong = [state for state in states.values() if state["result"] is not True or state["changes"]]
    if wrong:
        raise LabError(f"{host}: state.apply {sls} is not idle: {wrong}")
    by_sls: dict[str, float] = {}
    for state in sorted(states.values(), key=lambda state: state["__run_num__"]):
        by_sls[state["__sls__"]] = by_sls.get(state["__sls__"], 0) + state["duration"] / 1000
    return {"seconds": took, "sls": by_sls}


def _size(lab: Lab, services: int, servers: int) -> Figures:
    """The same on a director of so many endpoints, which keepalived does not check: their servers do not exist."""
    pillar = yaml.safe_load((REPOSITORY / "pillar.example").read_text())
    pillar["mysql_ha"]["endpoints"] = {
        f"e{number}": {
            "address": f"10.1.{number // 250}.{number % 250 + 1}",
            "port": 80,
            "check": "none",
            "servers": {f"s{one}": {"address": f"10.2.{one}.{number % 250 + 1}"} for one in range(servers)},
        }
        for number in range(services)
    }
    salt.set_pillar(lab, yaml.safe_dump(pillar, sort_keys=False))
    with step(f"{services} endpoints x {servers} servers"):
        began = time.monotonic()
        _applied(lab, "lvs1", "mysql_ha.director")
        first = time.monotonic() - began
        rounds = [_run(lab, "lvs1", "mysql_ha.director") for _ in range(3)]
    return {
        "first_seconds": first,
        "seconds": statistics.median(one["seconds"] for one in rounds),
        "sls": {sls: statistics.median(one["sls"][sls] for one in rounds) for sls in rounds[0]["sls"]},
    }


def render(figures: Figures) -> str:
    """The tables, as they stand in the docs."""
    lines = []
    for host, what in HOSTS.items():
        one = figures["hosts"][host]
        lines += [
            f"On {what} (`{host}`) `salt-call state.apply mysql_ha` takes {one['seconds']:.1f} s, and an SLS with one "
            f"state that does nothing {one['empty']:.1f} s: {one['seconds'] - one['empty']:.1f} s above it. Of these "
            "the states of",
            "",
            "| SLS | seconds |",
            "| --- | --- |",
            *(f"| `{sls}` | {took:.2f} |" for sls, took in one["sls"].items()),
            "",
        ]
    lines += [
        "| endpoints x servers on a director | run with nothing to do, s | the state that writes keepalived.conf, s |",
        "| --- | --- | --- |",
    ]
    for size, one in figures["sizes"].items():
        written = one["sls"].get("mysql_ha.director.config", 0)
        lines.append(f"| {size.replace('x', ' x ')} | {one['seconds']:.1f} | {written:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
