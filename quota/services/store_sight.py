"""Keeps in PostgreSQL what a wiped quota store must be rebuilt from, and rebuilds it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from django import db

from quota import selectors
from quota.domain.classes import PriorityClass
from quota.domain.limits import Limits, Pool, midnights, nested
from quota.gateways import ledgers, locks, windows
from quota.gateways.windows import ByClass, ModelKey, Used
from quota.models import ModelUse

SEEN_EVERY = timedelta(seconds=10)
FORGOTTEN_AFTER = timedelta(seconds=75)
REBUILD_S, RECONCILE_S = 5.0, 300.0
TEN_S = 10


def rebuild(key: ModelKey, limits: Limits, *, now: datetime) -> bool:
    """Set up the store's window of a model anew; False while another process is about it, or a store or database is away.

    The day is what the ledger says and, on top, what the minute may have held: calls under way are in no ledger. The
    minute is what it held when it was last seen and the most that could be granted since, so it is never less than
    it was; a model that nobody used for longer than a minute starts with an idle one.
    """
    try:
        with locks.alone(f"rebuild:{key[0]}/{key[1]}", for_s=REBUILD_S) as is_ours:
            return is_ours and _rebuild(key, limits, now=now)
    except (db.OperationalError, db.InterfaceError):
        return False
    finally:
        ledgers.let_go()


def look_after(key: ModelKey, limits: Limits, *, now: datetime) -> None:
    """Note what the minute holds, at most once in ten seconds whoever asks, and raise the day to what the ledger says."""
    try:
        reading = windows.read({key: limits})[key]
        if reading.is_known:
            _see(key, reading.minute, now=now)
        if limits.limits_day and windows.lock(key, "reconcile", for_s=RECONCILE_S):
            day = _day(limits, now=now)
            windows.raise_day(key, day=day, today=_booked_today(key, since=day))
    except (db.OperationalError, db.InterfaceError):
        return
    finally:
        ledgers.let_go()


def _rebuild(key: ModelKey, limits: Limits, *, now: datetime) -> bool:
    day = _day(limits, now=now)
    minute = most_of_the_minute(key, limits, now=now)
    today = most_of_the_day(nested(limits), _booked_today(key, since=day), minute)
    ModelUse.objects.update_or_create(provider=key[0], model=key[1], defaults={"seen_at": now, "used": _stored(minute)})
    windows.rebuild(key, generation=uuid4().hex, day=day, minute=minute, today=today)
    return True


def most_of_the_minute(key: ModelKey, limits: Limits, *, now: datetime) -> ByClass:
    """Return the most that each class can have been granted in the last minute."""
    seen = ModelUse.objects.filter(provider=key[0], model=key[1], seen_at__gt=now - FORGOTTEN_AFTER).first()
    booked = _booked(key, since=(now - timedelta(minutes=1)).timestamp())
    return most(nested(limits), _seen(seen), booked, (now - seen.seen_at).total_seconds()) if seen else booked


def most(pools: tuple[Pool, Pool, Pool], seen: ByClass, booked: ByClass, since_s: float) -> ByClass:
    """No pool but p0's gives more than its share of ten seconds in ten seconds; p0's calls are booked within seconds."""
    bursts = math.ceil((since_s + 1) / TEN_S)
    p0, p3 = PriorityClass.P0, PriorityClass.P3
    capped = _bounded(pools[2], seen[p3], bursts)
    others = [word for word in PriorityClass if word is not p0]
    shared = _bounded(pools[1], _total(seen[word] for word in others), bursts)
    rest = Used(max(shared.tokens - capped.tokens, 0), max(shared.requests - capped.requests, 0))
    return {**windows.NOTHING, p0: _total([seen[p0], booked[p0]]), PriorityClass.P1: rest, p3: capped}


def most_of_the_day(pools: tuple[Pool, Pool, Pool], booked: ByClass, minute: ByClass) -> ByClass:
    """The ledger and, on top, what the minute may have held: a guess, which never goes beyond what a pool gives in a day.

    Else what the others are guessed to have used would, rebuild after rebuild, be taken from what p0 alone may use.
    """
    p0, p3 = PriorityClass.P0, PriorityClass.P3
    today = {**booked, p0: _total([booked[p0], minute[p0]])}
    guesses = {**minute, p3: _within(pools[2], [booked[p3]], minute[p3])}
    for word in (p3, PriorityClass.P1, PriorityClass.P2):
        others = [today[each] for each in PriorityClass if each is not p0]
        today[word] = _total([booked[word], _within(pools[1], others, guesses[word])])
    return today


def _within(pool: Pool, used: Iterable[Used], guess: Used) -> Used:
    """Return as much of the guess as fits into the pool's day beside what is used."""
    sure = _total(used)
    tokens = guess.tokens if pool.day_tokens is None else min(guess.tokens, pool.day_tokens - sure.tokens)
    requests = guess.requests if pool.day_requests is None else min(guess.requests, pool.day_requests - sure.requests)
    return Used(max(tokens, 0), max(requests, 0))


def _bounded(pool: Pool, seen: Used, bursts: int) -> Used:
    tokens, requests = pool.burst_tokens or 0, pool.burst_requests or 0
    return Used(min(pool.tokens, seen.tokens + bursts * tokens), min(pool.requests, seen.requests + bursts * requests))


def _total(each: Iterable[Used]) -> Used:
    found = list(each)
    return Used(sum(one.tokens for one in found), sum(one.requests for one in found))


def _booked(key: ModelKey, *, since: float) -> ByClass:
    """Read the ledger itself: for moments that lie seconds behind."""
    return _by_class(selectors.booked_by_class(*key, since=datetime.fromtimestamp(since, tz=UTC)))


def _booked_today(key: ModelKey, *, since: float) -> ByClass:
    """Read the sums by day, and of the ledger what they do not hold yet: what a day costs to read does not grow with its calls."""
    return _by_class(selectors.used_by_class(*key, since=datetime.fromtimestamp(since, tz=UTC)))


def _by_class(found: Mapping[PriorityClass, tuple[int, int]]) -> ByClass:
    return {word: Used(*found.get(word, (0, 0))) for word in PriorityClass}


def _day(limits: Limits, *, now: datetime) -> float:
    return midnights(limits, at=now.timestamp())[1]


def _see(key: ModelKey, minute: ByClass, *, now: datetime) -> None:
    row = ModelUse.objects.filter(provider=key[0], model=key[1], seen_at__lt=now - SEEN_EVERY * 0.8)
    row.update(seen_at=now, used=_stored(minute))


def _stored(minute: ByClass) -> dict[str, list[int]]:
    return {word.value: [minute[word].tokens, minute[word].requests] for word in PriorityClass}


def _seen(row: ModelUse) -> ByClass:
    used: Mapping[str, list[int]] = row.used
    return {word: Used(*used.get(word.value, (0, 0))) for word in PriorityClass}
