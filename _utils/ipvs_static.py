"""
Static services: those of the kernel's table that the pillar has and keepalived does not. The record of them, what has
to change, and the program that brings them back at boot.

The record is a file in the format of ``ipvsadm --save``. It says what is ours, also of what has left the pillar since,
and what is to be there after a boot. The program runs as a unit of systemd (ipvs_static_unit), without Salt. It adds
and edits, and removes nothing but servers of our own services. (``ipvsadm --restore`` tells only by its last line
whether it failed, and refuses weights above 65535.) Knows nothing of Salt.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import ipvs_kernel
import ipvs_plan as plan
import ipvs_rules as rules
import ipvs_text
from ipvs_model import Entry, ServiceKey, Table
from ipvs_plan import ADD, DELETE, Change, Scope

HEADER = (
    "# Managed by Salt (mysql_ha.director.services); change mysql_ha:ipvs:services in the pillar instead.\n"
    "# What is in here belongs to these services: it is there again after a boot, and goes when it leaves the pillar.\n"
)


class Asked(NamedTuple):
    """What the pillar asks for."""

    wanted: Table
    """The static services."""
    theirs: frozenset[ServiceKey]
    """The services that are keepalived's."""
    purge: bool
    """Whether everything else goes."""


def text(table: Table) -> str:
    """The record of these services, the same for the same services whatever their order."""
    return HEADER + ipvs_text.save(
        {
            key: Entry(entry.service, dict(sorted(entry.servers.items(), key=lambda item: item[0].name)))
            for key, entry in sorted(table.items(), key=lambda item: item[0].name)
        }
    )


def read(place: Path) -> str | None:
    """The text of the record; None if there is none. Raises OSError."""
    try:
        return place.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def parse(place: Path, said: str | None) -> Table:
    """The services of a record. Raises ``rules.Wrong``: what is ours is not to be guessed."""
    try:
        return ipvs_text.parse(said or "")
    except ValueError as error:
        raise rules.Wrong(f"{place}: is not as this formula writes it: {error}") from error


def claimed(asked: Asked, record: Table) -> Table:
    """
    What the record says while the table is being changed: what the pillar has, and what is still to go.

    An interruption, be it a loss of power, then leaves nothing that nobody knows of. Were the table changed first, a
    service that was just added would be a stranger's, and stay for ever once the pillar has changed again. Were what
    goes forgotten first, it would be a stranger's in the same way. As it is, what was interrupted is done by the next
    run, and a boot in between brings back at most what had not gone yet. What is keepalived's now is not ours to bring
    back, nor to remove.
    """
    leaving = {key: entry for key, entry in record.items() if key not in asked.wanted and key not in asked.theirs}
    return {**asked.wanted, **leaving}


def changes(asked: Asked, record: Table, present: Table) -> list[Change]:
    """What makes the table ``present`` right: ours as the pillar has it, and nothing that we put in and it has not."""
    ours = None if asked.purge else [key.name for key in record]
    theirs = Scope([key.name for key in asked.theirs])
    return plan.changes(asked.wanted, present, True, Scope(ours), theirs)


def restore(said: str, place: Path, ipvs: ipvs_kernel.Ipvs) -> ipvs_kernel.Outcome:
    """Have the services of a record in the table."""
    wanted = parse(place, said)
    return ipvs_kernel.apply(ipvs, lambda present: plan.changes(wanted, present))


# --- the program ---

_DONE = {ADD: "added", DELETE: "removed"}


def sentences(done: Iterable[Change]) -> list[str]:
    """What was done, as the journal is to have it."""
    return [f"{change.name}: {_DONE.get(change.action) or _edited(change.fields())}" for change in done]


def _edited(fields: Mapping[str, Mapping[str, object]]) -> str:
    return ", ".join(f"{name} {value['new']} instead of {value['old']}" for name, value in fields.items())


def main(
    words: Sequence[str] | None = None,
    kernel: Callable[[], ipvs_kernel.Ipvs] = ipvs_kernel.Ipvs,
) -> int:
    """Have the services of a record in the kernel's table: ``ipvs_static.py /etc/mysql_ha/ipvs.rules``."""
    parser = argparse.ArgumentParser(description=(main.__doc__ or "").partition(":")[0])
    parser.add_argument("record", type=Path, metavar="FILE")
    place = parser.parse_args(words).record
    try:
        said = read(place)
        if said is None:
            print(f"There is no {place}: nothing to do.", flush=True)
            return 0
        with kernel() as ipvs:
            outcome = restore(said, place, ipvs)
    except (rules.Wrong, ipvs_kernel.IpvsError, ipvs_kernel.NetlinkError, OSError) as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    for sentence in sentences(outcome.done):
        print(sentence)
    if not outcome.done and not outcome.refused:
        print("The table has all that is in the record already.")
    sys.stdout.flush()
    for refusal in outcome.refused:
        print(refusal.sentence, file=sys.stderr)
    return 1 if outcome.refused else 0


if __name__ == "__main__":
    sys.exit(main())
