"""What a benchmark found: one figure against its target, and what it is compared with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured value. Less is better; without a target it is there to compare with."""

    what: str
    value: float
    target: float | None = None

    @property
    def holds(self) -> bool:
        return self.target is None or self.value <= self.target

    @property
    def verdict(self) -> str:
        return "" if self.target is None else "ok" if self.holds else "missed"


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

    def show(self, console: Console) -> None:
        """Print the table, then one JSON line."""
        console.print(self._table())
        line = {"name": self.name, "value": round(self.main.value, 3), "unit": self.unit, "target": self.main.target, "ok": self.ok}
        print(json.dumps(line), flush=True)

    @property
    def _rows(self) -> Sequence[Row]:
        return (self.main, *self.beside)

    def _table(self) -> Table:
        table = Table("what", *self._numbers(), "", title=self.name)
        for row in self._rows:
            target = "" if row.target is None else f"{row.target:g}"
            table.add_row(row.what, f"{row.value:,.2f}", target, row.verdict)
        return table

    def _numbers(self) -> Sequence[str]:
        return (self.unit, "target")
