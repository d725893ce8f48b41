"""A turn's budget: its own tokens and calls, the tier that answered, and a spent day that ends it with the escape hatch."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from invocation.api.shapes.chat import TurnShape
from invocation.domain.budgets import Wish
from invocation.gateways import declared
from invocation.models import RunRecord, Turn
from invocation.services.turn_openings import Opening, open_turn
from tests.integration.invocation.budgets.test_day import a_spent_day
from tests.integration.invocation.budgets.test_downshift import BOTH, TIGHT
from tests.integration.invocation.conftest import OnLoop
from tests.integration.invocation.hearing import played
from tests.integration.invocation.rows import a_process, a_session, a_tenant, a_turn

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("wiped")]


def asked(given: dict[str, Any], **columns: Any) -> Turn:
    return a_turn(now=datetime.now(UTC), agent="spender@1", endpoint="spender-chat@1", input=given, **columns)


def test_a_turn_under_a_tight_budget_is_answered_by_the_next_tier_and_says_so(on_loop: OnLoop[Any]) -> None:
    turn = asked({"calls": 1, "tiers": BOTH}, cost_cap_usd=TIGHT)
    last = played(on_loop, turn)[-1]
    stepped = [{"from": "standard", "to": "economy", "reason": "cost"}]

    assert (last.type, last.data["output"]["made"]) == ("turn.completed", {"economy cost": 1})
    assert last.data["downshifts"] == stepped == TurnShape(Turn.objects.get(pk=turn.pk)).data["downshifts"]
    assert RunRecord.objects.get(source_id=turn.pk).downshifts == stepped


def test_a_turns_calls_are_bounded_as_its_money_is(on_loop: OnLoop[Any]) -> None:
    turn = asked({"calls": 9}, call_cap=2)

    assert played(on_loop, turn)[-1].data["output"]["made"] == {"standard": 2, "call_budget_exceeded": 7}


def test_a_turn_of_a_tenant_whose_day_is_spent_ends_with_its_code_and_the_escape_hatch(on_loop: OnLoop[Any]) -> None:
    session = a_session(a_spent_day())
    turn = asked({"calls": 1}, session=session)
    last = played(on_loop, turn)[-1]

    assert (last.type, last.data["code"], last.data["escape"]["text"]) == ("turn.failed", "daily_budget_spent", "Later, then.")


def test_a_turn_is_bound_by_the_budget_of_its_request_and_never_wider() -> None:
    now = datetime.now(UTC)
    a_process("p0", slots=10, now=now)
    endpoint = declared.book().find("spender-chat@1")
    wishes = [Wish(cost_usd=Decimal("0.01"), tokens=500, model_calls=2), Wish(cost_usd=Decimal(9), tokens=10**9, model_calls=10**9)]
    for wish in wishes:
        open_turn(Opening(tenant_id=a_tenant("house"), endpoint=endpoint, input={}, wish=wish), now=now)
    bound = list(Turn.objects.order_by("pk").values_list("cost_cap_usd", "token_cap", "call_cap"))

    assert bound == [(Decimal("0.01"), 500, 2), (Decimal("0.05"), 60_000, 20)]
