"""The waiting room: turns over tenants and classes, blocks for batch, and nothing lost when a caller goes away."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from quota.domain.asks import Ask, Source
from quota.domain.classes import PriorityClass
from quota.domain.errors import CanNeverFit, ModelUnavailable, QuotaExceeded
from quota.domain.limits import Limits
from quota.gateways import windows
from quota.models import ModelQuota
from quota.services import admission
from quota.services.limits import known_limits

pytestmark = pytest.mark.django_db(transaction=True)
P0, P1, P2, P3 = PriorityClass
AT_ONCE, PATIENT = timedelta(0), timedelta(seconds=40)
LIMITS = Limits(tokens_per_minute=40_000, requests_per_minute=4000, p0_reserved=0.3, p3_cap=0.4)


@pytest.fixture
def model() -> str:
    """In ten seconds p1 may take 7,000 tokens, p3 4,000."""
    name = uuid4().hex
    ModelQuota.objects.create(provider="test", model=name, tokens_per_minute=40_000, requests_per_minute=4000, p0_reserved=0.3, p3_cap=0.4)
    return name


def ask(model: str, tokens: int, priority_class: PriorityClass = P1, *, tenant: int = 0) -> Ask:
    return Ask(provider="test", model=model, priority_class=priority_class, tokens=tokens, tenant=UUID(int=tenant))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  (somebody else's moment)
            await asyncio.sleep(0.01)


async def used(model: str) -> dict[str, tuple[int, int]]:
    await admission.rest()
    reading = await asyncio.to_thread(windows.read, {("test", model): LIMITS})
    return {word.value: (each.tokens, each.requests) for word, each in reading["test", model].minute.items() if each.requests}


async def test_a_tenant_with_one_call_waits_for_one_call_of_a_tenant_with_many(store: None, model: str) -> None:
    order: list[int] = []

    async def call(tenant: int) -> None:
        await admission.reserve(ask(model, 1000, tenant=tenant), patience=PATIENT)
        order.append(tenant)

    held = await admission.reserve(ask(model, 7000), patience=AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for tenant in [1, 1, 1, 1, 1, 2]:
            group.create_task(call(tenant))
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        await admission.release(held)

    assert sorted(order[:2]) == [1, 2]


async def test_the_higher_class_goes_first_whoever_came_first(store: None, model: str) -> None:
    order: list[PriorityClass] = []

    async def call(word: PriorityClass) -> None:
        await admission.reserve(ask(model, 500, word), patience=PATIENT)
        order.append(word)

    held = await admission.reserve(ask(model, 7000), patience=AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for word in (P3, P2, P1):
            group.create_task(call(word))
            await asyncio.sleep(0.02)
        await admission.release(held)

    assert order == [P1, P2, P3]


async def test_a_large_call_is_not_passed_by_small_ones_that_come_later(store: None, model: str) -> None:
    order: list[int] = []

    async def call(tokens: int) -> None:
        await admission.reserve(ask(model, tokens), patience=PATIENT)
        order.append(tokens)

    held = await admission.reserve(ask(model, 6000), patience=AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for tokens in (5000, 10, 20):
            group.create_task(call(tokens))
            await asyncio.sleep(0.02)
        await admission.release(held)

    assert order == [5000, 10, 20]


async def test_whoever_goes_away_while_waiting_leaves_nothing_behind(store: None, model: str) -> None:
    await admission.reserve(ask(model, 7000), patience=AT_ONCE)
    waiting = asyncio.create_task(admission.reserve(ask(model, 1000), patience=PATIENT))
    await asyncio.sleep(0.05)
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await used(model) == {"p1": (7000, 1)}
    assert (await admission.reserve(ask(model, 3000, P0), patience=AT_ONCE)).source is Source.STORE


async def test_callers_of_one_moment_share_one_exchange(store: None, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[int] = []
    real = windows.exchange

    async def counting(key: windows.ModelKey, limits: Limits, words: list[object], *rest: object, **more: object) -> object:
        said.append(len(words))
        return await real(key, limits, words, *rest, **more)  # type: ignore[arg-type]

    await admission.reserve(ask(model, 1), patience=AT_ONCE)
    monkeypatch.setattr(windows, "exchange", counting)
    await asyncio.gather(*(admission.reserve(ask(model, 10), patience=AT_ONCE) for _ in range(50)))

    assert len(said) <= 2
    assert sum(said) <= 2
    assert await used(model) == {"p1": (501, 51)}


async def _busy(model: str, calls: int, word: PriorityClass) -> Counter[Source]:
    """Make calls of 100 tokens, as many at once as a busy process does; half of each is used."""

    async def call(number: int) -> Source:
        grant = await admission.reserve(ask(model, 100, word, tenant=number % 3), patience=PATIENT)
        await asyncio.sleep(0.01)
        await admission.settle(grant, used_tokens=50)
        return grant.source

    granted: list[Source] = []
    for _ in range(calls // 8):
        granted += await asyncio.gather(*(call(number) for number in range(8)))
    return Counter(granted)


@pytest.mark.parametrize("word", [P0, P1, P3])
async def test_a_busy_process_takes_its_calls_from_blocks_and_what_it_used_is_what_counts(
    store: None, model: str, word: PriorityClass
) -> None:
    found = await _busy(model, 48, word)

    assert found[Source.BLOCK] > 30
    assert found.total() == 48
    assert await used(model) == {word.value: (50 * found.total(), found.total())}


async def test_a_class_takes_no_call_from_the_block_of_another(store: None, model: str) -> None:
    await _busy(model, 8, P3)

    assert (await admission.reserve(ask(model, 10, P0), patience=AT_ONCE)).source is Source.STORE


async def test_blocks_pass_no_limit_either(store: None, model: str) -> None:
    async def call() -> bool:
        try:
            await admission.reserve(ask(model, 100, P3), patience=timedelta(milliseconds=300))
        except QuotaExceeded:
            return False
        return True

    assert sum(await asyncio.gather(*(call() for _ in range(200)))) == 40


async def test_five_failures_refuse_p1_at_once_let_p3_wait_and_one_probe_brings_all_back(store: None, model: str) -> None:
    for _ in range(5):
        grant = await admission.reserve(ask(model, 10), patience=AT_ONCE)
        admission.failed(grant)
        await admission.settle(grant, used_tokens=0)
    await admission.rest()
    with pytest.raises(ModelUnavailable) as out:
        await admission.reserve(ask(model, 10), patience=PATIENT)
    row = asyncio.create_task(admission.reserve(ask(model, 10, P3), patience=PATIENT))

    assert out.value.retry_after
    assert timedelta(0) < out.value.retry_after <= timedelta(seconds=5)
    probe = await row
    assert probe.is_probe
    with pytest.raises(ModelUnavailable):
        await admission.reserve(ask(model, 10, P0), patience=PATIENT)
    admission.answered(probe)
    assert not (await admission.reserve(ask(model, 10, P0), patience=PATIENT)).is_probe


async def test_an_answer_between_failures_forgets_them(store: None, model: str) -> None:
    for number in range(8):
        grant = await admission.reserve(ask(model, 10), patience=AT_ONCE)
        (admission.answered if number == 4 else admission.failed)(grant)
        await admission.settle(grant, used_tokens=0)

    assert not (await admission.reserve(ask(model, 10), patience=AT_ONCE)).is_probe


async def test_nobody_waits_for_a_room_that_broke(store: None, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a defect of ours")

    monkeypatch.setattr(windows, "exchange", broken)
    with pytest.raises(ZeroDivisionError):
        await admission.reserve(ask(model, 10), patience=PATIENT)
    monkeypatch.undo()

    assert (await admission.reserve(ask(model, 10), patience=PATIENT)).source is Source.STORE


def test_what_can_never_fit_is_known_at_submission(model: str) -> None:
    models = {model, "another"}
    admission.check_can_fit("test", models, P3, tokens=16_000)

    assert known_limits("test", model).tokens_per_minute == 40_000
    with pytest.raises(CanNeverFit):
        admission.check_can_fit("test", models, P3, tokens=80_001)
