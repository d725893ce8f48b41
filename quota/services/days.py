"""A tenant's day: money and tokens are set aside before each model call, for all processes at once, and settled after it.

The store counts. Where it knows no day, as after a wipe, the count begins from the ledger, with whatever may be
under way counted as spent for a while. While the store is away p0 goes on under a quarter of what the ledger
says is left, in each process; the other classes wait.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from uuid import UUID
from weakref import WeakKeyDictionary

from quota import selectors
from quota.domain.budgets import NONE, Spending
from quota.domain.callers import Caller
from quota.domain.classes import PriorityClass
from quota.domain.days import DayHold, DayLimits, DayStanding, day_of, ends_in, refusal
from quota.domain.errors import QuotaError, QuotaExceeded, QuotaStoreUnavailable
from quota.domain.late import Late, LocalDays
from quota.gateways import day_counts, ledgers
from quota.gateways.connection import unless_silent
from quota.gateways.day_counts import Count
from quota.services import plans

UnderWay = Callable[[], Awaitable[Spending]]
LOOK_AGAIN_S, LONGEST_LOOK_S = 0.05, 1.0
ALL_SET_ASIDE = "What is left of the tenant's day is set aside for calls that are under way."
TRIES = 3
"""A count that is wiped between its beginning and its use is begun again, so often."""

_local = LocalDays()
_late = Late()
_tellers: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[bool]] = WeakKeyDictionary()
TOLD_AT_ONCE = 500
_beginning: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def take(tenant_id: UUID, amount: Spending, *, priority_class: PriorityClass, under_way: UnderWay, hold_id: UUID) -> DayHold | None:
    """Set the most of a call aside of the tenant's day; None where its plan has no limit of a day.

    Where only calls under way stand in its way it raises QuotaExceeded, and where a class does not go on without the store
    QuotaStoreUnavailable: ask again soon, by the same id, so that an answer that was lost sets nothing aside twice. Raises DaySpent
    or DayTokensSpent, and LargerThanDay for what no day has room for.
    """
    limits = await plans.day_limits(tenant_id)
    if not limits.is_limited:
        return None
    limits.check_fits(amount)
    now = datetime.now(UTC)
    hold = DayHold(hold_id, tenant_id, day_of(now), amount)
    answer = await _asked_or_undone(hold, limits, priority_class, under_way, now=now)
    if isinstance(answer, QuotaError):
        raise answer
    return answer


def spread(pause_s: float) -> float:
    """Return a pause of about this length before who was refused asks again: many do at once."""
    return pause_s * (0.5 + random.random())  # noqa: S311  (spreads the waiting, guards nothing)


async def settle(hold: DayHold | None, used: Spending) -> None:
    """Count what was really used. What cannot be told, because the store is away or the caller is cancelled, is told later."""
    if hold is None:
        return
    if hold.is_local:  # the store was away when it was taken: nobody waits to see whether it still is
        _local.add(hold, used - hold.amount)
        _late.keep(hold, used)
        return
    try:
        await unless_silent(day_counts.settle(hold, used))
    except QuotaStoreUnavailable:
        _late.keep(hold, used)
    except asyncio.CancelledError:
        _late.keep(hold, used)
        raise
    else:
        _local.heard(hold, used, at=time.monotonic())


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
    return counted or _begun(caller, under_way, now=now)


def must_have_room(caller: Caller, *, now: datetime, under_way: Callable[[UUID], Spending]) -> None:
    """Raise DaySpent or DayTokensSpent if nothing is left of the caller's day."""
    check_room(standing(caller, now=now, under_way=under_way), now=now)


def check_room(found: DayStanding | None, *, now: datetime) -> None:
    """Raise DaySpent or DayTokensSpent if nothing is left of a day that stands so."""
    if found and found.spent:
        raise refusal(found.spent, found.limits, found.used, now=now)


def left_of(tenant_id: UUID, *, now: datetime) -> DayLimits:
    """Return what is not spent of a tenant's day, set aside or not; all of it while nobody counts the day."""
    return left_of_many([tenant_id], now=now)[tenant_id]


def left_of_many(tenant_ids: Iterable[UUID], *, now: datetime) -> Mapping[UUID, DayLimits]:
    """Return the same of each of the tenants, in one exchange with the store and with one query."""
    limits = plans.day_limits_of_many(tenant_ids)
    limited = [tenant_id for tenant_id, each in limits.items() if each.is_limited]
    try:
        counts = day_counts.read([(tenant_id, day_of(now)) for tenant_id in limited]) if limited else []
    except QuotaStoreUnavailable:
        return limits
    left = {tenant_id: limits[tenant_id].less(count.used - count.held) for tenant_id, count in zip(limited, counts, strict=True) if count}
    return {**limits, **left}


def is_spent(tenant_id: UUID, *, now: datetime) -> bool:
    """Say whether nothing is left of a tenant's day; a day that nobody counts is not spent."""
    return left_of(tenant_id, now=now).is_spent(NONE) is not None


