"""The lab's package repository holds what the formula installs, no more and no less."""

import sys

import yaml

from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "test" / "lab"))


def test_the_labs_packages_are_those_of_osfamilymap() -> None:
    from mysql_ha_lab.layers import FORMULA_PACKAGES

    wanted = yaml.safe_load((REPOSITORY / "mysql_ha/osfamilymap.yaml").read_text())["Debian"]
    names = {
        *wanted["database"]["packages"],
        *wanted["keepalived"]["build_packages"],
        *wanted["ipvsadm"]["build_packages"],
    }
    assert set(FORMULA_PACKAGES) == names
