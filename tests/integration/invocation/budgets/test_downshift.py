"""Under a tight budget of money or of time, or where its quota has no room, a call is answered by the agent's next tier."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from agents.domain.values import Reply, Tier, Usage
from invocation.domain.tiers import Downshift
from invocation.models import DownshiftCount, Job, RunRecord
from invocation.selectors.jobs import downshifts_of
from invocation.services import downshifts, paces
from invocation.services.paces import Watch
from quota.domain.budgets import NONE, Spending
from quota.domain.days import day_of
from quota.gateways import day_counts
from quota.models import LedgerEntry, ModelQuota
from tests.integration.invocation.budgets.replaying import again, output, spending
from tests.integration.invocation.conftest import OnLoop
from tests.integration.invocation.rows import a_tenant
from tests.integration.invocation.waits.playing import played

pytestmark = pytest.mark.django_db(transaction=True)
BOTH = ["standard", "economy"]
STANDARD, ECONOMY = "gearbox-offline-standard", "gearbox-offline-economy"
TIGHT = Decimal("0.00009")
"""Less than 64 tokens of the standard model can cost, more than of the economy's."""


def test_plenty_of_everything_steps_nothing_down(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, spending({"calls": 1, "tiers": BOTH}))

    assert output(job)["made"] == {"standard": 1}
    assert RunRecord.objects.get(source_id=job.pk).downshifts is None
    assert not DownshiftCount.objects.exists()


def test_a_tight_cost_budget_steps_down_and_finishes(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, spending({"calls": 1, "tiers": BOTH}, cost_usd=TIGHT))

    assert (job.state, output(job)["made"]) == ("completed", {"economy cost": 1})
    assert RunRecord.objects.get(source_id=job.pk).downshifts == [{"from": "standard", "to": "economy", "reason": "cost"}]
    assert [line.model for line in LedgerEntry.objects.all()] == [ECONOMY]
    [step] = job.steps.all()
    kept: Any = step.result
    assert (kept["tier"], kept["downshift"]) == ("economy", "cost")
    [counted] = DownshiftCount.objects.all()
    assert (counted.endpoint, counted.wanted, counted.used, counted.why, counted.count) == (
        "spender-job@1",
        "standard",
        "economy",
        "cost",
        1,
    )


def test_an_agent_with_one_tier_is_refused_instead(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, spending({"calls": 1}, cost_usd=TIGHT))

    assert output(job)["made"] == {"budget_exceeded": 1}
    assert not LedgerEntry.objects.exists()


def test_a_budget_too_tight_for_every_tier_is_refused(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, spending({"calls": 1, "tiers": BOTH}, cost_usd=Decimal("0.000001")))

    assert output(job)["made"] == {"budget_exceeded": 1}


def test_a_tight_latency_budget_steps_down(on_loop: OnLoop[Any]) -> None:
    """The standard model was slow of late: it would not answer within half a second, the economy one may."""
    slow = Watch(STANDARD, Tier.STANDARD, _asked=-1_000_000.0)
    slow.whole(Reply(text="", model=STANDARD, usage=Usage(1, 100)))
    job = played(on_loop, spending({"calls": 1, "tiers": BOTH}, endpoint="spender-hasty@1"))

    assert output(job)["made"] == {"economy latency": 1}


def test_with_one_tier_a_tight_latency_budget_refuses_nothing(on_loop: OnLoop[Any]) -> None:
    slow = Watch(STANDARD, Tier.STANDARD, _asked=-1_000_000.0)
    slow.whole(Reply(text="", model=STANDARD, usage=Usage(1, 100)))
    job = played(on_loop, spending({"calls": 1}, endpoint="spender-hasty@1"))

    assert output(job)["made"] == {"standard": 1}


def test_a_tier_whose_quota_has_no_room_gives_way_to_the_next(on_loop: OnLoop[Any]) -> None:
    narrow = {"tokens_per_minute": 1_000, "requests_per_minute": 1, "p0_reserved": 0.9, "p3_cap": 0.05}
    ModelQuota.objects.update_or_create(provider="offline", model=STANDARD, defaults=narrow)
    job = played(on_loop, spending({"calls": 1, "tiers": BOTH, "most": 200}))

    assert output(job)["made"] == {"economy quota": 1}


def test_a_day_that_cannot_pay_the_best_tier_pays_the_next(on_loop: OnLoop[Any]) -> None:
    tenant = a_tenant("a-tight-day", requests_per_minute=1_000, daily_usd=Decimal("0.01"))
    day_counts.fill_now(tenant, day_of(datetime.now(UTC)), used=Spending(Decimal("0.01") - TIGHT, 0), under_way=NONE)
    job = played(on_loop, spending({"calls": 1, "tiers": BOTH}, tenant_id=tenant))

    assert output(job)["made"] == {"economy cost": 1}


def test_a_replay_takes_the_recorded_answer_and_decides_nothing_again(on_loop: OnLoop[Any]) -> None:
    """The first attempt's call was stepped down; the second has all the budget it could wish for."""
    job_id = spending({"calls": 1, "tiers": BOTH, "children": []}, cost_usd=TIGHT)
    played(on_loop, job_id)
    again(job_id, cost_cap_usd=Decimal("0.5"))
    job = played(on_loop, job_id)

    assert (job.attempt, output(job)["made"]) == (2, {"economy cost": 1})
    assert LedgerEntry.objects.count() == 1
    assert RunRecord.objects.get(source_id=job_id, attempt=2).downshifts is None


def test_downshifts_are_counted_by_endpoint_tiers_and_reason() -> None:
    one = Downshift(wanted="standard", used="economy", why="cost")
    other = Downshift(wanted="standard", used="economy", why="quota")
    downshifts.count([("chat@1", one), ("chat@1", one), ("chat@1", other)])
    downshifts.count([("chat@1", one), ("voice@1", one)])

    counted = {(each.endpoint, each.why): each.count for each in DownshiftCount.objects.all()}
    assert counted == {("chat@1", "cost"): 3, ("chat@1", "quota"): 1, ("voice@1", "cost"): 1}


def test_an_answer_that_came_whole_is_learned_from() -> None:
    before = paces.estimate(STANDARD, Tier.STANDARD, most_tokens=100)
    Watch(STANDARD, Tier.STANDARD, _asked=-1_000_000.0).whole(Reply(text="", model=STANDARD, usage=Usage(1, 100)))

    assert paces.estimate(STANDARD, Tier.STANDARD, most_tokens=100) > before


def test_jobs_and_runs_tell_their_downshifts(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, spending({"calls": 2, "tiers": BOTH, "most": 32}, cost_usd=TIGHT))
    told = downshifts_of(job.pk)

    assert told == RunRecord.objects.get(source_id=job.pk).downshifts
    assert {each["reason"] for each in told} == {"cost"}
    assert Job.objects.get(pk=job.pk).spent_usd <= TIGHT
