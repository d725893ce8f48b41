from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator

from config.asgi import application
from invocation.domain.turns import TurnState
from invocation.gateways.database import off_loop
from invocation.models import Turn
from invocation.services import tickets
from quota.domain.callers import Scope
from quota.services import keys
from tests.integration.invocation.api.calling import Account, open_account
from tests.integration.invocation.api.performing import a_performer
from tests.integration.invocation.rows import a_process, a_session, a_turn

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("on_this_loop")]
LIMIT_S = 20
TURN = {"type": "turn", "input": {"text": "What shall I read?"}}


@pytest.fixture
def caller(transactional_db: None) -> Account:
    return open_account()


class Socket(WebsocketCommunicator):  # type: ignore[misc]
    """A connection that speaks JSON."""

    async def say(self, frame: Any) -> None:
        await self.send_to(text_data=frame if isinstance(frame, str) else json.dumps(frame))

    async def hear(self) -> dict[str, Any]:
        event = json.loads(await self.receive_from(timeout=LIMIT_S))
        assert set(event) == {"seq", "type", "at", "data"}
        return dict(event)

    async def hear_turn(self) -> list[dict[str, Any]]:
        """Hear all up to a turn's last event."""
        heard = [await self.hear()]
        while heard[-1]["type"] not in {"turn.completed", "turn.failed"}:
            heard.append(await self.hear())
        return heard

    async def closed_with(self) -> int:
        told = await self.receive_output(timeout=LIMIT_S)
        assert told["type"] == "websocket.close"
        return int(told["code"])


