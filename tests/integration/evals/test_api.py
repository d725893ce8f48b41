"""GET /v1/evals: a tenant's own scores by mode, against the baselines."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from evals.models import Baseline
from invocation.domain.modes import Mode
from quota.domain.callers import Scope
from quota.models import Plan, Tenant
from quota.services import keys
from tests.integration.evals.conftest import NOW, scored


@pytest.fixture
def tenant(imported: dict[str, Baseline]) -> tuple[Tenant, str]:
    plan = Plan.objects.create(name="trial", requests_per_minute=1_000)
    return keys.create(tenant_name=uuid4().hex, plan=plan.name, now=NOW)


def get(client: Client, key: str, **query: str) -> Any:
    return client.get("/v1/evals", query, headers={"Authorization": f"Bearer {key}"})


def test_a_tenant_sees_its_scores_by_mode_against_the_baselines(client: Client, tenant: tuple[Tenant, str]) -> None:
    of, key = tenant
    scored(0.9, tenant_id=of.pk)
    scored(0.7, tenant_id=of.pk, mode=Mode.ASYNC_QUEUE)

    items = get(client, key).json()["items"]

    assert [item["mode"] for item in items] == [str(mode) for mode in Mode]
    assert items[0] == {
        "agent": "mangaassist",
        "rubric": "answer",
        "mode": "streaming-sync",
        "runs": 1,
        "mean": 0.9,
        "expected": 0.81,
        "origin": "imported",
        "standing": "holds",
    }
    assert [item["standing"] for item in items] == ["holds", "below", "unset", "unmeasured"]


def test_a_tenant_learns_nothing_of_anothers_scores(client: Client, tenant: tuple[Tenant, str]) -> None:
    scored(0.1)
    scored(0.1, agent="secret@1")
    items = get(client, tenant[1]).json()["items"]
    assert {item["agent"] for item in items} == {"mangaassist"}
    assert [item["runs"] for item in items] == [0, 0, 0, 0]


def test_scores_are_counted_since_a_moment(client: Client, tenant: tuple[Tenant, str]) -> None:
    of, key = tenant
    scored(0.9, tenant_id=of.pk)
    later = (NOW + timedelta(seconds=1)).isoformat()
    assert get(client, key, since=NOW.isoformat()).json()["items"][0]["runs"] == 1
    assert get(client, key, since=later).json()["items"][0]["runs"] == 0


@pytest.mark.parametrize(("query", "field"), [({"since": "yesterday"}, "since"), ({"until": "now"}, "until")])
def test_a_wrong_query_is_refused_by_the_fields_name(client: Client, tenant: tuple[Tenant, str], query: dict[str, str], field: str) -> None:
    answer = get(client, tenant[1], **query)
    assert answer.status_code == 422
    assert answer.json()["field"] == f"/{field}"


def test_a_caller_without_a_key_or_without_the_scope_is_refused(client: Client, tenant: tuple[Tenant, str]) -> None:
    of, _ = tenant
    _, key = keys.create(tenant_name=of.name, plan="trial", scopes=[Scope.INVOKE], now=NOW)
    assert client.get("/v1/evals").status_code == 401
    assert get(client, key).status_code == 403
