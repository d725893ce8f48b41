"""The harness: an agent tried without a server."""

from __future__ import annotations

from typing import Any

import pytest

from agents.domain.errors import WaitUnavailable
from agents.domain.registry import UnknownAgent
from agents.domain.steps import StepKey
from agents.domain.values import Exchange, Verification
from agents.harness import Harness, UnknownSkill
from agents.mangaassist.agent import MangaAssist
from agents.mangaassist.errors import NothingAsked, UnknownOrder
from tests.unit.agents.acting import Speaker
from tests.unit.agents.shelf import BY_SLUG, skills_over

MONSTER = BY_SLUG["monster"]
ORDER = {
    "order": "o-1",
    "reader": "r-001",
    "title": "Monster",
    "volume": 3,
    "at": "2026-08-14",
    "price_usd": 9.99,
    "decision": None,
    "amount_usd": None,
}


def refund_skills(**changes: Any) -> dict[str, Any]:
    async def read_order(_run: Any, *, order: str) -> Any:
        return {**ORDER, **changes}

    async def issue_refund(_run: Any, *, order: str, decision: str) -> Any:
        return {**ORDER, "decision": decision, "amount_usd": 9.99 if decision == "approved" else 0.0}

    return {"read_order": read_order, "issue_refund": issue_refund}


async def test_a_rehearsal_holds_plan_deltas_output_steps_and_progress() -> None:
    rehearsal = await Harness(MangaAssist, skills=skills_over(MONSTER)).run({"title": "monster"})

    assert rehearsal.text == "".join(rehearsal.deltas) == rehearsal.output["text"]
    assert rehearsal.output["titles"] == ["monster"]
    assert rehearsal.output["task"] == rehearsal.plan.facts["task"] == "enrich"
    assert "Naoki Urasawa" in rehearsal.text
    assert list(rehearsal.steps) == [StepKey("read_title", 1), StepKey("model", 1)]
    assert [said.done for said in rehearsal.progress] == [0, 1]


async def test_the_same_input_gives_the_same_text() -> None:
    harness = Harness(MangaAssist, skills=skills_over(MONSTER))

    assert (await harness.run({"text": "a thriller"})).text == (await harness.run({"text": "a thriller"})).text


async def test_another_fact_gives_another_text() -> None:
    changed = {**MONSTER, "author": "Somebody Else"}
    rehearsal = await Harness(MangaAssist, skills=skills_over(changed)).run({"text": "Who wrote Monster?"})

    assert "Somebody Else" in rehearsal.text
    assert "Urasawa" not in rehearsal.text


async def test_the_session_goes_into_the_messages() -> None:
    earlier = Exchange(asked="A thriller?", answered="Try Monster.")
    rehearsal = await Harness(MangaAssist, skills=skills_over(MONSTER)).run({"text": "and something shorter?"}, history=[earlier])

    assert rehearsal.plan.facts["history"] == [{"asked": "A thriller?", "answered": "Try Monster."}]


@pytest.mark.parametrize(("approves", "decision"), [(True, "approved"), (False, "denied")])
async def test_a_refund_waits_for_the_fraud_team_and_says_its_decision(*, approves: bool, decision: str) -> None:
    harness = Harness(MangaAssist, skills=refund_skills(), answers={"fraud_check": {"approve": approves}})
    rehearsal = await harness.run({"order": "o-1", "text": "Please refund this order."})

    assert decision in rehearsal.text
    assert rehearsal.verification is Verification.BUFFER
    assert list(rehearsal.steps) == [
        StepKey("read_order", 1),
        StepKey("ask:fraud_check", 1),
        StepKey("issue_refund", 1),
        StepKey("model", 1),
    ]


async def test_a_refund_without_an_answer_cannot_wait_here() -> None:
    with pytest.raises(WaitUnavailable):
        await Harness(MangaAssist, skills=refund_skills()).run({"order": "o-1"})


async def test_a_refund_question_without_an_order_asks_nobody_and_names_the_endpoint() -> None:
    rehearsal = await Harness(MangaAssist).run({"text": "How do I get my money back?"})

    assert "refund@1" in rehearsal.text
    assert rehearsal.verification is Verification.BUFFER


async def test_a_decision_that_stands_is_told_and_not_asked_for_again() -> None:
    rehearsal = await Harness(MangaAssist, skills=refund_skills(decision="denied", amount_usd=0.0)).run({"order": "o-1"})

    assert "denied" in rehearsal.text
    assert StepKey("ask:fraud_check", 1) not in rehearsal.steps


async def test_another_readers_order_is_unknown() -> None:
    with pytest.raises(UnknownOrder):
        await Harness(MangaAssist, skills=refund_skills()).run({"order": "o-1", "reader": "r-002"})


async def test_an_empty_input_is_the_agents_own_error() -> None:
    with pytest.raises(NothingAsked) as refused:
        await Harness(MangaAssist).run({})

    assert (refused.value.code, refused.value.retryable) == ("nothing_asked", False)


async def test_titles_like_another_leave_that_one_out() -> None:
    rehearsal = await Harness(MangaAssist, skills=skills_over(MONSTER, BY_SLUG["pluto"])).run({"text": "something like Monster"})

    assert rehearsal.output["titles"] == ["pluto"]


async def test_nothing_found_is_said_honestly() -> None:
    rehearsal = await Harness(MangaAssist, skills=skills_over()).run({"text": "an opera about lighthouses"})

    assert rehearsal.output["titles"] == []
    assert rehearsal.text


def test_a_stand_in_for_an_unknown_skill_is_refused() -> None:
    with pytest.raises(UnknownSkill):
        Harness(MangaAssist, skills={"search_catalogue": refund_skills()["read_order"]})


def test_a_class_that_is_not_registered_is_refused() -> None:
    with pytest.raises(UnknownAgent):
        Harness(Speaker)
