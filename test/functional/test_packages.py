"""Whatever the formula installs is in the lab's package repository, or on every host of the lab from the start."""

import yaml

from mysql_ha_lab.layers import BASE_PACKAGES, FORMULA_PACKAGES
from salt_fixtures import REPOSITORY


def packages(value):
    """All names in the lists below keys that end in ``packages``."""
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from packages(inner)
        elif key.endswith("packages"):
            yield from inner


def test_the_labs_packages_are_those_of_osfamilymap() -> None:
    wanted = set(packages(yaml.safe_load((REPOSITORY / "mysql_ha/osfamilymap.yaml").read_text())["Debian"]))
    assert wanted - set(BASE_PACKAGES) == set(FORMULA_PACKAGES)
