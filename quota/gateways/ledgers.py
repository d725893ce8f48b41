"""The ledgers and where each lies: a line is booked beside what it pays for, so that both are committed together or not at all."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from quota.domain.ledger import ParentKind
from quota.models import BatchLedgerEntry, BatchUsageDay, BatchUsageMark, LedgerEntry, UsageDay, UsageMark
from quota.models.ledger import Line, Mark, Sums


@dataclass(frozen=True, slots=True)
class Ledger:
    """A table of lines, its sums by day and how far they go, all in one database."""

    lines: type[Line]
    days: type[Sums]
    marks: type[Mark]

    @property
    def database(self) -> str:
        return router.db_for_write(self.lines)

    @property
    def connection(self) -> BaseDatabaseWrapper:
        return connections[self.database]

    def sql(self, text: str) -> str:
        """Return a statement with the tables' names in place of LINES, DAYS and MARKS."""
        for word, model in (("LINES", self.lines), ("DAYS", self.days), ("MARKS", self.marks)):
            text = text.replace(word, model._meta.db_table)  # noqa: SLF001  (Django's own name for it)
        return text


MAIN = Ledger(LedgerEntry, UsageDay, UsageMark)
BATCHES = Ledger(BatchLedgerEntry, BatchUsageDay, BatchUsageMark)
LEDGERS = (MAIN, BATCHES)


def ledger_of(kind: ParentKind) -> Ledger:
    """Return where the calls of such a run are booked. A job of class p3 is a job: it is committed with other jobs."""
    return BATCHES if kind == ParentKind.BATCH else MAIN


def let_go() -> None:
    """Give this thread's connections back: for threads that nobody else cleans up behind."""
    for ledger in LEDGERS:
        ledger.connection.close()
