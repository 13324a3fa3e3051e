"""What all measurements have in common: a lab of their own that is new before and gone afterwards."""

from __future__ import annotations

from collections.abc import Callable

from .lab import Lab
from .plan import LabError
from .prepare import prepare, require_root
from .progress import step, warn


def in_new_lab(name: str, title: str, measure: Callable[[Lab], int]) -> int:
    """Measure in a lab of that name, which nobody else uses; the exit status."""
    try:
        require_root()
        prepare()
        lab = Lab(name)
        with lab.only_me():
            lab.down(purge=True)
            try:
                return measure(lab)
            finally:
                with step("take the lab down"):
                    lab.down(purge=True)
    except LabError as error:
        warn(f"{title}: {error}")
        return 1
