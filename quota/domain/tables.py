"""Tables as CSV: what a spreadsheet would take for a formula is shown as the text that it is."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from decimal import Decimal

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")
"""What a cell may begin with that a spreadsheet would run, or would strip to get at one that it would."""


def lines(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as lines of CSV (RFC 4180)."""
    text = io.StringIO()
    csv.writer(text).writerows([cell(value) for value in row] for row in rows)
    return text.getvalue()


def cell(value: object) -> str:
    """Return a value as a cell; a text that a spreadsheet would run gets an apostrophe before it."""
    if value is None:
        return ""
    if isinstance(value, int | float | Decimal):
        return f"{value}"
    text = str(value)
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) else text
