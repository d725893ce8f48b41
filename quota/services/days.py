"""A tenant's day: money and tokens are set aside before each model call, for all processes at once, and settled after it.

The store counts. Where it knows no day, as after a wipe, the count begins from the ledger, with whatever may be
under way counted as spent for a while. While the store is away p0 goes on under a quarter of what the ledger
says is left, in each process; the other classes wait.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime
from uuid import UUID, uuid4
from weakref import WeakKeyDictionary

from django import db

from quota import selectors
from quota.domain.budgets import NONE, Spending
from quota.domain.callers import Caller
from quota.domain.classes import PriorityClass
from quota.domain.days import DayHold, DayLimits, DayStanding, day_of, ends_in, refusal
from quota.domain.errors import QuotaStoreUnavailable
from quota.gateways import day_counts
from quota.services import plans

UnderWay = Callable[[], Awaitable[Spending]]
TRIES = 3
"""A count that is wiped between its beginning and its use is begun again, so often."""

_local: defaultdict[tuple[UUID, date], Spending] = defaultdict(Spending)
_beginning: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
_late: deque[tuple[DayHold, Spending]] = deque(maxlen=10_000)
"""What was settled while the store was away."""


async def take(
    tenant_id: UUID, amount: Spending, *, priority_class: PriorityClass, under_way: UnderWay, now: datetime | None = None
) -> DayHold | None:
    """Set the most of a call aside of the tenant's day; None where its plan has no limit of a day.

    Raises DaySpent or DayTokensSpent, and for a class that does not go on without the store QuotaStoreUnavailable.
    """
    now = now or datetime.now(UTC)
    limits = await plans.day_limits(tenant_id)
    if not limits.is_limited:
        return None
    hold = DayHold(uuid4(), tenant_id, day_of(now), amount)
    try:
        return await _taken(hold, limits, under_way, now=now)
    except QuotaStoreUnavailable:
        if priority_class is not PriorityClass.P0:
            raise
        return await _taken_here(hold, limits, now=now)


async def settle(hold: DayHold | None, used: Spending) -> None:
    """Count what was really used. What cannot be told while the store is away is told when it is back."""
    if hold is None:
        return
    if hold.is_local:
        _local[hold.tenant_id, hold.day] += used - hold.amount
    try:
        await day_counts.settle(hold, used)
    except QuotaStoreUnavailable:
        _late.append((hold, used))


async def release(hold: DayHold | None) -> None:
    """Give back what no call was made with."""
    await settle(hold, NONE)


def standings(callers: Sequence[Caller], *, now: datetime) -> list[DayStanding | None]:
    """Return how each caller's day stands, in one exchange; None for one without a limit, or of whose day nothing is counted yet."""
    limited = [caller for caller in callers if caller.plan.day.is_limited]
    if not limited:
        return [None] * len(callers)
    try:
        found = dict(
            zip([each.tenant_id for each in limited], day_counts.read([(each.tenant_id, day_of(now)) for each in limited]), strict=True)
        )
    except QuotaStoreUnavailable:
        found = {}
    return [_standing(caller.plan.day, found.get(caller.tenant_id), now=now) for caller in callers]


def standing(caller: Caller, *, now: datetime, under_way: Callable[[UUID], Spending]) -> DayStanding | None:
    """Return how the caller's day stands, begun from the ledger where nobody counts yet; None for one without a limit."""
    limits = caller.plan.day
    if not limits.is_limited:
        return None
    [counted] = standings([caller], now=now)
    return counted or DayStanding(limits, _begun(caller.tenant_id, under_way, now=now), _seconds(now))


def must_have_room(caller: Caller, *, now: datetime, under_way: Callable[[UUID], Spending]) -> None:
    """Raise DaySpent or DayTokensSpent if nothing is left of the caller's day."""
    found = standing(caller, now=now, under_way=under_way)
    spent = found and found.limits.is_spent(found.used)
    if found and spent:
        raise refusal(spent, found.limits, found.used, now=now)


def is_spent(tenant_id: UUID, *, now: datetime) -> bool:
    """Say whether nothing is left of a tenant's day; a day that nobody counts is not spent."""
    limits = plans.day_limits_now(tenant_id)
    if not limits.is_limited:
        return False
    try:
        [used] = day_counts.read([(tenant_id, day_of(now))])
    except QuotaStoreUnavailable:
        return False
    return used is not None and limits.is_spent(used) is not None


async def _taken(hold: DayHold, limits: DayLimits, under_way: UnderWay, *, now: datetime) -> DayHold:
    await _tell_late()
    taking = await day_counts.take(hold, limits=limits)
    if not taking.is_counted:
        async with _one_begins():
            taking = await _begun_and_taken(hold, limits, under_way)
    if taking.lacking is not None:
        raise refusal(taking.lacking, limits, taking.used, now=now)
    return hold


async def _begun_and_taken(hold: DayHold, limits: DayLimits, under_way: UnderWay) -> day_counts.Taking:
    """Begin the day's count, unless another has meanwhile, and take. A count may be wiped again in between."""
    for _ in range(TRIES):
        taking = await day_counts.take(hold, limits=limits)
        if taking.is_counted:
            return taking
        # In this order: a call that ends in between is counted twice for a while, never not at all.
        open_calls = await under_way()
        used = await asyncio.to_thread(_used, hold.tenant_id, hold.day)
        await day_counts.fill(hold.tenant_id, hold.day, used=used, under_way=open_calls)
    raise QuotaStoreUnavailable("The quota store forgets what it is told.")


def _one_begins() -> asyncio.Lock:
    """Return this loop's lock: two hundred calls need not read the ledger two hundred times."""
    return _beginning.setdefault(asyncio.get_running_loop(), asyncio.Lock())


def _used(tenant_id: UUID, day: date) -> Spending:
    try:
        return selectors.used_on(tenant_id, day)
    finally:
        db.connection.close()


async def _tell_late() -> None:
    while _late:
        hold, used = _late.popleft()
        try:
            await day_counts.settle(hold, used)
        except QuotaStoreUnavailable:
            _late.append((hold, used))
            raise


async def _taken_here(hold: DayHold, limits: DayLimits, *, now: datetime) -> DayHold:
    """Take of this process's own share of what the ledger says is left."""
    used = await asyncio.to_thread(_used, hold.tenant_id, hold.day)
    share, here = limits.quarter_of_rest(used), _local[hold.tenant_id, hold.day]
    lacking = share.lacking(here, hold.amount)
    if lacking is not None:
        raise refusal(lacking, limits, used, now=now)
    _local[hold.tenant_id, hold.day] += hold.amount
    return DayHold(hold.id, hold.tenant_id, hold.day, hold.amount, is_local=True)


def _begun(tenant_id: UUID, under_way: Callable[[UUID], Spending], *, now: datetime) -> Spending:
    """Begin the day's count from the ledger, and return what of the day is used by then."""
    open_calls, day = under_way(tenant_id), day_of(now)
    used = selectors.used_on(tenant_id, day)
    try:
        day_counts.fill_now(tenant_id, day, used=used, under_way=open_calls)
    except QuotaStoreUnavailable:
        return used
    return used + open_calls


def _standing(limits: DayLimits, used: Spending | None, *, now: datetime) -> DayStanding | None:
    return None if used is None or not limits.is_limited else DayStanding(limits, used, _seconds(now))


def _seconds(now: datetime) -> int:
    return math.ceil(ends_in(now).total_seconds())
