"""The refund's row: one an order, under any race."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError

from agents.domain.catalog import Decision
from agents.models import Purchase, Refund
from agents.services import refunds
from tests.integration.agents.conftest import OnLoop

pytestmark = pytest.mark.usefixtures("shop")
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def bought() -> Purchase:
    return Purchase.objects.order_by("order")[0]


def test_of_many_who_decide_at_once_one_decides(bought: Purchase, on_loop: OnLoop[Any]) -> None:
    async def race() -> list[Any]:
        decisions = [Decision.APPROVED, Decision.DENIED] * 8
        return await asyncio.gather(
            *(refunds.issue(bought.order, decision=each, effect_key=f"run-{number}", now=NOW) for number, each in enumerate(decisions))
        )

    answers = on_loop(race())

    assert len({answer["decision"] for answer in answers}) == 1
    assert Refund.objects.get().decision == answers[0]["decision"]


def test_the_same_effect_happens_once(bought: Purchase, on_loop: OnLoop[Any]) -> None:
    for _ in range(2):
        on_loop(refunds.issue(bought.order, decision=Decision.APPROVED, effect_key="run-1:refund", now=NOW))

    assert Refund.objects.get().decided_at == NOW


def test_an_unknown_order_stores_nothing(on_loop: OnLoop[Any]) -> None:
    assert on_loop(refunds.issue("o-none", decision=Decision.APPROVED, effect_key="run-1", now=NOW)) is None
    assert not Refund.objects.exists()


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"amount_usd": Decimal(-1)}, "refund_amount_is_not_negative"),
        ({"decision": "maybe"}, "refund_decision_is_known"),
        ({"decision": "denied", "amount_usd": Decimal(5)}, "refund_pays_only_when_approved"),
    ],
)
def test_the_table_keeps_the_rules(bought: Purchase, changes: dict[str, Any], rule: str) -> None:
    whole = {"amount_usd": Decimal(5), "decision": "approved", "decided_at": NOW, "effect_key": "run-1"}
    with pytest.raises(IntegrityError, match=rule):
        Refund.objects.create(order=bought, reader=bought.reader, **(whole | changes))


def test_one_effect_key_is_never_used_for_two_orders(bought: Purchase) -> None:
    other = Purchase.objects.order_by("order")[1]
    whole: dict[str, Any] = {"amount_usd": 5, "decision": "approved", "decided_at": NOW, "effect_key": "run-1"}
    Refund.objects.create(order=bought, reader=bought.reader, **whole)

    with pytest.raises(IntegrityError, match="refund_happens_once"):
        Refund.objects.create(order=other, reader=other.reader, **whole)
