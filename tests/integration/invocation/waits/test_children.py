"""Children: spawned once, joined whichever comes first, within their limits."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from agents.domain.waits import Child
from invocation.domain import waits
from invocation.domain.jobs import Fence, JobState, Move
from invocation.gateways import database
from invocation.gateways.database import off_loop
from invocation.gateways.stores import LocalStore
from invocation.models import Job
from invocation.selectors.admission import live_slots
from invocation.selectors.children import outcomes_of
from invocation.services import children, endings, jobs, lifecycle, parking
from invocation.services.dispatching import Dispatcher
from quota.domain.classes import PriorityClass
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.rows import a_job, a_tenant
from tests.integration.invocation.waits.family import DONE, GATES
from tests.integration.invocation.waits.playing import beside, children_of, gave, played, played_to_rest, queued
from tests.integration.invocation.workers import job_worker, wakes

pytestmark = pytest.mark.django_db(transaction=True)
STEP = {"do": [{"step": "child"}]}
TWO = {"spawn": {"inputs": [STEP, STEP]}}
ALL: dict[str, Any] = {"join": {}}


def fault(job: Job) -> str:
    return str((job.error or {}).get("code"))


def work_on(job_id: UUID) -> None:
    """Take a child as a worker does."""
    now = datetime.now(UTC)
    lifecycle.move_one(Move.ADMIT, lifecycle.of(job_id), now=now)
    lifecycle.move_one(Move.CLAIM, lifecycle.of(job_id, owner=uuid4()), now=now)


def complete(job_id: UUID) -> None:
    work_on(job_id)
    with transaction.atomic():
        endings.end_one(Move.COMPLETE, lifecycle.of(job_id), now=datetime.now(UTC))


def test_a_parent_gives_its_slot_back_until_its_children_have_ended(on_loop: OnLoop[Any]) -> None:
    parent = played(on_loop, queued({"step": "before"}, TWO, ALL, subject="r-1", locale="de"))
    made = children_of(parent)
    assert (parent.state, parent.reason, parent.owner) == ("waiting", "children", None)
    assert parent.awaiting == {"children": [str(child.pk) for child in made]}
    assert [(child.state, child.depth, child.root_id, child.subject, child.locale) for child in made] == [
        ("queued", 1, parent.pk, "r-1", "de")
    ] * 2
    assert {child.tenant_id for child in made} == {parent.tenant_id}
    assert {child.traceparent[:36] for child in made} == {parent.traceparent[:36]}

    assert played(on_loop, made[1].pk).state == "completed"
    assert Job.objects.get(pk=parent.pk).state == "waiting"
    played(on_loop, made[0].pk)
    assert (Job.objects.get(pk=parent.pk).state, Job.objects.get(pk=parent.pk).rank) == ("queued", 0)

    again = played(on_loop, parent.pk)
    assert (again.state, again.attempt, DONE["before"], DONE["child"]) == ("completed", 2, 1, 2)
    assert [outcome["gave"] for outcome in gave(again)[-1]] == [[2], [1]]


def test_children_that_ended_before_the_join_are_not_waited_for(on_loop: OnLoop[Any]) -> None:
    parent_id = queued(TWO, {"wait": "ended"}, ALL)

    async def story() -> None:
        async with job_worker() as engine:
            engine.accept(await off_loop(wakes, [parent_id]))
            await until(lambda: DONE["spawned"] == 1)
            engine.accept(await off_loop(wakes, [child.pk for child in await off_loop(children_of, parent_id)]))
            await until(lambda: engine.in_flight == 1)
            GATES["ended"].set()
            await until(lambda: engine.in_flight == 0)

    on_loop(story())
    parent = Job.objects.get(pk=parent_id)
    assert (parent.state, parent.attempt) == ("completed", 1)


def test_children_that_end_while_their_parent_parks_wake_it_at_once(on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent has looked, found them running and raised Parked; only then the last one ends."""
    park = parking.park

    def ended_first(fence: Fence, *rest: Any) -> None:
        for child in children_of(UUID(fence.job_id)):
            complete(child.pk)
        park(fence, *rest)

    monkeypatch.setattr(parking, "park", ended_first)
    parent = played(on_loop, queued(TWO, ALL))

    assert (parent.state, parent.awaiting) == ("queued", None)


