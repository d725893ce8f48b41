"""Turns opened together: one transaction and one message for all, an answer for each, and never more than there are slots."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
import redis
from django.conf import settings as configured
from django.db import connection
from django.test.utils import CaptureQueriesContext

from invocation.domain.errors import InputInvalid, NotFound, Saturated, SessionBusy, StreamUnavailable, TooManyTurns
from invocation.gateways import declared, streams
from invocation.gateways.database import off_loop
from invocation.models import Session, Turn
from invocation.services import chatting, turn_openings, turn_rows
from invocation.services.turn_openings import Opened, Opening
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.rows import a_process, a_session, a_tenant

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]


def opening(tenant_id: UUID | None = None, **terms: Any) -> Opening:
    given = {"endpoint": declared.book().find("trial-chat@1"), "input": {"text": "hello"}, **terms}
    return Opening(tenant_id=tenant_id or uuid4(), **given)


def opened(*openings: Opening) -> list[Opened | Exception]:
    now = datetime.now(UTC)
    return turn_openings.open_turns([(each, now) for each in openings])


@pytest.fixture
def broker() -> Iterator[redis.Redis]:
    """The queues, empty."""
    with redis.Redis.from_url(configured.BROKER_URL) as found:
        found.flushdb()
        yield found
        found.flushdb()


def sent(broker: redis.Redis) -> list[dict[str, Any]]:
    """Return each message to p0: its turns and when it expires."""
    found: Any = broker.lrange("p0", 0, -1)
    messages = [orjson.loads(raw) for raw in found]
    return [{"ids": orjson.loads(_body(message))[0][0], "expires": message["headers"]["expires"]} for message in messages]


def _body(message: dict[str, Any]) -> bytes:
    import base64

    return base64.b64decode(message["body"])


def test_one_that_is_refused_costs_the_others_nothing() -> None:
    a_process("p0", slots=3, now=datetime.now(UTC))
    tenant, capped = a_tenant("house"), a_tenant("house")
    busy = a_session(tenant)
    answers = opened(
        opening(tenant, session_id=busy.pk),
        opening(tenant, session_id=busy.pk),
        opening(tenant, session_id=uuid4()),
        opening(capped, at_once=0),
        opening(input={"text": 7}),
        opening(),
        opening(),
        opening(),
    )

    assert [type(answer) for answer in answers] == [Opened, SessionBusy, NotFound, TooManyTurns, InputInvalid, Opened, Opened, Saturated]
    assert set(Turn.objects.values_list("pk", flat=True)) == {answer.turn_id for answer in answers if isinstance(answer, Opened)}


def test_what_the_database_cannot_keep_of_one_does_not_refuse_the_others() -> None:
    a_process("p0", slots=9, now=datetime.now(UTC))
    answers = opened(opening(), opening(input={"text": "a\0b"}), opening())

    assert [isinstance(answer, Opened) for answer in answers] == [True, False, True]
    assert Turn.objects.count() == Session.objects.count() == 2


def test_however_many_are_asked_for_they_are_opened_in_as_many_statements_as_one() -> None:
    a_process("p0", slots=99, now=datetime.now(UTC))
    opened(opening())
    with CaptureQueriesContext(connection) as captured:
        assert all(isinstance(answer, Opened) for answer in opened(*(opening() for _ in range(32))))

    assert len(captured) <= 4  # Django counts those that begin and end it, too


def test_openings_of_many_processes_at_once_pass_no_slot(on_loop: OnLoop[Any]) -> None:
    a_process("p0", slots=5, now=datetime.now(UTC))

    async def story() -> Counter[str]:
        groups = await asyncio.gather(*(off_loop(opened, opening(), opening()) for _ in range(20)))
        return Counter(type(answer).__name__ for group in groups for answer in group)

    assert on_loop(story()) == {"Opened": 5, "Saturated": 35}
    assert Turn.objects.count() == 5


def test_whoever_cannot_be_counted_in_time_is_refused_and_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    a_process("p0", slots=5, now=datetime.now(UTC))
    from invocation.gateways.presence import own_connection

    with own_connection() as other, monkeypatch.context() as hasty:
        hasty.setattr(turn_rows, "LOCK_MS", 50)
        other.execute("SELECT pg_advisory_lock(32330, 0)")
        [refusal] = opened(opening())

    assert isinstance(refusal, Saturated)
    assert refusal.retry_after
    assert isinstance(opened(opening())[0], Opened)


def test_turns_that_are_asked_for_while_others_are_opened_go_together_in_one_message(on_loop: OnLoop[Any], broker: redis.Redis) -> None:
    a_process("p0", slots=99, now=datetime.now(UTC))

    async def story() -> list[Opened]:
        return await asyncio.gather(*(chatting.ask(opening(), now=datetime.now(UTC)) for _ in range(20)))

    found = on_loop(story())
    messages = sent(broker)
    assert Counter(name for message in messages for name in message["ids"]) == Counter(str(each.turn_id) for each in found)
    assert len(messages) <= 3
    latest = max(each.deadline for each in found) + timedelta(seconds=1)
    assert all(datetime.fromisoformat(message["expires"]) <= latest for message in messages)


def test_a_question_is_heard_from_before_it_is_asked(on_loop: OnLoop[Any], broker: redis.Redis, wiped: redis.Redis) -> None:
    a_process("p0", slots=9, now=datetime.now(UTC))

    async def story() -> list[int]:
        asked = await chatting.ask(opening(), now=datetime.now(UTC))
        event = streams.Event(1, "turn.started", "", {})
        await until(lambda: bool(wiped.publish(streams.key(str(asked.session_id)), event.as_bytes())))
        return [each.seq for each in await asked.heard.mailbox.take(within_s=5)]

    assert on_loop(story()) == [1]


@pytest.mark.parametrize("gone", ["stream store", "broker"])
def test_without_store_or_broker_no_turn_stays_open(on_loop: OnLoop[Any], settings: Any, gone: str) -> None:
    a_process("p0", slots=9, now=datetime.now(UTC))
    if gone == "broker":
        settings.CELERY_APP = "tests.integration.invocation.api.cut_off.app"
    else:
        settings.REDIS_URL = "redis://127.0.0.1:1/0"

    async def story() -> list[Any]:
        asked = (chatting.ask(opening(), now=datetime.now(UTC)) for _ in range(3))
        return list(await asyncio.gather(*asked, return_exceptions=True))

    assert [type(answer) for answer in on_loop(story())] == [StreamUnavailable] * 3
    assert not Turn.objects.filter(finished_at=None).exists()


def test_a_broker_that_fails_after_sending_leaves_what_a_worker_has_and_refuses_the_others(on_loop: OnLoop[Any], settings: Any) -> None:
    a_process("p0", slots=9, now=datetime.now(UTC))
    settings.CELERY_APP = "tests.integration.invocation.api.told_before_it_went.app"

    async def story() -> list[Any]:
        return list(await off_loop(chatting.open_and_wake, [(opening(), datetime.now(UTC)) for _ in range(3)]))

    taken, *others = on_loop(story())
    assert isinstance(taken, Opened)
    assert [type(answer) for answer in others] == [StreamUnavailable] * 2
    assert list(Turn.objects.filter(finished_at=None).values_list("pk", "state")) == [(taken.turn_id, "working")]
