from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from django.http import StreamingHttpResponse
from pytest_django import Settings

from invocation.domain.jobs import JobState, Move
from invocation.domain.turns import TurnState
from invocation.gateways import streams
from invocation.gateways.database import off_loop
from invocation.gateways.streams import Event
from invocation.models import Session, Turn
from invocation.models.admission import HoldScope
from invocation.services import holds, lifecycle
from quota.domain.callers import Scope
from tests.integration.invocation.api.calling import Account, open_account, refusal
from tests.integration.invocation.api.performing import a_performer
from tests.integration.invocation.rows import a_job, a_process, a_session, a_turn

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("on_this_loop")]
QUESTION = {"endpoint": "chat@1", "input": {"text": "What shall I read?"}}
LIMIT_S = 20


@pytest.fixture
def caller(transactional_db: None) -> Account:
    return open_account()


async def ask(account: Account, body: Any = QUESTION, **headers: str) -> Any:
    return await account.stream.post("/v1/chat", orjson.dumps(body), content_type="application/json", headers=headers)


async def read(answer: Any) -> list[dict[str, Any]]:
    """Read a stream to its end, and check that each event stands under its own seq and type."""
    assert isinstance(answer, StreamingHttpResponse), answer.content
    async with asyncio.timeout(LIMIT_S):
        raw = b"".join([part async for part in answer])
    found = []
    for block in raw.decode().strip().split("\n\n"):
        if not block.startswith(":"):
            lines = dict(line.split(": ", 1) for line in block.split("\n"))
            event = orjson.loads(lines["data"])
            assert (lines["id"], lines["event"]) == (str(event["seq"]), event["type"])
            found.append(event)
    return found


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


async def test_a_question_streams_to_its_last_event(caller: Account) -> None:
    async with a_performer():
        answer = await ask(caller)
        events = await read(answer)

    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert (answer.headers["Cache-Control"], answer.headers["X-Accel-Buffering"]) == ("no-store", "no")
    assert kinds(events) == ["turn.started", "delta", "delta", "turn.completed"]
    assert [event["seq"] for event in events] == [1, 2, 3, 4]
    assert events[-1]["data"]["turn"] == answer.headers["X-Gearbox-Turn"]
    assert answer.headers["RateLimit"].startswith('"minute";r=')


async def test_the_next_question_of_a_session_goes_on_with_its_seq(caller: Account) -> None:
    async with a_performer():
        first = await ask(caller)
        await read(first)
        second = await read(await ask(caller, {**QUESTION, "session": first.headers["X-Gearbox-Session"]}))

    assert [event["seq"] for event in second] == [5, 6, 7, 8]


async def test_a_session_is_resumed_without_gap_or_repeat(caller: Account) -> None:
    async with a_performer():
        first = await ask(caller)
        events = await read(first)
    place = f"/v1/sessions/{first.headers['X-Gearbox-Session']}/events"

    assert await read(await caller.stream.get(f"{place}?after=0")) == events
    assert await read(await caller.stream.get(f"{place}?after=2")) == events[2:]
    assert await read(await caller.stream.get(f"{place}?after=0", headers={"Last-Event-ID": "3"})) == events[3:]
    assert await read(await caller.stream.get(f"{place}?after=4")) == []


async def test_a_wiped_stream_is_a_gap_with_the_stored_text_and_the_last_event(caller: Account) -> None:
    async with a_performer():
        first = await ask(caller)
        events = await read(first)
    session = first.headers["X-Gearbox-Session"]
    async with streams.client() as store:
        await store.delete(streams.key(session))
    resumed = await read(await caller.stream.get(f"/v1/sessions/{session}/events?after=1"))

    assert kinds(resumed) == ["gap", "turn.completed"]
    assert resumed[0]["data"]["text"] == "Read Monster."
    assert resumed[-1] == events[-1]


async def test_an_end_that_postgresql_knows_a_moment_before_the_log_is_no_gap(caller: Account) -> None:
    session = await off_loop(a_session, caller.tenant_id, last_seq=2, reserved_seq=2)
    spoken = [Event(1, "delta", "", {"text": "Read Monster."}), Event(2, "turn.completed", "", {"turn": "t"})]
    last = {"seq": 2, "type": "turn.completed", "at": "", "data": {"turn": "t"}}
    await off_loop(a_turn, TurnState.COMPLETED, session=session, text="Read Monster.", last_event=last)
    reading = asyncio.create_task(read(await caller.stream.get(f"/v1/sessions/{session.pk}/events")))
    await asyncio.sleep(0.05)
    async with streams.client() as store:
        for event in spoken:
            await store.xadd(streams.key(str(session.pk)), {"e": event.as_bytes()}, id=f"{event.seq}-0")

    assert kinds(await reading) == ["delta", "turn.completed"]


