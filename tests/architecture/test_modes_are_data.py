"""Whatever differs between modes is a field of the mode table: nothing compares a mode."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.sources import nodes

MODES = {"STREAMING_SYNC", "ASYNC_QUEUE", "SCHEDULED_TRIGGER", "BATCH_WINDOW"}
WIRE_NAMES = {"streaming-sync", "async-queue", "scheduled-trigger", "batch-window"}


def speaks_of_a_mode(node: ast.AST) -> bool:
    """Is this a mode, something called one, or a collection of such?"""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return any(map(speaks_of_a_mode, node.elts))
    if isinstance(node, ast.Call):
        return any(map(speaks_of_a_mode, node.args))
    if isinstance(node, ast.Attribute):
        return node.attr in MODES or node.attr == "mode"
    if isinstance(node, ast.Name):
        return node.id == "mode"
    return isinstance(node, ast.Constant) and node.value in WIRE_NAMES


def branches(code: ast.AST) -> list[int]:
    """Return the lines on which code decides by a mode."""
    found = []
    for node in ast.walk(code):
        if isinstance(node, ast.Compare) and any(map(speaks_of_a_mode, [node.left, *node.comparators])):
            found.append(node.lineno)
        if isinstance(node, ast.Match) and speaks_of_a_mode(node.subject):
            found.append(node.lineno)
    return found


def test_no_product_code_compares_a_mode() -> None:
    found = [place for place, node in nodes(ast.Compare) if branches(node)]
    found += [place for place, node in nodes(ast.Match) if branches(node)]

    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "if endpoint.mode == Mode.BATCH_WINDOW: pass",
        "if mode is Mode.ASYNC_QUEUE: pass",
        "x = row.mode in ('async-queue',)",
        "if str(job.mode) == name: pass",
        "match endpoint.mode:\n    case _: pass",
    ],
)
def test_the_walk_finds_a_branch_on_a_mode(code: str) -> None:
    assert branches(ast.parse(code))
