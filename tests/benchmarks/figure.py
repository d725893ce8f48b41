"""What a benchmark found: one figure against its target, and what it is compared with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.console import Console
from rich.table import Table


class Bound(StrEnum):
    """Which way a target binds: less is better, or more."""

    AT_MOST = "≤"
    AT_LEAST = "≥"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured value. Without a target it is there to compare with; without a unit it has the figure's."""

    what: str
    value: float
    target: float | None = None
    bound: Bound = Bound.AT_MOST
    unit: str = ""

    @property
    def holds(self) -> bool:
        if self.target is None:
            return True
        return self.value <= self.target if self.bound is Bound.AT_MOST else self.value >= self.target

    @property
    def verdict(self) -> str:
        return "" if self.target is None else "ok" if self.holds else "missed"

    @property
    def wanted(self) -> str:
        return "" if self.target is None else f"{self.bound} {self.target:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A benchmark's result: `main` is its value, `beside` what else was measured in the same run."""

    name: str
    unit: str
    main: Row
    beside: Sequence[Row] = ()

    @property
    def ok(self) -> bool:
        """Every row with a target holds it."""
        return all(row.holds for row in self._rows)

    @property
    def line(self) -> str:
        """The figure as one line of JSON."""
        value = {"name": self.name, "value": round(self.main.value, 3), "unit": self.unit, "target": self.main.target, "ok": self.ok}
        return json.dumps(value)

    def show(self, console: Console) -> None:
        """Print the table, then one JSON line."""
        console.print(self._table())
        print(self.line, flush=True)

    @property
    def _rows(self) -> Sequence[Row]:
        return (self.main, *self.beside)

    def _table(self) -> Table:
        table = Table("what", "value", "unit", "target", "", title=self.name)
        for row in self._rows:
            table.add_row(row.what, f"{row.value:,.2f}", row.unit or self.unit, row.wanted, row.verdict)
        return table
