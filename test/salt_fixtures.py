"""What the functional and the integration tests share: this tree as a file root, and where Salt puts its files."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import yaml

from mysql_ha_lab.plan import REPOSITORY
from mysql_ha_lab.salt import copy_tree

EXAMPLE = yaml.safe_load((REPOSITORY / "pillar.example").read_text())


def pytest_unconfigure() -> None:
    # Salt flushes its early log lines at exit, when pytest has closed the stream that they go to.
    logging.raiseExceptions = False


@pytest.fixture(scope="session")
def salt_factories_config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return {
        "code_dir": str(REPOSITORY),
        "root_dir": str(tmp_path_factory.mktemp("salt")),
        "inject_sitecustomize": False,
    }


@pytest.fixture(scope="session")
def file_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a master would serve of this tree; the tree itself holds virtual environments, too many files to list."""
    root = tmp_path_factory.mktemp("root")
    copy_tree(REPOSITORY, root)
    return root
