"""A batch's progress bar in the terminal."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from uuid import UUID

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from invocation.domain.batches import BATCH_ENDED
from invocation.selectors.batches import any_batch, progress

LOOK_S = 0.3


def watch(batch_id: UUID) -> str:
    """Show the bar until the batch has ended and return its state."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[cost]} USD")) as bar:
        batch = any_batch(batch_id)
        task = bar.add_task("batch", total=batch.rows, cost=0)
        while batch.state not in BATCH_ENDED:
            time.sleep(LOOK_S)
            batch = any_batch(batch_id)
            found = progress(batch, now=datetime.now(UTC))
            bar.update(task, completed=found.rows_done, cost=found.cost_usd, description=str(batch.state))
    return str(batch.state)
