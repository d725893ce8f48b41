"""The run as an agent sees it: steps that happen once, replay, declared skills, the lock."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

import pytest

from agents.domain.errors import ReplayDiverged, SkillCalledWhileStreaming, SkillNotDeclared
from agents.domain.steps import StepKey, as_kept
from agents.domain.values import Json, Reply, Usage
from tests.unit.agents.acting import MemoryJournal, Speaker, SpokenModels, double, run_of, spec_of, undeclared

SPEC = spec_of(Speaker)


class Counted:
    """A step's body that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, **given: Json) -> Json:
        self.calls += 1
        return {"call": self.calls, "pair": (1, 2), **given}


async def test_what_a_step_gives_is_one_form_of_its_json_however_it_was_kept_and_read() -> None:
    async def body() -> Any:
        return {"b": 1, "aa": [{10: "ten", 9: "nine", None: ()}], "a": [1.5, 1.5e16, -0.0]}

    found = await run_of(SPEC).step("look", body)

    assert json.dumps(found) == '{"a": [1.5, 15000000000000000, 0.0], "aa": [{"10": "ten", "9": "nine", "null": []}], "b": 1}'
    assert as_kept(dict(reversed(found.items()))) == as_kept(found) == found
    assert list(as_kept(dict(reversed(found.items())))) == list(found)


async def test_a_resumed_run_takes_finished_steps_from_the_journal() -> None:
    journal, body = MemoryJournal(), Counted()
    first = await run_of(SPEC, journal=journal).step("look", body, at="x")
    again = await run_of(SPEC, journal=journal).step("look", body, at="x")

    assert body.calls == 1
    assert first == again == {"call": 1, "pair": [1, 2], "at": "x"}


async def test_the_same_step_called_twice_is_two_steps() -> None:
    journal, body = MemoryJournal(), Counted()
    run = run_of(SPEC, journal=journal)

    assert [(await run.step("look", body))["call"], (await run.step("look", body))["call"]] == [1, 2]
    assert list(journal.steps) == [StepKey("look", 1), StepKey("look", 2)]


async def test_other_arguments_on_resume_diverge_and_run_nothing() -> None:
    journal, body = MemoryJournal(), Counted()
    await run_of(SPEC, journal=journal).step("look", body, at="x")

    with pytest.raises(ReplayDiverged):
        await run_of(SPEC, journal=journal).step("look", body, at="y")
    assert body.calls == 1


async def test_a_failed_step_is_not_kept() -> None:
    journal = MemoryJournal()

    async def fails() -> Json:
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011  (its own)
        await run_of(SPEC, journal=journal).step("look", fails)
    assert journal.steps == {}


async def test_an_undeclared_skill_does_not_run() -> None:
    with pytest.raises(SkillNotDeclared):
        await undeclared(run_of(SPEC))


async def test_skills_are_locked_after_the_plan() -> None:
    run = run_of(SPEC)
    assert await double(run, number=2) == 4

    run.lock_skills()

    with pytest.raises(SkillCalledWhileStreaming):
        await double(run, number=2)


async def test_a_model_call_is_not_repeated_on_resume_and_streams_the_same_text() -> None:
    journal, models = MemoryJournal(), SpokenModels("Good ", "day.")
    first = "".join([piece async for piece in run_of(SPEC, journal=journal, models=models).model([])])
    again = await run_of(SPEC, journal=journal, models=models).model([])

    assert models.asked == 1
    assert first == again.text == "Good day."


def test_an_effect_has_the_same_key_on_every_attempt() -> None:
    assert run_of(SPEC).effect_key("refund") == run_of(SPEC).effect_key("refund")


async def test_a_step_may_have_arguments_called_name_and_fn() -> None:
    assert (await run_of(SPEC).step("look", Counted(), name="n", fn="f"))["name"] == "n"


def test_a_journal_keeps_all_of_a_reply() -> None:
    reply = Reply(text="Hello.", model="a-model", usage=Usage(3, 2, 1), finish="length", estimated=True, tier="economy", downshift="cost")

    assert reply.as_json() == json.loads(json.dumps(asdict(reply)))
    assert set(reply.as_json()) == {field.name for field in fields(Reply)}
