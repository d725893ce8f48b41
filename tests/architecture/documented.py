"""The tables of the docs, drawn from the code: `python -m tests.architecture.documented` writes them anew."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference.md"
BLOCK = re.compile(r"(<!-- drawn: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
DOWN = ("streaming-sync", "async-queue", "scheduled-trigger", "batch-window")


def drawn(text: str) -> str:
    """Return a page with every marked table drawn anew."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{TABLES[block[2]]()}\n\n{block[3]}", text)


def modes() -> str:
    """One column a mode, one row a field of its policy."""
    from invocation.domain.modes import POLICIES, Mode

    policies = [POLICIES[Mode(name)] for name in DOWN]
    names = [name for name in policies[0].__slots__ if name != "mode"]
    return _table(("knob", *DOWN), ((name, *(_shown(getattr(policy, name)) for policy in policies)) for name in names))


def endpoints() -> str:
    from invocation.api.shapes.endpoints import shown
    from invocation.gateways.declared import book

    rows = []
    for _, endpoint in sorted(book().by_label.items()):
        told = shown(endpoint)
        needs = ", ".join(f"`{name}`" for name in told["input_schema"].get("required", ())) or "any of them"
        budgets, limits = told["budgets"], told["limits"]
        spends = f"{budgets['first_delta_ms']} ms, {budgets['whole_ms']} ms, {budgets['cost_usd']} USD"
        takes = f"{limits['items']:,} items, {limits['tokens']:,} tokens, {limits['body_bytes']:,} bytes"
        rows.append((f"`{endpoint.label}`", told["mode"], needs, told["verification"], spends, takes, ", ".join(told["may_wait"]) or "no"))
    return _table(("endpoint", "mode", "needs", "verification", "first delta, whole, cost", "limits", "may wait"), rows)


def calls() -> str:
    from invocation.api.openapi import document

    found = [(method.upper(), path, call["summary"]) for path, methods in document()["paths"].items() for method, call in methods.items()]
    return _table(("call", "meaning"), ((f"`{method} {path}`", meaning) for method, path, meaning in found))


def problems() -> str:
    from invocation.api.problems import every_code

    rows = ((f"`{each.code}`", str(each.status), each.title, each.remedy) for each in every_code())
    return _table(("code", "status", "title", "remedy"), rows)


def events() -> str:
    """The types of event objects, those of turns and `job.` with each state of a job, and what is in their `data`."""
    from invocation.domain.jobs import JobState
    from invocation.domain.turns import EventType

    kinds = [*((str(kind), DATA[kind]) for kind in EventType), *((f"job.{state}", _data_of_a_job(state)) for state in JobState)]
    return _table(("type", "data"), ((f"`{name}`", data) for name, data in kinds))


DATA: Mapping[str, str] = MappingProxyType(
    {
        "session.ready": "`session` (null before the first question), `endpoint`, `seq`; over WebSocket",
        "turn.started": "`turn`, `number` in its session, `attempt`",
        "plan.ready": "`summary`, `verification` (`draft` or `buffer`), `sources`",
        "delta": "`text`, maybe `from`",
        "heartbeat": "`waited_ms`",
        "retracted": "`reason`, `verifier`",
        "gap": "`turn`, `text`",
        "progress": "`done`, `of`, `note`",
        "offer.accepted": "`turn`, `job`, `endpoint`; over WebSocket",
        "turn.completed": "`turn`, `text`, `output`, `usage`, `cost_usd`, `model`, `downshifts`,"
        " `first_delta_ms`, `model_first_ms`, `duration_ms`",
        "turn.failed": "`turn`, `code`, `sentence`, `remedy`, `truncated`, `escape`; if it ran, the figures of `turn.completed` as well",
        "input.requested": "`questions`, `until`",
        "reconnect": "`retry_ms`",
        "error": "what a problem has but its status: `code`, `title`, `detail`, maybe `retry_after_s`; over WebSocket",
    }
)


def _data_of_a_job(state: str) -> str:
    more = {"input_required": ", `questions`", "failed": ", `error`", "completed": ", and `relevance` where the job names a context"}
    return f"`move`, maybe `attempt` and `reason`{more.get(state, '')}"


def variables() -> Mapping[str, str]:
    """Return each variable that config/env.py reads, with its default as it is written there; empty for none."""
    found = {}
    for node in ast.walk(ast.parse((ROOT / "config" / "env.py").read_text())):
        if isinstance(node, ast.keyword) and node.arg and (name := _variable(node.value)):
            found[name] = _default(node.value)
    return found | {"GEARBOX_HOME": ".local"}


def _variable(node: ast.expr) -> str | None:
    words = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return next((word for word in words if re.fullmatch(r"[A-Z][A-Z_]+", word)), None)


def _default(node: ast.expr) -> str:
    """Return the last constant: `_count(given, NAME, 8000)` and `given.get(NAME) or "x"` both end with the default."""
    last = node.values[-1] if isinstance(node, ast.BoolOp) else node.args[-1] if isinstance(node, ast.Call) else node
    value = last.value if isinstance(last, ast.Constant) else ""
    return "" if value is None or _variable(last) else f"{value:g}" if isinstance(value, float) else str(value)


def _shown(value: Any) -> str:
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    if isinstance(value, frozenset):
        return ", ".join(sorted(str(each) for each in value)) or "nothing"
    if is_dataclass(value):
        return ", ".join(f"{each.name} {_shown(getattr(value, each.name))}" for each in fields(value))
    return str(value)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


TABLES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {"modes": modes, "endpoints": endpoints, "calls": calls, "problems": problems, "events": events}
)


if __name__ == "__main__":
    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

    import django

    django.setup()
    REFERENCE.write_text(drawn(REFERENCE.read_text()))
