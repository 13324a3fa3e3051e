"""Whatever the formula installs is in the lab's package repository, or on every host of the lab from the start."""

import yaml

from mysql_ha_lab.layers import BASE_PACKAGES, COMMON_PACKAGES
from mysql_ha_lab.plan import FLAVORS
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
    databases = {package for flavor in FLAVORS.values() for package in flavor.packages}
    # The formula may know fewer flavors than the lab, but at least one.
    assert wanted & databases
    assert wanted - set(BASE_PACKAGES) - databases == set(COMMON_PACKAGES)
