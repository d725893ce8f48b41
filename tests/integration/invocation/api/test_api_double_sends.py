"""A question while the session still answers, and a reader that leaves: what the endpoint's policy makes of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from pytest_django import Settings

from invocation.domain.endpoints import Endpoint, Estimate
from invocation.domain.errors import SessionBusy
from invocation.domain.modes import Transport
from invocation.domain.sessions import OnDisconnect, OnDoubleSend
from invocation.domain.turns import TurnMove, TurnState
from invocation.gateways import streams
from invocation.gateways.database import off_loop
from invocation.gateways.presence import own_connection
from invocation.models import Turn
from invocation.selectors import endpoints
from invocation.services import abandoned, cancelling, double_sends, turns
from invocation.services.chatting import Asked
from invocation.services.turn_openings import Opening
from invocation.services.turns import Ending, TurnClaimed
from tests.integration.invocation.api.calling import Account, open_account
from tests.integration.invocation.conftest import until
from tests.integration.invocation.rows import a_process, a_turn

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("on_this_loop")]


@pytest.fixture
def caller(transactional_db: None) -> Account:
    a_process("p0", now=datetime.now(UTC) + timedelta(seconds=60))
    return open_account()


def chat(policy: OnDoubleSend, **terms: Any) -> Endpoint:
    quick = Estimate(duration=timedelta(seconds=1), tokens=1)
    return replace(endpoints.callable_as("chat@1", Transport.SESSION), on_double_send=policy, estimate=lambda _: quick, **terms)


async def ask(account: Account, endpoint: Endpoint, session_id: UUID | None = None) -> Asked:
    opening = Opening(tenant_id=account.tenant_id, endpoint=endpoint, input={"text": "?"}, session_id=session_id)
    return await double_sends.ask(opening, now=datetime.now(UTC))


async def stop(account: Account, session_id: UUID) -> None:
    await off_loop(cancelling.stop_open_turn, account.tenant_id, session_id, now=datetime.now(UTC))


def states(session_id: UUID) -> list[str]:
    return list(Turn.objects.filter(session_id=session_id).order_by("number").values_list("state", flat=True))


async def test_by_default_a_second_question_is_refused(caller: Account) -> None:
    endpoint = endpoints.callable_as("chat@1", Transport.SESSION)
    first = await ask(caller, endpoint)

    with pytest.raises(SessionBusy):
        await ask(caller, endpoint, first.session_id)


async def test_a_question_that_replaces_stops_the_first(caller: Account) -> None:
    endpoint = chat(OnDoubleSend.REPLACE)
    first = await ask(caller, endpoint)
    second = await ask(caller, endpoint, first.session_id)

    assert second.session_id == first.session_id
    assert await off_loop(states, first.session_id) == [TurnState.CANCELLED, TurnState.QUEUED]


async def held(account: Account, endpoint: Endpoint) -> TurnClaimed:
    """Ask a question that a worker then has, who takes his time to stop."""
    first = await ask(account, endpoint)
    [claimed] = await off_loop(turns.claim, [first.turn_id], owner=uuid4())
    assert claimed is not None
    return claimed


@transaction.atomic
def end(first: TurnClaimed, *, then: TurnState | None = None, ago_s: float = 0.0) -> None:
    """End the turn as its worker does; at the same moment another question is there, which came so long ago."""
    turn, seq = first.turn, first.base + 1
    event = {"seq": seq, "type": "turn.failed", "at": "", "data": {"turn": str(turn.pk)}}
    turns.finish(turn, Ending(move=TurnMove.CANCEL, event=event, text="", last_seq=seq), None)
    if then is not None:
        a_turn(then, session=turn.session, now=datetime.now(UTC) - timedelta(seconds=ago_s))


async def replacing(account: Account, endpoint: Endpoint, first: TurnClaimed) -> asyncio.Task[Asked]:
    """Ask another question in the session, and return once the first was told to stop."""
    asking = asyncio.create_task(ask(account, endpoint, first.turn.session_id))
    await until(lambda: off_loop(lambda: Turn.objects.get(pk=first.turn.pk).stop_requested_at is not None))
    return asking


async def test_of_two_questions_that_replace_one_the_later_is_answered_last(caller: Account) -> None:
    endpoint = chat(OnDoubleSend.REPLACE)
    first = await held(caller, endpoint)
    older, later = [await replacing(caller, endpoint, first) for _ in range(2)]
    await off_loop(end, first)
    await asyncio.wait([older, later])

    left_open = await off_loop(lambda: list(Turn.objects.filter(session_id=first.turn.session_id, finished_at=None)))
    assert [turn.pk for turn in left_open] == [later.result().turn_id]
    assert isinstance(older.exception(), SessionBusy | None)


async def test_a_question_stops_each_older_one_that_is_in_its_way(caller: Account) -> None:
    endpoint = chat(OnDoubleSend.REPLACE)
    first = await held(caller, endpoint)
    asking = await replacing(caller, endpoint, first)
    await off_loop(end, first, then=TurnState.QUEUED, ago_s=1)
    await asking

    assert await off_loop(states, first.turn.session_id) == [TurnState.CANCELLED, TurnState.CANCELLED, TurnState.QUEUED]


@pytest.mark.parametrize("state", [TurnState.QUEUED, TurnState.WORKING, TurnState.COMPLETED])
async def test_a_question_takes_no_later_ones_place_and_is_not_answered_behind_it(caller: Account, state: TurnState) -> None:
    endpoint = chat(OnDoubleSend.REPLACE)
    first = await held(caller, endpoint)
    asking = await replacing(caller, endpoint, first)
    await off_loop(end, first, then=state, ago_s=-1)
    with pytest.raises(SessionBusy, match="later question"):
        await asking

    assert await off_loop(states, first.turn.session_id) == [TurnState.CANCELLED, state]


async def test_questions_that_wait_are_asked_in_their_order_and_their_budget_runs(caller: Account) -> None:
    endpoint = chat(OnDoubleSend.ENQUEUE)
    first = await ask(caller, endpoint)
    began = datetime.now(UTC)
    waiting = asyncio.create_task(ask(caller, endpoint, first.session_id))
    await asyncio.sleep(0.3)
    before = await off_loop(states, first.session_id)
    await stop(caller, first.session_id)
    second = await waiting

    assert before == [TurnState.QUEUED]
    assert await off_loop(states, first.session_id) == [TurnState.CANCELLED, TurnState.QUEUED]
    assert second.deadline - began < endpoint.budgets.whole + timedelta(seconds=0.2)


async def test_only_so_many_questions_wait(caller: Account) -> None:
    endpoint = chat(OnDoubleSend.ENQUEUE)
    first = await ask(caller, endpoint)
    waiting = [asyncio.create_task(ask(caller, endpoint, first.session_id)) for _ in range(double_sends.MOST_WAITING)]
    await asyncio.sleep(0.1)

    with pytest.raises(SessionBusy, match="wait already"):
        await ask(caller, endpoint, first.session_id)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert not double_sends._waiting
    assert not double_sends._turns


async def test_a_question_that_would_not_be_answered_in_time_is_refused(caller: Account) -> None:
    endpoint = chat(OnDoubleSend.ENQUEUE, whole=timedelta(seconds=1.3))
    first = await ask(caller, chat(OnDoubleSend.ENQUEUE))

    with pytest.raises(SessionBusy):
        await ask(caller, endpoint, first.session_id)


async def left(account: Account, asked: Asked, policy: OnDisconnect) -> list[str]:
    endpoint = replace(chat(OnDoubleSend.REJECT), on_disconnect=policy)
    asked.heard.close()
    abandoned.left(endpoint, account.tenant_id, asked.session_id)
    await asyncio.wait([*abandoned._waiting])
    return await off_loop(states, asked.session_id)


@pytest.fixture
def soon(settings: Settings) -> None:
    settings.COMES_BACK_S = 0.1


@pytest.mark.usefixtures("soon")
async def test_a_turn_whose_reader_left_goes_on_or_is_stopped(caller: Account) -> None:
    first, second = [await ask(caller, chat(OnDoubleSend.REJECT)) for _ in range(2)]

    assert await left(caller, first, OnDisconnect.CONTINUE) == [TurnState.QUEUED]
    assert await left(caller, second, OnDisconnect.CANCEL) == [TurnState.CANCELLED]


@pytest.mark.usefixtures("soon")
async def test_a_turn_that_somebody_else_follows_goes_on(caller: Account) -> None:
    first = await ask(caller, chat(OnDoubleSend.REJECT))
    other = await streams.hub().subscribe(str(first.session_id))

    assert await left(caller, first, OnDisconnect.CANCEL) == [TurnState.QUEUED]
    other.close()


@pytest.mark.usefixtures("soon")
async def test_a_turn_that_ended_meanwhile_is_left_alone(caller: Account) -> None:
    first = await ask(caller, chat(OnDoubleSend.REJECT))
    await stop(caller, first.session_id)

    assert await left(caller, first, OnDisconnect.CANCEL) == [TurnState.CANCELLED]


@pytest.mark.usefixtures("soon")
async def test_where_nobody_can_say_who_follows_the_turn_goes_on(caller: Account, settings: Settings) -> None:
    first = await ask(caller, chat(OnDoubleSend.REJECT))
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    assert await left(caller, first, OnDisconnect.CANCEL) == [TurnState.QUEUED]


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(("policy", "state"), [(OnDisconnect.CANCEL, TurnState.CANCELLED), (OnDisconnect.CONTINUE, TurnState.QUEUED)])
async def test_who_leaves_while_his_turn_is_opened_has_left_it(caller: Account, policy: OnDisconnect, state: TurnState) -> None:
    endpoint = replace(chat(OnDoubleSend.REJECT), on_disconnect=policy)

    def opened() -> list[str]:
        return list(Turn.objects.values_list("state", flat=True))

    with own_connection() as other:
        other.execute("SELECT pg_advisory_lock(32330, 0)")
        asking = asyncio.create_task(ask(caller, endpoint))
        await asyncio.sleep(0.2)
        asking.cancel()
        await asyncio.wait([asking])
        assert await off_loop(opened) == []
    await until(lambda: off_loop(lambda: bool(opened())))
    with suppress(AssertionError):
        await until(lambda: off_loop(lambda: opened() == [TurnState.CANCELLED]), within_s=1.0)

    assert asking.cancelled()
    assert await off_loop(opened) == [state]
