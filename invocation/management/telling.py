"""A batch in words, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from invocation.domain.batches import BatchState
from invocation.domain.masking import masked_text
from invocation.models import Batch
from invocation.selectors.progress import Progress, progress


def lines(batch: Batch, *, now: datetime) -> Iterator[str]:
    """Yield what somebody wants to know of a batch, a line each."""
    found = progress(batch, now=now)
    rows = f"{found.rows_done:,}/{batch.rows:,} rows, {found.rows_failed:,} failed"
    yield f"{standing(batch)}: {rows}, {found.cost_usd:f} USD{_predicted(found)}"
    if batch.state == BatchState.PLANNING:
        yield planned(batch)
    yield "shards: " + ", ".join(f"{count} {state}" for state, count in found.shards.items() if count)
    if found.rows_left:
        yield f"{pace(found)}, {left(found)}" + (f", done at {_told(found.finish_at)}" if found.finish_at else "")
    if batch.window:
        yield f"window {batch.window['start']}-{batch.window['end']}@{batch.window['zone']}" + _next(found)
    yield from notices(batch, found)
    yield from (f"error {cause.code}: {cause.count:,} rows, newest {masked_text(str(cause.row_id))}" for cause in found.causes)


def notices(batch: Batch, found: Progress) -> Iterator[str]:
    """Yield why it waits, what will be late, what ended it and what its scores said."""
    if batch.pause:
        yield f"paused, {batch.pause['code']}: {_why(batch.pause)}"
    yield from (f"{fault.get('code')}: {_why(fault)}" for fault in (batch.fault, batch.gathering) if fault)
    yield from (f"warning: {warned.sentence}" for warned in found.warnings)
    if batch.scores:
        yield f"{batch.publication or 'not published'}: {batch.scores['sentence']}"


def _why(told: Mapping[str, Any]) -> str:
    return masked_text(str(told.get("broke") or told.get("sentence", "")))


def row(batch: Any) -> str:
    """Return one batch of a list, its sums with it."""
    done, failed = batch.sum_done or 0, batch.sum_failed_rows or 0
    at = f"{batch.created_at.astimezone(UTC):%Y-%m-%d %H:%M}"
    return f"{batch.pk}  {at}  {standing(batch):<22} {done:>12,}/{batch.rows:,} rows  {failed:,} failed  {batch.endpoint}"


def standing(batch: Batch) -> str:
    """Return the state, and why it is so where it is not alone."""
    more = (batch.pause or {}).get("code") or batch.publication
    return f"{batch.state} ({more})" if more else str(batch.state)


def pace(found: Progress) -> str:
    return "rate unknown" if found.rate is None else f"{found.rate:,.1f} rows/s"


def left(found: Progress) -> str:
    return "time unknown" if found.eta_s is None else f"{timedelta(seconds=round(found.eta_s))} left"


def planned(batch: Any) -> str:
    """Return how far the reading of the manifest is."""
    told = batch.planning or {}
    return f"reading the manifest: {told.get('rows_read', 0):,} rows, {told.get('bytes_read') or 0:,} of {told.get('bytes') or 0:,} bytes"


def _predicted(found: Progress) -> str:
    if found.cost_predicted_usd is None or not found.rows_left:
        return ""
    return f" of about {found.cost_predicted_usd:f} USD"


def _next(found: Progress) -> str:
    if found.closes_at is None or found.opens_at is None:
        return ""
    return f", open until {_told(found.closes_at)}" if found.is_open else f", opens at {_told(found.opens_at)}"


def _told(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
