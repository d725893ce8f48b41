"""The quota windows against a real store and a model of them, under simulated time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quota.domain.asks import Ask, Grant, Source
from quota.domain.classes import PriorityClass
from quota.domain.limits import Limits, check_fits, pools
from quota.gateways import windows

LIMITS = Limits(tokens_per_minute=6000, requests_per_minute=60, p0_reserved=0.3, p3_cap=0.4)
START = 1_800_000_000.0
ABOVE_P0 = {PriorityClass.P1, PriorityClass.P2, PriorityClass.P3}
POOLS = {frozenset(PriorityClass): 0, frozenset(ABOVE_P0): 1, frozenset({PriorityClass.P3}): 2}


@dataclass
class Call:
    grant: Grant
    priority_class: PriorityClass
    at: float
    tokens: int
    requests: int = 1
    is_open: bool = True


@dataclass
class Model:
    """One model's quota: acts on the store and remembers what it granted."""

    name: str = field(default_factory=lambda: uuid4().hex)
    now: float = START
    calls: list[Call] = field(default_factory=list)

    async def ask(self, priority_class: PriorityClass, tokens: int) -> timedelta:
        grant_id = uuid4()
        ask = Ask(provider="test", model=self.name, priority_class=priority_class, tokens=tokens, tenant=UUID(int=0))
        wait = await windows.reserve(grant_id, ask, pools=pools(LIMITS, priority_class), at=self.now)
        if not wait:
            grant = Grant(id=grant_id, provider="test", model=self.name, tokens=tokens, source=Source.STORE)
            self.calls.append(Call(grant, priority_class, self.now, tokens))
        return wait

    async def close(self, call: Call, *, tokens: int, requests: int) -> None:
        """Settle; the store must ignore all but a call's first time, so the model does."""
        if call.is_open:
            call.tokens, call.requests, call.is_open = tokens, requests, False
        await windows.settle(call.grant, tokens=tokens, requests=requests, at=self.now)

    def used(self, classes: frozenset[PriorityClass], *, since: float, until: float) -> tuple[int, int]:
        calls = [call for call in self.calls if call.priority_class in classes and since <= call.at <= until]
        return sum(call.tokens for call in calls), sum(call.requests for call in calls)

    def check_every_window(self) -> None:
        for call in self.calls:
            self.check_windows_of(call.at)

    def check_windows_of(self, start: float) -> None:
        limits = pools(LIMITS, PriorityClass.P3)
        for classes, place in POOLS.items():
            pool = limits[place]
            tokens, requests = self.used(classes, since=start, until=start + 60)
            assert tokens <= pool.tokens
            assert requests <= pool.requests
            tokens, requests = self.used(classes, since=start, until=start + 10)
            assert tokens <= pool.burst_tokens
            assert requests <= pool.burst_requests

    def p0_keeps_within_its_reserve(self, tokens: int) -> bool:
        """Say whether p0, counted as coarsely as the store counts, asks for no more than what is reserved for it."""
        whole, shared, _ = pools(LIMITS, PriorityClass.P3)
        p0 = frozenset({PriorityClass.P0})
        minute = self.used(p0, since=self.now - 62, until=self.now)
        burst = self.used(p0, since=self.now - 12, until=self.now)
        return (
            minute[0] + tokens <= whole.tokens - shared.tokens
            and minute[1] + 1 <= whole.requests - shared.requests
            and burst[0] + tokens <= whole.burst_tokens - shared.burst_tokens
            and burst[1] + 1 <= whole.burst_requests - shared.burst_requests
        )


Act = tuple[float, PriorityClass, int, str]
ACTS = st.lists(
    st.tuples(
        st.floats(0, 9, allow_subnormal=False),
        st.sampled_from(PriorityClass),
        st.integers(1, 600),
        st.sampled_from(["hold", "hold", "settle", "release", "twice"]),
    ),
    min_size=10,
    max_size=60,
)
STORE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@STORE
@given(acts=ACTS, luck=st.randoms(use_true_random=False))
async def test_no_window_of_a_minute_exceeds_a_limit_and_p0_always_gets_its_reserve(store: None, acts: list[Act], luck: Random) -> None:
    model = Model()
    for gap, priority_class, tokens, act in acts:
        model.now += gap if luck.random() < 0.5 else 0
        due = priority_class is PriorityClass.P0 and model.p0_keeps_within_its_reserve(tokens)
        wait = await model.ask(priority_class, tokens)
        assert not (due and wait)
        if act != "hold" and model.calls:
            await _close(model, luck.choice(model.calls), act)

    model.check_every_window()


