"""A row's state is changed by one module a noun, through its table of moves."""

from __future__ import annotations

import ast
import re

from tests.architecture.sources import nodes, trees

WRITERS = {
    "invocation/services/lifecycle.py",
    "invocation/services/turns.py",
    "invocation/services/batch_moves.py",
    "invocation/services/batches.py",
    "invocation/services/shards.py",
    "invocation/services/firings.py",
    "invocation/services/redrives.py",
    "invocation/services/deliveries.py",
    # These make the row, in its first state.
    "invocation/services/submission.py",
    "invocation/services/schedules.py",
}
SET_OF_A_TURN = re.compile(r"UPDATE invocation_turn\b(?: AS \w+)?\s+SET (.*?)(?:\bFROM\b|\bWHERE\b|\bRETURNING\b|\Z)", re.DOTALL)
SET_OF_A_JOB = re.compile(r"UPDATE invocation_job\b(?: AS \w+)? SET (.*?)(?:\bFROM\b|\bWHERE\b|\bRETURNING\b|\Z)", re.DOTALL)
STATE_WRITES = {"update", "create", "update_or_create", "bulk_create", "bulk_update"}
TABLES = {"Job", "Turn", "Batch", "Shard", "Firing", "Redrive"}


def writes_state(call: ast.Call) -> bool:
    names = {keyword.arg for keyword in call.keywords}
    return isinstance(call.func, ast.Attribute) and call.func.attr in STATE_WRITES and "state" in names


def test_only_the_writers_set_a_state() -> None:
    found = [place for place, node in nodes(ast.Call) if isinstance(node, ast.Call) and writes_state(node)]

    assert [place for place in found if place.split(":")[0] not in WRITERS] == []


def test_no_state_is_assigned_to_a_row() -> None:
    found = [
        place
        for place, node in nodes(ast.Assign)
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Attribute) and target.attr == "state" for target in node.targets)
    ]

    assert found == []


def holders(statement: re.Pattern[str]) -> set[str]:
    """Return the files whose statements of this kind set a state."""
    texts = [
        (name, node.value)
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return {name for name, text in texts if any("state =" in clause for clause in statement.findall(text))}


def test_sql_that_sets_a_job_state_stands_in_the_lifecycle_alone() -> None:
    assert holders(SET_OF_A_JOB) == {"invocation/services/lifecycle.py"}


def test_sql_that_sets_a_turn_state_stands_beside_the_writer_of_turns_alone() -> None:
    assert holders(SET_OF_A_TURN) == {"invocation/services/turn_rows.py"}
