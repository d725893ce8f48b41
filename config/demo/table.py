"""The closing table by mode, and its JSON line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

COLUMNS = (
    "mode",
    "runs",
    "completed",
    "failures",
    "first delta\np50 / p95",
    "duration\np50 / p95",
    "tokens",
    "cost",
    "score\n(judged)",
    "baseline",
)


def show(report: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Print one row a mode."""
    table = Table(title="One agent, four ways to invoke it", title_justify="left", box=box.SIMPLE_HEAD)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == COLUMNS[0] else "right", no_wrap=True)
    for mode, figures in report.items():
        table.add_row(mode, *_cells(figures))
    console.print()
    console.print(table)


def summary(report: Mapping[str, Mapping[str, Any]], *, modes: Sequence[str]) -> dict[str, Any]:
    """Return the last line: ok when every mode completed all that it ran."""
    shown = {mode: _kept(mode, report[mode]) for mode in modes}
    sound = all(report[mode]["runs"] and report[mode]["runs"] == report[mode]["completed"] for mode in modes)
    return {"modes": shown, "ok": bool(sound)}


def _kept(mode: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: figures[name] for name in ("runs", "completed", "first_delta_ms_p95")}
    return kept if figures["rows"] is None else {"rows": figures["rows"], **kept}


def _cells(figures: Mapping[str, Any]) -> list[str]:
    return [
        str(figures["runs"]),
        str(figures["completed"]),
        str(figures["failures"]),
        _pair(figures["first_delta_ms_p50"], figures["first_delta_ms_p95"]),
        _pair(figures["duration_ms_p50"], figures["duration_ms_p95"]),
        f"{figures['tokens']:,}",
        f"${float(figures['cost_usd']):.4f}",
        "—" if figures["score"] is None else f"{figures['score']:.2f} ({figures['scored']})",
        "unset" if figures["baseline"] is None else f"{figures['baseline']:.2f} {figures['standing']}",
    ]


def _pair(median: int | None, high: int | None) -> str:
    return "—" if median is None or high is None else f"{median:,} / {high:,} ms"
