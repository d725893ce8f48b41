"""Verifiers that take their time, raise or stall: how far the generation gets, and what a reader ever sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from agents.domain.contract import Finding, Verifier
from agents.domain.errors import AnswerWithdrawn, OutputInvalid, PrivateDataShown, VerifierFailed, VerifierStalled
from agents.domain.run import Run
from agents.domain.values import Delta, Json, Output, Plan, Request, VerdictLimits, Verification
from agents.services.execution import Performance, perform
from tests.unit.agents.acting import Audience, Speaker, no_secret, run_of, spec_of

DRAFT, BUFFER = Verification.DRAFT, Verification.BUFFER
SENTENCES = ("First one. ", "A secret here. ", "Third one. ", "Fourth one. ", "Fifth one.")
UNVERIFIED = "The answer could not be verified."
WIDE = VerdictLimits()
NARROW = VerdictLimits(reading=timedelta(milliseconds=20), held_back=timedelta(milliseconds=20))
OBJECTION = Finding("no_secret", "The answer shows a secret.")


class Sentences(Speaker):
    """Says a sentence a piece, and notes which it began to generate; `pause` is awaited before each."""

    words: tuple[str, ...] = SENTENCES
    begun: list[str]
    stuck_after: str | None = None

    async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
        type(self).begun = []
        for sentence in self.words:
            await asyncio.sleep(0)
            self.begun.append(sentence)
            yield Delta(sentence)
            if sentence == self.stuck_after:
                await asyncio.Event().wait()
        yield Output({"twice": plan.facts["twice"]})


class Reading:
    """An awaited verifier that reads for as many turns of the loop as it is told to, and remembers what it read."""

    __name__ = "reading"

    def __init__(self, *, turns: int = 1) -> None:
        self.turns = turns
        self.read: list[str] = []
        self.cancelled = 0

    async def __call__(self, text: str, plan: Plan) -> Finding | None:
        try:
            for _ in range(self.turns):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.read.append(text)
        return no_secret(text, plan)


class Stalled(Reading):
    async def __call__(self, text: str, plan: Plan) -> Finding | None:
        await asyncio.Event().wait()
        return None


class Broken(Reading):
    async def __call__(self, text: str, plan: Plan) -> Finding | None:
        raise ValueError("key sk-123 was refused")


def broken(text: str, plan: Plan) -> Finding | None:
    raise ValueError("key sk-123 was refused")


def accept(_value: Json) -> None:
    """Take any Output."""


async def shown(
    build: Any, audience: Audience, *verifiers: Verifier, floor: Verification = DRAFT, limits: VerdictLimits = WIDE, check: Any = accept
) -> Performance:
    spec = spec_of(build, verifiers=verifiers)
    async with asyncio.timeout(5):
        return await perform(
            spec, run_of(spec), Request(input={"number": 21}), floor=floor, limits=limits, output_check=check, sink=audience
        )


@pytest.mark.parametrize("verifier", [no_secret, Reading(turns=1), Reading(turns=500)])
async def test_a_violation_in_the_second_sentence_is_retracted_before_the_fourth_is_generated(verifier: Verifier) -> None:
    audience = Audience()
    with pytest.raises(PrivateDataShown):
        await shown(Sentences, audience, verifier)

    assert SENTENCES[3] not in Sentences.begun
    assert audience.seen[-1] == OBJECTION
    assert SENTENCES[3] not in audience.seen


async def test_an_awaited_verifier_reads_growing_prefixes_while_pieces_are_shown() -> None:
    class Innocent(Sentences):
        words = ("One. ", "Two. ", "Three.")

    audience, reading = Audience(), Reading(turns=3)
    performance = await shown(Innocent, audience, reading)

    assert reading.read == ["One. ", "One. Two. ", "One. Two. Three."]
    assert audience.seen == [DRAFT, "One. ", "Two. ", "Three."]
    assert performance.text == "One. Two. Three."


async def test_an_answer_is_not_complete_before_its_last_verdict() -> None:
    class Late(Sentences):
        words = ("First one. ", "Second one. ", "A secret at last.")

    audience = Audience()
    with pytest.raises(PrivateDataShown):
        await shown(Late, audience, Reading(turns=300))

    assert audience.seen == [DRAFT, *Late.words, OBJECTION]


async def test_words_without_a_sentences_end_are_read_as_well() -> None:
    class Breathless(Sentences):
        words = ("secret ", *("word " for _ in range(100)))

    audience = Audience()
    with pytest.raises(PrivateDataShown):
        await shown(Breathless, audience, no_secret)

    assert len(Breathless.begun) < 60


async def test_a_finding_ends_a_generation_that_says_nothing_any_more() -> None:
    class Stuck(Sentences):
        stuck_after = SENTENCES[1]

    audience = Audience()
    with pytest.raises(PrivateDataShown):
        await shown(Stuck, audience, Reading(turns=50))

    assert audience.seen == [DRAFT, *SENTENCES[:2], OBJECTION]


async def test_nothing_is_shown_after_what_was_taken_back() -> None:
    class Fluent(Sentences):
        words = ("A secret. ", *("word " for _ in range(30)))

    class SlowToRetract(Audience):
        async def retracted(self, finding: Finding) -> None:
            await super().retracted(finding)
            for _ in range(5):
                await asyncio.sleep(0)

    audience = SlowToRetract()
    with pytest.raises(PrivateDataShown):
        await shown(Fluent, audience, Reading(turns=3))

    assert audience.seen[-1] == OBJECTION


async def test_what_was_not_shown_yet_is_not_retracted_but_fails() -> None:
    class AtOnce(Sentences):
        words = ("A secret. ",)

    audience = Audience()
    with pytest.raises(PrivateDataShown):
        await shown(AtOnce, audience, no_secret)

    assert audience.seen == [DRAFT]


@pytest.mark.parametrize("floor", [DRAFT, BUFFER])
@pytest.mark.parametrize(("verifier", "error"), [(broken, VerifierFailed), (Broken(), VerifierFailed), (Stalled(), VerifierStalled)])
async def test_an_answer_that_nobody_vouches_for_does_not_stand(
    verifier: Verifier, error: type[AnswerWithdrawn], floor: Verification
) -> None:
    class Innocent(Sentences):
        words = ("One ", "and two. ", "Three. ", "Four.")

    audience = Audience()
    with pytest.raises(error) as refused:
        await shown(Innocent, audience, verifier, floor=floor, limits=NARROW)

    assert refused.value.verifier == verifier.__name__ or floor is BUFFER
    assert "sk-123" not in refused.value.sentence
    taken_back = [each for each in audience.seen if isinstance(each, Finding)]
    assert [each.sentence for each in taken_back] == ([UNVERIFIED] if floor is DRAFT else [])
    assert audience.seen[0] is not BUFFER or audience.seen == [BUFFER]


async def test_a_buffered_answer_is_read_while_the_model_speaks_and_never_waits_for_a_slow_verifier() -> None:
    class Innocent(Sentences):
        words = tuple(f"Sentence {number}. " for number in range(12))

    audience, reading = Audience(), Reading(turns=3)
    await shown(Innocent, audience, reading, floor=BUFFER)

    assert reading.read[0] == Innocent.words[0]
    assert 1 < len(reading.read) < len(Innocent.words)
    assert reading.read[-1] == "".join(Innocent.words)
    assert audience.seen == [BUFFER, *Innocent.words]


async def test_a_buffered_violation_ends_the_generation_early_and_is_never_seen() -> None:
    class Stuck(Sentences):
        stuck_after = SENTENCES[2]

    audience = Audience()
    with pytest.raises(PrivateDataShown):
        await shown(Stuck, audience, Reading(turns=2), floor=BUFFER)

    assert audience.seen == [BUFFER]


async def test_a_reading_of_an_older_prefix_does_not_hold_a_buffered_answer_back() -> None:
    class Innocent(Sentences):
        words = ("One. ", "Two. ")

    class SlowFirst(Reading):
        async def __call__(self, text: str, plan: Plan) -> Finding | None:
            self.turns = 10_000_000 if text == "One. " else 1
            return await super().__call__(text, plan)

    reading = SlowFirst()
    await shown(Innocent, Audience(), reading, floor=BUFFER)

    assert reading.cancelled == 1
    assert reading.read == ["One. Two. "]


async def test_a_buffered_answer_is_held_back_no_longer_than_its_limit_whatever_there_is_to_read() -> None:
    """Each reading is within its own limit; together they are not within the one of the answer."""

    class Wordy(Sentences):
        async def compose(self, run: Run, plan: Plan) -> AsyncIterator[Delta | Output]:
            yield Delta("One")
            yield Output({f"note {number}": f"other words {number}" for number in range(1_000)})

    class Steady(Reading):
        async def __call__(self, text: str, plan: Plan) -> Finding | None:
            await asyncio.sleep(0.002)
            self.read.append(text)
            return None

    reading, audience = Steady(), Audience()
    limits = VerdictLimits(reading=timedelta(seconds=30), held_back=timedelta(milliseconds=50))
    with pytest.raises(VerifierStalled, match="after it was written"):
        await shown(Wordy, audience, reading, floor=BUFFER, limits=limits)

    assert 0 < len(reading.read) < 1_000
    assert audience.seen == [BUFFER]


async def test_an_output_that_is_refused_ends_the_run_beside_readings_as_well() -> None:
    def refuse(_value: Json) -> None:
        raise OutputInvalid("'twice' is no number.")

    with pytest.raises(OutputInvalid):
        await shown(Speaker, Audience(), Reading(), check=refuse)


async def test_cancelling_ends_the_readings_too() -> None:
    class Stuck(Sentences):
        stuck_after = "First one. "

    audience, reading = Audience(), Reading(turns=10_000_000)
    task = asyncio.create_task(shown(Stuck, audience, reading))
    async with asyncio.timeout(5):
        await audience.reached.wait()
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert reading.cancelled == 1
