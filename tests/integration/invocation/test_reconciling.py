"""Calls over real HTTP, streams that are cut and given up among them: the provider's own bill is the ledger, but for what is estimated."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from agents.domain.errors import ProviderError
from agents.domain.run import ModelAsk
from agents.domain.values import Message, Role, Tier
from agents.gateways.providers.openai_compatible import OpenAICompatible
from invocation.services.accounts import Unshared
from invocation.services.bills import Bill, Payer
from invocation.services.calls import PaidModels
from quota.domain.budgets import Budget, of_money
from quota.domain.classes import PriorityClass
from quota.domain.ledger import ParentKind
from quota.domain.reconciling import Tolerance, Verdict
from quota.gateways import connection
from quota.models import ModelQuota, ProviderUsage, UsageImport
from quota.selectors.reconciling import differences
from quota.services import ledger, limits, prices, reconciling
from tests.conformance.simulated import KEY, serving

MODEL = "gearbox-offline-standard"
EXACTLY = Tolerance(share=Decimal(0), tokens=0)
QUESTIONS = ("Recommend a finished seinen thriller", "A sports series?", "Who wrote Pluto?")


def _models(provider: OpenAICompatible, bill: Bill) -> PaidModels:
    payer = Payer(
        tenant_id=uuid4(),
        endpoint="chat@1",
        mode="streaming-sync",
        priority_class=PriorityClass.P0,
        run_id=uuid4(),
        parent_kind=ParentKind.TURN,
        parent_id="t",
    )
    budgets = (Budget(of_money(Decimal(1))),)
    return PaidModels(
        bill=bill,
        provider=provider,
        names={Tier.STANDARD: MODEL},
        payer=payer,
        budgets=budgets,
        patience=timedelta(seconds=30),
        account=Unshared(),
    )


def _ask(text: str) -> ModelAsk:
    return ModelAsk(messages=(Message(Role.USER, text),), tiers=(Tier.STANDARD,), max_tokens=200)


async def _call(models: PaidModels, text: str, *, pieces: int = 10_000) -> None:
    """Read so many pieces of the answer, and go away."""
    async with aclosing(models.stream(_ask(text))) as parts:
        async for _ in parts:
            pieces -= 1
            if not pieces:
                return


@pytest.mark.django_db(transaction=True)
async def test_the_providers_bill_is_the_ledger_but_for_what_is_estimated() -> None:
    limits.forget()
    prices.forget()
    await sync_to_async(ModelQuota.objects.update_or_create)(
        provider="openai", model=MODEL, defaults={"tokens_per_minute": 2_000_000, "requests_per_minute": 20_000}
    )
    bill = Bill()
    with serving("--first-token-ms", "1", "--token-ms", "2") as url:
        provider = OpenAICompatible(base_url=url, api_key=KEY)
        models = _models(provider, bill)
        for question in QUESTIONS:
            await _call(models, question)
        with pytest.raises(ProviderError):
            await _call(models, f"{QUESTIONS[0]} [[fault:cut]]")
        await _call(models, QUESTIONS[1], pieces=8)
        with pytest.raises(ProviderError):
            await _call(models, f"{QUESTIONS[0]} [[fault:500]]")
        await provider.aclose()
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}"}, trust_env=False) as client:
            report = (await client.get(url.removesuffix("/v1") + "/usage")).raise_for_status().content
    lines = bill.take()
    whole, without = await sync_to_async(_compared)(lines[1:], lines[0], report)
    await connection.aclose()

    assert [line.estimated for line in lines] == [False, False, False, True, True]
    assert whole.theirs is not None
    assert whole.theirs.requests == 5
    assert whole.verdict in {Verdict.AGREES, Verdict.EXPLAINED}
    assert abs(whole.tokens) <= sum(line.input_tokens + line.output_tokens for line in lines if line.estimated)
    assert without.verdict is Verdict.BEYOND


def _compared(rest: list, lost: object, report: bytes) -> tuple:  # type: ignore[type-arg]
    """Compare the ledger with the report: without one of its lines, and with all."""
    today: date = datetime.now(UTC).date()
    days = {"first": today - timedelta(days=1), "last": today, "tolerance": EXACTLY}
    reconciling.take(report, name="simulated", by="a test", now=datetime.now(UTC), provider="openai")
    ledger.append(rest)
    (without,) = differences(now=datetime.now(UTC), **days)  # type: ignore[arg-type]
    ledger.append([lost])  # type: ignore[list-item]
    (whole,) = differences(now=datetime.now(UTC), **days)  # type: ignore[arg-type]
    assert (UsageImport.objects.count(), ProviderUsage.objects.count()) == (1, 1)
    connections.close_all()
    return whole, without