@asynccontextmanager
async def connected(path: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[Socket]:
    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    socket = Socket(application, path, headers=raw)
    opened, _ = await socket.connect(timeout=LIMIT_S)
    assert opened
    yield socket
    await socket.disconnect(timeout=LIMIT_S)


async def comes_true(condition: Callable[[], bool]) -> bool:
    """Ask until the condition holds, at most as long as the limit."""
    for _ in range(LIMIT_S * 20):
        if await off_loop(condition):
            return True
        await asyncio.sleep(0.05)
    return False


def bearer(account: Account) -> dict[str, str]:
    return {"Authorization": account.bearer}


async def test_a_ticket_bought_over_http_opens_a_socket(caller: Account) -> None:
    bought = await caller.stream.post("/v1/tickets")
    async with connected(f"/ws/chat/chat@1?ticket={bought.json()['ticket']}") as socket:
        ready = await socket.hear()

    assert (bought.status_code, bought.json()["expires_in"]) == (201, 60)
    assert (ready["type"], ready["data"]) == ("session.ready", {"session": None, "endpoint": "chat@1", "seq": 0})


async def test_the_first_turn_names_the_session_and_streams_to_its_end(caller: Account) -> None:
    async with a_performer(), connected("/ws/chat/chat@1", bearer(caller)) as socket:
        await socket.hear()
        await socket.say(TURN)
        ready, *events = await socket.hear_turn()
        await socket.say(TURN)
        second = await socket.hear_turn()

    assert (ready["type"], ready["data"]["seq"]) == ("session.ready", 0)
    assert [event["type"] for event in events] == ["turn.started", "delta", "delta", "turn.completed"]
    assert [event["seq"] for event in [*events, *second]] == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_a_socket_that_comes_back_hears_what_it_missed_once(caller: Account) -> None:
    async with a_performer():
        async with connected("/ws/chat/chat@1", bearer(caller)) as socket:
            await socket.hear()
            await socket.say(TURN)
            ready, *events = await socket.hear_turn()
        path = f"/ws/chat/chat@1?session={ready['data']['session']}&after=2"
        async with connected(path, bearer(caller)) as socket:
            again, *missed = await socket.hear_turn()
            assert await socket.receive_nothing(timeout=0.2)

    assert (again["type"], again["data"]["seq"]) == ("session.ready", 2)
    assert missed == events[2:]


async def test_without_a_place_a_socket_hears_only_what_is_new(caller: Account) -> None:
    session = await off_loop(a_session, caller.tenant_id, last_seq=7, reserved_seq=7)
    async with connected(f"/ws/chat/chat@1?session={session.pk}", bearer(caller)) as socket:
        ready = await socket.hear()
        assert await socket.receive_nothing(timeout=0.2)

    assert ready["data"]["seq"] == 7


@pytest.mark.parametrize(
    ("frame", "code", "field"),
    [
        ("{", "input_invalid", "/"),
        ("[]", "input_invalid", "/"),
        ({"type": "shout"}, "input_invalid", "/type"),
        ({"type": "turn", "input": {"text": 3}}, "input_invalid", "/input/text"),
        ({"type": "turn", "input": {"words": "x"}}, "input_invalid", "/input/words"),
        ({"type": "turn", "input": {"text": "x"}, "session": "mine"}, "input_invalid", "/session"),
        ("x" * 70_000, "body_too_large", None),
        ({"type": "cancel"}, "stale_move", None),
    ],
)
async def test_a_malformed_frame_is_an_error_event_and_the_socket_stays(caller: Account, frame: Any, code: str, field: str | None) -> None:
    async with a_performer(), connected("/ws/chat/chat@1", bearer(caller)) as socket:
        await socket.hear()
        await socket.say(frame)
        error = await socket.hear()
        await socket.say(TURN)
        heard = await socket.hear_turn()

    assert (error["type"], error["data"]["code"], error["data"].get("field")) == ("error", code, field)
    assert error["data"]["title"]
    assert error["data"]["detail"]
    assert heard[-1]["type"] == "turn.completed"


async def test_bytes_that_are_no_frame_are_an_error_too(caller: Account) -> None:
    async with connected("/ws/chat/chat@1", bearer(caller)) as socket:
        await socket.hear()
        await socket.send_to(bytes_data=b"\xff\xfe")

        assert (await socket.hear())["data"]["code"] == "input_invalid"


async def test_a_second_question_waits_for_the_first_to_end(caller: Account) -> None:
    await off_loop(a_process, "p0", now=datetime.now(UTC))
    async with connected("/ws/chat/chat@1", bearer(caller)) as socket:
        await socket.hear()
        await socket.say(TURN)
        await socket.hear()
        await socket.say(TURN)
        error = await socket.hear()

    assert (error["type"], error["data"]["code"]) == ("error", "session_busy")


async def test_a_cancelled_turn_ends_with_its_last_event(caller: Account) -> None:
    await off_loop(a_process, "p0", now=datetime.now(UTC))
    async with connected("/ws/chat/chat@1", bearer(caller)) as socket:
        await socket.hear()
        await socket.say(TURN)
        await socket.hear()
        await socket.say({"type": "cancel"})
        heard = await socket.hear_turn()

    assert (heard[-1]["type"], heard[-1]["data"]["code"]) == ("turn.failed", "cancelled")


async def test_a_saturated_installation_sheds_the_question_and_keeps_the_socket(caller: Account) -> None:
    async with connected("/ws/chat/chat@1", bearer(caller)) as socket:
        await socket.hear()
        await socket.say(TURN)
        error = await socket.hear()

    assert (error["data"]["code"], error["data"]["retry_after_s"]) == ("saturated", 2)
    assert not await off_loop(Turn.objects.exists)


async def test_an_idle_socket_is_sent_nothing(caller: Account) -> None:
    async with connected("/ws/chat/chat@1", bearer(caller)) as socket:
        await socket.hear()

        assert await socket.receive_nothing(timeout=2.6)


async def test_a_turn_goes_on_when_its_reader_leaves(caller: Account) -> None:
    async with a_performer():
        async with connected("/ws/chat/chat@1", bearer(caller)) as socket:
            await socket.hear()
            await socket.say(TURN)
            await socket.hear()
        assert await comes_true(Turn.objects.filter(state=TurnState.COMPLETED).exists)


@pytest.mark.parametrize(
    ("path", "code", "close"),
    [
        ("chat@9", "unknown_version", 4404),
        ("nobody@1", "unknown_endpoint", 4404),
        ("enrich@1", "mode_mismatch", 4404),
        ("chat@1?session=mine", "not_found", 4404),
        ("chat@1?session=01a1f9e6-a534-72ba-8220-ac3a741d6b50", "not_found", 4404),
        ("chat@1?ticket=made-up", "bad_key", 4401),
    ],
)
async def test_a_connection_that_cannot_be_is_told_why_and_closed(caller: Account, path: str, code: str, close: int) -> None:
    async with connected(f"/ws/chat/{path}", bearer(caller)) as socket:
        error = await socket.hear()

        assert (error["type"], error["data"]["code"]) == ("error", code)
        assert await socket.closed_with() == close


async def test_a_connection_without_a_key_is_closed_as_unauthenticated(caller: Account) -> None:
    async with connected("/ws/chat/chat@1") as socket:
        await socket.hear()

        assert await socket.closed_with() == 4401


async def test_a_key_that_may_not_invoke_is_closed_as_forbidden(caller: Account) -> None:
    reader = await off_loop(open_account, scopes=[Scope.READ])
    async with connected("/ws/chat/chat@1", bearer(reader)) as socket:
        await socket.hear()

        assert await socket.closed_with() == 4403


async def test_a_full_minute_is_closed_as_unavailable_with_a_time_to_come_back(caller: Account) -> None:
    hasty = await off_loop(open_account, a_minute=1)
    async with connected("/ws/chat/chat@1", bearer(hasty)) as socket:
        await socket.hear()
    async with connected("/ws/chat/chat@1", bearer(hasty)) as socket:
        error = await socket.hear()

        assert error["data"]["retry_after_s"] >= 1
        assert await socket.closed_with() == 4503


async def test_anothers_session_is_unknown(caller: Account) -> None:
    stranger = await off_loop(open_account)
    session = await off_loop(a_session, caller.tenant_id)
    await off_loop(a_turn, TurnState.QUEUED, session=session)
    async with connected(f"/ws/chat/chat@1?session={session.pk}", bearer(stranger)) as socket:
        error = await socket.hear()

        assert error["data"]["code"] == "not_found"
        assert await socket.closed_with() == 4404


async def test_a_ticket_does_not_outlive_its_key(caller: Account) -> None:
    prefix = caller.key.split("_")[1]
    ticket = tickets.issue(prefix)
    await off_loop(keys.revoke, prefix, now=datetime.now(UTC))
    async with connected(f"/ws/chat/chat@1?ticket={ticket}") as socket:
        error = await socket.hear()

        assert error["data"]["code"] == "key_revoked"
        assert await socket.closed_with() == 4401


async def test_a_page_of_another_site_is_refused_and_one_of_ours_is_not(caller: Account) -> None:
    foreign = Socket(application, "/ws/chat/chat@1", headers=[(b"origin", b"https://elsewhere.example"), (b"host", b"localhost")])
    opened, _ = await foreign.connect(timeout=LIMIT_S)
    assert not opened

    async with connected("/ws/chat/chat@1", {**bearer(caller), "Origin": "http://localhost:8000"}) as socket:
        assert (await socket.hear())["type"] == "session.ready"


async def test_an_address_where_nothing_is_closes_as_unknown(caller: Account) -> None:
    async with connected("/ws/nothing") as socket:
        assert await socket.closed_with() == 4404
