"""`make bench-failover`: how long a director's power loss lasts, many times over, against VRRP's own formula."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from typing import Any

import yaml

from . import client, cluster, salt
from .client import Probe
from .command import run, wait_for
from .lab import Lab
from .measuring import in_new_lab
from .plan import DIRECTORS, REPOSITORY, LabError
from .progress import say, say_meanwhile, step

LAB = "failover"
FIGURES = REPOSITORY / "build" / "bench-failover.json"
PAGE = REPOSITORY / "docs" / "failover-times.md"
PICTURE = REPOSITORY / "docs" / "failover-times.svg"
PLOT_LIBRARIES = REPOSITORY / "build" / "plot"
MATPLOTLIB = "matplotlib==3.10.0"
MARK = "<!-- made by `make bench-failover` -->"
ROUNDS = int(os.environ.get("MYSQL_HA_ROUNDS", "30"))
VARIANTS: dict[str, dict[str, Any]] = {
    "v2, 1 s": {"version": 2, "advert_interval": 1},
    "v3, 0.3 s": {"version": 3, "advert_interval": 0.3},
    "v3, 0.15 s": {"version": 3, "advert_interval": 0.15},
}
Round = dict[str, Any]


def main() -> int:
    """Run all rounds; the exit status."""
    return in_new_lab(LAB, "bench-failover", _bench)


def _bench(lab: Lab) -> int:
    lab.up()
    pillar = yaml.safe_load((REPOSITORY / "pillar.example").read_text())
    salt.set_up(lab, REPOSITORY / "pillar.example")
    _apply(lab)
    client.set_up(lab)
    figures: dict[str, list[Round]] = {name: [] for name in VARIANTS}
    for name, words in VARIANTS.items():
        pillar["mysql_ha"]["vrrp"].update(words)
        salt.set_pillar(lab, yaml.safe_dump(pillar, sort_keys=False))
        _apply(lab, "lvs*")
        with step(f"{name}: {ROUNDS} rounds"), Probe(lab, "--seconds", "86400") as probe:
            for number in range(1, ROUNDS + 1):
                figures[name].append(_round(lab, probe, words, pillar["mysql_ha"]["nodes"]))
                say_meanwhile(f"{name}: round {number} of {ROUNDS}: {figures[name][-1]['takeover_seconds']:.2f} s")
        FIGURES.parent.mkdir(exist_ok=True)
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    PAGE.write_text(PAGE.read_text().split(MARK)[0] + MARK + "\n\n" + render(figures))
    draw(figures)
    print(render(figures))
    say(f"figures: {FIGURES.relative_to(REPOSITORY)}, table: {PAGE.relative_to(REPOSITORY)}")
    return 0


def _apply(lab: Lab, target: str = "*") -> None:
    failed = [result for result in salt.apply(lab, target=target, report=False).values() if not result.ok]
    if failed:
        raise LabError("\n".join(result.error or result.problems() for result in failed))


def _round(lab: Lab, probe: Probe, words: dict[str, Any], nodes: dict[str, Any]) -> Round:
    """The director that holds the VIP loses its power, the other one takes it; then it is switched on again."""
    holder = cluster.wait_for_holder(lab)
    other = next(name for name in DIRECTORS if name != holder)
    probe.steady(probe.mark())
    # At any moment between two adverts.
    time.sleep(random.SystemRandom().uniform(0, float(words["advert_interval"])))
    mark, began = probe.mark(), time.time()
    lab.power_off(holder)
    took_over = wait_for(f"{other} to be master", lambda: _became_master(lab, other, began), 60, 0.2)
    probe.steady(mark)
    found = {
        "failed": holder,
        "takeover_seconds": round(took_over - began, 3),
        "gap_seconds": round(probe.gap(mark).seconds, 3),
        "formula_seconds": [round(value, 3) for value in formula(words, nodes[other]["priority"])],
    }
    lab.boot(holder)
    wait_for(f"{holder} to stand by", lambda: _stands_by(lab, holder), 120, 0.5)
    return found


def formula(words: dict[str, Any], priority: int) -> tuple[float, float]:
    """
    The least and the most time from a master's end to the takeover by a router of this priority.

    Master_Down_Interval is three adverts and a skew (RFC 3768 section 6.1, RFC 5798 section 6.1); it begins with the
    last advert that was sent, which was up to one interval ago.
    """
    interval = float(words["advert_interval"])
    skew = (256 - priority) / 256 * (interval if words["version"] == 3 else 1)
    return 2 * interval + skew, 3 * interval + skew


def _became_master(lab: Lab, director: str, since: float) -> float | None:
    said = _journal(lab, director, since)
    times = [float(line.split()[0]) for line in said if "Entering MASTER STATE" in line]
    return min((at for at in times if at >= since), default=None)


def _stands_by(lab: Lab, director: str) -> bool:
    return any("Entering BACKUP STATE" in line for line in _journal(lab, director, None))


def _journal(lab: Lab, director: str, since: float | None) -> list[str]:
    """What keepalived said, in this boot of the host."""
    words = ["journalctl", "--no-pager", "--quiet", "-b", "-u", "keepalived", "-o", "short-unix"]
    if since is not None:
        words.append(f"--since=@{int(since)}")
    return lab.run(director, words, check=False, timeout=60).stdout.splitlines()


def render(figures: dict[str, list[Round]]) -> str:
    """The table, as it stands in the docs."""
    lines = [
        f"![Share of the rounds that were over after so many seconds]({PICTURE.name})",
        "",
        f"{ROUNDS} power losses of the director that holds the VIP for each row; seconds.",
        "",
        "| VRRP | formula | takeover: least | median | p90 | most | clients' gap: median | p90 | most |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, rounds in figures.items():
        low = min(one["formula_seconds"][0] for one in rounds)
        high = max(one["formula_seconds"][1] for one in rounds)
        takeover = sorted(one["takeover_seconds"] for one in rounds)
        gap = sorted(one["gap_seconds"] for one in rounds)
        lines.append(
            f"| {name} | {low:.2f} to {high:.2f} | {takeover[0]:.2f} | {statistics.median(takeover):.2f} "
            f"| {_percentile(takeover, 0.9):.2f} | {takeover[-1]:.2f} | {statistics.median(gap):.2f} "
            f"| {_percentile(gap, 0.9):.2f} | {gap[-1]:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share does not exceed; the values are sorted."""
    return values[min(len(values) - 1, max(0, -(-int(share * 1000) * len(values) // 1000) - 1))]


def draw(figures: dict[str, list[Round]]) -> None:
    """The picture: how many of the rounds were over after which time, and what the formula says."""
    if not PLOT_LIBRARIES.exists():
        run([sys.executable, "-m", "pip", "install", "-qq", "--target", PLOT_LIBRARIES, MATPLOTLIB])
    script = "import json, sys; from mysql_ha_lab.bench_failover import plot; plot(json.load(sys.stdin))"
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY / 'test/lab'}:{PLOT_LIBRARIES}", "MPLBACKEND": "svg"}
    subprocess.run([sys.executable, "-c", script], input=json.dumps(figures), env=environment, text=True, check=True)


def plot(figures: dict[str, list[Round]]) -> None:
    """Write the picture; needs matplotlib."""
    import matplotlib  # noqa: PLC0415
    from matplotlib import pyplot  # noqa: PLC0415

    # Without these two each run would write another file.
    matplotlib.rcParams["svg.hashsalt"] = "mysql_ha"
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for name, rounds in figures.items():
        line = axes.ecdf([one["takeover_seconds"] for one in rounds], label=f"{name}: the VIP has moved")
        axes.ecdf(
            [one["gap_seconds"] for one in rounds],
            color=line.get_color(),
            linestyle="--",
            label=f"{name}: the clients' longest gap",
        )
        low = min(one["formula_seconds"][0] for one in rounds)
        high = max(one["formula_seconds"][1] for one in rounds)
        axes.axvspan(low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(
        xlabel="seconds after the power loss (shaded: VRRP's formula)", ylabel="share of the rounds", xlim=(0, None)
    )
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(main())
