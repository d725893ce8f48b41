"""What of a tenant may be on its way to the ledger: calls that run, and calls whose run is not written down yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import BigIntegerField, F, Sum
from django.db.models.functions import Coalesce, Greatest

from invocation.domain.batches import ShardState
from invocation.domain.jobs import HELD_BY_A_WORKER
from invocation.domain.turns import OPEN
from invocation.gateways.database import off_loop
from invocation.models import Job, Shard, Turn
from quota.domain.budgets import NONE, Spending


def reader(tenant_id: UUID) -> Callable[[], Awaitable[Spending]]:
    """Return a function that looks, when it is asked to, from an event loop."""
    return lambda: off_loop(under_way, tenant_id)


def under_way(tenant_id: UUID) -> Spending:
    """Return what may still come to the ledger: what jobs hold, what open turns may spend, and a usual block of each shard at work."""
    jobs = Job.objects.filter(tenant_id=tenant_id, state__in=HELD_BY_A_WORKER)
    turns = Turn.objects.filter(tenant_id=tenant_id, state__in=OPEN)
    shards = Shard.objects.filter(batch__tenant_id=tenant_id, state=ShardState.WORKING)
    sums = [
        jobs.aggregate(usd=_money("held_usd"), tokens=_whole("held_tokens")),
        turns.aggregate(usd=_money("cost_cap_usd"), tokens=_whole("token_cap")),
        shards.aggregate(usd=_money(F("cost_usd") * _BLOCKS), tokens=_whole((F("input_tokens") + F("output_tokens")) * _BLOCKS)),
    ]
    return sum((Spending(each["usd"], each["tokens"]) for each in sums), NONE)


ROWS_OF_A_BLOCK = 64
_BLOCKS = ROWS_OF_A_BLOCK / Greatest(F("position"), ROWS_OF_A_BLOCK)


def _money(column: Any) -> Any:
    return Coalesce(Sum(column), Decimal(0))


def _whole(column: Any) -> Any:
    return Coalesce(Sum(column), 0, output_field=BigIntegerField())
