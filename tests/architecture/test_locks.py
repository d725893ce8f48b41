"""A row is locked as an update locks it, so that rows which refer to it can be written meanwhile: only who deletes locks it whole.

`FOR UPDATE` waits for, and holds up, each insert of a row with a foreign key to the locked one; two transactions that hold a row
of each other's that way break off.
"""

from __future__ import annotations

import ast

from tests.architecture.sources import nodes

DELETES = {"invocation/services/deliveries.py", "invocation/services/outbox.py", "invocation/services/journals.py"}
WHOLE = "FOR UPDATE"


def is_whole(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and WHOLE in node.value
    is_lock = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "select_for_update"
    return isinstance(node, ast.Call) and is_lock and "no_key" not in {keyword.arg for keyword in node.keywords}


def test_only_who_deletes_a_row_locks_it_whole() -> None:
    found = {place.rsplit(":", 1)[0] for kind in (ast.Call, ast.Constant) for place, node in nodes(kind) if is_whole(node)}

    assert found == DELETES


def test_the_walk_finds_a_whole_lock() -> None:
    for code in ("Job.objects.select_for_update(of=('self',))", "'SELECT id FROM job FOR UPDATE OF job'"):
        assert is_whole(ast.parse(code, mode="eval").body)
    assert not is_whole(ast.parse("Job.objects.select_for_update(no_key=True)", mode="eval").body)
