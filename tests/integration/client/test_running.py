"""The client against a running installation: every process is real."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import TypeVar
from uuid import uuid4

import pytest

from gearbox_client import (
    AsyncGearbox,
    Conflict,
    Event,
    Gearbox,
    NoResult,
    NotFound,
    Reconnects,
    Refused,
    ResultNotReady,
    ResultWithheld,
    Unauthenticated,
    Unreachable,
)
from tests.installation import Installation
from tests.proxy import Proxy, proxied

T = TypeVar("T")
LIMIT_S = 60.0
LETTER = {"text": "Recommend a finished seinen thriller"}
REFUND = {"order": "o-10062"}
QUICK = Reconnects(first_pause=timedelta(milliseconds=50), longest_silence=timedelta(seconds=5))


def seen(look: Callable[[], T], is_so: Callable[[T], bool]) -> T:
    end = time.monotonic() + LIMIT_S
    while not is_so(found := look()):
        assert time.monotonic() < end, found
        time.sleep(0.2)
    return found


def seqs(told: list[Event]) -> list[int]:
    return [event.seq for event in told]


def in_a_year() -> datetime:
    return datetime.now(UTC) + timedelta(days=365)


def test_a_job_is_submitted_followed_and_read(gearbox: Gearbox) -> None:
    accepted = gearbox.jobs.submit(
        "personalize@1", LETTER, metadata={"from": "a test"}, budget=Decimal("0.05"), subject="r-001", locale="en"
    )
    told = list(gearbox.jobs.follow(accepted.id))
    job, result = gearbox.jobs.get(accepted.id), gearbox.jobs.result(accepted.id)

    assert accepted.state == "queued"
    assert seqs(told) == list(range(1, len(told) + 1))
    assert told[-1].type == "job.completed"
    assert (job.state, job.has_ended, job.metadata, job.cost_cap_usd) == ("completed", True, {"from": "a test"}, Decimal("0.05"))
    assert (job.last_seq, result.id) == (told[-1].seq, accepted.id)
    assert "text" in result.output
    assert [step.occurrence for step in gearbox.jobs.journal(accepted.id)]
    assert seqs(list(gearbox.jobs.follow(accepted.id, after=2))) == seqs(told)[2:]
    assert list(gearbox.jobs.follow(accepted.id, after=job.last_seq)) == []


def test_a_result_that_is_not_there_is_said_at_once(gearbox: Gearbox) -> None:
    job = gearbox.jobs.submit("refund@1", REFUND)

    with pytest.raises(ResultNotReady):
        gearbox.jobs.result(job.id)
    assert gearbox.jobs.cancel(job.id, reason="changed my mind").state in {"cancelled", "cancelling"}
    assert list(gearbox.jobs.follow(job.id))[-1].type == "job.cancelled"
    with pytest.raises(NoResult):
        gearbox.jobs.result(job.id)


def test_a_job_is_followed_over_a_network_that_cuts_every_connection(far: Gearbox, network: Proxy) -> None:
    job = far.jobs.submit("refund@1", {"order": "o-10017"})
    told: list[Event] = []
    with closing(far.jobs.follow(job.id)) as events:
        for event in events:
            told.append(event)
            network.cut()
            if event.type == "input.requested":
                (key,) = far.jobs.get(job.id).questions or {}
                far.jobs.answer(job.id, {key: {"approve": False}})

    assert seqs(told) == list(range(1, len(told) + 1))
    assert told[-1].type == "job.completed"
    assert network.accepted > 2


def test_a_job_is_followed_through_a_torn_event_and_a_frozen_network(up: Installation, network: Proxy) -> None:
    with Gearbox(network.url, up.key, reconnects=QUICK) as far, Gearbox(up.base_url, up.key) as near:
        job = near.jobs.submit("refund@1", {"order": "o-10044"})
        seen(lambda: near.jobs.get(job.id), lambda found: found.state == "input_required")
        network.cut_after(400)
        told = far.jobs.follow(job.id)
        first = [next(told)]
        network.freeze()
        (key,) = near.jobs.get(job.id).questions or {}
        near.jobs.answer(job.id, {key: {"approve": False}})
        seen(lambda: near.jobs.get(job.id), lambda found: found.has_ended)
        network.thaw()
        network.cut()
        rest = list(told)

    assert seqs(first + rest) == list(range(1, near_last(up, job.id) + 1))


def near_last(up: Installation, job_id: str) -> int:
    with Gearbox(up.base_url, up.key) as near:
        return near.jobs.get(job_id).last_seq


async def test_the_awaited_client_follows_over_cuts_too(up: Installation, network: Proxy) -> None:
    async with AsyncGearbox(network.url, up.key, reconnects=QUICK) as far:
        job = await far.jobs.submit("personalize@1", LETTER)
        told = []
        async for event in far.jobs.follow(job.id):
            told.append(event)
            network.cut()

        assert seqs(told) == list(range(1, len(told) + 1))
        assert (await far.jobs.result(job.id)).output["text"]
        assert job.id in [found.id async for found in far.jobs.list(endpoint="personalize@1")]


def test_a_submission_whose_answer_is_lost_makes_one_job(up: Installation, network: Proxy) -> None:
    mine = str(uuid4())
    with Gearbox(network.url, up.key) as far:
        far.endpoints.list()  # the connection stands; what comes down next is the submission's answer
        network.cut_after(20)
        job = far.jobs.submit("personalize@1", LETTER, metadata={"mine": mine})
        found = [each.id for each in islice(far.jobs.list(), 200) if (each.metadata or {}).get("mine") == mine]

    assert found == [job.id]
    assert network.accepted == 2


def test_a_chat_is_streamed_over_a_network_that_cuts_it(far: Gearbox, network: Proxy) -> None:
    told = []
    for event in far.chat.send("chat@1", {"text": "What shall I read?"}):
        told.append(event)
        if len(told) in {1, 3}:
            network.cut()

    assert seqs(told) == sorted(set(seqs(told)))
    assert (told[0].type, told[-1].type) == ("turn.started", "turn.completed")
    words = "".join(event.data["text"] for event in told if event.type in {"delta", "gap"})
    assert words
    assert network.accepted > 1


def test_a_server_that_cannot_be_reached_is_unreachable(up: Installation) -> None:
    with proxied(1) as nowhere, Gearbox(nowhere.url, up.key) as gearbox, pytest.raises(Unreachable):
        gearbox.endpoints.list()


def test_refusals_have_their_kinds(up: Installation, gearbox: Gearbox) -> None:
    with Gearbox(up.base_url, "gbx_nobody_knows") as stranger, pytest.raises(Unauthenticated):
        stranger.endpoints.list()
    with pytest.raises(Refused) as invalid:
        gearbox.jobs.submit("personalize@1", {"text": 7})
    with pytest.raises(NotFound):
        gearbox.jobs.get(str(uuid4()))
    with pytest.raises(Refused):
        gearbox.jobs.submit("chat@1", {"text": "?"})
    key = str(uuid4())
    gearbox.jobs.submit("personalize@1", LETTER, idempotency_key=key)
    with pytest.raises(Refused, match="idempotency_conflict"):
        gearbox.jobs.submit("personalize@1", {"text": "Something else"}, idempotency_key=key)

    assert invalid.value.code == "input_invalid"
    assert invalid.value.remedy


def test_a_failed_job_is_redriven_as_a_new_one(gearbox: Gearbox) -> None:
    failed = gearbox.jobs.submit("personalize@1", {"reader": "r-999999999"})
    assert list(gearbox.jobs.follow(failed.id))[-1].type == "job.failed"
    again = gearbox.jobs.redrive(failed.id, input=LETTER)

    assert gearbox.jobs.get(failed.id).redriven_as == again.id
    assert list(gearbox.jobs.follow(again.id))[-1].type == "job.completed"


def test_a_late_answer_is_withheld_when_its_context_has_moved_on(gearbox: Gearbox) -> None:
    key = f"cart-{uuid4()}"
    assert gearbox.contexts.bump(key, version=3).version == 3
    job = gearbox.jobs.submit(
        "personalize@1",
        LETTER,
        context={"key": key, "policy": "withhold"},
        ordering_key=key,
        ordering_policy="replace",
        expires_at=in_a_year(),
    )
    list(gearbox.jobs.follow(job.id))
    assert gearbox.jobs.result(job.id).relevance is not None
    assert gearbox.contexts.bump(key).version == 4

    with pytest.raises(ResultWithheld):
        gearbox.jobs.result(job.id)
    assert gearbox.jobs.result(job.id, withheld="show").output["text"]
    context = gearbox.contexts.get(key)
    assert context.answer is not None
    assert (context.answer.job, context.answer.is_current) == (job.id, False)
    with pytest.raises(Conflict):
        gearbox.contexts.bump(key, version=1)


def test_a_batch_is_opened_watched_and_read(gearbox: Gearbox) -> None:
    batch = gearbox.batches.open("enrich@1", [{"title": "monster"}, {"title": "pluto"}], shards=2, budget=Decimal(1))
    ended = seen(lambda: gearbox.batches.get(batch.id), lambda found: found.state in {"completed", "failed", "cancelled"})

    assert ended.state == "completed", ended
    assert ended.progress is not None
    assert (ended.progress.rows_done, ended.rows) == (2, 2)
    assert sum(shard.rows for shard in gearbox.batches.shards(batch.id)) == 2
    assert gearbox.batches.results(batch.id).location
    assert batch.id in [found.id for found in gearbox.batches.list(endpoint="enrich@1")]
    with pytest.raises(Conflict):
        gearbox.batches.cancel(batch.id)


def test_a_schedule_is_kept_changed_fired_and_forgotten(gearbox: Gearbox) -> None:
    schedule = gearbox.schedules.create("monthly", "retention@1", "0 9 1 * *", {"reader": "r-001"}, timezone="Europe/Berlin")
    assert gearbox.schedules.change(schedule.id, name="every month").name == "every month"
    assert gearbox.schedules.pause(schedule.id).is_paused
    assert not gearbox.schedules.resume(schedule.id).is_paused
    firing = gearbox.schedules.fire(schedule.id)

    assert list(gearbox.jobs.follow(firing.job))[-1].type == "job.completed"
    assert [each.job for each in gearbox.schedules.firings(schedule.id)] == [firing.job]
    assert gearbox.schedules.get(schedule.id).timezone == "Europe/Berlin"
    assert schedule.id in [each.id for each in gearbox.schedules.list()]


def test_a_schedule_that_never_fired_is_forgotten(gearbox: Gearbox) -> None:
    schedule = gearbox.schedules.create("never", "retention@1", "0 9 1 * *", {"reader": "r-001"})
    gearbox.schedules.delete(schedule.id)

    with pytest.raises(NotFound):
        gearbox.schedules.get(schedule.id)


def test_a_webhook_is_kept_changed_rotated_and_forgotten(gearbox: Gearbox) -> None:
    webhook = gearbox.webhooks.create("https://example.com/hook", events=["job.completed"], takes_all_jobs=False, description="mine")
    assert webhook.secret.startswith("whsec_")
    assert gearbox.webhooks.rotate(webhook.id).secret != webhook.secret
    assert not gearbox.webhooks.change(webhook.id, is_enabled=False, description="").is_enabled
    assert list(gearbox.webhooks.deliveries(webhook.id)) == []
    with pytest.raises(NotFound):
        gearbox.webhooks.replay(webhook.id, str(uuid4()))
    assert webhook.id in [each.id for each in gearbox.webhooks.list()]
    gearbox.webhooks.delete(webhook.id)

    with pytest.raises(NotFound):
        gearbox.webhooks.get(webhook.id)


def test_contracts_and_usage_are_read(gearbox: Gearbox) -> None:
    chat = gearbox.endpoints.get("chat@1")

    assert chat in gearbox.endpoints.list()
    assert (chat.transport, chat.limits.items > 0) == ("session", True)
    used = gearbox.usage(since=datetime.now(UTC) - timedelta(days=1), group_by=["model"], mode="streaming-sync")
    assert used.totals is not None
    assert used.cost_usd == used.totals.cost_usd == sum(line.cost_usd for line in used.items)
    assert used.group_by == ("model",)
    assert all(line.model and line.day is None for line in used.items)