def test_how_each_child_ended_is_told_in_the_order_of_the_inputs(on_loop: OnLoop[Any]) -> None:
    inputs = [{"do": [{"decline": "Not today."}]}, STEP, {"do": [{"ask": {"questions": {"ok": {}}}}]}]
    parent = played(on_loop, queued({"spawn": {"inputs": inputs}}, ALL))
    declining, working, asking = children_of(parent)
    played(on_loop, declining.pk, working.pk, asking.pk)
    jobs.cancel(asking.pk, reason="not wanted", now=datetime.now(UTC))
    again = played(on_loop, parent.pk)

    first, second, third = gave(again)[-1]
    assert first == {"code": "declined", "sentence": "Not today."}
    assert second["text"] == "done"
    assert third == {"code": "cancelled", "sentence": "It was cancelled: not wanted."}


def test_two_last_children_that_end_in_the_same_moment_wake_their_parent(on_loop: OnLoop[Any]) -> None:
    parent = played(on_loop, queued(TWO, ALL))
    barrier = threading.Barrier(2)

    def end(job_id: UUID) -> None:
        barrier.wait(10)
        complete(job_id)

    threads = [beside(partial(end, child.pk)) for child in children_of(parent)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert [child.state for child in children_of(parent)] == ["completed"] * 2
    assert Job.objects.get(pk=parent.pk).state == "queued"


def test_a_child_that_ends_waits_for_another_that_is_about_to(on_loop: OnLoop[Any]) -> None:
    """The first has its parent's row: the second looks only when the first's end is there to be seen."""
    parent = played(on_loop, queued(TWO, ALL))
    first, second = children_of(parent)
    last = beside(lambda: complete(second.pk))
    with transaction.atomic():
        complete(first.pk)
        last.start()
        last.join(0.5)
        assert last.is_alive()
    last.join(20)

    assert Job.objects.get(pk=parent.pk).state == "queued"


def test_a_cancellation_and_the_end_of_a_child_do_not_lock_each_other_out(on_loop: OnLoop[Any]) -> None:
    """Both go from the top down: the one that comes second waits, and neither is broken off."""
    parent = played(on_loop, queued(TWO, ALL))
    first, second = children_of(parent)
    errors: list[Exception] = []

    def cancel() -> None:
        try:
            jobs.cancel(parent.pk, reason="not wanted", now=datetime.now(UTC))
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    canceller = beside(cancel)
    with transaction.atomic():
        children.lock_above([first.pk])
        canceller.start()
        canceller.join(0.3)
        complete(first.pk)
    canceller.join(20)

    assert errors == []
    assert [Job.objects.get(pk=each.pk).state for each in (parent, first, second)] == ["cancelled", "completed", "cancelled"]


def test_who_cancels_a_working_child_locks_its_parent_first(on_loop: OnLoop[Any]) -> None:
    parent = played(on_loop, queued(TWO, ALL))
    first, _ = children_of(parent)
    work_on(first.pk)
    canceller = beside(lambda: jobs.cancel(first.pk, reason="not wanted", now=datetime.now(UTC)))
    with transaction.atomic():
        Job.objects.select_for_update().get(pk=parent.pk)
        canceller.start()
        canceller.join(0.3)
        assert Job.objects.select_for_update(nowait=True).get(pk=first.pk).state == "working"
    canceller.join(10)

    assert Job.objects.get(pk=first.pk).state == "cancelling"


def test_an_attempt_that_no_longer_holds_the_job_spawns_nothing(on_loop: OnLoop[Any]) -> None:
    parent_id = queued({"wait": "fenced"}, TWO)

    async def story() -> None:
        async with job_worker() as engine:
            engine.accept(await off_loop(wakes, [parent_id]))
            await until(lambda: DONE["runs"] == 1)
            await off_loop(lambda: Job.objects.filter(pk=parent_id).update(attempt=7))
            GATES["fenced"].set()
            await until(lambda: engine.in_flight == 0)

    on_loop(story())
    assert children_of(parent_id) == []


def test_a_join_that_takes_too_long_is_the_parents_to_cope_with(on_loop: OnLoop[Any]) -> None:
    parent = played(on_loop, queued(TWO, {"join": {"timeout_s": 0.2}}))
    jobs.wake_due(now=datetime.now(UTC) + timedelta(seconds=1))
    threading.Event().wait(0.3)
    again = played(on_loop, parent.pk)

    assert (again.state, gave(again)[-1]) == ("completed", "late")


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"endpoint": "nobody@1"}, "does not exist"),
        ({"endpoint": "family-chat@1"}, "POST /v1/chat"),
        ({"endpoint": "family-cycle@1"}, "POST /v1/schedules"),
        ({"inputs": [STEP, {"do": "no list"}]}, "/inputs/1/do"),
        ({"inputs": [{"stray": 1}]}, "/inputs/0/stray"),
    ],
)
def test_what_an_endpoint_does_not_take_is_a_typed_refusal(on_loop: OnLoop[Any], terms: dict[str, Any], words: str) -> None:
    job = played(on_loop, queued({"spawn": {"inputs": [STEP], **terms}}))

    assert (job.state, fault(job)) == ("failed", "child_refused")
    assert words in (job.error or {})["sentence"]
    assert Job.objects.count() == 1


