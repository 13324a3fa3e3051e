"""Functional tests: this tree in Salt's own loaders, no daemon, nothing mocked."""

import logging
import shutil
from pathlib import Path

import pytest
import yaml
from saltfactories.utils.functional import Loaders

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = yaml.safe_load((REPOSITORY / "pillar.example").read_text())


def pytest_unconfigure():
    # Salt flushes its early log lines at exit, when pytest has closed the stream that they go to.
    logging.raiseExceptions = False


@pytest.fixture(scope="session")
def salt_factories_config(tmp_path_factory):
    return {
        "code_dir": str(REPOSITORY),
        "root_dir": str(tmp_path_factory.mktemp("salt")),
        "inject_sitecustomize": False,
    }


@pytest.fixture(scope="session")
def file_root(tmp_path_factory):
    """What a master would serve of this tree; the tree itself holds virtual environments, too many files to list."""
    root = tmp_path_factory.mktemp("root")
    for part in ("mysql_ha", "_modules", "_states", "_utils"):
        shutil.copytree(REPOSITORY / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture(scope="session")
def minion_options(salt_factories, file_root):
    """``minion_options("lvs1")``: a masterless minion of that name with this tree as its file root."""

    def make(name):
        overrides = {"file_client": "local", "file_roots": {"base": [str(file_root)]}}
        return salt_factories.salt_minion_daemon(name, overrides=overrides).config.copy()

    return make


@pytest.fixture(scope="session")
def loaders(minion_options):
    """``loaders("lvs1")``: that minion's loaders, made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = Loaders(minion_options(name), loaded_base_name=f"functional_{name}")
        return made[name]

    return get
