"""A turn whose endpoint its worker does not know: another takes it, or it ends, typed and at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from pytest_django import Settings

from invocation.gateways import declared
from invocation.models import Turn
from invocation.services import undeclared_turns
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.hearing import asked, heard, text_of
from tests.integration.invocation.rows import a_session
from tests.integration.invocation.workers import at_rest, turn_state, turn_worker

pytestmark = [pytest.mark.usefixtures("tried", "wiped"), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def broker(settings: Settings) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.BROKER_URL) as store:
        store.delete("p0")
        yield store
        store.delete("p0")


def declare(settings: Settings, *modules: str) -> None:
    settings.ENDPOINT_MODULES = modules
    declared.book.cache_clear()


def test_a_worker_of_an_older_release_gives_a_turn_back_and_another_answers_it(
    on_loop: OnLoop[Any], settings: Settings, broker: redis.Redis
) -> None:
    turn = asked({"says": ["one"]})
    modules = settings.ENDPOINT_MODULES

    async def story() -> str:
        async with turn_worker() as engine:
            reading = asyncio.create_task(heard(turn))
            declare(settings, "config.endpoints")
            engine.accept([turn.pk])
            await at_rest(engine)
            assert await turn_state(turn.pk) == "queued"
            await until(lambda: broker.llen("p0") == 1)
            declare(settings, *modules)
            engine.accept([turn.pk])
            return text_of(await reading)

    assert on_loop(story()) == "one"
    turn.refresh_from_db()
    assert (turn.state, turn.attempt) == ("completed", 2)


def test_where_no_worker_knows_it_the_turn_ends_typed_before_its_time_is_up(
    on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch, broker: redis.Redis
) -> None:
    monkeypatch.setattr(undeclared_turns, "AGAIN_S", 0.02)
    by = datetime.now(UTC) + timedelta(seconds=1.5)
    session = a_session(reserved_seq=4_096)
    turn = asked({}, endpoint="newer@1", session=session, first_delta_deadline=by, attempt=1, text="so far", text_seq=3)

    async def story() -> Any:
        async with turn_worker() as engine:
            reading = asyncio.create_task(heard(turn, after=4_096))
            while await turn_state(turn.pk) in {"queued", "working"}:
                engine.accept([turn.pk])
                await at_rest(engine)
            return (await reading)[-1]

    last = on_loop(story())
    turn.refresh_from_db()
    assert (last.type, last.data["code"], last.data["truncated"]) == ("turn.failed", "endpoint_undeclared", True)
    assert (turn.state, turn.text, turn.finished_at is not None and turn.finished_at < by) == ("failed", "so far", True)
    assert turn.attempt > 2


def test_without_a_broker_it_stays_queued_for_the_sweep(on_loop: OnLoop[Any], settings: Settings) -> None:
    settings.CELERY_APP = "tests.integration.invocation.api.cut_off.app"
    turn = asked({}, endpoint="newer@1")

    async def story() -> None:
        async with turn_worker() as engine:
            engine.accept([turn.pk])
            await at_rest(engine)

    on_loop(story())
    assert Turn.objects.get(pk=turn.pk).state == "queued"


def test_a_turn_whose_version_of_the_agent_is_not_known_here_is_given_back(on_loop: OnLoop[Any], broker: redis.Redis) -> None:
    turn = asked({})
    Turn.objects.filter(pk=turn.pk).update(agent="trial@99")

    async def story() -> None:
        async with turn_worker() as engine:
            engine.accept([turn.pk])
            await at_rest(engine)
            await until(lambda: broker.llen("p0") == 1)

    on_loop(story())
    assert Turn.objects.get(pk=turn.pk).state == "queued"
