"""Each tenant's requests per minute in Redis: one script of fixed cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from quota.domain.rates import MINUTE_S, Counts
from quota.gateways import connection

_TAKE = (Path(__file__).parent / "rate.lua").read_text()


@dataclass(frozen=True, slots=True)
class Taking:
    """Whether one more request was let through, and the counts after it."""

    is_allowed: bool
    counts: Counts


def take(tenant_id: UUID, *, limit: int, now: datetime) -> Taking:
    """Count one request if the limit allows. Raises QuotaStoreUnavailable."""
    keys, passed = _place(tenant_id, now)
    with connection.answering():
        answer = connection.in_threads().register_script(_TAKE)(keys=keys, args=[limit, passed])
    return _taking(answer, passed)


def take_many(asked: Sequence[tuple[UUID, int]], *, now: datetime) -> list[Taking]:
    """Count one request for each (tenant, limit), in one exchange. Raises QuotaStoreUnavailable."""
    with connection.answering():
        pipeline = connection.in_threads().pipeline(transaction=False)
        script, places = pipeline.register_script(_TAKE), [(_place(tenant_id, now), limit) for tenant_id, limit in asked]
        for (keys, passed), limit in places:
            script(keys=keys, args=[limit, passed], client=pipeline)
        answers = pipeline.execute()
    return [_taking(answer, passed) for answer, ((_, passed), _) in zip(answers, places, strict=True)]


async def atake(tenant_id: UUID, *, limit: int, now: datetime) -> Taking:
    """Do the same on an event loop."""
    keys, passed = _place(tenant_id, now)
    with connection.answering():
        answer = await connection.on_loop().register_script(_TAKE)(keys=keys, args=[limit, passed])
    return _taking(answer, passed)


def _place(tenant_id: UUID, now: datetime) -> tuple[list[str], float]:
    minute, second = divmod(now.timestamp(), MINUTE_S)
    keys = [f"{{quota}}:rate:{tenant_id.hex}:{int(minute) - ago}" for ago in (0, 1)]
    return keys, second / MINUTE_S


def _taking(answer: list[int], passed: float) -> Taking:
    is_allowed, current, before = answer
    return Taking(bool(is_allowed), Counts(current, before, passed))
