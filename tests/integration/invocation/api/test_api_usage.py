"""`GET /v1/usage`: grouped, paged, walled by tenant, and as a table."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async

from quota.services import ledger, usage
from tests.integration.invocation.api.calling import Account, refusal
from tests.integration.quota.lines import a_line

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SPAN = "since=2026-11-20&until=2026-11-25"


@pytest.fixture
def used(account: Account) -> Account:
    mine: dict[str, Any] = {"tenant_id": account.tenant_id}
    days = [NOON + timedelta(days=days) for days in range(3)]
    ledger.append([a_line(at=at, **mine) for at in days])
    usage.sweep(now=NOON)
    ledger.append([a_line(at=days[0], endpoint="enrich@1", mode="batch-window", priority_class="p3", estimated=True, **mine)])
    ledger.append([a_line(at=days[0], tenant_id=uuid4())])
    return account


def test_usage_is_grouped_as_it_always_was_if_nothing_is_said(used: Account) -> None:
    told = used.api.get(f"/v1/usage?{SPAN}").json()
    first = told["items"][0]

    assert (first["day"], first["endpoint"], first["mode"], first["model"]) == (
        "2026-11-20",
        "chat@1",
        "streaming-sync",
        "gearbox-offline-standard",
    )
    assert (first["calls"], first["input_tokens"], first["output_tokens"], first["cost_usd"]) == (1, 700, 120, "0.000472")
    assert (told["cost_usd"], told["totals"]["calls"], told["next"]) == ("0.001888", 4, None)
    assert (told["since"], told["until"]) == ("2026-11-20T00:00:00Z", "2026-11-25T00:00:00Z")


def test_usage_is_grouped_by_what_is_asked_for_and_only_that_is_shown(used: Account) -> None:
    told = used.api.get(f"/v1/usage?{SPAN}&group_by=priority_class,mode").json()

    assert told["group_by"] == ["priority_class", "mode"]
    assert [(line["priority_class"], line["mode"], line["calls"]) for line in told["items"]] == [
        ("p0", "streaming-sync", 3),
        ("p3", "batch-window", 1),
    ]
    assert "day" not in told["items"][0]
    assert told["items"][1]["estimated_usd"] == "0.000472"


def test_usage_can_be_filtered(used: Account) -> None:
    told = used.api.get(f"/v1/usage?{SPAN}&mode=batch-window").json()

    assert [line["endpoint"] for line in told["items"]] == ["enrich@1"]
    assert told["totals"]["calls"] == 1


def test_pages_of_usage_follow_one_another(used: Account) -> None:
    first = used.api.get(f"/v1/usage?{SPAN}&limit=3").json()
    second = used.api.get(f"/v1/usage?{SPAN}&limit=3&cursor={first['next']}").json()

    assert [len(first["items"]), len(second["items"]), second["next"]] == [3, 1, None]
    assert first["totals"] == second["totals"]
    assert second["items"][0]["day"] == "2026-11-22"
    refusal(used.api.get(f"/v1/usage?{SPAN}&group_by=day&cursor={first['next']}"), status=400, code="bad_cursor")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ("group_by=colour", "/group_by"),
        ("group_by=day,day", "/group_by"),
        ("group_by=tenant", "/group_by"),
        ("since=2026-11-20T09:00:00", "/since"),
        ("since=2026-13-40", "/since"),
        ("since=2026-11-25&until=2026-11-20", "/since"),
        ("mode=dream", "/mode"),
        ("limit=1001", "/limit"),
        ("format=xml", "/format"),
        ("tenant_id=1", "/tenant_id"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_the_name_of_its_field(account: Account, wrong: str, field: str) -> None:
    assert refusal(account.api.get(f"/v1/usage?{wrong}"), status=422, code="input_invalid")["field"] == field


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("query", "headers"), [("&format=csv", {}), ("", {"Accept": "text/csv"})])
async def test_usage_comes_whole_as_a_table(query: str, headers: dict[str, str], on_this_loop: None) -> None:
    from tests.integration.invocation.api.calling import open_account

    account = await sync_to_async(open_account)()
    lines = [a_line(tenant_id=account.tenant_id, at=NOON, model=model) for model in ("m", "=cmd()", "@x", "m")]
    await sync_to_async(ledger.append)(lines)
    answer: Any = await account.stream.get(f"/v1/usage?{SPAN}&group_by=day,model&limit=1{query}", headers=headers)
    text = b"".join([part async for part in answer.streaming_content]).decode()
    head, *rows = csv.reader(io.StringIO(text))

    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert head[:3] == ["day", "model", "calls"]
    assert [row[:3] for row in rows] == [["2026-11-20", "'=cmd()", "1"], ["2026-11-20", "'@x", "1"], ["2026-11-20", "m", "2"]]


def test_a_refusal_is_a_problem_for_those_too_who_wanted_a_table(account: Account) -> None:
    answer = account.api.get("/v1/usage?group_by=colour", headers={"Accept": "text/csv"})

    refusal(answer, status=422, code="input_invalid")
