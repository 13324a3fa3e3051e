"""The package for Salt's package manager: `spm build`, and what an installation puts where."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
FORMULA = yaml.safe_load((REPOSITORY / "FORMULA").read_text())
OURS = ("FORMULA", "LICENSE", "README.md", "CHANGELOG.md", "pillar.example", "docs/", "mysql_ha/", "_")


@pytest.fixture(scope="module")
def spm(tmp_path_factory):
    """``spm("build", ".")``: Salt's package manager with all its places in a folder of its own."""
    place = tmp_path_factory.mktemp("spm")
    (place / "spm").write_text(
        yaml.safe_dump(
            {
                "root_dir": str(place),
                "spm_build_dir": str(place / "built"),
                "spm_db": str(place / "packages.db"),
                "formula_path": str(place / "formulas"),
                "pillar_path": str(place / "pillar"),
                "reactor_path": str(place / "reactor"),
                "spm_share_dir": str(place / "share"),
                "log_file": str(place / "spm.log"),
            }
        )
    )

    def run(*words):
        program = Path(sys.executable).with_name("spm")
        done = subprocess.run(
            [program, "-c", place, *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return place

    return run


@pytest.fixture(scope="module")
def package(spm):
    """The package's file."""
    return next((spm("build", ".") / "built").glob("mysql_ha-*.spm"))


def tracked():
    """The files that belong to the formula, by git."""
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60)
    return {name for name in listed.stdout.splitlines() if name.startswith(OURS)}


def test_the_package_holds_the_formula_and_nothing_else(package) -> None:
    with tarfile.open(package) as tar:
        files = {member.name.removeprefix("mysql_ha/") for member in tar if member.isfile()}
    assert files == tracked()


def test_the_version_is_in_its_name(package) -> None:
    assert package.name == f"mysql_ha-{FORMULA['version']}-{FORMULA['release']}.spm"


def test_an_installed_package_is_a_file_root(spm, package) -> None:
    place = spm("local", "install", "--assume-yes", str(package))
    installed = {
        str(path.relative_to(place / "formulas")) for path in (place / "formulas").rglob("*") if path.is_file()
    }
    assert {name for name in tracked() if name.startswith(("mysql_ha/", "_"))} <= installed
