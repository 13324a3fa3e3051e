"""Our modules are found, synced and loaded by Salt itself, and document what they do."""

import ast
import re
import shlex

import pytest

from docstrings import cli_examples, public_functions
from salt_fixtures import REPOSITORY

MODULES = sorted((REPOSITORY / "_modules").glob("*.py"))
STATES = sorted((REPOSITORY / "_states").glob("*.py"))
RUNNERS = sorted((REPOSITORY / "_runners").glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_execution_modules_load(loaders, path) -> None:
    modules = loaders("lvs1").modules
    for function in public_functions(path):
        assert f"{path.stem}.{function.name.removesuffix('_')}" in modules


@pytest.mark.parametrize("path", STATES, ids=lambda path: path.stem)
def test_state_modules_load(loaders, path) -> None:
    states = loaders("lvs1").states
    for function in public_functions(path):
        assert f"{path.stem}.{function.name}" in states


def examples():
    for path in (*MODULES, *RUNNERS):
        for function in public_functions(path):
            yield pytest.param(path, function, id=f"{path.parent.name}-{path.stem}.{function.name}")


@pytest.mark.parametrize(("path", "function"), examples())
def test_every_function_has_an_example_that_is_a_call_of_it(path, function) -> None:
    documentation = ast.get_docstring(function)
    assert documentation, "no docstring"
    assert cli_examples(function), "no CLI Example"
    name = f"{path.stem}.{function.name.removesuffix('_')}"
    names = [argument.arg for argument in function.args.args]
    for line in cli_examples(function):
        words = shlex.split(line)
        # A runner's has no target.
        assert words[0] in (("salt-run",) if path in RUNNERS else ("salt", "salt-call"))
        rest = words[1:] if path in RUNNERS else words[2:]
        assert rest[0] == name
        positional = [word for word in rest[1:] if not re.match(r"[a-z_]+=", word)]
        keywords = [word.split("=")[0] for word in rest[1:] if word not in positional]
        assert set(keywords) <= set(names)
        required = len(names) - len(function.args.defaults)
        assert required <= len(positional) + len(set(keywords) & set(names[:required])) <= len(names)


@pytest.mark.parametrize(("path", "function"), examples())
def test_every_parameter_is_documented_or_named_by_its_function(path, function) -> None:
    documentation = ast.get_docstring(function)
    for argument in function.args.args:
        assert re.search(rf"\b{argument.arg}\b", documentation), f"{argument.arg} is not explained"


def test_ipvs_list_without_ipvs_says_so_or_lists(loaders) -> None:
    """On a machine whose kernel has no IPVS the sentence, else a table; in no case a traceback."""
    from salt.exceptions import CommandExecutionError

    try:
        table = loaders("lvs1").modules.ipvs.list()
    except CommandExecutionError as error:
        assert re.search(r"modprobe ip_vs|CAP_NET_ADMIN", str(error))
    else:
        assert isinstance(table, dict)