async def _close(model: Model, call: Call, act: str) -> None:
    is_made = act != "release"
    await model.close(call, tokens=call.grant.tokens // 2 * is_made, requests=int(is_made))
    if act == "twice":
        await model.close(call, tokens=0, requests=0)


@STORE
@given(acts=ACTS)
async def test_whoever_waits_as_long_as_told_is_let_in(store: None, acts: list[Act]) -> None:
    model = Model()
    for gap, priority_class, tokens, _ in acts:
        check_fits(LIMITS, priority_class, tokens=tokens)
        model.now += gap / 10
        wait = await model.ask(priority_class, tokens)
        if wait:
            model.now += wait.total_seconds()
            assert not await model.ask(priority_class, tokens)

    model.check_every_window()


async def _drain(model: Model, priority_class: PriorityClass, *, seconds: int) -> int:
    """Ask for 100 tokens as often as it is granted, over so many seconds; return the tokens granted."""
    granted = 0
    for _ in range(seconds):
        while not await model.ask(priority_class, 100):
            granted += 100
        model.now += 1
    return granted


async def test_p3_takes_no_more_than_its_cap_of_an_idle_minute(store: None) -> None:
    assert await _drain(Model(), PriorityClass.P3, seconds=60) == 2400


async def test_p1_takes_all_but_the_reserve_and_p0_takes_that_at_once(store: None) -> None:
    model = Model()

    assert await _drain(model, PriorityClass.P1, seconds=60) == 4200
    model.now -= 1
    assert await model.ask(PriorityClass.P1, 100)
    assert not await model.ask(PriorityClass.P0, 400)


async def test_p0_may_use_the_whole_limit_of_an_idle_minute(store: None) -> None:
    assert await _drain(Model(), PriorityClass.P0, seconds=60) == 6000


async def test_the_same_grant_reserves_once_however_often_it_is_asked(store: None) -> None:
    ask = Ask(provider="test", model=uuid4().hex, priority_class=PriorityClass.P3, tokens=600, tenant=UUID(int=0))
    grant_id = uuid4()

    waits = [await windows.reserve(grant_id, ask, pools=pools(LIMITS, PriorityClass.P3), at=START) for _ in range(5)]

    assert waits == [timedelta(0)] * 5


async def test_a_release_gives_back_once(store: None) -> None:
    model = Model()
    await model.ask(PriorityClass.P3, 500)
    first = model.calls[0]
    for _ in range(3):
        await model.close(first, tokens=0, requests=0)

    assert not await model.ask(PriorityClass.P3, 600)
    assert await model.ask(PriorityClass.P3, 1)


async def test_what_was_used_beyond_the_reservation_is_charged_when_it_is_known(store: None) -> None:
    model = Model()
    await model.ask(PriorityClass.P3, 100)
    await model.close(model.calls[0], tokens=5000, requests=1)

    assert await model.ask(PriorityClass.P3, 1) > timedelta(seconds=58)
    assert await model.ask(PriorityClass.P0, 1001)


async def test_a_refund_comes_too_late_to_be_spent_beside_what_followed(store: None) -> None:
    model = Model()
    await model.ask(PriorityClass.P3, 600)
    model.now += 70
    await model.ask(PriorityClass.P3, 600)
    await model.close(model.calls[0], tokens=0, requests=0)

    assert await model.ask(PriorityClass.P3, 1)


@pytest.mark.parametrize("clock", [None, START])
async def test_an_unknown_model_starts_with_an_idle_minute(store: None, clock: float | None) -> None:
    ask = Ask(provider="test", model=uuid4().hex, priority_class=PriorityClass.P0, tokens=1500, tenant=UUID(int=0))

    assert await windows.reserve(uuid4(), ask, pools=pools(LIMITS, PriorityClass.P0), at=clock) == timedelta(0)
