"""The rules import the standard library and each other, nothing else."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

from tests.architecture.sources import trees


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def is_pure(module: str) -> bool:
    top, *rest = module.split(".")
    return top in sys.stdlib_module_names or (bool(rest) and rest[0] == "domain")


def test_a_rule_imports_only_the_standard_library_and_rules() -> None:
    found = {
        f"{name}: {module}" for name, tree in trees().items() if "/domain/" in name for module in imported(tree) if not is_pure(module)
    }

    assert found == set()


def test_the_walk_finds_a_framework() -> None:
    assert not is_pure("django.db.models")
    assert not is_pure("invocation.models")
