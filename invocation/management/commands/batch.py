"""`manage.py batch run|status|cancel`: batches from a terminal, with a progress bar."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = "Run a JSONL manifest through a batch endpoint, look at a batch, or cancel it."

    def add_arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="run|status|cancel")
        run = acts.add_parser("run", help="open a batch over a local manifest")
        run.add_argument("manifest", type=Path)
        run.add_argument("--endpoint", required=True, metavar="NAME@VERSION")
        run.add_argument("--tenant", required=True, metavar="NAME", help="whose batch it is")
        run.add_argument("--shards", type=_count, default=256)
        run.add_argument("--watch", action="store_true", help="show a progress bar until the batch has ended")
        for name in ("status", "cancel"):
            acts.add_parser(name).add_argument("batch", type=UUID)

    def handle(self, *_: Any, act: str, **given: Any) -> None:
        from invocation.domain.errors import InvocationError

        try:
            _ACTS[act](self, **given)
        except InvocationError as refused:
            raise CommandError(f"{refused.title}: {refused.detail}") from refused

    def run(self, *, manifest: Path, endpoint: str, tenant: str, shards: int, watch: bool, **_: Any) -> None:
        from invocation.services import batch_desk

        if not manifest.is_file():
            raise CommandError(f"There is no manifest at {manifest}.")
        batch_id = batch_desk.open_local(manifest, endpoint=endpoint, tenant=tenant, shards=shards)
        self.stdout.write(f"batch {batch_id}")
        if watch:
            self._watch(batch_id)

    def status(self, *, batch: UUID, **_: Any) -> None:
        from datetime import UTC, datetime

        from invocation.selectors.batches import any_batch, progress

        row = any_batch(batch)
        found = progress(row, now=datetime.now(UTC))
        self.stdout.write(f"{row.state}: {found.rows_done}/{row.rows} rows, {found.rows_failed} failed, {found.cost_usd} USD")

    def cancel(self, *, batch: UUID, **_: Any) -> None:
        from datetime import UTC, datetime

        from invocation.services import batches

        batches.cancel(batch, now=datetime.now(UTC))
        self.stdout.write("cancelled")

    def _watch(self, batch_id: UUID) -> None:
        from invocation.management.watching import watch

        state = watch(batch_id)
        if state != "completed":
            raise CommandError(f"The batch is {state}.")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


_ACTS: dict[str, Callable[..., None]] = {"run": Command.run, "status": Command.status, "cancel": Command.cancel}