async def test_a_session_with_an_open_turn_is_followed_to_its_end(caller: Account) -> None:
    session = await off_loop(a_session, caller.tenant_id)
    await off_loop(a_turn, TurnState.QUEUED, session=session, now=datetime.now(UTC))
    async with a_performer():
        events = await read(await caller.stream.get(f"/v1/sessions/{session.pk}/events"))

    assert kinds(events)[-1] == "turn.completed"


async def test_a_session_is_read_with_its_turns(caller: Account) -> None:
    async with a_performer():
        first = await ask(caller)
        await read(first)
    told = (await caller.stream.get(f"/v1/sessions/{first.headers['X-Gearbox-Session']}")).json()

    assert (told["endpoint"], told["last_seq"]) == ("chat@1", 4)
    assert [(turn["number"], turn["state"], turn["text"]) for turn in told["turns"]] == [(1, "completed", "Read Monster.")]


async def test_a_queued_turn_is_stopped_and_its_reader_learns_it(caller: Account) -> None:
    await off_loop(a_process, "p0", now=datetime.now(UTC))
    answer = await ask(caller)
    session = answer.headers["X-Gearbox-Session"]
    stopped = await caller.stream.post(f"/v1/sessions/{session}/cancel")
    events = await read(answer)

    assert (stopped.status_code, stopped.json()) == (202, {"turn": answer.headers["X-Gearbox-Turn"], "state": "cancelled"})
    assert events[-1]["type"] == "turn.failed"
    assert events[-1]["data"]["code"] == "cancelled"
    refusal(await caller.stream.post(f"/v1/sessions/{session}/cancel"), status=409, code="stale_move")


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"endpoint": "personalize@1", "input": {"text": "x"}}, (422, "mode_mismatch")),
        ({"endpoint": "nobody@1", "input": {"text": "x"}}, (404, "unknown_endpoint")),
        ({"endpoint": "chat@2", "input": {"text": "x"}}, (404, "unknown_version")),
        ({"endpoint": "chat@1", "input": {}}, (422, "input_invalid")),
        ({"endpoint": "chat@1", "input": {"text": "x"}, "stream": True}, (422, "input_invalid")),
        ({"endpoint": "chat@1", "input": {"text": "x"}, "session": "mine"}, (422, "input_invalid")),
        ({"endpoint": "chat@1", "input": {"text": "x"}, "session": "01a1f9e6-a534-72ba-8220-ac3a741d6b50"}, (404, "not_found")),
        ({"endpoint": "quick@1", "input": {"titles": ["a"] * 4}}, (422, "too_long_for_sync")),
    ],
)
async def test_a_question_that_cannot_be_asked_is_a_problem_before_any_work(
    caller: Account, more_endpoints: None, body: Any, answer: tuple[int, str]
) -> None:
    async with a_performer():
        refusal(await ask(caller, body), status=answer[0], code=answer[1])

    assert not await off_loop(Turn.objects.exists)


async def test_what_is_too_long_for_sync_names_the_sibling(caller: Account, more_endpoints: None) -> None:
    told = (await ask(caller, {"endpoint": "quick@1", "input": {"titles": ["a"] * 4}})).json()

    assert (told["sibling"], told["limit_ms"], told["found_ms"]) == ("few@1", 6_000, 8_000)


async def test_a_broken_or_huge_question_is_refused(caller: Account) -> None:
    broken = await caller.stream.post("/v1/chat", b"{", content_type="application/json")
    huge = await caller.stream.post("/v1/chat", orjson.dumps({**QUESTION, "metadata": {}}) + b" " * 70_000, content_type="application/json")
    unread = await caller.stream.post("/v1/chat", b" " * 1_100_000, content_type="application/json")

    refusal(broken, status=400, code="bad_json")
    refusal(huge, status=413, code="body_too_large")
    refusal(unread, status=413, code="body_too_large")
    refusal(await caller.stream.get("/v1/chat"), status=405, code="method_not_allowed")


async def test_without_a_free_slot_a_question_is_shed_at_once(caller: Account) -> None:
    answer = await ask(caller)

    assert refusal(answer, status=503, code="saturated")["retry_after_s"] == int(answer.headers["Retry-After"]) >= 1
    assert not await off_loop(Turn.objects.exists)


