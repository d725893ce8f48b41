"""Each tenant's day in Redis: what is used and what is set aside, counted for all processes by scripts that are atomic.

Money is counted in millionths of a US dollar. A wiped store knows no day: whoever finds none begins
it anew from the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from quota.domain.budgets import Spending
from quota.domain.days import DayHold, DayLimits
from quota.domain.prices import MILLION
from quota.domain.resources import Resource
from quota.gateways import connection

HOLD_LIFE_S = 900
UNDER_WAY_S = 90
DAY_LIFE_S = 26 * 3600
_HERE = Path(__file__).parent
_DAY = (_HERE / "day.lua").read_text()
_TAKE, _SETTLE, _FILL, _RAISE = (_DAY + (_HERE / f"day_{name}.lua").read_text() for name in ("take", "settle", "fill", "raise"))
_LACKING = {1: Resource.MONEY, 2: Resource.TOKENS}
UNCOUNTED, BUSY = 3, 4


@dataclass(frozen=True, slots=True)
class Taking:
    """Whether a hold was set aside, what was lacking if not, and what of the day is used by then; uncounted, nobody knows.

    Where only others' holds are in the way it is `is_busy`: when they are settled there may be room.
    """

    is_counted: bool
    is_busy: bool
    lacking: Resource | None
    used: Spending


async def take(hold: DayHold, *, limits: DayLimits, at: float | None = None) -> Taking:
    """Set the hold aside if the limits allow; the same hold is set aside once. Raises QuotaStoreUnavailable."""
    usd = -1 if limits.usd is None else _millionths(limits.usd)
    tokens = -1 if limits.tokens is None else limits.tokens
    asked: list[str | int] = [
        "" if at is None else repr(at),
        hold.id.hex,
        _millionths(hold.amount.usd),
        hold.amount.tokens,
        usd,
        tokens,
        HOLD_LIFE_S,
    ]
    with connection.answering():
        script = connection.on_loop().register_script(_TAKE)
        code, used_usd, used_tokens = await script(keys=_keys(hold.tenant_id, hold.day), args=asked)
    return Taking(code != UNCOUNTED, code == BUSY, _LACKING.get(code), _spending(used_usd, used_tokens))


async def settle(hold: DayHold, used: Spending) -> None:
    """Count what was used in place of what was set aside, once, however often it is told. Raises QuotaStoreUnavailable."""
    with connection.answering():
        await connection.on_loop().register_script(_SETTLE)(**_settling(hold, used))


async def settle_all(settled: Sequence[tuple[DayHold, Spending]]) -> None:
    """Do the same for many, in one exchange."""
    with connection.answering():
        pipeline = connection.on_loop().pipeline(transaction=False)
        script = pipeline.register_script(_SETTLE)
        for hold, used in settled:
            await script(**_settling(hold, used), client=pipeline)
        await pipeline.execute()


def _settling(hold: DayHold, used: Spending) -> dict[str, Any]:
    keys = _keys(hold.tenant_id, hold.day)
    return {
        "keys": [*keys, f"{keys[0]}:settled:{hold.id.hex}"],
        "args": [hold.id.hex, _millionths(used.usd), used.tokens],
    }


async def fill(tenant_id: UUID, day: date, *, used: Spending, under_way: Spending) -> None:
    """Begin a day's count where nobody has. Raises QuotaStoreUnavailable."""
    with connection.answering():
        script = connection.on_loop().register_script(_FILL)
        await script(keys=_keys(tenant_id, day), args=_filling(used, under_way))


def fill_now(tenant_id: UUID, day: date, *, used: Spending, under_way: Spending) -> None:
    """Do the same in a thread."""
    with connection.answering():
        script = connection.in_threads().register_script(_FILL)
        script(keys=_keys(tenant_id, day), args=_filling(used, under_way))


def raise_to(day: date, booked: Mapping[UUID, Spending]) -> None:
    """Raise what each tenant's day has settled to what is booked, where it is less, in one exchange. Raises QuotaStoreUnavailable."""
    with connection.answering():
        pipeline = connection.in_threads().pipeline(transaction=False)
        script = pipeline.register_script(_RAISE)
        for tenant_id, used in booked.items():
            script(keys=_keys(tenant_id, day), args=[_millionths(used.usd), used.tokens], client=pipeline)
        pipeline.execute()


@dataclass(frozen=True, slots=True)
class Count:
    """What of a day is used or set aside, and what of that is only set aside."""

    used: Spending
    held: Spending


def read(asked: Sequence[tuple[UUID, date]]) -> list[Count | None]:
    """Return how each tenant's day stands; None where nobody counts. Raises QuotaStoreUnavailable."""
    with connection.answering():
        pipeline = connection.in_threads().pipeline(transaction=False)
        for tenant_id, day in asked:
            pipeline.hmget(_keys(tenant_id, day)[0], "usd", "tokens", "held_usd", "held_tokens")
        found = pipeline.execute()
    return [None if row[0] is None else Count(_spending(*row[:2]), _spending(*row[2:])) for row in found]


def _filling(used: Spending, under_way: Spending) -> list[int | str]:
    return ["", _millionths(used.usd), used.tokens, _millionths(under_way.usd), under_way.tokens, UNDER_WAY_S, DAY_LIFE_S]


def _keys(tenant_id: UUID, day: date) -> list[str]:
    place = f"{{quota}}:day:{tenant_id.hex}:{day.isoformat()}"
    return [place, f"{place}:holds"]


def _millionths(usd: Decimal) -> int:
    return int(usd * MILLION)


def _spending(usd: int | bytes | None, tokens: int | bytes | None) -> Spending:
    return Spending(Decimal(int(usd or 0)) / MILLION, int(tokens or 0))
