"""Time is aware everywhere: no naive datetime is made."""

from __future__ import annotations

import ast

from tests.architecture.sources import nodes

NAIVE = {"utcnow", "utcfromtimestamp", "today"}


def is_naive(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute):
        return False
    if call.func.attr in NAIVE:
        return True
    is_now = call.func.attr in {"now", "fromtimestamp"} and isinstance(call.func.value, ast.Name) and call.func.value.id == "datetime"
    wanted = 1 if call.func.attr == "now" else 2
    return is_now and len(call.args) + len(call.keywords) < wanted


def test_no_naive_datetime_is_made() -> None:
    assert [place for place, node in nodes(ast.Call) if isinstance(node, ast.Call) and is_naive(node)] == []


def test_the_walk_finds_a_naive_datetime() -> None:
    calls = [ast.parse(code, mode="eval").body for code in ("datetime.now()", "datetime.utcnow()", "datetime.fromtimestamp(1)")]

    assert all(isinstance(call, ast.Call) and is_naive(call) for call in calls)
