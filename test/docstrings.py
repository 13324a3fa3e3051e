"""What the documentation of our modules says, read without importing them."""

from __future__ import annotations

import ast
import re
from pathlib import Path


def public_functions(path: Path) -> list[ast.FunctionDef]:
    """The functions of a module that Salt offers."""
    return [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]


def cli_examples(function: ast.FunctionDef) -> list[str]:
    """The commands of a function's CLI Example; continued lines are joined."""
    block = re.search(r"CLI Example:\n\n\.\. code-block:: bash\n\n((?:    .+\n?)+)", ast.get_docstring(function) or "")
    return [] if block is None else [line.strip() for line in block[1].replace("\\\n", " ").strip().splitlines()]
