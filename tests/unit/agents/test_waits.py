"""The waits of a run: parked once, resumed by replay, timed out for ever, each key used once, only while it plans."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from agents.domain.errors import ChildFailed, ReplayDiverged, SkillCalledWhileStreaming, WaitMisused, WaitTimedOut
from agents.domain.run import Run
from agents.domain.steps import StepKey
from agents.domain.waits import Child, ForAnswers, ForCallback, ForChildren, ForMoment, Outcome, Parked, Question, leading
from tests.unit.agents.acting import MemoryJournal, MemoryWaits, Speaker, run_of, spec_of

SPEC = spec_of(Speaker)
MINUTE = timedelta(minutes=1)
OK = Question(key="ok", sentence="Is it?", schema={"type": "boolean"})
WHEN = Question(key="when", sentence="When?", schema={"type": "string"})
SPAWN_PLACE = "spawn:personalize@1#1"


class Story:
    """One run's journal and waits over all its attempts."""

    def __init__(self) -> None:
        self.journal = MemoryJournal()
        self.waits = MemoryWaits()

    def run(self) -> Run:
        return run_of(SPEC, journal=self.journal, waits=self.waits)


@pytest.fixture
def story() -> Story:
    return Story()


async def test_a_question_parks_the_run_until_it_is_answered(story: Story) -> None:
    with pytest.raises(Parked) as parked:
        await story.run().ask("ok", "Is it?", schema=OK.schema)
    story.waits.told["ok"] = True

    assert parked.value.wait == ForAnswers((OK,))
    assert await story.run().ask("ok", "Is it?", schema=OK.schema) is True
    story.waits.told.clear()
    assert await story.run().ask("ok", "Is it?", schema=OK.schema) is True
    assert list(story.journal.steps) == [StepKey("ask:ok", 1)]


async def test_several_questions_are_asked_at_once_and_only_the_missing_again(story: Story) -> None:
    story.waits.told["ok"] = True
    with pytest.raises(Parked) as parked:
        await story.run().ask_all([OK, WHEN])
    story.waits.told["when"] = "soon"

    assert parked.value.wait == ForAnswers((WHEN,))
    assert await story.run().ask_all([OK, WHEN]) == {"ok": True, "when": "soon"}


async def test_a_key_is_used_once_in_a_run(story: Story) -> None:
    story.waits.told["ok"] = True
    run = story.run()
    await run.ask("ok", "Is it?", schema={})

    with pytest.raises(WaitMisused):
        await run.ask("ok", "Really?", schema={})
    with pytest.raises(WaitMisused):
        await run.callback("ok")
    with pytest.raises(WaitMisused):
        await run.ask_all([WHEN, WHEN])


@pytest.mark.parametrize("key", ["", "a b", "x" * 61, "-x", "a/b"])
async def test_a_key_that_cannot_be_one_is_refused(story: Story, key: str) -> None:
    with pytest.raises(WaitMisused):
        await story.run().ask(key, "Is it?", schema={})


async def test_another_sentence_on_resume_diverges(story: Story) -> None:
    story.waits.told["ok"] = True
    await story.run().ask("ok", "Is it?", schema={})

    with pytest.raises(ReplayDiverged):
        await story.run().ask("ok", "Was it?", schema={})


