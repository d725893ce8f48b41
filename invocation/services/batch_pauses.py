"""What lets a batch wait, and what lets it go on: somebody's word, its window, its failures, its caps, another round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, Sum
from django.db.models.functions import Coalesce

from invocation.domain import failing, windows
from invocation.domain.batches import BATCH_EDGES, BatchMove, BatchState, Pause, Publication
from invocation.domain.budgets import NOTHING, Wish
from invocation.domain.errors import NothingFailed
from invocation.domain.gathering import DATASET_UNWRITTEN, MOST_TRIES
from invocation.gateways import declared
from invocation.gateways.database import BATCH
from invocation.models import Batch
from invocation.selectors.admission import hold_on
from invocation.services import batch_moves
from quota.domain.budgets import Spending
from quota.domain.classes import PriorityClass
from quota.services import days

P3 = str(PriorityClass.P3)
SHARD_BROKE = (
    "A shard broke three times in a row. It is not the rows' fault: tell whoever runs this the batch's id, "
    "and resume the batch once that is mended."
)
TIDY = ~Q(state=BatchState.COMPLETED) | Q(gathered_at__isnull=False) | Q(gather_tries__gte=MOST_TRIES)
"""Nobody takes staging away any more, in which the parts of the next round would lie."""


def pause(batch_id: UUID, code: Pause, sentence: str, *, now: datetime) -> None:
    """Let no shard of a batch begin; running ones stop at their next checkpoint. Raises StaleMove if it is not planned or running.

    Asked for while it only waits for its window, it stays paused when that opens.
    """
    why = _why(code, sentence, now=now)
    waits = Batch.objects.filter(_FOR_ITS_WINDOW, pk=batch_id, state=BatchState.PAUSED)
    if not waits.update(pause=why):
        batch_moves.must_move(batch_id, BatchMove.PAUSE, pause=why)


_FOR_ITS_WINDOW = Q(pause__code=str(Pause.WINDOW))


def close_window(batch: Batch, *, now: datetime) -> bool:
    """Pause a planned or running batch that is outside of its window, and say whether it was: it goes on in the next one."""
    window = windows.window_of(batch.window) if batch.window else None
    if window is None or window.holds(now):
        return False
    opens = window.next(now).begins
    sentence = f"Its window {window} is closed; the next opens at {opens:%Y-%m-%d %H:%M} UTC."
    return batch_moves.move(batch, BatchMove.PAUSE, pause=_why(Pause.WINDOW, sentence, now=now))


def open_window(batch: Batch, *, now: datetime) -> bool:
    """Let a batch go on that waited for its window, and say whether it does: no other pause is lifted."""
    if not windows.is_open(batch.window, now):
        return False
    return batch_moves.move(batch, BatchMove.RESUME, by=_FOR_ITS_WINDOW, pause=None, **_goes_on(now))


def _goes_on(now: datetime) -> Mapping[str, Any]:
    return {"started_at": Coalesce("started_at", now), "running_since": now}


def resume(batch_id: UUID, *, now: datetime, wish: Wish = NOTHING) -> None:
    """Let a paused batch go on, under other caps if they are wished for, up to its endpoint's; whoever calls asks for its next wave.

    Outside of its window it stays paused, and goes on in the next one. Rows that failed until now are not held against it
    again. One that failed because its dataset could not be written has that tried again, and keeps its caps. Raises StaleMove
    if it is neither.
    """
    with transaction.atomic(using=BATCH):
        batch = Batch.objects.select_for_update(no_key=True).get(pk=batch_id)
        if batch_moves.move(batch, BatchMove.GATHER_AGAIN, by=_UNWRITTEN, fault=None, finished_at=None, **batch_moves.TRIED_NEVER):
            return
        batch_moves.must_move(batch_id, BatchMove.RESUME, pause=None, failures=_forgiven(batch), **_goes_on(now), **_caps(batch, wish))
        _forgive(batch)
        close_window(batch, now=now)


_UNWRITTEN = Q(fault__code=DATASET_UNWRITTEN)


def _forgive(batch: Batch) -> None:
    """Let shards that broke begin at once, and hold nothing against them."""
    batch_moves.in_order(batch.shards.filter(failures__gt=0)).update(failures=0, due_at=None)


def _caps(batch: Batch, wish: Wish) -> Mapping[str, Any]:
    most = declared.book().by_label[batch.endpoint].budgets.within(wish)
    caps = (
        ("cost_cap_usd", wish.cost_usd, most.cost_usd),
        ("token_cap", wish.tokens, most.tokens),
        ("call_cap", wish.model_calls, most.model_calls),
    )
    return {column: cap for column, wished, cap in caps if wished is not None}


def retry_failed(batch_id: UUID, *, now: datetime) -> int:
    """Let the failed rows of a completed or paused batch run once more, and return how many; good rows are not touched.

    Raises NothingFailed, or StaleMove while it runs, is just being tidied or ended otherwise. Whoever calls asks for its next wave.
    """
    with transaction.atomic(using=BATCH):
        batch = Batch.objects.select_for_update(no_key=True).get(pk=batch_id)
        count = _failed_rows(batch)
        if batch.state in BATCH_EDGES[BatchMove.RETRY].sources and not count:
            raise NothingFailed(f"No row of batch {batch_id} has failed.")
        anew = {
            "pause": None,
            "fault": None,
            "finished_at": None,
            "gathered_at": None,
            "publication": Publication.UNDECIDED,
            "scores": None,
            **batch_moves.TRIED_NEVER,
        }
        forgiven = _forgiven(batch)
        batch_moves.must_move(batch_id, BatchMove.RETRY, by=TIDY, round=F("round") + 1, failures=forgiven, **anew, **_goes_on(now))
        _forgive(batch)
        failed = batch_moves.in_order(batch.shards.exclude(errors={}))
        failed.update(round=batch.round + 1)
        batch_moves.take_up_again(failed)
    return count


def pause_if_failing(batch_id: UUID, *, now: datetime) -> bool:
    """Pause a running batch of which more rows failed than it tolerates, and say whether it was."""
    batch = Batch.objects.get(pk=batch_id)
    too_much = failing.read(batch.failures).verdict(**_tries(batch))
    if too_much is None:
        return False
    causes: Counter[str] = sum((Counter(found) for found in batch.shards.values_list("errors", flat=True)), Counter())
    told = ", ".join(f"{count} with {code}" for code, count in causes.most_common(3))
    return batch_moves.move(batch, BatchMove.PAUSE, pause=_why(Pause.FAILURE_THRESHOLD, f"{too_much}: {told}.", now=now))


def pause_broken(batch: Batch, *, broke: str, now: datetime) -> bool:
    """Pause a batch of which a shard breaks again and again, and say whether it was. Joins the caller's transaction.

    `broke` is what went wrong, in words for operators alone.
    """
    why = {**_why(Pause.SHARD_BROKE, SHARD_BROKE, now=now), "broke": broke}
    return batch_moves.move(batch, BatchMove.PAUSE, pause=why)


def pause_spent(batch: Batch, *, now: datetime) -> bool:
    """Pause a batch for whose next row all that is left of its caps is too little. Joins the caller's transaction."""
    caps = Spending(batch.cost_cap_usd, batch.token_cap, batch.call_cap)
    sentence = f"What is left of {caps} is too little for a call.{_lost(batch)}"
    return batch_moves.move(batch, BatchMove.PAUSE, pause=_why(Pause.COST_CEILING, sentence, now=now))


