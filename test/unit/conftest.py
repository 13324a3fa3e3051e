"""Unit tests: _utils by plain import, _modules and _states by path, with what Salt would inject."""

import importlib.util
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "_utils"))


@pytest.fixture
def load_module():
    """``load_module("modules", "ipvs", __opts__=...)``: one of our files, as Salt's loader would have it."""

    def load(kind, name, **injected):
        path = REPOSITORY / f"_{kind}" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"{kind}_{name}_under_test", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for dunder in ("__salt__", "__opts__", "__pillar__", "__grains__", "__states__", "__context__"):
            setattr(module, dunder, injected.get(dunder, {}))
        return module

    return load


@pytest.fixture(params=[False, True], ids=["real", "test"])
def test_mode(request):
    """A state's run for real, and in test mode."""
    return request.param