def raise_to_ledger(*, now: datetime) -> None:
    """Raise each tenant's day to what the ledger says and what is set aside on top, where it is less.

    A wiped count begins from the ledger, where calls that are settled but not booked yet are missing. They come to it
    later, and by this to the count: called more often than what may be under way is counted as set aside. It lowers nothing.
    """
    day = day_of(now)
    with suppress(QuotaStoreUnavailable):
        day_counts.raise_to(day, selectors.used_by_tenants(day))


async def _asked_or_undone(
    hold: DayHold, limits: DayLimits, priority_class: PriorityClass, under_way: UnderWay, *, now: datetime
) -> DayHold | QuotaError:
    """As `_asked`; where the caller is cancelled meanwhile, whatever the store has set aside is given back later."""
    try:
        return await _asked(hold, limits, priority_class, under_way, now=now)
    except asyncio.CancelledError:
        _late.keep(hold, NONE)
        raise


async def _asked(
    hold: DayHold, limits: DayLimits, priority_class: PriorityClass, under_way: UnderWay, *, now: datetime
) -> DayHold | QuotaError:
    """Return the hold, or the refusal that holds for now. Raises DaySpent."""
    try:
        taking = await _taken(hold, limits, priority_class, under_way)
    except QuotaStoreUnavailable as away:
        return await _taken_here(hold, limits, now=now) if priority_class is PriorityClass.P0 else away
    if taking.lacking is not None:
        raise refusal(taking.lacking, limits, taking.used, now=now)
    return QuotaExceeded(ALL_SET_ASIDE, retry_after=timedelta(seconds=1)) if taking.is_busy else hold


async def _taken(hold: DayHold, limits: DayLimits, priority_class: PriorityClass, under_way: UnderWay) -> day_counts.Taking:
    """p0 gives up a store that hangs as soon as that is sure."""
    asking = _told_and_taken(hold, limits)
    taking = await (unless_silent(asking) if priority_class is PriorityClass.P0 else asking)
    if taking.is_counted:
        return taking
    async with _one_begins():
        return await _begun_and_taken(hold, limits, under_way)


async def _told_and_taken(hold: DayHold, limits: DayLimits) -> day_counts.Taking:
    await _tell_late(hold.tenant_id)
    return await day_counts.take(hold, limits=limits)


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
        ledgers.let_go()


async def _tell_late(tenant_id: UUID) -> None:
    """Have the store told what it missed, by one teller a loop; only a tenant of which it missed something waits for that.

    Raises QuotaStoreUnavailable where such a tenant's could not be told: the day's count is not to be relied on then.
    """
    if not _late:
        return
    loop = asyncio.get_running_loop()
    teller = _tellers.get(loop)
    if teller is None or teller.done():
        teller = _tellers[loop] = loop.create_task(_tell())
    if _late.is_of(tenant_id) and not await asyncio.shield(teller):
        raise QuotaStoreUnavailable("The quota store does not hear what was settled.", retry_after=timedelta(seconds=1))


async def _tell() -> bool:
    """Tell all in pages, oldest first, and say whether the store has heard it. It counts each once, however often it is told."""
    try:
        while settled := _late.first(TOLD_AT_ONCE):
            await day_counts.settle_all(settled)
            _late.told(settled)
            for hold, used in settled:
                _local.heard(hold, used, at=time.monotonic())
    except QuotaStoreUnavailable:
        return False
    return True


async def _taken_here(hold: DayHold, limits: DayLimits, *, now: datetime) -> DayHold:
    """Take of this process's own share of what the ledger says is left."""
    used = await asyncio.to_thread(_used, hold.tenant_id, hold.day)
    share, here = limits.quarter_of_rest(used), _local.of(hold.tenant_id, hold.day, at=time.monotonic())
    lacking = share.lacking(here, hold.amount)
    if lacking is not None:
        raise refusal(lacking, limits, used, now=now)
    _local.add(hold, hold.amount)
    return DayHold(hold.id, hold.tenant_id, hold.day, hold.amount, is_local=True)


def _begun(caller: Caller, under_way: Callable[[UUID], Spending], *, now: datetime) -> DayStanding:
    """Begin the day's count from the ledger, and return how the day stands by then."""
    held, day = under_way(caller.tenant_id), day_of(now)
    used = selectors.used_on(caller.tenant_id, day)
    try:
        day_counts.fill_now(caller.tenant_id, day, used=used, under_way=held)
    except QuotaStoreUnavailable:
        held = NONE
    return DayStanding(caller.plan.day, used + held, _seconds(now), held)


def _standing(limits: DayLimits, count: Count | None, *, now: datetime) -> DayStanding | None:
    return None if count is None or not limits.is_limited else DayStanding(limits, count.used, _seconds(now), count.held)


def _seconds(now: datetime) -> int:
    return math.ceil(ends_in(now).total_seconds())
