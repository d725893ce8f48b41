"""`manage.py batch run|status|list|pause|resume|cancel|retry-failed`: batches from a terminal, with a progress bar."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

if TYPE_CHECKING:
    from invocation.domain.windows import Window

COMMAND = "a command"


class Command(BaseCommand):
    help = "Run a manifest (JSON Lines, CSV or Parquet); look at batches; pause, resume or cancel one, or run its failed rows again."

    def add_arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="|".join(_ACTS))
        run = acts.add_parser("run", help="open a batch over a local manifest, or over one in S3 that the tenant was granted")
        run.add_argument("manifest", metavar="FILE|s3://BUCKET/KEY")
        run.add_argument("--endpoint", required=True, metavar="NAME@VERSION")
        run.add_argument("--tenant", default="", metavar="NAME", help="whose batch it is, where there is more than one tenant")
        run.add_argument("--shards", type=_count, default=256)
        run.add_argument("--format", choices=("jsonl", "csv", "parquet"), default="", help="where the extension does not say it")
        run.add_argument("--row-id", metavar="COLUMN", help="what names each row, instead of row_id")
        run.add_argument("--output", default="", metavar="PLACE", help="a folder below the tenant's own, or s3://bucket/prefix")
        run.add_argument("--partition-by", action="append", default=[], metavar="COLUMN", help="part the results by it; may be said again")
        run.add_argument("--window", type=_window, metavar="HH:MM-HH:MM@ZONE", help="when it may run, such as 22:00-06:00@Europe/Berlin")
        run.add_argument("--finish-by", type=_moment, metavar="MOMENT", help="by when it should be done, such as 2026-12-01T06:00:00Z")
        _watchable(run)
        listed = acts.add_parser("list", help="the newest batches")
        listed.add_argument("--state", help="only those in this state")
        listed.add_argument("--most", type=_count, default=20)
        for name in ("status", "pause", "resume", "cancel", "retry-failed"):
            acts.add_parser(name, help=_MEANS[name]).add_argument("batch", type=UUID)
        acts.choices["pause"].add_argument("--reason", default="", help="kept with the pause")
        for name in ("status", "resume", "retry-failed"):
            _watchable(acts.choices[name])

    def handle(self, *_: Any, act: str, **given: Any) -> None:
        from invocation.domain.errors import InvocationError
        from invocation.selectors.batches import any_batch

        try:
            if "batch" in given:
                any_batch(given["batch"])
            _ACTS[act](self, **given)
        except InvocationError as refused:
            raise CommandError(f"{refused.title}: {refused.detail}") from refused

    def run(self, *, manifest: str, endpoint: str, tenant: str, watch: bool, **given: Any) -> None:
        from invocation.services import batch_desk
        from invocation.services.outputs import OutputWish

        source = batch_desk.Source(place=manifest, form=given["format"], row_id=given["row_id"])
        if not source.is_in_s3 and not Path(manifest).is_file():
            raise CommandError(f"There is no manifest at {manifest}.")
        terms = {name: given[name] for name in ("shards", "window", "finish_by")}
        output = OutputWish(uri=given["output"], partition_by=tuple(given["partition_by"]))
        batch_id = batch_desk.open_batch(source, endpoint=endpoint, tenant=tenant, output=output, **terms)
        self.stdout.write(f"batch {batch_id}")
        self._watch(batch_id, wanted=watch)

    def status(self, *, batch: UUID, watch: bool, **_: Any) -> None:
        from invocation.management.telling import lines
        from invocation.selectors.batches import any_batch

        for line in lines(any_batch(batch), now=datetime.now(UTC)):
            self.stdout.write(line)
        self._watch(batch, wanted=watch)

    def list(self, *, state: str | None, most: int, **_: Any) -> None:
        from invocation.management.telling import row
        from invocation.selectors.batches import newest

        for batch in newest(state=state, most=most):
            self.stdout.write(row(batch))

    def pause(self, *, batch: UUID, reason: str, **_: Any) -> None:
        from invocation.domain.batch_acts import asked
        from invocation.services import batch_control

        batch_control.pause(batch, sentence=asked(by=COMMAND, reason=reason), now=datetime.now(UTC))
        self.stdout.write("paused")

    def resume(self, *, batch: UUID, watch: bool, **_: Any) -> None:
        from invocation.selectors.batches import any_batch
        from invocation.services import batch_control

        batch_control.resume(batch, now=datetime.now(UTC))
        row = any_batch(batch)
        self.stdout.write(row.pause["sentence"] if row.pause else "resumed")
        self._watch(batch, wanted=watch)

    def cancel(self, *, batch: UUID, **_: Any) -> None:
        from invocation.services import batch_control

        batch_control.cancel(batch, now=datetime.now(UTC))
        self.stdout.write("cancelled")

    def retry_failed(self, *, batch: UUID, watch: bool, **_: Any) -> None:
        from invocation.services import batch_control

        count = batch_control.retry_failed(batch, now=datetime.now(UTC))
        self.stdout.write(f"{count} failed rows run again")
        self._watch(batch, wanted=watch)

    def _watch(self, batch_id: UUID, *, wanted: bool) -> None:
        if not wanted:
            return
        from invocation.management.watching import watch

        state = watch(batch_id)
        if state != "completed":
            raise CommandError(f"The batch is {state}.")


_ACTS: dict[str, Callable[..., None]] = {
    "run": Command.run,
    "status": Command.status,
    "list": Command.list,
    "pause": Command.pause,
    "resume": Command.resume,
    "cancel": Command.cancel,
    "retry-failed": Command.retry_failed,
}
_MEANS = {
    "status": "how far it is",
    "pause": "let no row begin until it is resumed",
    "resume": "let it go on, in its window; or have its dataset tried again",
    "cancel": "end it for good; what is finished is published as a part",
    "retry-failed": "run the failed rows once more",
}


def _watchable(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--watch", action="store_true", help="show a progress bar until the batch has ended; leaving it stops nothing")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _window(text: str) -> Window:
    from invocation.domain.windows import WindowInvalid, window_of_text

    try:
        return window_of_text(text)
    except WindowInvalid as wrong:
        raise argparse.ArgumentTypeError(str(wrong)) from None


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.utcoffset() is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no moment with its offset, such as 2026-12-01T06:00:00Z")
    return found
