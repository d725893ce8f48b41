"""A run's budget under concurrency."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quota.domain.budgets import Budget, Spending
from quota.domain.errors import BudgetSpent
from quota.domain.resources import Resource

CENT = Decimal("0.01")


async def _spend(budget: Budget, amount: Spending) -> bool:
    try:
        hold = budget.reserve(amount)
    except BudgetSpent:
        return False
    await asyncio.sleep(0)
    budget.settle(hold, amount)
    return True


async def test_two_hundred_parallel_calls_against_the_last_cent_spend_at_most_that_cent() -> None:
    budget = Budget(Spending(CENT, 1_000_000, 1_000))
    amount = Spending(Decimal("0.003"), 100)

    made = await asyncio.gather(*(_spend(budget, amount) for _ in range(200)))

    assert sum(made) == 3
    assert budget.remaining.usd == CENT - Decimal("0.009")


@pytest.mark.parametrize(
    ("amount", "what"),
    [
        (Spending(2 * CENT, 0, 0), Resource.MONEY),
        (Spending(Decimal(0), 101, 0), Resource.TOKENS),
        (Spending(Decimal(0), 0, 4), Resource.CALLS),
    ],
)
def test_money_tokens_and_calls_bind_and_a_refusal_names_what_ran_out(amount: Spending, what: Resource) -> None:
    budget = Budget(Spending(CENT, 100, 3))

    with pytest.raises(BudgetSpent) as refusal:
        budget.reserve(amount)
    assert refusal.value.what is what
    assert budget.remaining == budget.limit


def test_a_released_hold_may_be_spent_again() -> None:
    budget = Budget(Spending(CENT, 100))
    budget.release(budget.reserve(Spending(CENT, 100)))

    assert budget.remaining == Spending(CENT, 100)


def test_a_hold_is_settled_once() -> None:
    budget = Budget(Spending(CENT, 100))
    hold = budget.reserve(Spending(CENT, 100))
    budget.settle(hold, Spending(CENT / 2, 50))
    budget.settle(hold, Spending(CENT / 2, 50))
    budget.release(hold)

    assert budget.remaining == Spending(CENT / 2, 50)


@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["hold", "settle", "release"])), max_size=60))
def test_spent_and_held_never_exceed_the_limit(acts: list[tuple[int, str]]) -> None:
    budget = Budget(Spending(Decimal(1000), 1000))
    for amount, act in acts:
        try:
            hold = budget.reserve(Spending(Decimal(amount), amount))
        except BudgetSpent:
            continue
        if act == "settle":
            budget.settle(hold, Spending(Decimal(amount) / 2, amount // 2))
        elif act == "release":
            budget.release(hold)
        assert Spending().fits(budget.remaining)
        assert budget.remaining.fits(budget.limit)
