"""Lines of a ledger: each call of `a_line` is another call of a model."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from quota.domain.classes import PriorityClass
from quota.domain.ledger import LedgerLine, ParentKind
from quota.domain.prices import Price
from tests.integration.quota.conftest import NOW

PRICE = Price(input=Decimal("0.40"), output=Decimal("1.60"), cached=Decimal("0.10"))
TENANT = UUID("0f7e1d3a-0000-4000-8000-000000000001")
LINE = LedgerLine(
    call_id=UUID(int=0),
    tenant_id=TENANT,
    endpoint="chat@1",
    mode="streaming-sync",
    priority_class=PriorityClass.P0,
    run_id=uuid4(),
    parent_kind=ParentKind.TURN,
    parent_id="t-1",
    provider="offline",
    model="gearbox-offline-standard",
    input_tokens=700,
    output_tokens=120,
    cached_tokens=0,
    price=PRICE,
    cost_usd=Decimal("0.000472"),
    estimated=False,
    at=NOW,
)


def a_line(**facts: Any) -> LedgerLine:
    return LINE._replace(**{"call_id": uuid4(), **facts})
