"""Writes the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from quota.domain.ledger import LedgerLine
from quota.models import LedgerEntry

COLUMNS = [column.name for column in fields(LedgerLine) if column.name != "held"]


def append(lines: Sequence[LedgerLine], *, using: str = "default") -> None:
    """Add the lines in one statement, inside the caller's transaction: they stand or fall with what they paid for."""
    LedgerEntry.objects.using(using).bulk_create([LedgerEntry(**{name: getattr(line, name) for name in COLUMNS}) for line in lines])