async def test_a_held_endpoint_refuses_a_chat_and_says_when_to_come_back(caller: Account) -> None:
    await off_loop(holds.hold, HoldScope.ENDPOINT, "chat@1", reason="deploy", by=None, now=datetime.now(UTC))
    async with a_performer():
        answer = await ask(caller)

    refusal(answer, status=503, code="admission_held")
    assert answer.headers["Retry-After"] == "30"


async def test_a_session_that_still_answers_refuses_a_second_question(caller: Account) -> None:
    session = await off_loop(a_session, caller.tenant_id)
    await off_loop(a_turn, TurnState.WORKING, session=session, now=datetime.now(UTC))
    await off_loop(a_process, "p0", now=datetime.now(UTC))

    refusal(await ask(caller, {**QUESTION, "session": str(session.pk)}), status=409, code="session_busy")


async def test_without_the_stream_store_nothing_is_started(caller: Account, settings: Settings) -> None:
    await off_loop(a_process, "p0", now=datetime.now(UTC))
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    refusal(await ask(caller), status=503, code="stream_unavailable")

    assert not await off_loop(Turn.objects.exists)


async def test_without_the_broker_the_turn_is_withdrawn(caller: Account, broker_gone: None) -> None:
    await off_loop(a_process, "p0", now=datetime.now(UTC))
    refusal(await ask(caller), status=503, code="stream_unavailable")

    assert await off_loop(lambda: list(Turn.objects.values_list("state", flat=True))) == ["failed"]


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 40])
async def test_a_last_event_id_that_is_no_seq_is_refused(caller: Account, last: str) -> None:
    session = await off_loop(a_session, caller.tenant_id)
    answer = await caller.stream.get(f"/v1/sessions/{session.pk}/events", headers={"Last-Event-ID": last})

    assert refusal(answer, status=422, code="input_invalid")["field"] == "Last-Event-ID"


async def test_streams_of_another_tenant_are_not_found(caller: Account) -> None:
    stranger = await off_loop(open_account)
    session, job = await off_loop(a_session, caller.tenant_id), await off_loop(a_job, tenant_id=caller.tenant_id)
    async with a_performer():
        refusal(await stranger.stream.get(f"/v1/sessions/{session.pk}/events"), status=404, code="not_found")
        refusal(await stranger.stream.get(f"/v1/jobs/{job.pk}/events"), status=404, code="not_found")
        refusal(await ask(stranger, {**QUESTION, "session": str(session.pk)}), status=404, code="not_found")

    assert await off_loop(Session.objects.count) == 1


async def test_streams_share_keys_scopes_and_throttles_with_the_other_calls(caller: Account) -> None:
    reader = await off_loop(open_account, scopes=[Scope.READ])
    hasty = await off_loop(open_account, a_minute=1)
    await ask(hasty, {})
    answer = await ask(hasty)

    refusal(await ask(caller, Authorization="Bearer no"), status=401, code="bad_key")
    refusal(await ask(reader), status=403, code="scope_missing")
    assert refusal(answer, status=429, code="rate_exceeded")["retry_after_s"] == int(answer.headers["Retry-After"])


async def test_a_jobs_history_is_followed_from_any_place_to_its_end(caller: Account) -> None:
    job = await off_loop(a_job, JobState.QUEUED, tenant_id=caller.tenant_id)
    answer = await caller.stream.get(f"/v1/jobs/{job.pk}/events")
    following = asyncio.create_task(read(answer))
    await off_loop(lifecycle.move_one, Move.CANCEL, lifecycle.of(job.pk, reason="enough"), now=datetime.now(UTC))
    events = await following

    assert [(event["seq"], event["type"]) for event in events] == [(1, "job.queued"), (2, "job.cancelled")]
    assert events[-1]["data"]["reason"] == "enough"
    assert await read(await caller.stream.get(f"/v1/jobs/{job.pk}/events?after=1")) == events[1:]
    assert await read(await caller.stream.get(f"/v1/jobs/{job.pk}/events", headers={"Last-Event-ID": "2"})) == []


async def test_a_silent_job_sends_heartbeats_that_carry_the_last_seq(caller: Account) -> None:
    job = await off_loop(a_job, JobState.QUEUED, tenant_id=caller.tenant_id)
    answer: Any = await caller.stream.get(f"/v1/jobs/{job.pk}/events")
    seen: list[bytes] = []
    async with asyncio.timeout(LIMIT_S):
        async for part in answer:
            seen.append(part)
            if b"event: heartbeat" in part:
                break
    assert seen[-1].startswith(b"id: 1\nevent: heartbeat\n")