def _lost(batch: Batch) -> str:
    sums = batch.shards.aggregate(usd=Coalesce(Sum("lost_usd"), Decimal(0)), tokens=_sum("lost_tokens"), calls=_sum("lost_calls"))
    lost = Spending(sums["usd"], int(sums["tokens"]), int(sums["calls"]))
    return f" Workers that were lost may have spent {lost} of it." if lost.calls else ""


def _forgiven(batch: Batch) -> Mapping[str, Any]:
    """Return the batch's tolerance from here on: what has failed until now is not held against it again."""
    return {**batch.failures, **_tries(batch)}


def _tries(batch: Batch) -> dict[str, int]:
    """Count the rows that came to their end and those that failed, in all rounds: neither count ever shrinks."""
    counts: dict[str, int] = batch.shards.aggregate(ended=_sum("tried"), failed=_sum("tried_failed"))
    return {name: int(count) for name, count in counts.items()}


def _failed_rows(batch: Batch) -> int:
    return int(batch.shards.aggregate(count=_sum("failed_rows"))["count"])


def _sum(column: str) -> Coalesce:
    return Coalesce(Sum(column), 0)


def _why(code: Pause, sentence: str, *, now: datetime) -> dict[str, str]:
    return {"code": str(code), "sentence": sentence, "at": now.isoformat()}


def is_held(batch: Batch) -> bool:
    """Say whether the batch's rows wait: its window is closed, an operator holds admission, or the tenant's day is spent."""
    if not windows.is_open(batch.window, datetime.now(UTC)):
        return True
    if days.is_spent(batch.tenant_id, now=datetime.now(UTC)):
        return True
    return hold_on(endpoint=batch.endpoint, agent=batch.agent, tenant_id=batch.tenant_id, priority_class=P3) is not None
