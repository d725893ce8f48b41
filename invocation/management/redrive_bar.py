"""A redrive's progress bar in the terminal."""

from __future__ import annotations

import time
from uuid import UUID

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from invocation.selectors.redrives import any_redrive, is_open

LOOK_S = 0.3


def watch(redrive_id: UUID) -> str:
    """Show the bar until the redrive has ended and return its state."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("jobs"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[refused]} refused")) as bar:
        task = bar.add_task("redrive", total=None, refused=0)
        while True:
            row = any_redrive(redrive_id)
            bar.update(task, total=row.total or None, completed=row.done + row.refused, refused=row.refused, description=str(row.state))
            if not is_open(row):
                return str(row.state)
            time.sleep(LOOK_S)