WAITS: dict[str, Callable[[Run], Awaitable[Any]]] = {
    "ask": lambda run: run.ask("ok", "Is it?", schema={}, timeout=MINUTE),
    "wait_for": lambda run: run.wait_for("paid", timeout=MINUTE),
    "join": lambda run: run.join([Child("c", "personalize@1")], timeout=MINUTE),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
async def test_a_timeout_counts_from_the_first_attempt_and_is_missed_by_every_replay(
    story: Story, wait: Callable[[Run], Awaitable[Any]]
) -> None:
    until = story.waits.time + MINUTE
    for later in (timedelta(), timedelta(seconds=30)):
        story.waits.time += later
        with pytest.raises(Parked) as parked:
            await wait(story.run())
        assert getattr(parked.value.wait, "until", None) == until
    story.waits.time = until
    with pytest.raises(WaitTimedOut):
        await wait(story.run())

    story.waits.told["ok"] = story.waits.brought["paid"] = True
    story.waits.ended["c"] = Outcome(child=Child("c", "personalize@1"), output={})
    with pytest.raises(WaitTimedOut):
        await wait(story.run())


async def test_each_of_two_joins_has_its_own_deadline(story: Story) -> None:
    first, second = Child("a", "x@1"), Child("b", "x@1")
    story.waits.ended["a"] = Outcome(child=first, output={})
    start = story.waits.time
    for _ in range(2):
        run = story.run()
        await run.join([first], timeout=MINUTE)
        with pytest.raises(Parked) as parked:
            await run.join([second], timeout=2 * MINUTE)
        assert parked.value.wait == ForChildren(("b",), start + 2 * MINUTE)


@pytest.mark.parametrize("length", [timedelta(), -MINUTE])
async def test_a_timeout_that_is_over_before_it_begins_is_refused(story: Story, length: timedelta) -> None:
    with pytest.raises(WaitMisused):
        await story.run().ask("ok", "Is it?", schema={}, timeout=length)


async def test_a_callback_has_one_address_and_ends_the_wait_with_what_it_brings(story: Story) -> None:
    run = story.run()
    callback = await run.callback("paid")
    assert (await run.callback("paid"), callback.token) == (callback, "secret-paid")
    with pytest.raises(Parked) as parked:
        await run.wait_for(callback)
    story.waits.brought["paid"] = {"usd": 7}

    assert parked.value.wait == ForCallback("paid")
    again = story.run()
    assert await again.wait_for(await again.callback("paid")) == {"usd": 7}
    with pytest.raises(WaitMisused):
        await again.wait_for("paid")
    assert not any("secret" in str(step.result) for step in story.journal.steps.values())


async def test_a_sleep_ends_when_its_first_attempt_said(story: Story) -> None:
    until = story.waits.time + MINUTE
    for _ in range(2):
        with pytest.raises(Parked) as parked:
            await story.run().sleep(MINUTE)
        assert parked.value.wait == ForMoment(until)
        story.waits.time += timedelta(seconds=20)
    story.waits.time = until
    run = story.run()
    await run.sleep(MINUTE)
    with pytest.raises(Parked):
        await run.sleep(MINUTE)


async def test_a_sleep_until_a_moment_needs_a_time_zone(story: Story) -> None:
    await story.run().sleep_until(story.waits.time)

    with pytest.raises(WaitMisused):
        await story.run().sleep_until(datetime(2026, 1, 1))  # noqa: DTZ001  (the point)


async def test_one_input_is_one_child_and_several_are_several(story: Story) -> None:
    one = await story.run().spawn("personalize@1", {"text": "a"})
    again = await story.run().spawn("personalize@1", {"text": "a"})

    assert one == again == Child(f"{SPAWN_PLACE}/0", "personalize@1")
    with pytest.raises(ReplayDiverged):
        await story.run().spawn("personalize@1", [{"text": "a"}, {"text": "b"}])
    with pytest.raises(WaitMisused):
        await story.run().spawn("personalize@1", [])


async def test_a_join_returns_how_each_child_ended_and_raises_only_when_told(story: Story) -> None:
    children = await story.run().spawn("personalize@1", [{}, {}])
    story.waits.ended = {
        children[1].id: Outcome(child=children[1], output={"text": "b"}),
        children[0].id: Outcome(child=children[0], error={"code": "declined", "sentence": "No."}),
    }
    run = story.run()
    first, second = await run.join(await run.spawn("personalize@1", [{}, {}]))

    assert (first.is_completed, second.value()) == (False, {"text": "b"})
    with pytest.raises(ChildFailed, match="No"):
        first.value()
    assert await run.join([]) == []


async def test_a_run_waits_only_while_it_plans(story: Story) -> None:
    run = story.run()
    run.lock_skills()
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: run.ask("ok", "?", schema={}),
        lambda: run.callback("paid"),
        lambda: run.wait_for("paid"),
        lambda: run.sleep(MINUTE),
        lambda: run.sleep_until(story.waits.time),
        lambda: run.spawn("personalize@1", {}),
        lambda: run.join([Child("c", "x@1")]),
    ]

    for call in calls:
        with pytest.raises(SkillCalledWhileStreaming):
            await call()


async def test_of_parallel_branches_an_error_counts_before_a_wait(story: Story) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise WaitTimedOut("late")

    async def both(*branches: Any) -> BaseException:
        try:
            async with asyncio.TaskGroup() as group:
                for branch in branches:
                    group.create_task(branch)
        except BaseExceptionGroup as ended:
            return leading(ended)
        raise AssertionError

    run = story.run()
    assert isinstance(await both(run.ask("ok", "?", schema={}), run.ask("when", "?", schema={})), Parked)
    stuck = BaseExceptionGroup("both", [Parked(ForMoment(story.waits.time)), WaitTimedOut("late"), ValueError()])
    assert isinstance(leading(stuck), WaitTimedOut)
    assert isinstance(await both(fails()), WaitTimedOut)
