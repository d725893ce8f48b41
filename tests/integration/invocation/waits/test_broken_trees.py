"""Trees of jobs that somebody broke off: nothing is made twice, nothing runs on for nobody, no parent is forgotten."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from agents.domain.waits import Spawn
from invocation.domain.errors import StaleMove
from invocation.domain.jobs import Fence
from invocation.gateways.database import off_loop
from invocation.models import Job, StepRecord
from invocation.services import children, jobs, journals, spawning
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.waits.playing import children_of, played, queued
from tests.integration.invocation.workers import job_worker, wakes

pytestmark = pytest.mark.django_db(transaction=True)
STEP = {"do": [{"step": "child"}]}
TWO = {"spawn": {"inputs": [STEP, STEP]}}
ALL: dict[str, Any] = {"join": {}}


def states(tree: list[Job]) -> list[tuple[str, str]]:
    return [(job.state, job.reason) for job in tree]


def leaving(*inputs: dict[str, Any]) -> dict[str, Any]:
    """What spawns and does not wait."""
    return {"do": [{"spawn": {"inputs": list(inputs)}}]}


def a_long_tree(on_loop: OnLoop[Any], *then: dict[str, Any]) -> list[Job]:
    """Return the root, two generations that completed without a join, and what the last of them left running."""
    root = played(on_loop, queued({"spawn": {"inputs": [leaving(leaving(STEP))]}}, *then))
    [first] = children_of(root)
    played(on_loop, first.pk)
    [second] = children_of(first)
    played(on_loop, second.pk)
    [leaf] = children_of(second)
    return [root, first, second, leaf]


def again(tree: list[Job]) -> list[Job]:
    return [Job.objects.get(pk=job.pk) for job in tree]


def test_an_attempt_ended_between_the_children_and_the_journal_finds_them_though_the_money_is_lent(
    on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    record, made, over = journals.record_step, threading.Event(), threading.Event()

    def stuck(fence: Any, key: Any, *rest: Any) -> None:
        if key.name.startswith("spawn"):
            made.set()
            over.wait(20)
        else:
            record(fence, key, *rest)

    async def story(parent_id: UUID) -> None:
        async with job_worker() as engine:
            engine.accept(await off_loop(wakes, [parent_id]))
            await until(made.is_set)

    monkeypatch.setattr(journals, "record_step", stuck)
    parent_id = queued({"spawn": {"inputs": [STEP, STEP], "cost_usd": 0.2}}, ALL)
    on_loop(story(parent_id))
    over.set()
    monkeypatch.undo()
    before, ids = Job.objects.get(pk=parent_id), [child.pk for child in children_of(parent_id)]
    assert (before.state, len(ids), StepRecord.objects.filter(job_id=parent_id).exists()) == ("queued", 2, False)
    assert before.lent_usd > before.cost_cap_usd - before.lent_usd

    after = played(on_loop, parent_id)
    assert [child.pk for child in children_of(parent_id)] == ids
    assert (after.state, after.awaiting) == ("waiting", {"children": [str(child) for child in ids]})
    assert (after.lent_usd, after.descendants) == (before.lent_usd, 2)


def test_who_no_longer_holds_a_job_is_not_told_its_children(on_loop: OnLoop[Any]) -> None:
    parent = played(on_loop, queued(TWO, ALL))
    place = children_of(parent)[0].child_key.rpartition("/")[0]
    spawn = Spawn(place=place, endpoint="leaf@1", inputs=(STEP, STEP))

    with pytest.raises(StaleMove):
        spawning.made_before(Fence(str(parent.pk), parent.attempt, str(uuid4())), spawn)


def test_the_children_of_a_parent_that_failed_or_was_cancelled_are_cancelled(on_loop: OnLoop[Any]) -> None:
    failing = played(on_loop, queued(TWO, {"decline": "No."}))
    waiting = played(on_loop, queued({"spawn": {"inputs": [{"do": [TWO, ALL]}, STEP]}}, ALL))
    middle, _ = children_of(waiting)
    played(on_loop, middle.pk)
    jobs.cancel(waiting.pk, reason="not wanted", now=datetime.now(UTC))

    assert failing.state == "failed"
    gone = [*children_of(failing), *children_of(waiting), *children_of(middle)]
    assert [(child.state, child.reason) for child in gone] == [("cancelled", "parent_ended")] * 6


def test_what_a_completed_child_left_running_is_cancelled_with_the_root(on_loop: OnLoop[Any]) -> None:
    tree = a_long_tree(on_loop, {"sleep": 600})
    jobs.cancel(tree[0].pk, reason="not wanted", now=datetime.now(UTC))

    assert states(again(tree)) == [("cancelled", "not wanted"), ("completed", ""), ("completed", ""), ("cancelled", "parent_ended")]
    assert [job.lent_usd for job in again(tree)] == [0] * 4


def test_what_a_completed_child_left_running_is_cancelled_when_the_root_fails(on_loop: OnLoop[Any]) -> None:
    tree = a_long_tree(on_loop, ALL, {"decline": "No."})
    played(on_loop, tree[0].pk)

    assert [state for state, _ in states(again(tree))] == ["failed", "completed", "completed", "cancelled"]


def test_what_outlives_a_root_that_completed_runs_on(on_loop: OnLoop[Any]) -> None:
    tree = a_long_tree(on_loop)

    assert [state for state, _ in states(again(tree))] == ["completed", "completed", "completed", "queued"]


def test_a_parent_that_nobody_woke_is_found_by_the_sweep(on_loop: OnLoop[Any]) -> None:
    parent = played(on_loop, queued(TWO, ALL))
    now = datetime.now(UTC)
    assert children.wake_forgotten(now=now) == 0
    Job.objects.filter(parent_id=parent.pk).update(state="completed", finished_at=now)

    assert children.wake_forgotten(now=now) == 1
    assert children.wake_forgotten(now=now) == 0
    assert Job.objects.get(pk=parent.pk).state == "queued"


def test_the_sweep_goes_on_where_it_was_and_begins_again_after_the_last(on_loop: OnLoop[Any]) -> None:
    parents = sorted(played(on_loop, queued(TWO, ALL)).pk for _ in range(3))
    now, sweep = datetime.now(UTC), children.ForgottenParents(most=1)
    Job.objects.filter(parent_id=parents[2]).update(state="completed", finished_at=now)
    assert [sweep.wake(now=now) for _ in range(3)] == [0, 0, 1]

    Job.objects.filter(parent_id=parents[0]).update(state="completed", finished_at=now)
    assert sweep.wake(now=now) + sweep.wake(now=now) == 1
    assert [Job.objects.get(pk=parent).state for parent in parents] == ["queued", "waiting", "queued"]