def test_children_beyond_what_one_node_may_have_are_refused(on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "MOST_CHILDREN", 3)
    job = played(on_loop, queued(TWO, TWO))

    assert (job.state, fault(job), len(children_of(job))) == ("failed", "fan_out_exceeded", 2)


def test_a_tree_grows_no_deeper_than_it_may(on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "MOST_DEPTH", 2)
    deep = {"do": [{"spawn": {"inputs": [{"do": [{"spawn": {"inputs": [STEP]}}]}]}}, ALL]}
    job = played_to_rest(on_loop, queued({"spawn": {"inputs": [deep]}}, ALL))

    assert job.state == "completed"
    [leaf] = Job.objects.filter(depth=2)
    assert (leaf.state, fault(leaf)) == ("failed", "fan_out_exceeded")
    assert not Job.objects.filter(depth=3).exists()


def test_a_root_has_no_more_descendants_than_it_may_over_its_whole_life(on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "MOST_DESCENDANTS", 4)
    pair = {"do": [TWO, ALL]}
    job = played_to_rest(on_loop, queued({"spawn": {"inputs": [pair, pair]}}, ALL))

    assert (job.state, job.descendants, Job.objects.filter(root_id=job.pk).count()) == ("completed", 4, 4)
    assert sorted(outcome.get("code", "ok") for outcome in gave(job)[-1]) == ["fan_out_exceeded", "ok"]


def test_spawns_at_the_same_moment_do_not_overshoot_the_root(on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "MOST_DESCENDANTS", 9)
    pair = {"do": [{"spawn": {"inputs": [STEP, STEP], "cost_usd": 0.001}}, ALL]}
    parent = played(on_loop, queued({"spawn": {"inputs": [pair] * 6}}, ALL))

    async def story() -> None:
        async with job_worker() as engine:
            engine.accept(await off_loop(wakes, [child.pk for child in await off_loop(children_of, parent)]))
            await until(lambda: engine.in_flight == 0)

    on_loop(story())
    assert Job.objects.filter(root_id=parent.pk).count() == Job.objects.get(pk=parent.pk).descendants == 8


