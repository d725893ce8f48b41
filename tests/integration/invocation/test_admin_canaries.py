"""Canaries in the admin: decided by form, refused by field, compared version by version."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from invocation.domain.endpoints import Canary
from invocation.models import CanaryChange
from invocation.selectors import canaries
from tests.integration.invocation.records import a_run
from tests.integration.invocation.test_canaries import decide, endpoint, versions

__all__ = ["versions"]


def the_form(**changed: str) -> dict[str, str]:
    return {"endpoint": "trial-job@1", "agent_version": "2", "percent": "12.5", "reason": "it reads better", **changed}


def test_an_operator_decides_by_form_and_is_named(admin_client: Client, admin_user: User) -> None:
    page = admin_client.post(reverse("admin:invocation_canarychange_add"), the_form(), follow=True).content.decode()
    row = CanaryChange.objects.get()

    assert (row.endpoint, row.agent_version, row.percent, row.reason, row.changed_by) == (
        "trial-job@1",
        2,
        Decimal("12.5"),
        "it reads better",
        admin_user,
    )
    assert "12.50 %" in page
    assert canaries.of(endpoint()) == Canary(2, 12.5)
    assert "version 2, 12.5 %" in admin_client.get(reverse("admin:invocation_endpoints")).content.decode()
    assert "it reads better" in admin_client.get(reverse("admin:invocation_canarychange_change", args=[row.pk])).content.decode()


def test_the_page_of_a_canary_sets_its_version_beside_the_other(admin_client: Client) -> None:
    row = decide("10")
    for agent, outcome, took in (("trial@1", "completed", 1_000), ("trial@2", "completed", 3_000), ("trial@2", "failed", 5_000)):
        a_run(endpoint="trial-job@1", agent=agent, outcome=outcome, duration_ms=took, cost_usd="0.25", at=datetime.now(UTC))
    a_run(endpoint="trial-job@1", agent="trial@2", at=datetime.now(UTC) - timedelta(hours=25))
    found = canaries.compared("trial-job@1", since=datetime.now(UTC) - timedelta(hours=24))
    page = admin_client.get(reverse("admin:invocation_canarychange_change", args=[row.pk])).content.decode()

    assert [(each.agent, each.runs, each.failures, each.duration_ms, float(each.cost_usd)) for each in found] == [
        ("trial@1", 1, 0, 1_000.0, 0.25),
        ("trial@2", 2, 1, 4_000.0, 0.25),
    ]
    assert "1 (50.0%)" in page


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"agent_version": "9"}, "no agent trial@9"),
        ({"percent": "100"}, "percent"),
        ({"percent": "-1"}, "percent"),
        ({"endpoint": "nothing@1"}, "nothing@1"),
        ({"reason": ""}, "required"),
    ],
)
def test_a_form_that_could_not_run_is_refused(admin_client: Client, changed: dict[str, str], words: str) -> None:
    page = admin_client.post(reverse("admin:invocation_canarychange_add"), the_form(**changed)).content.decode()

    assert words in page
    assert not CanaryChange.objects.exists()


def test_who_may_not_decide_finds_no_form(client: Client, db: None) -> None:
    client.force_login(User.objects.create_user("clerk", password="long-enough-to-be-one", is_staff=True))

    assert client.post(reverse("admin:invocation_canarychange_add"), the_form()).status_code == 403
    assert not CanaryChange.objects.exists()
