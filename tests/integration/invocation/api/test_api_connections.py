"""How many streams may be open, who is told to leave, and what is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import redis
from django.conf import settings as given
from django.db import DatabaseError
from django.test import Client
from pytest_django import Settings

from config.asgi import application
from invocation.api import streaming
from invocation.consumers import chat
from invocation.domain.errors import ConnectionsFull, TooManyConnections
from invocation.domain.sessions import Line
from invocation.gateways import shared_counts
from invocation.gateways.database import off_loop
from invocation.gateways.presence import own_connection
from invocation.services import connections, tallies, tickets
from invocation.services.connections import Desk, Place
from quota.domain.callers import Caller
from quota.models import Plan
from quota.services import keys
from tests.integration.invocation.api.calling import Account, open_account, refusal
from tests.integration.invocation.api.performing import a_performer
from tests.integration.invocation.api.test_api_sockets import TURN, Socket, bearer, connected
from tests.integration.invocation.api.test_api_streams import ask, read
from tests.integration.invocation.conftest import until
from tests.integration.invocation.rows import a_process, a_session

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("on_this_loop")]


@pytest.fixture
def caller(transactional_db: None) -> Account:
    return open_account()


def capped(most: int) -> Account:
    account = open_account(a_minute=9_000 + most)
    Plan.objects.filter(name=f"tested-{9_000 + most}").update(connections=most)
    return account


def as_caller(account: Account) -> Caller:
    return keys.authenticate(account.key, now=datetime.now(UTC))


@pytest.fixture
async def desks() -> AsyncIterator[list[Desk]]:
    """Three web processes, as far as counting goes."""
    found = [Desk(), Desk(), Desk()]
    yield found
    for desk in found:
        await desk.aclose()


async def test_a_tenants_streams_are_counted_over_all_processes(transactional_db: None, desks: list[Desk]) -> None:
    caller = await off_loop(as_caller, await off_loop(capped, 3))
    places = [await desk.enter(caller, Line.SSE) for desk in desks]
    with pytest.raises(TooManyConnections) as refused:
        await desks[0].enter(caller, Line.SSE)
    places[1].leave()
    await desks[1].report()

    assert await off_loop(tallies.streams_of, caller.tenant_id) == 2
    assert (refused.value.facts["limit"], refused.value.facts["used"]) == (3, 3)
    assert isinstance(await desks[0].enter(caller, Line.SSE), Place)
    assert len(desks[0]) == 2


async def test_a_report_that_was_begun_before_a_stream_came_in_does_not_take_it_off(transactional_db: None, desks: list[Desk]) -> None:
    caller = await off_loop(as_caller, await off_loop(capped, 3))
    await desks[0].enter(caller, Line.SSE)
    await desks[0].report()
    for entered in range(2, 4):
        reporting = asyncio.create_task(desks[0].report())
        await asyncio.sleep(0)
        await desks[0].enter(caller, Line.SSE)
        await reporting
        assert await off_loop(tallies.streams_of, caller.tenant_id) == entered

    with pytest.raises(TooManyConnections):
        await desks[1].enter(caller, Line.SSE)


async def test_what_a_dead_process_held_lapses(transactional_db: None, desks: list[Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    caller = await off_loop(as_caller, await off_loop(capped, 2))
    monkeypatch.setattr(shared_counts, "LIFE_S", 2)
    for desk in desks[:2]:
        await desk.enter(caller, Line.SSE)
    await desks[0].aclose()  # it reports no more
    with pytest.raises(TooManyConnections):
        await desks[2].enter(caller, Line.SSE)
    for _ in range(3):
        await asyncio.sleep(1.1)
        await desks[1].report()

    assert await desks[2].enter(caller, Line.SSE)
    with pytest.raises(TooManyConnections):
        await desks[2].enter(caller, Line.SSE)


async def test_a_wiped_store_is_told_again(transactional_db: None, desks: list[Desk]) -> None:
    caller = await off_loop(as_caller, await off_loop(capped, 1))
    await desks[0].enter(caller, Line.SSE)
    with redis.Redis.from_url(given.REDIS_URL) as store:
        store.delete(shared_counts.tenant_key(caller.tenant_id))
    await desks[0].report()

    with pytest.raises(TooManyConnections):
        await desks[1].enter(caller, Line.SSE)


async def test_without_the_store_the_limit_holds_in_each_process(transactional_db: None, desks: list[Desk], settings: Settings) -> None:
    caller = await off_loop(as_caller, await off_loop(capped, 1))
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    assert await desks[0].enter(caller, Line.SSE)
    with pytest.raises(TooManyConnections):
        await desks[0].enter(caller, Line.SSE)
    assert await desks[1].enter(caller, Line.SSE)


async def test_a_process_has_a_limit_of_its_own(transactional_db: None, desks: list[Desk], settings: Settings) -> None:
    settings.WEB_CONNECTIONS = 1
    one, other = [await off_loop(as_caller, await off_loop(open_account)) for _ in range(2)]
    await desks[0].enter(one, Line.SSE)

    with pytest.raises(ConnectionsFull):
        await desks[0].enter(other, Line.SSE)


async def test_a_stream_beyond_the_plan_is_refused_on_either_line_and_nothing_is_asked(transactional_db: None) -> None:
    account = await off_loop(capped, 1)
    async with a_performer(), connected("/ws/chat/chat@1", bearer(account)) as first:
        await first.hear()
        async with connected("/ws/chat/chat@1", bearer(account)) as second:
            error = await second.hear()
            code = await second.closed_with()
        answer = await ask(account)
    after = await ask(account, {"endpoint": "chat@1", "input": {"text": 3}})

    assert (error["data"]["code"], error["data"]["retry_after_s"], code) == ("too_many_connections", 2, 4429)
    assert refusal(answer, status=429, code="too_many_connections")["limit"] == 1
    assert answer.headers["Retry-After"] == "2"
    refusal(after, status=422, code="input_invalid")


async def test_a_full_process_is_unavailable_on_either_line(caller: Account, settings: Settings) -> None:
    settings.WEB_CONNECTIONS = 1
    async with connected("/ws/chat/chat@1", bearer(caller)) as first:
        await first.hear()
        async with connected("/ws/chat/chat@1", bearer(caller)) as second:
            error = await second.hear()
            code = await second.closed_with()
        answer = await ask(caller)

    assert (error["data"]["code"], code) == ("connections_full", 4503)
    assert refusal(answer, status=503, code="connections_full")["retry_after_s"] == 2


async def test_a_stream_that_ended_or_was_never_read_holds_no_place(caller: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "NEVER_READ_S", 0.2)
    async with a_performer():
        await read(await ask(caller))
        assert len(connections.desk()) == 0
        await ask(caller)
        assert len(connections.desk()) == 1
        await asyncio.sleep(0.4)

    assert len(connections.desk()) == 0


async def test_a_connection_that_is_cut_short_holds_no_place(caller: Account) -> None:
    socket = Socket(application, "/ws/chat/chat@1", headers=[(b"authorization", caller.bearer.encode())])
    await socket.connect(timeout=20)
    await socket.hear()
    assert len(connections.desk()) == 1
    socket.future.cancel()
    await asyncio.wait([socket.future])

    assert len(connections.desk()) == 0


async def test_a_stream_that_breaks_off_is_no_silence(caller: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any, **__: Any) -> AsyncIterator[Any]:
        nothing: list[Any] = []
        for event in nothing:
            yield event
        raise DatabaseError("the pool is exhausted")

    await off_loop(a_process, "p0", now=datetime.now(UTC))
    monkeypatch.setattr(chat, "follow_turn", broken)
    async with connected("/ws/chat/chat@1", bearer(caller)) as socket:
        await socket.hear()
        await socket.say(TURN)
        await socket.hear()

        assert (await socket.hear())["data"]["code"] == "stream_unavailable"
        assert await socket.closed_with() == 4503


async def test_frames_that_come_faster_than_anybody_types_end_the_connection(caller: Account) -> None:
    async with connected("/ws/chat/chat@1", bearer(caller)) as socket:
        await socket.hear()
        for _ in range(40):
            await socket.say("{")
        errors = [await socket.hear() for _ in range(21)]

        assert [error["data"]["code"] for error in errors[-2:]] == ["input_invalid", "too_many_frames"]
        assert await socket.closed_with() == 4429


async def test_a_connection_without_a_turn_is_closed_after_a_while(caller: Account, settings: Settings) -> None:
    settings.IDLE_S = 0.5
    async with connected("/ws/chat/chat@1", bearer(caller)) as socket:
        await socket.hear()
        error = await socket.hear()

        assert (error["data"]["code"], error["data"]["limit_s"]) == ("connection_idle", 0.5)
        assert await socket.closed_with() == 4408


async def test_a_connection_with_an_open_turn_is_not_idle(caller: Account, settings: Settings) -> None:
    settings.IDLE_S = 0.3
    await off_loop(a_process, "p0", now=datetime.now(UTC))
    async with connected("/ws/chat/chat@1", bearer(caller)) as socket:
        await socket.hear()
        await socket.say(TURN)
        assert (await socket.hear())["type"] == "session.ready"

        assert await socket.receive_nothing(timeout=1.0)


async def test_a_process_that_leaves_sends_its_readers_elsewhere(caller: Account) -> None:
    await off_loop(a_process, "p0", now=datetime.now(UTC))
    answer = await ask(caller)
    reading = asyncio.create_task(read_raw(answer))
    async with connected("/ws/chat/chat@1", bearer(caller)) as socket:
        await socket.hear()
        await asyncio.sleep(0.1)
        connections.desk().send_away()
        goodbye = await socket.hear()
        code = await socket.closed_with()
    told = await reading
    refusal(await ask(caller), status=503, code="connections_full")

    assert (goodbye["type"], goodbye["data"]["retry_ms"], code) == ("reconnect", 250, 1012)
    assert b"retry: 250\n" in told
    assert b"event: reconnect\n" in told


async def test_a_slow_reader_is_sent_elsewhere_behind_what_it_has_not_read(caller: Account) -> None:
    has_read_again = asyncio.Event()

    async def reads(answer: Any) -> list[bytes]:
        found = []
        async for part in answer:
            found.append(part)
            await has_read_again.wait()  # as behind the gate of a connection that takes nothing more
        return found

    await off_loop(a_process, "p0", now=datetime.now(UTC))
    reading = asyncio.create_task(reads(await ask(caller)))
    await asyncio.sleep(0.1)
    connections.desk().send_away()
    await asyncio.sleep(0.1)
    has_read_again.set()
    told = await asyncio.wait_for(reading, 10)

    assert [told[0], told[-1].split(b"\n")[2]] == [b": open\n\n", b"event: reconnect"]


async def test_a_stream_that_nobody_reads_yet_is_sent_elsewhere_with_its_first_byte(caller: Account) -> None:
    await off_loop(a_process, "p0", now=datetime.now(UTC))
    answer = await ask(caller)
    connections.desk().send_away()

    assert b"event: reconnect\n" in await read_raw(answer)


async def test_a_socket_that_is_being_opened_is_sent_elsewhere_once_it_is(caller: Account) -> None:
    session = await off_loop(a_session, caller.tenant_id)
    socket = Socket(application, f"/ws/chat/chat@1?session={session.pk}", headers=[(b"authorization", caller.bearer.encode())])
    with own_connection() as other, other.transaction():
        other.execute("LOCK TABLE invocation_session IN ACCESS EXCLUSIVE MODE")
        await socket.connect(timeout=20)
        await until(lambda: len(connections.desk()) == 1)
        connections.desk().send_away()
    told = [await socket.hear() for _ in range(2)]

    assert [event["type"] for event in told] == ["session.ready", "reconnect"]
    assert await socket.closed_with() == 1012
    await socket.disconnect(timeout=20)


async def read_raw(answer: Any) -> bytes:
    async with asyncio.timeout(10):
        return b"".join([part async for part in answer])


async def test_a_ticket_opens_one_connection(caller: Account) -> None:
    ticket = tickets.issue(caller.key.split("_")[1])
    async with connected(f"/ws/chat/chat@1?ticket={ticket}") as first:
        assert (await first.hear())["type"] == "session.ready"
    async with connected(f"/ws/chat/chat@1?ticket={ticket}") as second:
        error = await second.hear()

        assert error["data"]["code"] == "bad_key"
        assert await second.closed_with() == 4401


async def test_a_ticket_that_cannot_be_checked_opens_nothing(caller: Account, settings: Settings) -> None:
    ticket = tickets.issue(caller.key.split("_")[1])
    shared_counts._blocking.cache_clear()
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    async with connected(f"/ws/chat/chat@1?ticket={ticket}") as socket:
        error = await socket.hear()

        assert error["data"]["code"] == "stream_unavailable"
        assert await socket.closed_with() == 4503
    shared_counts._blocking.cache_clear()


async def test_a_ticket_lives_a_minute(caller: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = tickets.issue(caller.key.split("_")[1])
    monkeypatch.setattr(tickets, "LIFE", tickets.LIFE * -1)
    async with connected(f"/ws/chat/chat@1?ticket={ticket}") as socket:
        assert (await socket.hear())["data"]["code"] == "bad_key"


async def test_a_ticket_opens_no_session_of_another_tenant(caller: Account) -> None:
    stranger = await off_loop(open_account)
    session = await off_loop(a_session, stranger.tenant_id)
    ticket = tickets.issue(caller.key.split("_")[1])
    async with connected(f"/ws/chat/chat@1?ticket={ticket}&session={session.pk}") as socket:
        assert (await socket.hear())["data"]["code"] == "not_found"


async def test_a_page_of_another_port_is_refused_and_an_allowed_one_is_not(caller: Account, settings: Settings) -> None:
    settings.ALLOWED_ORIGINS = ("https://shop.example",)
    ticket = tickets.issue(caller.key.split("_")[1])
    headers = {"Origin": "https://shop.example", "Host": "localhost:8000"}
    async with connected(f"/ws/chat/chat@1?ticket={ticket}", headers) as socket:
        assert (await socket.hear())["type"] == "session.ready"
    for origin in ("http://localhost:8001", "null"):
        with pytest.raises(AssertionError):
            async with connected("/ws/chat/chat@1?ticket=any", {"Origin": origin, "Host": "localhost:8000"}):
                pass


async def test_a_query_that_is_too_long_is_refused(caller: Account) -> None:
    async with connected(f"/ws/chat/chat@1?session={'x' * 2_000}", bearer(caller)) as socket:
        assert (await socket.hear())["data"]["code"] == "input_invalid"
        assert await socket.closed_with() == 4404


async def test_the_figures_of_streams_are_the_installations(caller: Account) -> None:
    with redis.Redis.from_url(given.REDIS_URL) as store:
        store.delete(shared_counts.TALLIES_KEY, shared_counts.OPEN_KEY)
    async with a_performer(), connected("/ws/chat/chat@1", bearer(caller)) as socket:
        await socket.hear()
        await read(await ask(caller))
        await socket.say(TURN)
        await socket.hear_turn()
        await ask(caller, {"endpoint": "chat@1", "input": {"text": "?"}, "session": str(uuid4())})
        await connections.desk().report()
        told = (await off_loop(Client().get, "/metrics")).content.decode()

    assert 'gearbox_stream_connections{endpoint="chat@1",line="websocket"} 1.0' in told
    assert 'gearbox_stream_first_delta_seconds_count{endpoint="chat@1",share="whole"} 2.0' in told
    assert 'gearbox_stream_gap_seconds_count{endpoint="chat@1"} 2.0' in told


async def test_a_shed_question_is_counted_by_its_code(caller: Account) -> None:
    with redis.Redis.from_url(given.REDIS_URL) as store:
        store.delete(shared_counts.TALLIES_KEY)
    await ask(caller)
    await connections.desk().report()
    told = (await off_loop(Client().get, "/metrics")).content.decode()

    assert 'gearbox_stream_sheds_total{code="saturated",endpoint="chat@1"} 1.0' in told
