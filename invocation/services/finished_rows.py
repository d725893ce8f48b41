"""What is kept of a finished row: a line of its shard's part, and its record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from agents.domain.errors import RunError
from invocation.domain import traces
from invocation.domain.batches import Row
from invocation.domain.outcomes import outcome_of
from invocation.models import Batch, BatchRow, Shard
from invocation.services.bills import Bill
from invocation.services.runs import Carried


@dataclass(frozen=True, slots=True)
class FinishedRow:
    """A row, its run and its calls' bill."""

    row: Row
    run_id: UUID
    carried: Carried
    bill: Bill
    tries: int

    @property
    def error(self) -> RunError | None:
        return self.carried.error


def columns(batch: Batch, done: FinishedRow, *, now: datetime) -> Mapping[str, Any]:
    """Return the row as a part of the dataset holds it."""
    performance, bill = done.carried.performance, done.bill
    output = dict(performance.output.value) if performance else {}
    asked = json.dumps(done.row.input, sort_keys=True)
    return {
        "row_id": done.row.id,
        "input_sha256": hashlib.sha256(asked.encode()).hexdigest(),
        "text": output.get("text"),
        "output": json.dumps(output) if performance else None,
        "facts": json.dumps(dict(performance.plan.facts)) if performance else None,
        "input": asked,
        "error_code": done.error.code if done.error else "",
        "error": done.error.sentence if done.error else "",
        "agent": batch.agent,
        "model": ", ".join(bill.models),
        "run_id": str(done.run_id),
        "traceparent": traces.taken(batch.traceparent),
        "input_tokens": bill.usage.input,
        "output_tokens": bill.usage.output,
        "cost_usd": bill.cost_usd,
        "duration_ms": done.carried.clock.elapsed_ms(),
        "attempt": done.tries,
        "finished_at": now,
    }


def record(batch: Batch, shard: Shard, done: FinishedRow, *, now: datetime) -> BatchRow:
    """Return the row's record, which says that it is finished."""
    return BatchRow(
        batch_id=batch.pk,
        row_id=done.row.id,
        run_id=done.run_id,
        shard=shard.index,
        outcome=outcome_of(done.error),
        error_code=done.error.code if done.error else "",
        agent=batch.agent,
        traceparent=traces.taken(batch.traceparent),
        input_tokens=done.bill.usage.input,
        output_tokens=done.bill.usage.output,
        cost_usd=done.bill.cost_usd,
        duration_ms=done.carried.clock.elapsed_ms(),
        at=now,
    )
