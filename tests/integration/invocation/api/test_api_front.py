"""The front door of POST /v1/jobs answers as the view does, and leaves to the view what is not plain."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest
from channels.testing import HttpCommunicator
from django.core.asgi import get_asgi_application
from django.db import connection, transaction
from django.utils import timezone

from invocation.api.front import FrontDoor, Plain, accept
from invocation.domain.endpoints import Estimate
from invocation.gateways.database import off_loop
from invocation.models import Job
from invocation.services.submission import submit
from quota.domain.classes import PriorityClass
from quota.services import keys
from tests.integration.invocation.api.calling import Account, open_account
from tests.integration.invocation.conftest import until
from tests.integration.invocation.rows import a_submission

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("on_this_loop")]
BODY = {"endpoint": "personalize@1", "input": {"text": "What is new?"}}
RATES = {"ratelimit", "ratelimit-policy"}


@dataclass(frozen=True, slots=True)
class Told:
    status: int
    headers: dict[str, str]
    body: Any


class Doors:
    """The front door, the view behind it, and how often something was passed on."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.passed_on = 0
        self._view = get_asgi_application()
        self.front = FrontDoor(self._behind)

    async def _behind(self, scope: Any, receive: Any, send: Any) -> None:
        self.passed_on += 1
        await self._view(scope, receive, send)

    async def post(self, body: Any, *, door: Any = None, **headers: str) -> Told:
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        given = {"authorization": f"Bearer {self.account.key}", "content-type": "application/json", "host": "localhost", **headers}
        named = [(name.encode(), value.encode()) for name, value in given.items()]
        call = HttpCommunicator(door or self.front, "POST", "/v1/jobs", body=raw, headers=named)
        told = await call.get_response(timeout=10)
        await call.wait(timeout=10)
        answered = {name.decode().lower(): value.decode() for name, value in told["headers"]}
        return Told(told["status"], answered, orjson.loads(told["body"]))

    async def by_the_view(self, body: Any, **headers: str) -> Told:
        return await self.post(body, door=self._view, **headers)


@pytest.fixture
async def doors() -> Doors:
    """Both doors, for an account whose key this process knows by now."""
    account = await off_loop(open_account)
    await off_loop(keys.authenticate, account.key, now=timezone.now())
    return Doors(account)


def shape(told: Told) -> Any:
    """Return what two answers to the same call must agree in: the fields, and the headers but for Django's own."""
    return told.status, sorted(told.body), sorted(told.body["links"]), set(told.headers) >= RATES, told.headers["content-type"]


async def test_a_plain_submission_is_answered_as_the_view_answers_it(doors: Doors) -> None:
    front = await doors.post(BODY)
    assert doors.passed_on == 0
    view = await doors.by_the_view(BODY)

    assert shape(front) == shape(view)
    assert front.headers["location"] == front.body["links"]["self"] == f"/v1/jobs/{front.body['id']}"
    assert front.body["created_at"].endswith("Z") is view.body["created_at"].endswith("Z") is True
    rows = {str(job["id"]): job for job in await off_loop(lambda: list(Job.objects.values()))}
    own = {"id", "traceparent", "created_at", "queued_at"}
    first, second = ({name: value for name, value in rows[told.body["id"]].items() if name not in own} for told in (front, view))
    assert first == second


async def test_submissions_that_arrive_together_are_all_accepted_once(doors: Doors) -> None:
    told = await asyncio.gather(*(doors.post({**BODY, "input": {"text": str(number)}}) for number in range(30)))

    assert {each.status for each in told} == {202}
    kept = await off_loop(lambda: {str(job.pk): job.input["text"] for job in Job.objects.all()})
    assert kept == {each.body["id"]: str(number) for number, each in enumerate(told)}


async def test_a_key_that_comes_twice_together_makes_one_job(doors: Doors) -> None:
    told = await asyncio.gather(*(doors.post(BODY, **{"idempotency-key": "k-1"}) for _ in range(5)))

    assert len({each.body["id"] for each in told}) == 1
    assert await off_loop(Job.objects.count) == 1
    other = await doors.post({**BODY, "input": {"text": "other"}}, **{"idempotency-key": "k-1"})
    assert (other.status, other.body["code"]) == (422, "idempotency_conflict")
    assert (await doors.by_the_view(BODY, **{"idempotency-key": '"k-1"'})).body["id"] == told[0].body["id"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({**BODY, "input": {"text": 5}}, 422, "input_invalid"),
        ({**BODY, "endpoint": "nobody@1"}, 404, "unknown_endpoint"),
        ({**BODY, "endpoint": "chat@1"}, 422, "mode_mismatch"),
        ({**BODY, "colour": "red"}, 422, "input_invalid"),
        ({**BODY, "subject": 5}, 422, "input_invalid"),
        (b"{", 400, "bad_json"),
    ],
)
async def test_what_is_refused_is_refused_by_the_view(doors: Doors, body: Any, status: int, code: str) -> None:
    front, view = await doors.post(body), await doors.by_the_view(body)

    assert (front.status, front.body["code"]) == (view.status, view.body["code"]) == (status, code)
    assert doors.passed_on == 1
    assert await off_loop(Job.objects.count) == 0


async def test_what_needs_more_than_a_row_goes_to_the_view(doors: Doors) -> None:
    for more in ({"ordering_key": "r-1"}, {"metadata": {"a": "b"}}, {"budget": {"cost_usd": "0.01"}}):
        assert (await doors.post({**BODY, **more})).status == 202

    assert doors.passed_on == 3


