"""A tenant's day over the wire: refusals with their facts, RateLimit headers that name each policy, and GET /v1/quota."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from invocation.models import Job, Schedule, Turn
from quota.domain.budgets import NONE, Spending
from quota.domain.days import day_of, ends_in
from quota.gateways import day_counts
from quota.gateways.day_counts import Count
from quota.models import Plan, Tenant
from quota.services import keys, plans
from tests.integration.invocation.api.calling import Account, open_account, refusal
from tests.integration.invocation.api.test_api_front import BODY, Doors

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("on_this_loop")]


@pytest.fixture
def limited() -> Account:
    """An account whose plan allows a dollar and a thousand tokens a day."""
    account = open_account()
    plan = Plan.objects.create(name="a-dollar", requests_per_minute=10_000, daily_usd=Decimal("1.00"), daily_tokens=1_000)
    Tenant.objects.filter(pk=account.tenant_id).update(plan=plan)
    plans.forget()
    return account


def use(account: Account, usd: str, tokens: int = 0) -> None:
    used = Spending(Decimal(usd), tokens)
    day_counts.fill_now(account.tenant_id, day_of(datetime.now(UTC)), used=used, under_way=NONE)


SCHEDULE = {"name": "monthly", "endpoint": "retention@1", "cron": "0 9 1 * *", "input": {"reader": "r-001"}}


def test_new_work_is_refused_once_the_day_is_spent(limited: Account) -> None:
    use(limited, "1.00")
    told = limited.api.post("/v1/jobs", BODY, format="json")
    problem = refusal(told, status=429, code="daily_budget_spent")

    assert (problem["limit"], Decimal(problem["used"])) == ("1.00", Decimal("1.00"))
    assert int(told["Retry-After"]) == problem["retry_after_s"] >= ends_in(datetime.now(UTC)).total_seconds()
    assert 'daily-money";r=0;t=' in told["RateLimit"]
    assert not Job.objects.exists()


async def test_a_submission_that_is_sent_again_once_the_day_is_spent_is_answered_with_its_job(limited: Account) -> None:
    from asgiref.sync import sync_to_async

    doors = Doors(limited)
    await sync_to_async(keys.authenticate)(limited.key, now=datetime.now(UTC))
    await sync_to_async(use)(limited, "0.10")
    first = await doors.post(BODY, **{"idempotency-key": "once"})
    await sync_to_async(_forget_day)(limited)
    await sync_to_async(use)(limited, "1.00")
    again = await doors.post(BODY, **{"idempotency-key": "once"})

    assert (first.status, again.status, again.body, doors.passed_on) == (202, 202, first.body, 1)


def test_spent_tokens_are_refused_by_their_own_name(limited: Account) -> None:
    use(limited, "0.10", 1_000)
    problem = refusal(limited.api.post("/v1/jobs", BODY, format="json"), status=429, code="daily_tokens_spent")

    assert (problem["limit"], problem["used"]) == (1_000, 1_000)


def test_what_no_day_of_the_plan_has_room_for_is_refused_and_the_limit_is_named(limited: Account) -> None:
    Plan.objects.filter(name="a-dollar").update(daily_tokens=1)
    plans.forget()
    problem = refusal(limited.api.post("/v1/jobs", BODY, format="json"), status=422, code="larger_than_day")

    assert problem["limit"] == 1 < problem["found"]
    assert "retry_after_s" not in problem
    assert not Job.objects.exists()


def test_batches_and_firings_are_new_work_too(limited: Account) -> None:
    created = limited.api.post("/v1/schedules", SCHEDULE, format="json")
    assert created.status_code == 201
    use(limited, "2.00")
    batch = {"endpoint": "enrich@1", "manifest": {"rows": [{"row_id": "1", "title": "berserk"}]}}

    refusal(limited.api.post("/v1/batches", batch, format="json"), status=429, code="daily_budget_spent")
    refusal(limited.api.post(f"/v1/schedules/{Schedule.objects.get().pk}/fire"), status=429, code="daily_budget_spent")
    assert limited.api.get("/v1/jobs").status_code == 200


async def test_a_chat_is_refused_before_it_begins(limited: Account) -> None:
    from asgiref.sync import sync_to_async

    await sync_to_async(use)(limited, "1.00")
    told = await limited.stream.post("/v1/chat", {"endpoint": "chat@1", "input": {"text": "new?"}}, content_type="application/json")

    assert (told.status_code, told.json()["code"]) == (429, "daily_budget_spent")
    assert not await sync_to_async(Turn.objects.exists)()


def test_rate_limit_headers_name_each_policy_that_applies(limited: Account, account: Account) -> None:
    use(limited, "0.25", 400)
    told, plain = limited.api.get("/v1/jobs"), account.api.get("/v1/jobs")

    assert told["RateLimit-Policy"] == (
        '"minute";q=10000;w=60, "daily-money";q=1000000;w=86400;qu="micro-usd", "daily-tokens";q=1000;w=86400;qu="tokens"'
    )
    assert '"daily-money";r=750000;t=' in told["RateLimit"]
    assert '"daily-tokens";r=600;t=' in told["RateLimit"]
    assert "daily" not in plain["RateLimit-Policy"]


def test_the_quota_call_shows_the_day(limited: Account, account: Account) -> None:
    use(limited, "0.25", 400)
    day, free = limited.api.get("/v1/quota").json()["day"], account.api.get("/v1/quota").json()["day"]

    assert (day["usd"], day["tokens"]) == ({"limit": "1.00", "used": "0.250000"}, {"limit": 1_000, "used": 400})
    assert day["date"] == day_of(datetime.now(UTC)).isoformat()
    assert (free["usd"]["limit"], free["tokens"]) == (None, {"limit": None, "used": 0})


def test_a_day_that_nobody_counts_yet_begins_with_the_first_call(limited: Account) -> None:
    assert limited.api.post("/v1/jobs", BODY, format="json").status_code == 202
    assert day_counts.read([(limited.tenant_id, day_of(datetime.now(UTC)))]) == [Count(NONE, NONE)]


async def test_the_front_door_leaves_a_spent_day_to_the_view(limited: Account) -> None:
    from asgiref.sync import sync_to_async

    doors = Doors(limited)
    await sync_to_async(keys.authenticate)(limited.key, now=datetime.now(UTC))
    await sync_to_async(use)(limited, "0.99")
    accepted = await doors.post(BODY)
    assert (accepted.status, doors.passed_on) == (202, 0)
    assert '"daily-money";r=10000;t=' in accepted.headers["ratelimit"]

    await sync_to_async(_forget_day)(limited)
    await sync_to_async(use)(limited, "1.00")
    refused = await doors.post(BODY)
    assert (refused.status, refused.body["code"], doors.passed_on) == (429, "daily_budget_spent", 1)
    assert await sync_to_async(Job.objects.count)() == 1


def _forget_day(account: Account) -> None:
    from quota.gateways import connection

    store: Any = connection.in_threads()
    store.delete(*day_counts._keys(account.tenant_id, day_of(datetime.now(UTC))))


@pytest.mark.parametrize(
    ("budget", "field"),
    [
        ({}, "/budget"),
        ({"tokens": 0}, "/budget/tokens"),
        ({"tokens": "9"}, "/budget/tokens"),
        ({"model_calls": 1.5}, "/budget/model_calls"),
    ],
)
def test_a_malformed_budget_is_refused_by_its_field(account: Account, budget: dict[str, Any], field: str) -> None:
    problem = refusal(account.api.post("/v1/jobs", {**BODY, "budget": budget}, format="json"), status=422, code="input_invalid")

    assert problem["field"].startswith(field)


def test_a_budget_binds_what_it_names(account: Account) -> None:
    told = account.api.post("/v1/jobs", {**BODY, "budget": {"tokens": 500, "model_calls": 3}}, format="json")
    shown = account.api.get(told["Location"]).json()

    assert (shown["token_cap"], shown["call_cap"], shown["cost_cap_usd"]) == (500, 3, "0.500000")
    assert (shown["spent_tokens"], shown["spent_calls"], shown["downshifts"]) == (0, 0, [])


def test_a_schedules_budget_is_kept_and_binds_its_runs(account: Account) -> None:
    told = account.api.post("/v1/schedules", {**SCHEDULE, "budget": {"cost_usd": "0.02", "model_calls": 2}}, format="json").json()
    assert told["budget"] == {"cost_usd": "0.020000", "model_calls": 2}
    place = f"/v1/schedules/{told['id']}"
    assert account.api.patch(place, {"name": "weekly"}, format="json").json()["budget"] == told["budget"]
    firing = account.api.post(f"{place}/fire").json()
    job = Job.objects.get(pk=firing["job"])

    assert (job.cost_cap_usd, job.call_cap, job.token_cap) == (Decimal("0.02"), 2, 4_000_000)
    assert account.api.put(place, SCHEDULE, format="json").json()["budget"] is None


def test_what_is_only_set_aside_refuses_no_submission(limited: Account) -> None:
    under_way = Spending(Decimal("1.00"), 0)
    day_counts.fill_now(limited.tenant_id, day_of(datetime.now(UTC)), used=NONE, under_way=under_way)

    assert limited.api.post("/v1/jobs", BODY, format="json").status_code == 202
