"""The one writer of a batch's state, and the one order in which its shards are locked."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from uuid import UUID

from django.db.models import F, Q, QuerySet

from invocation.domain.batches import BATCH_EDGES, SHARD_EDGES, BatchMove, ShardMove
from invocation.domain.errors import StaleMove
from invocation.models import Batch, Shard

ANYONE = Q()
TRIED_NEVER: Mapping[str, Any] = MappingProxyType({"gather_tries": 0, "gather_due_at": None, "gathering": None})
"""Of a batch's gathering: nothing is held against what is written next."""

RESERVES_NOTHING: Mapping[str, Any] = MappingProxyType({"reserved_usd": 0, "reserved_tokens": 0, "reserved_calls": 0})
"""Of a shard whose attempt has told what its calls cost."""
LOSES_WHAT_IT_RESERVED: Mapping[str, Any] = MappingProxyType(
    {**{f"lost_{unit}": F(f"lost_{unit}") + F(f"reserved_{unit}") for unit in ("usd", "tokens", "calls")}, **RESERVES_NOTHING}
)
"""Of a shard whose attempt was lost: frozen rather than dead it may still spend that, so nobody else may."""


def move(batch: Batch, to: BatchMove, *, by: Q = ANYONE, **facts: Any) -> bool:
    """Move a batch, if it stands where that move begins and `by` holds, with what else changes; say whether it did."""
    edge = BATCH_EDGES[to]
    return bool(Batch.objects.filter(by, pk=batch.pk, state__in=edge.sources).update(state=edge.target, **facts))


def must_move(batch_id: UUID, to: BatchMove, *, by: Q = ANYONE, **facts: Any) -> None:
    """As `move`. Raises StaleMove if it did not."""
    batch = Batch.objects.get(pk=batch_id)
    if not move(batch, to, by=by, **facts):
        raise StaleMove(f"Batch {batch_id} is {batch.state}: it does not {to}.")


def take_up_again(shards: QuerySet[Shard]) -> None:
    """Queue those of these shards again that have ended. Joins the caller's transaction."""
    edge = SHARD_EDGES[ShardMove.RETRY]
    in_order(shards.filter(state__in=edge.sources)).update(state=edge.target, finished_at=None, sent_at=None, due_at=None)


def in_order(shards: QuerySet[Shard]) -> QuerySet[Shard]:
    """Lock these shards by their ids before they are moved: of two who move several at once neither waits for the other for ever."""
    return shards.filter(pk__in=list(shards.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True)))