def test_a_tenant_at_its_cap_whose_parents_spawn_and_join_does_not_lock_itself_out(on_loop: OnLoop[Any]) -> None:
    """Two in flight are all that the plan allows: four parents of two children each end all the same."""
    tenant_id = a_tenant("capped", in_flight_p1=2)
    parents = [queued(TWO, ALL, tenant_id=tenant_id) for _ in range(4)]
    most = 0

    async def story() -> None:
        nonlocal most
        dispatcher = Sent()
        async with job_worker() as engine:
            while await off_loop(Job.objects.exclude(state=JobState.COMPLETED).exists):
                await off_loop(dispatcher.round)
                engine.accept(dispatcher.taken())
                most = max(most, engine.in_flight)
                await until(lambda: engine.in_flight == 0)

    on_loop(story())
    assert most == 2
    assert [Job.objects.get(pk=parent).state for parent in parents] == ["completed"] * 4
    assert DONE["child"] == 8
    assert live_slots(now=datetime.now(UTC))[PriorityClass.P1] == 4


class Sent(Dispatcher):
    """A dispatcher whose messages a test takes instead of a broker."""

    def __init__(self) -> None:
        super().__init__()
        self._sent: list[tuple[UUID, int]] = []

    def taken(self) -> list[tuple[UUID, int]]:
        taken, self._sent = self._sent, []
        return taken

    def _send(self, admitted: Any) -> None:
        self._sent += [*admitted.first, *admitted.claims]


def away(monkeypatch: pytest.MonkeyPatch, times: int) -> list[str]:
    """Let the store not answer that many readings; return what was asked for."""
    monkeypatch.setattr(database, "AWAY_EVERY_S", 0.0)
    asked, read = [], LocalStore.read

    def reads(store: LocalStore, path: str) -> bytes:
        asked.append(path)
        if len(asked) <= times:
            raise OSError("no answer")
        return read(store, path)

    monkeypatch.setattr(LocalStore, "read", reads)
    return asked


def a_parent_of_a_large_child(on_loop: OnLoop[Any], settings: Any, tmp_path: Path) -> Job:
    settings.OBJECT_STORE = str(tmp_path)
    parent = played(on_loop, queued({"spawn": {"inputs": [{"do": [{"long": 70_000}]}]}}, ALL, {"ask": {"questions": {"ok": {}}}}))
    played(on_loop, children_of(parent)[0].pk)
    return parent


def test_a_store_that_is_away_while_a_parent_joins_is_no_failure_of_its_child(
    on_loop: OnLoop[Any], settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = a_parent_of_a_large_child(on_loop, settings, tmp_path)
    asked = away(monkeypatch, times=1)

    joined = played(on_loop, parent.pk)
    assert (joined.state, len(asked)) == ("input_required", 2)
    assert list((joined.steps.get(name="join").result or {}).values()) == ["completed"]
    jobs.answer(parent.pk, key="ok", value=True, now=datetime.now(UTC))
    assert played(on_loop, parent.pk).result.size > 70_000


def test_a_store_that_stays_away_interrupts_the_parent_which_runs_again(
    on_loop: OnLoop[Any], settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = a_parent_of_a_large_child(on_loop, settings, tmp_path)
    asked = away(monkeypatch, times=1_000)

    joined = played(on_loop, parent.pk)

    assert (joined.state, joined.reason, joined.failures, len(asked)) == ("queued", "drained", 0, database.AWAY_TRIES + 1)
    assert not joined.steps.filter(name="join").exists()


def test_a_childs_output_that_is_gone_is_a_failure_of_the_child(on_loop: OnLoop[Any], settings: Any, tmp_path: Path) -> None:
    parent = a_parent_of_a_large_child(on_loop, settings, tmp_path)
    [file] = [path for path in tmp_path.rglob("*.json") if path.is_file()]
    file.unlink()

    joined = played(on_loop, parent.pk)

    assert list((joined.steps.get(name="join").result or {}).values()) == ["failed"]


def test_another_tenants_job_cannot_be_joined(on_loop: OnLoop[Any]) -> None:
    stranger = a_job(JobState.COMPLETED)
    [outcome] = outcomes_of(uuid4(), [Child(str(stranger.pk), "personalize@1")]) or []

    assert (outcome.output, (outcome.error or {})["code"]) == (None, "child_gone")
