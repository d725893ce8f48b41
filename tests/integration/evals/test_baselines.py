"""Baselines: what a new installation expects, who may change it and what the database refuses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError

from evals import selectors
from evals.domain.baselines import Origin, Standing
from evals.domain.errors import NothingProposed, TooFewScores
from evals.models import Baseline, SamplingShare
from evals.services import baselines
from invocation.domain.modes import Mode
from tests.integration.evals.conftest import NOW, TENANT, scored


def test_mangaassist_comes_with_imported_baselines_and_none_for_schedules(imported: dict[str, Baseline]) -> None:
    assert {mode: (row.agent, row.rubric, row.expected, row.origin) for mode, row in imported.items()} == {
        "streaming-sync": ("mangaassist", "answer", 0.81, "imported"),
        "async-queue": ("mangaassist", "answer", 0.78, "imported"),
        "batch-window": ("mangaassist", "answer", 0.86, "imported"),
        "scheduled-trigger": ("mangaassist", "answer", None, "unset"),
    }


def test_means_stand_beside_the_baselines_of_their_mode(imported: dict[str, Baseline]) -> None:
    scored(0.9)
    scored(0.8, agent="mangaassist@2")
    scored(0.7, mode=Mode.ASYNC_QUEUE)
    scored(0.5, mode=Mode.SCHEDULED_TRIGGER)

    compared = {each.mode: (each.runs, each.mean and round(each.mean, 3), each.standing) for each in selectors.by_mode()}

    assert compared == {
        "streaming-sync": (2, 0.85, Standing.HOLDS),
        "async-queue": (1, 0.7, Standing.BELOW),
        "scheduled-trigger": (1, 0.5, Standing.UNSET),
        "batch-window": (0, None, Standing.UNMEASURED),
    }
    assert [each.mode for each in selectors.by_mode()] == [str(mode) for mode in Mode]


def test_scores_of_an_agent_without_baselines_are_shown_too(imported: dict[str, Baseline]) -> None:
    scored(0.4, agent="other@1")
    other = next(each for each in selectors.by_mode() if each.agent == "other")
    assert (other.mean, other.expected, other.origin, other.standing) == (0.4, None, Origin.UNSET, Standing.UNSET)


def test_means_are_of_one_tenant_and_of_one_time_where_asked(imported: dict[str, Baseline]) -> None:
    scored(0.9)
    scored(0.1, tenant_id=uuid4())

    assert [each.runs for each in selectors.by_mode()] == [2, 0, 0, 0]
    assert [(each.runs, each.mean) for each in selectors.by_mode(tenant_id=TENANT)] == [(1, 0.9), (0, None), (0, None), (0, None)]
    assert [each.runs for each in selectors.by_mode(since=NOW + timedelta(seconds=1))] == [0, 0, 0, 0]


def test_a_baseline_is_proposed_from_real_runs_and_gates_once_accepted(imported: dict[str, Baseline]) -> None:
    chat = imported["streaming-sync"]
    for number in range(baselines.ENOUGH_SCORES):
        scored(0.8 + number % 2 / 10)

    assert baselines.propose(chat.pk, now=NOW) == pytest.approx(0.85)
    chat.refresh_from_db()
    assert (chat.origin, Origin(chat.origin).gates) == ("proposed", False)

    baselines.accept(chat.pk, by="ada", now=NOW + timedelta(hours=1))
    chat.refresh_from_db()
    assert (chat.expected, chat.origin, chat.accepted_by, chat.at) == (0.85, "accepted", "ada", NOW + timedelta(hours=1))
    assert Origin(chat.origin).gates


def test_a_baseline_is_not_proposed_from_a_few_runs(imported: dict[str, Baseline]) -> None:
    scored(0.2)
    with pytest.raises(TooFewScores, match="1 scores"):
        baselines.propose(imported["streaming-sync"].pk, now=NOW)
    with pytest.raises(TooFewScores):
        baselines.propose(imported["batch-window"].pk, now=NOW)
    assert Baseline.objects.get(mode="streaming-sync").expected == 0.81


@pytest.mark.parametrize("mode", ["streaming-sync", "scheduled-trigger"])
def test_only_what_was_proposed_can_be_accepted(imported: dict[str, Baseline], mode: str) -> None:
    with pytest.raises(NothingProposed):
        baselines.accept(imported[mode].pk, by="ada", now=NOW)
    assert not Baseline.objects.filter(origin=Origin.ACCEPTED).exists()


def test_a_number_set_by_hand_takes_an_acceptance_back(imported: dict[str, Baseline]) -> None:
    chat = imported["streaming-sync"]
    Baseline.objects.filter(pk=chat.pk).update(origin=Origin.ACCEPTED, accepted_by="ada")
    chat.refresh_from_db()

    baselines.set_by_hand(chat, 0.7, now=NOW)
    chat.refresh_from_db()
    assert (chat.expected, chat.origin, chat.accepted_by) == (0.7, "imported", "")

    baselines.set_by_hand(chat, None, now=NOW)
    chat.refresh_from_db()
    assert (chat.expected, chat.origin) == (None, "unset")


@pytest.mark.parametrize(
    ("changed", "law"),
    [
        ({"expected": None}, "baseline_is_unset_only_without_a_score"),
        ({"origin": "unset"}, "baseline_is_unset_only_without_a_score"),
        ({"expected": 1.2}, "baseline_is_0_to_1"),
        ({"expected": -0.2}, "baseline_is_0_to_1"),
        ({"origin": "guessed"}, "baseline_origin_is_known"),
        ({"mode": "by-pigeon"}, "baseline_mode_is_known"),
        ({"origin": "accepted"}, "baseline_names_who_accepted_it"),
        ({"accepted_by": "ada"}, "baseline_names_who_accepted_it"),
        ({"mode": "async-queue"}, "one_baseline_for_an_agent_rubric_and_mode"),
    ],
)
def test_the_database_refuses_a_baseline_that_makes_no_sense(imported: dict[str, Baseline], changed: dict[str, Any], law: str) -> None:
    with pytest.raises(IntegrityError, match=law):
        Baseline.objects.filter(mode="streaming-sync").update(**changed)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_the_database_refuses_a_share_outside_of_zero_to_one(db: None, share: float) -> None:
    with pytest.raises(IntegrityError, match="share_is_0_to_1"):
        SamplingShare.objects.create(mode=Mode.ASYNC_QUEUE, share=share)
