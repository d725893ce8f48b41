"""Each model's quota in Redis: a sliding minute, ten seconds within it and the provider's day, moved by one script.

Never more than a limit is granted in any minute, because what is granted counts until its slot of
half a second has wholly left the last sixty. A bucket would let as much through again as it holds,
or waste what it holds back; and a refund to a bucket that has refilled meanwhile breaks the bound.
A wiped store says so and grants nothing until it is rebuilt.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from django.conf import settings
from redis.exceptions import NoScriptError

from quota.domain.classes import PriorityClass
from quota.domain.exchanges import ORDER, Answer, Status, Verdict, Word
from quota.domain.limits import Limits, Pool, midnights, nested
from quota.gateways import connection

SLOT_S = 0.5
TICKET_S = 0.5
WIPED = b"wiped"
ModelKey = tuple[str, str]
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class _Script:
    text: str
    sha: str


def _script(*names: str) -> _Script:
    text = "\n".join((_HERE / name).read_text() for name in names)
    return _Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_EXCHANGE = _script("window.lua", "brake.lua", "exchange.lua")
_GAUGE = _script("window.lua", "brake.lua", "gauge.lua")
_REBUILD = _script("window.lua", "rebuild.lua")


@dataclass(frozen=True, slots=True)
class Used:
    """What one class has used of a window."""

    tokens: int = 0
    requests: int = 0


ByClass = Mapping[PriorityClass, Used]
NOTHING: ByClass = MappingProxyType({word: Used() for word in PriorityClass})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the store knows of one model: nothing, if it was wiped or never used. `ceiling` is a fraction."""

    is_known: bool = False
    minute: ByClass = field(default_factory=lambda: NOTHING)
    day: ByClass = field(default_factory=lambda: NOTHING)
    ceiling: float = 1.0
    breaker: str = "closed"
    lowered_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Who speaks with the store, and what it knows of it; each exchange has a number of its own."""

    client: str
    number: int
    generation: str


async def exchange(key: ModelKey, limits: Limits, words: Sequence[Word], party: Party, *, at: float | None = None) -> Answer | None:
    """Say the words, in order and as one act; None if the store was wiped: nothing was done then.

    The same number of the same client acts once, however often it is sent. `at` simulates the
    store's clock, in seconds, for tests. Raises QuotaStoreUnavailable.
    """
    args: list[str | int | float] = [_moment(at) or "-", party.client, party.number, party.generation or "-", TICKET_S]
    args += [settings.BREAKER_FAILURES, *_limits(limits), *midnights(limits, at=time.time() if at is None else at)]
    for word in words:
        args += word.args
    keys = [_model(key), f"{{quota}}:line:{_name(key)}", f"{{quota}}:said:{_name(key)}:{party.client}"]
    with connection.answering():
        told = await _run(_EXCHANGE, keys, " ".join(map(str, args)))  # one argument: a thousand cost the client more than the store
    return None if told[0] == WIPED else _answer(told)


async def _run(script: _Script, keys: Sequence[str], said: str) -> list[Any]:
    client: Any = connection.on_loop()
    try:
        return cast("list[Any]", await client.evalsha(script.sha, len(keys), *keys, said))
    except NoScriptError:
        return cast("list[Any]", await client.eval(script.text, len(keys), *keys, said))


def rebuild(key: ModelKey, *, generation: str, day: float, minute: ByClass, today: ByClass, at: float | None = None) -> str:
    """Set a wiped model up and return the generation that holds: another's, if it was there before. Raises QuotaStoreUnavailable."""
    args: list[str | int | float] = [_moment(at), generation, day, *_flat(minute), *_flat(today)]
    with connection.answering():
        found: Any = connection.in_threads().eval(_REBUILD.text, 1, _model(key), *args)
    return str(found.decode())


def raise_day(key: ModelKey, *, day: float, today: ByClass) -> None:
    """Raise what the day holds to what is told, where it is less; a wiped model stays wiped. Raises QuotaStoreUnavailable."""
    rebuild(key, generation="", day=day, minute=NOTHING, today=today)


def lock(key: ModelKey, act: str, *, for_s: float) -> bool:
    """Say whether this process may do the act for the model now: one may, once in so many seconds. Raises QuotaStoreUnavailable."""
    with connection.answering():
        return bool(connection.in_threads().set(f"{{quota}}:{act}:{_name(key)}", "1", nx=True, px=round(for_s * 1000)))


def read(models: Mapping[ModelKey, Limits], *, at: float | None = None) -> Mapping[ModelKey, Reading]:
    """Return what the store knows of each model, in one exchange, from any thread. Raises QuotaStoreUnavailable."""
    moment = time.time() if at is None else at
    with connection.answering():
        pipeline = connection.in_threads().pipeline(transaction=False)
        script = pipeline.register_script(_GAUGE.text)
        for key, limits in models.items():
            script(keys=[_model(key)], args=[_moment(at), *midnights(limits, at=moment)], client=pipeline)
        answers = pipeline.execute()
    return {key: _reading(answer) for key, answer in zip(models, answers, strict=True)}


def _reading(told: Sequence[Any]) -> Reading:
    if not told:
        return Reading()
    until = int(told[18])
    return Reading(
        is_known=True,
        minute=_by_class(told[:8]),
        day=_by_class(told[8:16]),
        ceiling=int(told[16]) / 1000,
        breaker=told[17].decode(),
        lowered_until=datetime.fromtimestamp(until / 1000, tz=UTC) if until > time.time() * 1000 else None,
    )


def _by_class(sums: Sequence[int]) -> ByClass:
    return MappingProxyType({word: Used(*sums[2 * place : 2 * place + 2]) for place, word in enumerate(ORDER)})


def _flat(used: ByClass) -> list[int]:
    return [figure for word in ORDER for figure in (used[word].tokens, used[word].requests)]


def _answer(told: Sequence[Any]) -> Answer:
    figures = told[3:]
    verdicts = tuple(Verdict(Status(figures[at]), *figures[at + 1 : at + 4]) for at in range(0, len(figures), 4))
    return Answer(generation=told[0].decode(), slot=told[1], failures=told[2], verdicts=verdicts)


def _limits(limits: Limits) -> list[int]:
    return [figure for pool in nested(limits) for figure in _pool(pool)]


def _pool(pool: Pool) -> list[int]:
    bounds = (pool.tokens, pool.requests, pool.burst_tokens, pool.burst_requests, pool.day_tokens, pool.day_requests)
    return [-1 if bound is None else bound for bound in bounds]


def _model(key: ModelKey) -> str:
    return f"{{quota}}:model:{_name(key)}"


def _name(key: ModelKey) -> str:
    return f"{key[0]}/{key[1]}"


def _moment(at: float | None) -> str:
    return "" if at is None else repr(at)
