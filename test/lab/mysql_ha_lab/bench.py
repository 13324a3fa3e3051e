"""`make bench`: how long the ipvs modules take on a director, against ipvsadm and pyroute2, in one run."""

from __future__ import annotations

import json
import statistics
import sys

from . import salt
from .command import run
from .identity import write
from .lab import Lab
from .measuring import in_new_lab
from .plan import REPOSITORY, LabError
from .progress import say, say_meanwhile, step

LAB = "bench"
FIGURES = REPOSITORY / "build" / "bench.json"
PAGE = REPOSITORY / "docs" / "performance.md"
SCRIPT = REPOSITORY / "test/lab/guest/ipvs_bench.py"
SCRIPT_ON_HOST = "/usr/local/lib/lab/ipvs_bench.py"
LIBRARIES_ON_HOST = "/usr/local/lib/lab/site"
PYROUTE2 = "pyroute2==0.9.7"
SIZES = {(1000, 10): 5, (10000, 10): 3}  # services, servers: rounds
WAYS = ("module", "state", "ipvsadm")
MARK = "<!-- made by `make bench` -->"
Figures = dict[str, dict[str, float]]


def main() -> int:
    """Run all measurements; the exit status."""
    return in_new_lab(LAB, "bench", _bench)


def _bench(lab: Lab) -> int:
    lab.up()
    salt.set_up(lab, REPOSITORY / "pillar.example")
    with step("ipvsadm and IPVS on lvs1"):
        wanted = ["mysql_ha.director.kernel", "mysql_ha.director.ipvsadm"]
        result = salt.apply(lab, target="lvs1", sls=",".join(wanted), report=False)["lvs1"]
        if not result.ok:
            raise LabError(result.error or result.problems())
    # Only these two hosts stay: the others would take their share of the processors.
    for name in ("lvs2", "mysql1", "mysql2", "client"):
        lab.power_off(name)
    root = lab.host("lvs1").plan.root
    write(root / SCRIPT_ON_HOST.lstrip("/"), SCRIPT.read_text())
    run([sys.executable, "-m", "pip", "install", "-qq", "--target", root / LIBRARIES_ON_HOST.lstrip("/"), PYROUTE2])
    lab.run("lvs1", ["systemctl", "stop", "salt-minion"])
    figures: dict[str, Figures] = {}
    for (services, servers), rounds in SIZES.items():
        figures[f"{services}x{servers}"] = _size(lab, services, servers, rounds)
    small = {way: measure(lab, way, 1000, 10) for way in ("processes", "pyroute2")}
    figures["1000x10"].update(small)
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    page = PAGE.read_text().split(MARK)[0] + MARK + "\n\n" + render(figures)
    PAGE.write_text(page)
    print(render(figures))
    say(f"figures: {FIGURES.relative_to(REPOSITORY)}, table: {PAGE.relative_to(REPOSITORY)}")
    return 0


def _size(lab: Lab, services: int, servers: int, rounds: int) -> Figures:
    """The medians of several rounds of every way, taken in turns."""
    with step(f"{services} services x {servers} servers, {rounds} rounds"):
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for number in range(rounds):
            for way in WAYS:
                say_meanwhile(f"{services} services x {servers} servers: round {number + 1}, {way}")
                found[way].append(measure(lab, way, services, servers))
        return {
            way: {name: statistics.median(one[name] for one in runs) for name in runs[0]} for way, runs in found.items()
        }


def measure(lab: Lab, way: str, services: int, servers: int) -> dict[str, float]:
    """One way, once, in a network namespace of its own on the director."""
    words = ["unshare", "--net", "env", f"PYTHONPATH={LIBRARIES_ON_HOST}", "/opt/salt/bin/python", SCRIPT_ON_HOST, way,
             str(services), str(servers)]  # fmt: skip
    return json.loads(lab.run("lvs1", words, timeout=1800).stdout.splitlines()[-1])


def render(figures: dict[str, Figures]) -> str:
    """The tables, as they stand in the docs."""
    small, large = figures["1000x10"], figures["10000x10"]
    lines = [
        "| seconds, medians of one run | 1,000 services x 10 servers | 10,000 x 10 | growth |",
        "| --- | --- | --- | --- |",
    ]
    titles = {"from_empty": "from empty", "no_op": "check that finds nothing to do", "one_weight": "one weight changed"}
    for way, title in (("module", "`ipvs.apply`"), ("state", "`ipvs.managed`")):
        for name, what in titles.items():
            lines.append(_row(f"{title}: {what}", small[way][name], large[way][name]))
    lines.append(_row("`ipvs.list`", small["module"]["read"], large["module"]["read"]))
    lines.append(_row("`ipvs.drain` of one idle server", small["module"]["drain"], large["module"]["drain"]))
    lines.append(_row("`ipvsadm -R` from empty", small["ipvsadm"]["from_empty"], large["ipvsadm"]["from_empty"]))
    lines.append(_row("`ipvsadm -Sn`", small["ipvsadm"]["read"], large["ipvsadm"]["read"]))
    rules = 11_000
    for way, title in (("processes", "one ipvsadm process per change"), ("pyroute2", f"{PYROUTE2.replace('==', ' ')}")):
        each = small[way]["per_change"]
        lines.append(f"| {title}, {each * 1000:.1f} ms a change, so from empty | {each * rules:.1f} | | |")
    lines += ["", *_ratios(small, large)]
    return "\n".join(lines) + "\n"


def _row(title: str, small: float, large: float) -> str:
    return f"| {title} | {small:.3f} | {large:.2f} | {large / small:.1f} |"


def _ratios(small: Figures, large: Figures) -> list[str]:
    ours, states, theirs = small["module"], small["state"], small["ipvsadm"]
    return [
        f"- From empty, `ipvs.apply` is {theirs['from_empty'] / ours['from_empty']:.1f} times as fast as `ipvsadm "
        f"-R` ({large['ipvsadm']['from_empty'] / large['module']['from_empty']:.1f} times with the larger table).",
        f"- A check that finds nothing to do takes {ours['no_op'] / theirs['no_op']:.2f} times what `ipvsadm -Sn` does "
        f"({large['module']['no_op'] / large['ipvsadm']['no_op']:.2f} times with the larger table).",
        f"- Through the state it is {states['from_empty'] / ours['from_empty']:.2f} times the module from empty and "
        f"{states['no_op'] / ours['no_op']:.2f} times for the check.",
        f"- Salt's own start took {ours['salt_start']:.1f} s, which is in none of these figures.",
        f"- Peak memory of the process: {ours['start_mib']:.0f} MiB before the first call, {ours['peak_mib']:.0f} MiB "
        f"at the end with the smaller table, {large['module']['peak_mib']:.0f} MiB with the larger one.",
    ]


if __name__ == "__main__":
    sys.exit(main())
