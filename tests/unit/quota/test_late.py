"""What the store was not told yet is kept, the oldest not for ever; what p0 spent by itself counts until it is in the ledger."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from quota.domain import late
from quota.domain.budgets import NONE, Spending
from quota.domain.days import DayHold
from quota.domain.late import BOOKED_S, Late, LocalDays

DAY, TENANT = date(2026, 11, 20), UUID(int=1)
USED = Spending(Decimal("0.01"), 10, 1)


def a_hold(tenant_id: UUID = TENANT, *, is_local: bool = False) -> DayHold:
    return DayHold(uuid4(), tenant_id, DAY, USED, is_local=is_local)


def test_the_oldest_is_forgotten_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "MOST_LATE", 3)
    kept, holds = Late(), [a_hold(UUID(int=number)) for number in range(5)]
    for hold in holds:
        kept.keep(hold, USED)
    kept.keep(holds[4], NONE)

    assert kept.first(10) == [(holds[2], USED), (holds[3], USED), (holds[4], NONE)]
    assert [kept.is_of(hold.tenant_id) for hold in holds] == [False, False, True, True, True]


def test_what_was_told_is_forgotten_unless_something_else_was_said_meanwhile() -> None:
    kept, first, second = Late(), a_hold(), a_hold()
    kept.keep(first, USED)
    kept.keep(second, USED)
    told = kept.first(2)
    kept.keep(second, NONE)
    kept.told(told)

    assert kept.first(2) == [(second, NONE)]
    assert kept.is_of(TENANT)
    kept.told(kept.first(1))
    assert (len(kept), kept.is_of(TENANT)) == (0, False)


def test_what_p0_spent_by_itself_counts_until_it_must_be_in_the_ledger_and_then_no_more() -> None:
    local, hold = LocalDays(), a_hold(is_local=True)
    local.add(hold, USED)
    assert local.of(TENANT, DAY, at=10**6) == USED
    local.heard(hold, USED, at=100)

    assert local.of(TENANT, DAY, at=100 + BOOKED_S - 1) == USED
    assert local.of(TENANT, DAY, at=100 + BOOKED_S) == NONE
    assert len(local) == 0


def test_what_the_store_has_counted_from_the_beginning_is_taken_off_nothing() -> None:
    local, hold = LocalDays(), a_hold(is_local=True)
    local.add(hold, USED)
    local.heard(a_hold(), USED, at=0)

    assert local.of(TENANT, DAY, at=BOOKED_S) == USED
