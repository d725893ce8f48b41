"""What is kept of a finished row: a line of its shard's part, and its record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from agents.domain.errors import RunError, WorkersVanished
from invocation.domain import traces
from invocation.domain.batches import Row
from invocation.domain.ids import new_id
from invocation.domain.jobs import Fault
from invocation.domain.losses import LOSSES_OF_A_ROW
from invocation.domain.outcomes import outcome_of
from invocation.models import Batch, BatchRow, Shard
from invocation.services import records, results
from invocation.services.bills import Bill
from invocation.services.runs import Carried, Clock


@dataclass(frozen=True, slots=True)
class FinishedRow:
    """A row, its place in the shard, its run and its calls' bill."""

    place: int
    row: Row
    run_id: UUID
    carried: Carried
    bill: Bill
    tries: int
    duration_ms: int

    @property
    def error(self) -> RunError | None:
        return self.carried.error


def lost(place: int, row: Row) -> FinishedRow:
    """Return the end of a row under which workers vanished. It is not run for that."""
    vanished, bill = WorkersVanished(f"{LOSSES_OF_A_ROW} workers vanished while they ran this row."), Bill()
    return FinishedRow(place, row, new_id(), Carried(None, vanished, bill, Clock()), bill, LOSSES_OF_A_ROW, 0)


def columns(batch: Batch, done: Sequence[FinishedRow], *, now: datetime) -> Mapping[str, Sequence[Any]]:
    """Return the rows as a part of the dataset holds them, a list a column."""
    asked = [_asked(each.row) for each in done]
    performed = [each.carried.performance for each in done]
    outputs = [None if each is None else each.output.value for each in performed]
    faults = [Fault.of(each.error) if each.error else None for each in done]
    bills = [each.bill for each in done]
    count = len(done)
    return {
        "row_id": [each.row.id for each in done],
        "input_sha256": [hashlib.sha256(each).hexdigest() for each in asked],
        "output": [None if each is None else _said(each) or results.written(each).decode() for each in outputs],
        "facts": [_facts(each) for each in done],
        "input": [each.decode() for each in asked],
        "error_code": [each.code if each else "" for each in faults],
        "error": [each.sentence if each else "" for each in faults],
        "error_cause": [str(each.cause) if each else "" for each in faults],
        "agent": [batch.agent] * count,
        "model": [", ".join(bill.models) for bill in bills],
        "run_id": [str(each.run_id) for each in done],
        "traceparent": [traces.taken(batch.traceparent) for _ in done],
        "input_tokens": [bill.usage.input for bill in bills],
        "output_tokens": [bill.usage.output for bill in bills],
        "cost_usd": [bill.cost_usd for bill in bills],
        "duration_ms": [each.duration_ms for each in done],
        "attempt": [each.tries for each in done],
        "finished_at": [now] * count,
    }


def _asked(row: Row) -> bytes:
    """Return a row's input with sorted keys; what its agent put into it, or an older plan let in, is said as well as it can be."""
    try:
        return orjson.dumps(row.input, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return json.dumps(dict(row.input), sort_keys=True, default=str).encode()


def _facts(done: FinishedRow) -> str | None:
    """Return the plan's facts as JSON; where Python's own cannot say them, as they are kept of a job: perhaps not at all."""
    performance = done.carried.performance
    if performance is None:
        return None
    facts = performance.plan.facts
    kept = None if (plain := _said(facts)) else records.evidence(facts, run_id=done.run_id)
    return kept.decode() if kept else plain


def _said(value: Mapping[str, Any]) -> str | None:
    """Return a mapping as Python writes it; None where a value, such as a moment, is nothing that its JSON says."""
    try:
        return json.dumps(dict(value))
    except (TypeError, ValueError, RecursionError):
        return None


def record(batch: Batch, shard: Shard, done: FinishedRow, *, now: datetime) -> BatchRow:
    """Return the record of a row that failed, or that ran again because it had."""
    return BatchRow(
        batch_id=batch.pk,
        row_id=done.row.id,
        run_id=done.run_id,
        shard=shard.index,
        place=done.place,
        round=shard.round,
        outcome=outcome_of(done.error),
        error_code=done.error.code if done.error else "",
        agent=batch.agent,
        traceparent=traces.taken(batch.traceparent),
        input_tokens=done.bill.usage.input,
        output_tokens=done.bill.usage.output,
        cost_usd=done.bill.cost_usd,
        duration_ms=done.duration_ms,
        at=now,
    )
