"""`make demo`: a cluster from nothing, one director's power loss, one database's stop, and what clients noticed."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass

from . import client, cluster, salt
from .client import Probe
from .lab import Lab
from .plan import DATABASES, REPOSITORY, LabError
from .prepare import prepare, require_root
from .progress import say, step, warn

LAB = "demo"
FIGURES = REPOSITORY / "build" / "demo.json"
NAMES = {number: name for number, name in enumerate(DATABASES, start=1)}


@dataclass(frozen=True)
class Event:
    """One thing that failed or came back, and what clients noticed of it."""

    what: str
    gap_seconds: float
    failed_connections: int
    connections: int
    vip_on: str
    served_by: dict[str, int]


def main() -> int:
    """Run the demonstration; the exit status."""
    try:
        require_root()
        prepare()
        lab = Lab(LAB)
        with lab.only_me():
            return _demo(lab)
    except LabError as error:
        warn(f"demo: {error}")
        return 1
    except KeyboardInterrupt:
        warn(f"demo: interrupted; remove what is left with: test/lab/lab down --purge --name {LAB}")
        return 130


def _demo(lab: Lab) -> int:
    keep = bool(os.environ.get("KEEP"))
    with step("clear what an earlier demonstration left"):
        lab.down(purge=True)
    try:
        began = time.monotonic()
        lab.up()
        salt.set_up(lab, REPOSITORY / "pillar.example")
        _title("salt '*' state.apply mysql_ha")
        say("from bare hosts; the directors compile keepalived, which takes some minutes")
        applied = time.monotonic()
        results = salt.apply(lab)
        if not all(result.ok for result in results.values()):
            raise LabError("\n".join(result.error or result.problems() for result in results.values() if not result.ok))
        times = {"lab_up_seconds": applied - began, "first_apply_seconds": time.monotonic() - applied}
        client.set_up(lab)
        _show(lab)
        events = _failures(lab)
        _report(events, times)
    finally:
        if keep:
            say(f"KEEP is set: the lab stays. Look around with: test/lab/lab status --name {LAB}")
        else:
            with step("take the demonstration down (KEEP=1 would leave it standing)"):
                lab.down(purge=True)
    return 0


def _title(text: str) -> None:
    print(f"\n=== {text}", flush=True)


def _show(lab: Lab) -> None:
    for director in ("lvs1", "lvs2"):
        cluster.wait_for_servers(lab, director, {f"{lab.plan.host(name).address}:3306" for name in DATABASES})
    _title("salt 'lvs*' ipvs.list --out=yaml")
    print(lab.run("master", ["salt", "lvs*", "ipvs.list", "--out=yaml"]).stdout)
    print(f"The VIP {client.VIP} is on {cluster.wait_for_holder(lab)}.")


def _failures(lab: Lab) -> list[Event]:
    events: list[Event] = []
    with Probe(lab) as probe:
        _title(f"a client opens a connection through {client.VIP} every 50 ms, writes a row and reads")
        holder = cluster.wait_for_holder(lab)
        with step(f"power loss of {holder}, which holds the VIP"):
            mark = probe.mark()
            lab.power_off(holder)
            cluster.wait_for_holder(lab)
            events.append(_event(lab, probe, mark, f"{holder} lost its power"))
        with step(f"{holder} is switched on again (and does not take the VIP back)"):
            mark = probe.mark()
            lab.boot(holder)
            events.append(_event(lab, probe, mark, f"{holder} came back"))
        serving = cluster.wait_for_holder(lab)
        with step("MariaDB is stopped on mysql1"):
            mark = probe.mark()
            lab.run("mysql1", ["systemctl", "stop", "mariadb"])
            cluster.wait_for_servers(lab, serving, {"192.168.1.6:3306"})
            events.append(_event(lab, probe, mark, "MariaDB stopped on mysql1"))
        with step("MariaDB is started on mysql1"):
            mark = probe.mark()
            lab.run("mysql1", ["systemctl", "start", "mariadb"])
            cluster.wait_for_servers(lab, serving, {"192.168.1.5:3306", "192.168.1.6:3306"})
            events.append(_event(lab, probe, mark, "MariaDB started on mysql1"))
    return events


def _event(lab: Lab, probe: Probe, mark: int, what: str) -> Event:
    """Wait until clients are served steadily again, and sum up what they noticed."""
    probe.steady(mark)
    gap = probe.gap(mark)
    last = probe.servers(max(mark, probe.mark() - 40))
    served_by = {NAMES[number]: count for number, count in sorted(last.items())}
    return Event(what, round(gap.seconds, 2), gap.failed, gap.attempts, cluster.wait_for_holder(lab), served_by)


def _report(events: list[Event], times: dict[str, float]) -> None:
    FIGURES.parent.mkdir(exist_ok=True)
    figures = {name: round(value, 1) for name, value in times.items()}
    FIGURES.write_text(json.dumps(figures | {"events": [asdict(event) for event in events]}, indent=1) + "\n")
    _title("what clients noticed")
    print(f"{'event':28} {'longest gap':>12} {'failed connections':>19}   {'VIP on':7} then served by")
    for event in events:
        failed = f"{event.failed_connections} of {event.connections}"
        served_by = ", ".join(event.served_by)
        print(f"{event.what:28} {event.gap_seconds:>10.2f} s {failed:>19}   {event.vip_on:7} {served_by}")
    print(
        f"\nFrom bare hosts to a running cluster: {times['lab_up_seconds']:.0f} s to boot the hosts, "
        f"{times['first_apply_seconds']:.0f} s for state.apply.\nAll figures: {FIGURES.relative_to(REPOSITORY)}"
    )


if __name__ == "__main__":
    sys.exit(main())
