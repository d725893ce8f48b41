"""Evals in the admin: scores are read, baselines change with a reason."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from evals.models import Baseline, BatchScoring, SamplingShare, Score, Unscored
from evals.services.baselines import ENOUGH_SCORES
from invocation.domain.modes import Mode
from tests.integration.evals.conftest import NOW, PROBE, scored

TABLES: dict[str, type[Model]] = {
    "score": Score,
    "unscored": Unscored,
    "batchscoring": BatchScoring,
    "baseline": Baseline,
    "samplingshare": SamplingShare,
}


@pytest.fixture
def rows(imported: dict[str, Baseline]) -> Score:
    Unscored.objects.create(run_id=uuid4(), endpoint="chat@1", reason="UnknownAgent: nobody", at=NOW)
    BatchScoring.objects.create(batch_id=uuid4(), endpoint="enrich@1", agent=PROBE, mode="batch-window", asked_at=NOW, due_at=NOW)
    SamplingShare.objects.create(mode=Mode.ASYNC_QUEUE, share=0.5)
    return scored(0.83)


def change(client: Client, baseline: Baseline, **form: Any) -> str:
    page = client.post(reverse("admin:evals_baseline_change", args=[baseline.pk]), form, follow=True)
    baseline.refresh_from_db()
    return page.content.decode()


def act(client: Client, action: str, *chosen: Baseline) -> str:
    form = {"action": action, "_selected_action": [baseline.pk for baseline in chosen]}
    return client.post(reverse("admin:evals_baseline_changelist"), form, follow=True).content.decode()


@pytest.mark.parametrize("model", TABLES)
def test_every_list_and_every_row_opens(admin_client: Client, rows: Score, model: str) -> None:
    assert admin_client.get(reverse(f"admin:evals_{model}_changelist")).status_code == 200
    first = TABLES[model]._default_manager.first()
    assert first is not None
    assert admin_client.get(reverse(f"admin:evals_{model}_change", args=[first.pk])).status_code == 200


def test_the_list_of_scores_shows_each_mode_against_its_baseline(admin_client: Client, rows: Score) -> None:
    page = admin_client.get(reverse("admin:evals_score_changelist")).content.decode()
    for mode in Mode:
        assert f">{mode}</strong>" in page
    assert "mean 0.830, baseline 0.81" in page
    assert "no run scored, baseline 0.86" in page
    assert "no run scored, no baseline" in page


def test_a_score_shows_its_criteria_and_an_escaped_excerpt(admin_client: Client, rows: Score) -> None:
    page = admin_client.get(reverse("admin:evals_score_change", args=[rows.pk])).content.decode()
    assert "grounded" in page
    assert "0.83" in page
    assert "&lt;b&gt;Pluto&lt;/b&gt;" in page
    assert "<b>Pluto</b>" not in page


@pytest.mark.parametrize("model", ["score", "unscored", "batchscoring"])
def test_what_the_product_writes_nobody_changes_by_hand(admin_client: Client, rows: Score, model: str) -> None:
    assert admin_client.get(reverse(f"admin:evals_{model}_add")).status_code == 403
    row = TABLES[model]._default_manager.get()
    assert admin_client.post(reverse(f"admin:evals_{model}_change", args=[row.pk]), {}).status_code == 403
    assert admin_client.post(reverse(f"admin:evals_{model}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403


def test_the_list_of_scores_asks_no_question_for_each_row(admin_client: Client, rows: Score) -> None:
    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            admin_client.get(reverse("admin:evals_score_changelist"))
        return len(queries)

    asked()
    few = asked()
    for _ in range(30):
        scored(0.7)
    assert asked() == few


def test_a_baseline_set_by_hand_needs_a_reason(admin_client: Client, imported: dict[str, Baseline]) -> None:
    chat = imported["streaming-sync"]
    page = change(admin_client, chat, expected="0.9", reason="  ")
    assert "Say why the expected score changes." in page
    assert chat.expected == 0.81
    assert not LogEntry.objects.exists()


def test_a_baseline_set_by_hand_is_imported_and_its_history_says_why(admin_client: Client, imported: dict[str, Baseline]) -> None:
    chat = imported["streaming-sync"]
    change(admin_client, chat, expected="0.9", reason="The June review")

    assert (chat.expected, chat.origin) == (0.9, "imported")
    entry = LogEntry.objects.get()
    assert entry.get_change_message() == "Expected 0.81 → 0.9: The June review"
    history = admin_client.get(reverse("admin:evals_baseline_history", args=[chat.pk])).content.decode()
    assert "The June review" in history


def test_a_baseline_is_taken_away_with_a_reason(admin_client: Client, imported: dict[str, Baseline]) -> None:
    chat = imported["streaming-sync"]
    change(admin_client, chat, expected="", reason="Another rubric comes")
    assert (chat.expected, chat.origin) == (None, "unset")


@pytest.mark.parametrize("wrong", ["1.01", "-0.1", "much"])
def test_a_baseline_outside_of_zero_to_one_is_refused(admin_client: Client, imported: dict[str, Baseline], wrong: str) -> None:
    chat = imported["streaming-sync"]
    change(admin_client, chat, expected=wrong, reason="why not")
    assert chat.expected == 0.81


def test_saving_a_baseline_unchanged_keeps_its_acceptance(admin_client: Client, imported: dict[str, Baseline]) -> None:
    chat = imported["streaming-sync"]
    Baseline.objects.filter(pk=chat.pk).update(origin="accepted", accepted_by="ada")
    change(admin_client, chat, expected="0.81", reason="")
    assert (chat.origin, chat.accepted_by) == ("accepted", "ada")


def test_a_baseline_of_another_agent_can_be_added_once(admin_client: Client, imported: dict[str, Baseline]) -> None:
    form = {"agent": "other", "rubric": "answer", "mode": "async-queue", "expected": "0.5", "reason": "a first guess"}
    admin_client.post(reverse("admin:evals_baseline_add"), form)
    page = admin_client.post(reverse("admin:evals_baseline_add"), form).content.decode()

    assert Baseline.objects.get(agent="other").origin == "imported"
    assert "already exists" in page


def test_a_baseline_is_proposed_and_accepted_by_name(admin_client: Client, admin_user: User, imported: dict[str, Baseline]) -> None:
    chat = imported["streaming-sync"]
    for _ in range(ENOUGH_SCORES):
        scored(0.88)
    act(admin_client, "propose", chat)
    act(admin_client, "accept", chat)

    chat.refresh_from_db()
    assert (chat.expected, chat.origin, chat.accepted_by) == (0.88, "accepted", admin_user.username)
    assert [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")] == [
        "Proposed 0.88 from the scored runs.",
        "Accepted 0.88.",
    ]


def test_a_refused_proposal_is_told_and_stops_no_other(admin_client: Client, imported: dict[str, Baseline]) -> None:
    for _ in range(ENOUGH_SCORES):
        scored(0.88, mode=Mode.SCHEDULED_TRIGGER)
    page = act(admin_client, "propose", *imported.values())

    assert "has 0 scores" in page
    assert Baseline.objects.get(origin="proposed").mode == "scheduled-trigger"


def test_a_baseline_is_never_deleted(admin_client: Client, imported: dict[str, Baseline]) -> None:
    chat = imported["streaming-sync"]
    assert admin_client.post(reverse("admin:evals_baseline_delete", args=[chat.pk]), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("model", TABLES)
def test_strangers_are_sent_to_the_login(client: Client, rows: Score, model: str) -> None:
    page = client.get(reverse(f"admin:evals_{model}_changelist"))
    assert page.status_code == 302
    assert "/login/" in page["Location"]


@pytest.mark.parametrize("model", TABLES)
def test_staff_without_permission_are_refused(client: Client, rows: Score, model: str) -> None:
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    assert client.get(reverse(f"admin:evals_{model}_changelist")).status_code == 403
