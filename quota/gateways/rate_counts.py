"""Each tenant's requests per minute in Redis: one script, whose cost is fixed for each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from quota.domain.errors import QuotaStoreUnavailable
from quota.domain.rates import MINUTE_S, Counts
from quota.domain.silences import OVERDUE_S
from quota.gateways import connection

Run = Callable[[str, Sequence[str], Sequence[float]], Awaitable[Sequence[int]]]
"""Runs a script with these keys and arguments on the loop that asks. Raises ConnectionError."""

_TAKE = (Path(__file__).parent / "rate.lua").read_text()


@dataclass(frozen=True, slots=True)
class Taking:
    """Whether one more request was let through, and the counts after it."""

    is_allowed: bool
    counts: Counts


def take(tenant_id: UUID, *, limit: int, now: datetime) -> Taking:
    """Count one request if the limit allows. Raises QuotaStoreUnavailable."""
    return take_many([(tenant_id, limit)], now=now)[0]


def take_many(asked: Sequence[tuple[UUID, int]], *, now: datetime) -> list[Taking]:
    """Count one request for each (tenant, limit), one after another in one exchange. Raises QuotaStoreUnavailable."""
    keys, args = _told(asked, now)
    with connection.answering():
        answer = connection.in_threads().register_script(_TAKE)(keys=keys, args=args)
    return _takings(answer, now)


async def atake(tenant_id: UUID, *, limit: int, now: datetime, run: Run) -> Taking:
    """Do the same on an event loop, by whatever connection to the store it has. One that was lost is tried once more, at once.

    A store that hangs costs the call no more than a moment: it is let through then.
    """
    keys, args = _told([(tenant_id, limit)], now)
    try:
        async with asyncio.timeout(OVERDUE_S):
            try:
                answer = await run(_TAKE, keys, args)
            except ConnectionError:
                answer = await run(_TAKE, keys, args)
    except (ConnectionError, TimeoutError) as error:
        raise QuotaStoreUnavailable(connection.SILENT, retry_after=connection.SOON) from error
    return _takings(answer, now)[0]


def _told(asked: Sequence[tuple[UUID, int]], now: datetime) -> tuple[list[str], list[float]]:
    """Return the script's keys and arguments."""
    minute = int(now.timestamp()) // MINUTE_S
    keys = [f"{{quota}}:rate:{tenant_id.hex}:{minute - ago}" for tenant_id, _ in asked for ago in (0, 1)]
    return keys, [_passed(now), *(limit for _, limit in asked)]


def _takings(answer: Sequence[int], now: datetime) -> list[Taking]:
    passed = _passed(now)
    return [
        Taking(bool(is_allowed), Counts(current, before, passed))
        for is_allowed, current, before in zip(answer[::3], answer[1::3], answer[2::3], strict=True)
    ]


def _passed(now: datetime) -> float:
    return now.timestamp() % MINUTE_S / MINUTE_S
