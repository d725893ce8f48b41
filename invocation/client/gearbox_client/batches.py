"""Calls on batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any

from gearbox_client.calls import MOST_OF_A_PAGE, Call, Page, budget_of, get, given, items_of, moment, page_of, place, post
from gearbox_client.groups import Group, W, exchange, pages
from gearbox_client.reading import reader
from gearbox_client.values.batches import Batch, Dataset, Shard, Window


class Batches(Group[W]):
    """Open, watch, pause, resume, run failed rows again, cancel."""

    @exchange
    def open(
        self,
        endpoint: str,
        manifest: str | Mapping[str, Any] | Iterable[Mapping[str, Any]],
        *,
        shards: int | None = None,
        budget: Decimal | None = None,
        tokens: int | None = None,
        model_calls: int | None = None,
        window: Window | None = None,
        finish_by: datetime | None = None,
    ) -> Call[Batch]:
        """Open a batch over a file of your folder in the object store, or over these rows.

        A file of which more is to be said than its path is `{"path": …, "format": …, "row_id": …}`. It is read by a worker: the batch is
        `planning` first, and `failed` with a fault that names the line if it cannot be run.

        All rows together spend no more than `budget` (US dollars), `tokens` and `model_calls`. It runs in the `window` only, and
        warns when it will not be done by `finish_by`.
        It is sent once: when it is Unreachable, look whether the batch is there before you open it again.
        """
        rows = manifest if isinstance(manifest, str | Mapping) else {"rows": [dict(row) for row in manifest]}
        when = {"window": asdict(window) if window else None, "finish_by": moment(finish_by)}
        body = given(endpoint=endpoint, manifest=rows, shards=shards, budget=budget_of(budget, tokens, model_calls), **when)
        return post(place("batches"), reader(Batch), body)

    @exchange
    def get(self, batch_id: str) -> Call[Batch]:
        """Return the batch and how far it is."""
        return get(place("batches", batch_id), reader(Batch))

    @pages
    def list(self, *, state: str | None = None, endpoint: str | None = None) -> Call[Page[Batch]]:
        """Yield batches, newest first."""
        return page_of(Batch, place("batches"), state=state, endpoint=endpoint, limit=MOST_OF_A_PAGE)

    @exchange
    def shards(self, batch_id: str) -> Call[tuple[Shard, ...]]:
        return items_of(Shard, place("batches", batch_id, "shards"))

    @exchange
    def results(self, batch_id: str) -> Call[Dataset]:
        """Return where the dataset lies. Raises ResultNotReady at once before the end."""
        return get(place("batches", batch_id, "results"), reader(Dataset))

    @exchange
    def cancel(self, batch_id: str) -> Call[Batch]:
        return post(place("batches", batch_id, "cancel"), reader(Batch))

    @exchange
    def pause(self, batch_id: str) -> Call[Batch]:
        """Let it wait: rows that run come to their end, no other begins."""
        return post(place("batches", batch_id, "pause"), reader(Batch))

    @exchange
    def resume(
        self, batch_id: str, *, budget: Decimal | None = None, tokens: int | None = None, model_calls: int | None = None
    ) -> Call[Batch]:
        """Let a paused batch go on; one that was paused at its ceiling may be given another, up to its endpoint's.

        One that failed with `dataset_unwritten` has its dataset tried again.
        """
        caps = budget_of(budget, tokens, model_calls)
        return post(place("batches", batch_id, "resume"), reader(Batch), given(budget=caps) if caps else None)

    @exchange
    def retry_failed(self, batch_id: str) -> Call[Batch]:
        """Run the failed rows of a completed or paused batch again. Raises Conflict when none has failed."""
        return post(place("batches", batch_id, "retry-failed"), reader(Batch))
