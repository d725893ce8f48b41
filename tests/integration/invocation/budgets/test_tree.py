"""Money, tokens and model calls of a tree: set aside before each call, never spent twice, whatever asks at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from invocation.domain.errors import StaleMove
from invocation.domain.jobs import Fence, JobState, Move
from invocation.gateways.database import off_loop
from invocation.models import Job
from invocation.services import accounts, jobs, lifecycle
from invocation.services.claims import Claim, claim
from quota.domain.budgets import NONE, Spending
from quota.domain.errors import BudgetSpent
from quota.domain.resources import Resource
from quota.models import LedgerEntry
from tests.integration.invocation.budgets.replaying import booked, output, spending
from tests.integration.invocation.budgets.spender import GATES
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.rows import a_job, a_process
from tests.integration.invocation.waits.playing import children_of, played, played_to_rest
from tests.integration.invocation.workers import job_worker, wakes

pytestmark = pytest.mark.django_db(transaction=True)
CENT = Decimal("0.01")
ONE = Spending(Decimal("0.003"), 100, 1)


def test_two_hundred_calls_at_once_spend_at_most_the_last_cent_and_the_agent_finishes_with_what_it_has(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, spending({"calls": 200}, cost_usd=CENT))
    made = output(job)["made"]

    assert job.state == "completed"
    assert set(made) == {"standard", "budget_exceeded"}
    assert sum(made.values()) == 200
    assert 0 < job.spent_usd == booked().usd <= CENT
    assert (job.spent_calls, job.spent_tokens) == (made["standard"], booked().tokens)
    assert Spending(job.held_usd, job.held_tokens, job.held_calls) == NONE


@pytest.mark.parametrize(("budget", "code"), [({"tokens": 700}, "token_budget_exceeded"), ({"model_calls": 7}, "call_budget_exceeded")])
def test_tokens_and_calls_bind_as_money_does_and_the_refusal_names_them(on_loop: OnLoop[Any], budget: dict[str, Any], code: str) -> None:
    job = played(on_loop, spending({"calls": 200}, **budget))
    made = output(job)["made"]

    assert set(made) == {"standard", code}
    assert job.spent_tokens <= job.token_cap
    assert job.spent_calls <= job.call_cap
    assert job.spent_calls == len(LedgerEntry.objects.all()) > 0


def test_what_binds_is_the_narrowest_of_mode_endpoint_and_request_and_never_wider() -> None:
    wide = Job.objects.get(pk=spending({}, endpoint="spender-narrow@1", tokens=10**9, model_calls=10**9, cost_usd=Decimal(100)))
    narrow = Job.objects.get(pk=spending({}, endpoint="spender-narrow@1", tokens=10, model_calls=2))

    assert (wide.token_cap, wide.call_cap, wide.cost_cap_usd) == (1_000, 3, Decimal("0.50"))
    assert (narrow.token_cap, narrow.call_cap) == (10, 2)


def test_tokens_and_calls_are_lent_to_children_and_what_is_not_spent_comes_back(on_loop: OnLoop[Any]) -> None:
    lends = {"cost_usd": 0.1, "tokens": 5_000, "model_calls": 4}
    root_id = spending({"children": [{"calls": 2}, {"calls": 9}], "lends": lends, "calls": 1})
    root = played(on_loop, root_id)
    assert (root.lent_tokens, root.lent_calls) == (10_000, 8)
    assert {(child.token_cap, child.call_cap) for child in children_of(root)} == {(5_000, 4)}
    root = played_to_rest(on_loop, root_id)

    assert [child["made"] for child in output(root)["below"]] == [{"standard": 2}, {"standard": 4, "call_budget_exceeded": 5}]
    assert Spending(root.lent_usd, root.lent_tokens, root.lent_calls) == NONE
    assert Spending(root.spent_usd, root.spent_tokens, root.spent_calls) == booked()
    assert root.spent_calls == 7


def test_without_caps_children_share_half_of_the_tokens_and_calls_that_are_left(on_loop: OnLoop[Any]) -> None:
    root = played(on_loop, spending({"children": [{}, {}]}, tokens=1_000, model_calls=10))

    assert {(child.token_cap, child.call_cap) for child in children_of(root)} == {(250, 2)}


def test_a_run_without_a_call_left_spawns_nothing_and_says_what_ran_out(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, spending({"children": [{}, {}]}, model_calls=3))

    assert (job.state, (job.error or {})["code"], job.cause) == ("failed", "call_budget_exceeded", "budget")
    assert (children_of(job), job.lent_calls) == ([], 0)


def test_a_retried_attempt_carries_on_from_what_was_spent(on_loop: OnLoop[Any]) -> None:
    """The first attempt is handed back after its calls, the second repeats none and has less left."""
    GATES["between"] = asyncio.Event()
    job_id = spending({"calls": 3}, model_calls=5)
    played(on_loop, job_id)
    left = output(Job.objects.get(pk=job_id))["left"]

    assert left["calls"] == 2
    assert left["tokens"] == 1_000_000 - booked().tokens


def held(job: Job) -> Fence:
    return Fence(str(job.pk), job.attempt, str(job.owner))


def test_two_hundred_holds_at_once_on_a_jobs_row_let_as_many_in_as_fit(on_loop: OnLoop[Any]) -> None:
    job = a_job(JobState.WORKING, cost_cap_usd=CENT)

    async def ask() -> bool:
        try:
            await accounts.JobAccount(held(job)).hold(ONE)
        except BudgetSpent as spent:
            return spent.what is not Resource.MONEY
        return True

    async def story() -> int:
        return sum(await asyncio.gather(*(ask() for _ in range(200))))

    assert on_loop(story()) == 3
    job.refresh_from_db()
    assert (job.held_usd, job.held_tokens, job.held_calls) == (Decimal("0.009"), 300, 3)


def test_a_call_waits_for_what_a_step_that_is_just_being_stored_gives_back(on_loop: OnLoop[Any]) -> None:
    job = a_job(JobState.WORKING, cost_cap_usd=CENT)

    async def story() -> None:
        account = accounts.JobAccount(held(job))
        await account.hold(ONE.times(3))
        waiting = asyncio.create_task(account.hold(ONE))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await account.release(ONE.times(2))
        await waiting

    on_loop(story())
    job.refresh_from_db()
    assert (job.held_usd, job.held_calls) == (2 * ONE.usd, 2)


def test_what_no_call_under_way_can_give_back_is_refused_at_once(on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "PAUSES_S", (60.0,))
    job = a_job(JobState.WORKING, cost_cap_usd=CENT, spent_usd=CENT - ONE.usd, held_usd=ONE.usd)

    with pytest.raises(BudgetSpent):
        on_loop(accounts.JobAccount(held(job)).hold(ONE.times(2)))


@pytest.mark.parametrize("column", ["held_usd", "held_tokens", "held_calls"])
def test_the_database_keeps_a_job_from_holding_less_than_nothing(column: str) -> None:
    job = a_job(JobState.WORKING)

    with pytest.raises(IntegrityError, match="job_holds_no_less_than_nothing"), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(**{column: -1})


def test_an_attempt_that_lost_its_job_sets_nothing_aside_and_what_it_held_stays_held() -> None:
    owner = a_process(now=datetime.now(UTC)).pk
    job = a_job(JobState.DISPATCHED, attempt=0, cost_cap_usd=CENT)
    [first] = claim([Claim(job.pk, 0, owner)])
    assert first is not None
    accounts.hold(first.fence, ONE)
    lifecycle.move_one(Move.RESCUE, lifecycle.of(job.pk, attempt=1, owner=str(owner), charged=0), now=datetime.now(UTC))
    lifecycle.move_one(Move.ADMIT, lifecycle.of(job.pk), now=datetime.now(UTC))
    [second] = claim([Claim(job.pk, 1, owner)])
    assert second is not None

    assert second.job.remaining == Spending(CENT, 1_000_000, 1_000) - ONE
    with pytest.raises(StaleMove):
        accounts.hold(first.fence, ONE)
    accounts.release(first.fence, ONE)
    with pytest.raises(BudgetSpent):
        accounts.hold(second.fence, ONE.times(3))


def test_a_frozen_attempt_and_its_successor_together_spend_no_more_than_the_job_may(on_loop: OnLoop[Any]) -> None:
    """Both run in earnest: the first stands at a gate while the second is rescued, then both ask for two hundred calls."""
    job_id = spending({"calls": 200, "gate": "both"}, cost_usd=CENT)

    async def story() -> None:
        GATES["both"] = asyncio.Event()
        async with job_worker() as frozen, job_worker() as awake:
            frozen.accept(await off_loop(wakes, [job_id]))
            await until(lambda: frozen.in_flight == 1)
            await until(lambda: off_loop(Job.objects.filter(pk=job_id, state="working").exists))
            await off_loop(_take_away, job_id)
            awake.accept(await off_loop(wakes, [job_id]))
            await until(lambda: off_loop(Job.objects.filter(pk=job_id, state="working", attempt=2).exists))
            GATES["both"].set()
            await until(lambda: frozen.in_flight == awake.in_flight == 0, within_s=50)

    on_loop(story())
    job = Job.objects.get(pk=job_id)

    assert (job.state, job.attempt) == ("completed", 2)
    assert 0 < job.spent_usd == booked().usd <= CENT


def _take_away(job_id: Any) -> None:
    job = Job.objects.get(pk=job_id)
    given = lifecycle.of(job_id, attempt=job.attempt, owner=str(job.owner), charged=0)
    lifecycle.move_one(Move.RESCUE, given, now=datetime.now(UTC))
    Job.objects.filter(pk=job_id).update(is_alone=False)


def test_what_a_childs_lost_attempt_held_stays_lent_above_it(on_loop: OnLoop[Any]) -> None:
    """Nobody knows what those calls cost: the parent does not spend it again."""
    root = played(on_loop, spending({"children": [{}, {}], "lends": {"cost_usd": 0.1, "tokens": 1_000, "model_calls": 5}}))
    lost, whole = children_of(root)
    Job.objects.filter(pk=lost.pk).update(held_usd=ONE.usd, held_tokens=ONE.tokens, held_calls=ONE.calls)
    for child in (lost, whole):
        jobs.cancel(child.pk, reason="not wanted", now=datetime.now(UTC))
    root.refresh_from_db()

    assert Spending(root.lent_usd, root.lent_tokens, root.lent_calls) == ONE
