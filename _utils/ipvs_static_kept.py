"""
Static services on this host: what is there of their record and of the unit that restores it, and how both follow what
the pillar asks for. Knows nothing of Salt.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ipvs_rules as rules
import ipvs_static
import ipvs_static_unit as unit
import keepalived_table
import systemd_program
from ipvs_model import Table
from ipvs_plan import Change
from pillar_rules import part


def asked(settings: Mapping[str, Any]) -> ipvs_static.Asked:
    """
    What the pillar asks for. Raises ``rules.Wrong``.

    settings
        The value of the pillar key ``mysql_ha``. Defaults need not be applied.
    """
    try:
        # Not the endpoints that are right, as the rules for the pillar find them: what is not known would be purged.
        of_keepalived = keepalived_table.asked(settings)
    except rules.Wrong:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise rules.Wrong(f"settings: have endpoints that make no table: {error}") from error
    own = part(settings, "ipvs")
    theirs = of_keepalived.unnamed.union(of_keepalived.wanted)
    wanted = rules.table(own.get("services", {}))
    both = sorted(key.name for key in wanted if key in theirs)
    if both:
        raise rules.Wrong(f"services: has what endpoints have as well: {', '.join(both)}; allowed: one owner each")
    return ipvs_static.Asked(wanted, theirs, rules.boolean("purge", own.get("purge", False)))


class Kept:
    """The static services that are asked for, and what there is of them outside of the kernel."""

    def __init__(self, name: str, settings: Mapping[str, Any], executable: str) -> None:
        """
        Look. Raises ``rules.Wrong`` and OSError.

        name
            The absolute path of the record.
        settings
            As for :py:func:`asked`.
        executable
            Where Salt's interpreter is.
        """
        if not isinstance(name, str) or not name.startswith("/") or name.split() != [name]:
            raise rules.refuse("name", name, "an absolute path without spaces")
        self.place, self.executable = Path(name), executable
        self.asked = asked(settings)
        self.drain = rules.number("drain", part(settings, "ipvs").get("drain", 0), 0, 86400, " of seconds")
        self.said = ipvs_static.read(self.place)
        self.unit = unit.state(executable, self.place)
        self.record = ipvs_static.parse(self.place, self.said)
        self.claimed = ipvs_static.claimed(self.asked, self.record)

    @property
    def concerns_the_table(self) -> bool:
        """Whether there can be anything to do in the kernel's table, or to find there."""
        return bool(self.asked.wanted or self.record or self.asked.purge)

    def decide(self, present: Table) -> list[Change]:
        """What has to change in a table."""
        return ipvs_static.changes(self.asked, self.record, present)

    def claim(self) -> None:
        """Have the record say what is ours while the table is being changed. Raises OSError and ProgramError."""
        if not self.claimed:
            return
        if self.unit != unit.RIGHT:
            unit.install(self.executable, self.place)
        text = ipvs_static.text(self.claimed)
        if text != self.said:
            systemd_program.write(self.place, text)

    def settle(self, left: Table) -> None:
        """Have the record say what is ours from now on. Raises OSError and ProgramError."""
        if left:
            if left != self.claimed:
                systemd_program.write(self.place, ipvs_static.text(left))
            return
        if self.unit or self.claimed:
            unit.remove()
        if self.said is not None or self.claimed:
            systemd_program.unlink(self.place)

    def changes_of_files(self, left: Table) -> dict[str, dict[str, str | None]]:
        """What changes of the record and its unit when these services are ours, as {name: {old, new}}."""
        new = unit.RIGHT if left else None
        old = None if self.said is None else unit.OTHERWISE
        if left and self.said == ipvs_static.text(left):
            old = unit.RIGHT
        return {**unit.change(unit.SERVICE, self.unit, new), **unit.change(str(self.place), old, new)}