async def test_a_stranger_and_a_key_without_the_class_are_refused(doors: Doors) -> None:
    assert (await doors.post(BODY, authorization="Bearer gbx_nobody_nothing")).status == 401
    assert (await doors.post(BODY, authorization="")).status == 401
    low = await off_loop(open_account, highest=PriorityClass.P3)
    await off_loop(keys.authenticate, low.key, now=timezone.now())
    assert (await doors.post(BODY, authorization=low.bearer)).status == 403
    assert await off_loop(Job.objects.count) == 0


async def test_a_key_that_this_process_meets_for_the_first_time_needs_no_view(doors: Doors) -> None:
    stranger = await off_loop(open_account)
    told = await asyncio.gather(*(doors.post(BODY, authorization=stranger.bearer) for _ in range(3)))

    assert ({each.status for each in told}, doors.passed_on) == ({202}, 0)
    owners = await off_loop(lambda: set(Job.objects.values_list("tenant_id", flat=True)))
    assert owners == {stranger.tenant_id}


async def test_a_key_that_was_revoked_is_refused_by_the_view(doors: Doors) -> None:
    await off_loop(keys.revoke, doors.account.key.split("_")[1], now=timezone.now())
    told = await doors.post(BODY)

    assert (told.status, told.body["code"], doors.passed_on) == (401, "key_revoked", 1)
    assert await off_loop(Job.objects.count) == 0


@pytest.mark.parametrize("levels", [254, 300])
async def test_a_body_that_is_nested_too_deeply_harms_nobody_beside_it(doors: Doors, levels: int) -> None:
    deep = orjson.dumps(BODY).replace(b'"What is new?"', b"[" * levels + b"]" * levels)
    first, refused, keyed, *rest = await asyncio.gather(
        doors.post(BODY), doors.post(deep), doors.post(deep, **{"idempotency-key": "k-1"}), *(doors.post(BODY) for _ in range(5))
    )

    assert {each.status for each in (first, *rest)} == {202}
    assert [(each.status, each.body["code"]) for each in (refused, keyed)] == [(422, "input_invalid")] * 2
    assert doors.passed_on == 2


async def test_an_endpoint_whose_own_estimate_fails_is_left_to_the_view(doors: Doors) -> None:
    def accepted() -> Any:
        caller = keys.authenticate(doors.account.key, now=timezone.now())
        good = a_submission(caller.tenant_id)
        bad = replace(good, endpoint=replace(good.endpoint, estimate=broken))
        return accept([Plain(caller, each) for each in (good, bad, good)])

    assert [each and each.status for each in await off_loop(accepted)] == [202, None, 202]
    assert await off_loop(Job.objects.count) == 2


def broken(_: Mapping[str, Any]) -> Estimate:
    raise LookupError


async def test_a_call_is_counted_once_also_when_it_is_refused(doors: Doors) -> None:
    async def left(body: Any) -> int:
        told = await doors.post(body, **{"idempotency-key": "k-1"})
        return int(told.headers["ratelimit"].partition("r=")[2].partition(";")[0])

    bodies = [BODY, {**BODY, "input": {"text": "other"}}, {**BODY, "input": {"text": 5}}, BODY]
    counts = [await left(body) for body in bodies]

    assert counts == list(range(counts[0], counts[0] - 4, -1))


async def test_a_conflict_is_told_as_the_view_tells_it(doors: Doors) -> None:
    key, other = {"idempotency-key": "k-1"}, {**BODY, "input": {"text": "other"}}
    await doors.post(BODY, **key)
    front, view = await doors.post(other, **key), await doors.by_the_view(other, **key)

    assert doors.passed_on == 0
    assert (front.status, front.body) == (view.status, view.body)
    own = {"ratelimit", "content-length", "x-frame-options", "vary", "allow", "cross-origin-opener-policy"}
    assert {name: front.headers[name] for name in front.headers if name not in own} == {
        name: view.headers[name] for name in view.headers if name not in own
    }


async def test_a_key_that_somebody_is_just_writing_stalls_nobody_who_brought_none(doors: Doors) -> None:
    begun, done = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def writing() -> None:
        with transaction.atomic():
            submit(a_submission(doors.account.tenant_id, idempotency_key="k-1"), now=timezone.now())
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(done.wait(), loop).result(20)

    slow = asyncio.create_task(off_loop(writing))
    await begun.wait()
    waiting = asyncio.create_task(doors.post(BODY, **{"idempotency-key": "k-1"}))
    await until(lambda: off_loop(blocked, "transactionid"))
    told = await doors.post(BODY)
    assert (told.status, waiting.done()) == (202, False)
    done.set()
    await asyncio.gather(slow, waiting)


def blocked(event: str, *, ending: bool = False) -> bool:
    """Say whether a session waits for such a lock; if it does, and is to end, its connection breaks."""
    act = "pg_terminate_backend(pid)" if ending else "TRUE"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {act} FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = %s",
            [event],
        )
        return cursor.fetchone() is not None


async def test_what_may_have_been_written_is_not_written_again_by_the_view(doors: Doors) -> None:
    """The connection breaks while the statement waits: whether it is kept the front door cannot know."""
    begun, done = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def locking() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE invocation_job IN SHARE ROW EXCLUSIVE MODE")
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(done.wait(), loop).result(20)

    slow = asyncio.create_task(off_loop(locking))
    await begun.wait()
    waiting = asyncio.create_task(doors.post(BODY))
    await until(lambda: off_loop(blocked, "relation", ending=True))
    told = await waiting
    done.set()
    await slow

    assert (told.status, told.body["code"], doors.passed_on) == (503, "database_unavailable", 0)
    assert told.headers["retry-after"] == str(told.body["retry_after_s"])
    assert set(told.headers) >= RATES
