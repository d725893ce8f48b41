"""A batch's progress bar in the terminal: rows, rate, time left, cost, and what fails or waits."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from uuid import UUID

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from invocation.domain.batches import BATCH_ENDED, BatchState
from invocation.management import telling
from invocation.models import Batch
from invocation.selectors import progress as seen
from invocation.selectors.batches import any_batch

LOOK_S = 0.3
MOST_CAUSES = 3


def watch(batch_id: UUID, *, console: Console | None = None) -> str:
    """Show the bar until the batch has ended and return its state. Leaving it stops nothing."""
    bar = _bar(console)
    with Live(bar, console=bar.console, refresh_per_second=4) as live:
        batch = any_batch(batch_id)
        task = bar.add_task("batch", total=batch.rows or None, rows="", pace="", left="", cost="")
        while True:
            live.update(_shown(bar, task, batch))
            if batch.state in BATCH_ENDED:
                return str(batch.state)
            time.sleep(LOOK_S)
            batch = any_batch(batch_id)


def _bar(console: Console | None) -> Progress:
    told = [TextColumn(f"{{task.fields[{name}]}}") for name in ("rows", "pace", "left", "cost")]
    return Progress(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), *told, TimeElapsedColumn(), console=console)


def _shown(bar: Progress, task: TaskID, batch: Batch) -> Group:
    found = seen.progress(batch, now=datetime.now(UTC))
    bar.update(
        task,
        total=batch.rows or None,
        completed=found.rows_done,
        description=telling.standing(batch),
        rows=f"{found.rows_done:,}/{batch.rows:,} rows",
        pace=telling.pace(found) if found.rows_left else "",
        left=telling.left(found) if found.rows_left else "",
        cost=f"{found.cost_usd:.4f} USD",
    )
    return Group(bar, *(Text(line) for line in _below(batch, found)))


def _below(batch: Batch, found: seen.Progress) -> list[str]:
    """Return the lines under the bar."""
    told = [telling.planned(batch)] if batch.state == BatchState.PLANNING else []
    causes = ", ".join(f"{cause.count:,} {cause.code}" for cause in found.causes[:MOST_CAUSES])
    return [*told, *([f"{found.rows_failed:,} failed: {causes}"] if causes else []), *telling.notices(batch, found)]
