"""One execution: what is shown when, what a finding takes back, and what counts as an Output."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agents.domain.contract import Finding
from agents.domain.errors import OutputInvalid, PrivateDataShown, SkillCalledWhileStreaming
from agents.domain.run import Run
from agents.domain.values import Delta, Json, Output, Plan, Request, Usage, VerdictLimits, Verification
from agents.services.execution import Performance, perform
from tests.unit.agents.acting import Audience, Speaker, SpokenModels, double, run_of, spec_of

DRAFT, BUFFER = Verification.DRAFT, Verification.BUFFER
SECRET = ("All is well. ", "Here ", "is a secret. ", "And ", "more.")


def accept(_value: Json) -> None:
    """Take any Output."""


def refuse(_value: Json) -> None:
    raise OutputInvalid("'twice' is no number.")


async def shown(
    build: Any,
    audience: Audience,
    *,
    models: SpokenModels | None = None,
    floor: Verification = DRAFT,
    check: Any = accept,
) -> Performance:
    spec = spec_of(build)
    request = Request(input={"number": 21})
    return await perform(spec, run_of(spec, models=models), request, floor=floor, limits=VerdictLimits(), output_check=check, sink=audience)


@pytest.mark.parametrize("floor", [DRAFT, BUFFER])
async def test_a_good_answer_is_shown_whole_and_ends_with_its_output(floor: Verification) -> None:
    audience = Audience()
    performance = await shown(Speaker, audience, floor=floor)

    assert audience.seen == [floor, "Good ", "day."]
    assert performance.text == "Good day."
    assert performance.output.value == {"twice": 42}
    assert performance.usage == Usage(3, 5)
    assert performance.models == ("spoken",)


@pytest.mark.parametrize("floor", [DRAFT, BUFFER])
async def test_what_is_shown_can_be_kept_whatever_is_said(floor: Verification) -> None:
    audience = Audience()
    performance = await shown(Speaker, audience, models=SpokenModels("a\0b", "\ud83d", "\ude00", "c", "\ud83d"), floor=floor)

    assert audience.seen == [floor, "a\ufffdb", "\U0001f600", "c"]
    assert performance.text == "a\ufffdb\U0001f600c"


class Careful(Speaker):
    verification = BUFFER


class Careless(Speaker):
    verification = DRAFT


async def test_a_plan_raises_the_floor_and_never_lowers_it() -> None:
    raised, kept = Audience(), Audience()
    await shown(Careful, raised, floor=DRAFT)
    await shown(Careless, kept, floor=BUFFER)

    assert raised.seen[0] is kept.seen[0] is BUFFER


async def test_a_finding_in_a_draft_retracts_and_ends_the_generation() -> None:
    audience, models = Audience(), SpokenModels(*SECRET)
    with pytest.raises(PrivateDataShown):
        await shown(Speaker, audience, models=models)
    async with asyncio.timeout(5):
        await models.closed.wait()

    assert audience.seen == [DRAFT, "All is well. ", "Here ", Finding("no_secret", "The answer shows a secret.")]


class Tidy(Speaker):
    """Says a secret, and must be closed at once."""

    is_closed = False

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        try:
            yield Delta("A secret. ")
            yield Delta("And more.")
        finally:
            Tidy.is_closed = True


async def test_a_finding_closes_the_agents_generator_before_the_error_is_seen() -> None:
    with pytest.raises(PrivateDataShown):
        await shown(Tidy, Audience())

    assert Tidy.is_closed


async def test_a_finding_in_the_last_words_of_a_draft_is_retracted_too() -> None:
    audience = Audience()
    with pytest.raises(PrivateDataShown):
        await shown(Speaker, audience, models=SpokenModels("All is ", "secret"))

    assert isinstance(audience.seen[-1], Finding)


async def test_a_buffered_answer_with_a_finding_is_never_shown() -> None:
    audience = Audience()
    with pytest.raises(PrivateDataShown):
        await shown(Speaker, audience, models=SpokenModels(*SECRET), floor=BUFFER)

    assert audience.seen == [BUFFER]


class Whispering(Speaker):
    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        yield Delta("Nothing here.")
        yield Output({"notes": [{"a": "the secret"}]})


async def test_what_only_the_output_says_is_verified_as_well() -> None:
    with pytest.raises(PrivateDataShown):
        await shown(Whispering, Audience())


async def test_a_buffered_answer_whose_output_is_refused_is_never_shown() -> None:
    audience = Audience()
    with pytest.raises(OutputInvalid):
        await shown(Speaker, audience, floor=BUFFER, check=refuse)

    assert audience.seen == [BUFFER]


class Endless(Speaker):
    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        yield Delta("No end")


class Twofold(Speaker):
    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        yield Output({})
        yield Output({})


class Late(Speaker):
    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        yield Output({})
        yield Delta("One more thing.")


class Loose(Speaker):
    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Any]:
        yield "a bare string"


@pytest.mark.parametrize("build", [Endless, Twofold, Late, Loose])
async def test_compose_ends_with_exactly_one_output(build: type[Speaker]) -> None:
    with pytest.raises(OutputInvalid):
        await shown(build, Audience())


class Curious(Speaker):
    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        yield Output({"again": await double(run, number=1)})


async def test_a_skill_in_compose_is_refused() -> None:
    with pytest.raises(SkillCalledWhileStreaming, match="Skill double was called in compose"):
        await shown(Curious, Audience())


class Stubborn(Curious):
    """Goes on after the refusal: what the skill would have given is nowhere."""

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        yield Delta("Before. ")
        try:
            await double(run, number=1)
        except SkillCalledWhileStreaming:
            yield Output({"refused": True})


async def test_a_skill_after_the_first_delta_never_ran() -> None:
    assert (await shown(Stubborn, Audience())).output.value == {"refused": True}


class Waiting(Speaker):
    def __init__(self) -> None:
        self.closed = asyncio.Event()
        Waiting.last = self

    last: Waiting

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        try:
            yield Delta("One ")
            await asyncio.Event().wait()
        finally:
            self.closed.set()


async def test_cancelling_closes_the_agents_generator_before_it_returns() -> None:
    audience = Audience()
    task = asyncio.create_task(shown(Waiting, audience))
    async with asyncio.timeout(5):
        await audience.reached.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert Waiting.last.closed.is_set()
