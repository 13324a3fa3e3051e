"""Functional tests: this tree in Salt's own loaders, no daemon, nothing mocked."""

import pytest
from saltfactories.utils.functional import Loaders

from salt_fixtures import file_root, pytest_unconfigure, salt_factories_config  # noqa: F401


@pytest.fixture(scope="session")
def minion_options(salt_factories, file_root):  # noqa: F811
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
