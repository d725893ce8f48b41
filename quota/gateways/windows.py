"""The quota windows in Redis: each model's sliding minute, drawn on atomically by two scripts.

Never more than a limit is granted in any minute, because what is granted counts until its slot of
two seconds has wholly left the last sixty. A bucket would let as much through again as it holds,
or waste what it holds back; and a refund to a bucket that has refilled meanwhile breaks the bound.
A wiped store starts with idle minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

from quota.domain.asks import Ask, Grant
from quota.domain.classes import PriorityClass
from quota.domain.limits import Pool
from quota.gateways import connection

GRANT_LIFE_S = 600
_HERE = Path(__file__).parent
_WINDOW = (_HERE / "window.lua").read_text()
_RESERVE = _WINDOW + (_HERE / "reserve.lua").read_text()
_SETTLE = _WINDOW + (_HERE / "settle.lua").read_text()
_GAUGE = _WINDOW + (_HERE / "gauge.lua").read_text()


@dataclass(frozen=True, slots=True)
class Used:
    """What one class has used of a window."""

    tokens: int
    requests: int


async def reserve(grant_id: UUID, ask: Ask, *, pools: tuple[Pool, ...], at: float | None = None) -> timedelta:
    """Reserve under this id and return zero, or reserve nothing and return how long to wait.

    The same id reserves once, however often it is asked. `at` simulates the store's clock, in
    seconds, for tests. Raises QuotaStoreUnavailable.
    """
    limits = [limit for pool in pools for limit in (pool.tokens, pool.requests, pool.burst_tokens, pool.burst_requests)]
    with connection.answering():
        script = connection.on_loop().register_script(_RESERVE)
        wait_ms = await script(
            keys=_keys(grant_id, ask.provider, ask.model), args=[_moment(at), GRANT_LIFE_S, ask.tokens, len(pools), *limits]
        )
    return timedelta(milliseconds=int(wait_ms))


async def settle(grant: Grant, *, tokens: int, requests: int, at: float | None = None) -> None:
    """Charge what was used in place of what was reserved; a second time changes nothing. Raises QuotaStoreUnavailable."""
    with connection.answering():
        script = connection.on_loop().register_script(_SETTLE)
        await script(keys=_keys(grant.id, grant.provider, grant.model), args=[_moment(at), tokens, requests])


def used(models: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Mapping[PriorityClass, Used]]:
    """Return what each class has used of each model's minute, in one exchange, from any thread. Raises QuotaStoreUnavailable."""
    with connection.answering():
        pipeline = connection.in_threads().pipeline(transaction=False)
        script = pipeline.register_script(_GAUGE)
        for provider, model in models:
            script(keys=[_window(provider, model)], args=[""], client=pipeline)
        answers = pipeline.execute()
    return {key: _by_class(answer) for key, answer in zip(models, answers, strict=True)}


def _by_class(sums: Sequence[int]) -> Mapping[PriorityClass, Used]:
    """Tell the classes apart by their pools; p1 stands for p2 as well, which draws on the same."""
    everyone, all_but_p0, p3 = (Used(*sums[place : place + 2]) for place in (0, 2, 4))
    return MappingProxyType({PriorityClass.P0: _less(everyone, all_but_p0), PriorityClass.P1: _less(all_but_p0, p3), PriorityClass.P3: p3})


def _less(one: Used, other: Used) -> Used:
    return Used(one.tokens - other.tokens, one.requests - other.requests)


def _window(provider: str, model: str) -> str:
    return f"{{quota}}:window:{provider}/{model}"


def _keys(grant_id: UUID, provider: str, model: str) -> list[str]:
    return [_window(provider, model), f"{{quota}}:grant:{grant_id.hex}"]


def _moment(at: float | None) -> str:
    return "" if at is None else repr(at)
