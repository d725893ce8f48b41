"""Calls that stream pass Django's middleware by, and nothing else does; a caller who goes lets go of what was held."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
import redis

from invocation.api.stream_door import MOST_BYTES, StreamDoor
from tests.integration.invocation.api.calling import Account, open_account
from tests.integration.invocation.api.performing import a_performer
from tests.integration.invocation.api.test_api_streams import QUESTION
from tests.integration.invocation.conftest import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("on_this_loop")]


@pytest.fixture
def caller(transactional_db: None) -> Account:
    return open_account()


class Call:
    """One ASGI call to the door: what it sent, and what went on behind it."""

    def __init__(
        self, account: Account, path: str = "/v1/chat", *, body: bytes = b"", method: str = "POST", host: str = "localhost"
    ) -> None:
        self.sent: list[dict[str, Any]] = []
        self.passed_on: list[bytes] = []
        self.has_gone = asyncio.Event()
        self._parts = [body[: len(body) // 2], body[len(body) // 2 :]]
        headers = {"host": host, "authorization": account.bearer, "content-type": "application/json", "content-length": str(len(body))}
        self._scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }

    async def made(self) -> Call:
        await asyncio.wait_for(StreamDoor(self._behind)(self._scope, self._receive, self._send), 20)
        return self

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    async def _receive(self) -> dict[str, Any]:
        if self._parts:
            return {"type": "http.request", "body": self._parts.pop(0), "more_body": bool(self._parts)}
        await self.has_gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)

    async def _behind(self, scope: Any, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            self.passed_on.append(message["body"])
            if not message["more_body"]:
                return


async def test_a_question_is_streamed_to_its_last_event(caller: Account) -> None:
    async with a_performer():
        call = await Call(caller, body=orjson.dumps(QUESTION)).made()
    headers = dict(call.sent[0]["headers"])

    assert (call.status, call.passed_on) == (200, [])
    assert (headers[b"content-type"][:17], headers[b"x-content-type-options"]) == (b"text/event-stream", b"nosniff")
    assert call.text.count("event: delta") == 2
    assert call.text.rstrip().rsplit("\n\n", 1)[-1].split("\n")[1] == "event: turn.completed"
    assert [message.get("more_body", False) for message in call.sent[-2:]] == [True, False]


async def test_a_refusal_is_a_whole_answer(caller: Account) -> None:
    call = await Call(caller, body=b"{").made()

    assert (call.status, orjson.loads(call.text)["status"]) == (400, 400)
    assert dict(call.sent[0]["headers"])[b"content-length"] == str(len(call.text)).encode()


OTHERS = [("/v1/jobs", "POST"), ("/v1/tickets", "POST"), ("/chat", "GET"), ("/v1/nothing/events", "GET"), ("/v1/x/chat", "POST")]


@pytest.mark.parametrize(("path", "method"), OTHERS)
async def test_what_does_not_stream_is_passed_on_untouched(caller: Account, path: str, method: str) -> None:
    call = await Call(caller, path, body=b"whatever", method=method).made()

    assert (call.sent, b"".join(call.passed_on)) == ([], b"whatever")


@pytest.mark.parametrize(("size", "host"), [(2 * MOST_BYTES + 2, "127.0.0.1"), (8, "elsewhere.example")])
async def test_what_is_too_long_or_for_another_host_is_left_to_django(caller: Account, size: int, host: str) -> None:
    call = await Call(caller, body=b"x" * size, host=host).made()

    assert (call.sent, b"".join(call.passed_on)) == ([], b"x" * size)


async def test_a_caller_who_goes_is_followed_for_no_longer(caller: Account, wiped: redis.Redis) -> None:
    async with a_performer(words=()):
        call = Call(caller, body=orjson.dumps(QUESTION))
        await call.made()
        session = dict(call.sent[0]["headers"])[b"x-gearbox-session"].decode()
    following = Call(caller, f"/v1/sessions/{session}/events", method="GET")
    following._scope["query_string"] = b"follow=1&after=0"
    task = asyncio.create_task(following.made())
    await until(lambda: "turn.completed" in following.text)
    heard = f"*{session}*"  # others listen to theirs
    assert wiped.pubsub_channels(heard) != []
    following.has_gone.set()
    await task

    await until(lambda: wiped.pubsub_channels(heard) == [])
