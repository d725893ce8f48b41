"""Model calls that are paid for: budget and quota are reserved before each, settled and billed after."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from uuid6 import uuid7

from agents.domain.errors import BudgetExceeded, PlatformError, ProviderRateLimited, ProviderRefused, ProviderUnavailable
from agents.domain.providers import Provider
from agents.domain.run import ModelAsk
from agents.domain.values import ModelRequest, Piece, Reply, Tier, Usage
from agents.services.providers import count_messages, count_tokens
from invocation.services.provider_words import listened
from quota.domain.asks import Ask, Grant
from quota.domain.budgets import Budget, Hold, Spending
from quota.domain.classes import PriorityClass
from quota.domain.errors import BudgetSpent, ModelUnavailable, QuotaError
from quota.domain.ledger import LedgerLine, ParentKind
from quota.domain.prices import Price, cost, estimate
from quota.services import admission, prices

UNBOUNDED_TOKENS = 10**9


class QuotaRefused(ProviderRateLimited):
    """The model's quota has no room within the run's patience. No call was made."""

    code = "quota_exceeded"
    is_charged = False


class ModelOut(QuotaRefused):
    """The model's provider failed its last calls, and is left alone for a while. No call was made."""

    code = "model_unavailable"


class CannotPay(PlatformError):
    """Quota refused for a reason that waiting does not cure. No call was made."""

    code = "quota_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payer:
    """Who pays for a run's calls, and under what name each is booked."""

    tenant_id: UUID
    endpoint: str
    mode: str
    priority_class: PriorityClass
    run_id: UUID
    parent_kind: ParentKind
    parent_id: str


@dataclass(slots=True)
class Bill:
    """What a run has spent; lines wait here until a transaction takes them to the ledger."""

    _open: list[LedgerLine] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    cost_usd: Decimal = Decimal(0)
    models: list[str] = field(default_factory=list)

    def add(self, line: LedgerLine) -> None:
        self._open.append(line)
        self.usage += Usage(line.input_tokens, line.output_tokens, line.cached_tokens)
        self.cost_usd += line.cost_usd
        if line.model not in self.models:
            self.models.append(line.model)

    @property
    def open_lines(self) -> Sequence[LedgerLine]:
        """The lines that no transaction has taken yet."""
        return tuple(self._open)

    def take(self) -> list[LedgerLine]:
        """Hand over the lines that no transaction has taken yet."""
        taken, self._open = self._open, []
        return taken

    def put_back(self, lines: Sequence[LedgerLine]) -> None:
        """Keep lines that no transaction took after all, so that the next one does."""
        self._open = [*lines, *self._open]


_Held = list[tuple[Budget, Hold]]
REFUSALS = (ProviderRateLimited, ProviderUnavailable, ProviderRefused)
"""The provider did no work: nothing is billed."""


@dataclass(frozen=True, slots=True)
class _Reserved:
    """What was set aside for one call."""

    request: ModelRequest
    price: Price
    input_tokens: int
    held: _Held
    grant: Grant


class PaidModels:
    """The way to a model for one run. Implements agents.domain.run.Models."""

    def __init__(
        self,
        *,
        bill: Bill,
        provider: Provider,
        names: Mapping[Tier, str],
        payer: Payer,
        budgets: Sequence[Budget],
        patience: timedelta,
    ) -> None:
        self.bill = bill
        self._provider = provider
        self._names = names
        self._payer = payer
        self._budgets = budgets
        self._deadline = time.monotonic() + patience.total_seconds()

    def remaining_usd(self) -> float:
        return float(min(budget.remaining.usd for budget in self._budgets))

    async def stream(self, ask: ModelAsk) -> AsyncGenerator[Piece | Reply, None]:
        """Stream one paid call. Raises BudgetExceeded, QuotaRefused or CannotPay before it, the provider's errors during it.

        What a cancelled, stalled or cut call had used by then is estimated and billed; one
        that the provider refused costs a request of the quota and no money.
        """
        reserved = await self._reserve(ask)
        shown: list[str] = []
        reply: Reply | None = None
        is_refused = False
        try:
            async with aclosing(listened(self._provider.stream(reserved.request), reserved.grant)) as parts:
                async for part in parts:
                    if isinstance(part, Reply):
                        reply = part
                    else:
                        shown.append(part.text)
                        yield part
        except REFUSALS:
            is_refused = True
            raise
        finally:
            settled = await self._settle(reserved, reply or _cut_short(reserved, "".join(shown), is_refused=is_refused))
        yield settled

    async def _reserve(self, ask: ModelAsk) -> _Reserved:
        model = self._names[ask.tiers[0]]
        tokens = count_messages(ask.messages)
        price = await self._price(model)
        held = self._hold(estimate(price, input=tokens, max_output=ask.max_tokens))
        try:
            grant = await self._grant(model, tokens + ask.max_tokens)
        except BaseException:
            _release(held)
            raise
        return _Reserved(ModelRequest(model=model, messages=ask.messages, max_tokens=ask.max_tokens), price, tokens, held, grant)

    async def _price(self, model: str) -> Price:
        try:
            return await prices.price_of(self._provider.name, model, at=datetime.now(UTC))
        except QuotaError as unknown:
            raise CannotPay(str(unknown)) from unknown

    def _hold(self, most_usd: Decimal) -> _Held:
        """Reserve the call's most on every budget, or on none. Does not await: on one loop it is atomic."""
        held: _Held = []
        try:
            for budget in self._budgets:
                held.append((budget, budget.reserve(Spending(most_usd))))
        except BudgetSpent as spent:
            _release(held)
            raise BudgetExceeded(str(spent)) from spent
        return held

    async def _grant(self, model: str, tokens: int) -> Grant:
        ask = Ask(
            provider=self._provider.name,
            model=model,
            priority_class=self._payer.priority_class,
            tokens=tokens,
            tenant=self._payer.tenant_id,
        )
        try:
            return await admission.reserve(ask, patience=timedelta(seconds=max(0.0, self._deadline - time.monotonic())))
        except QuotaError as refusal:
            out_or_full = ModelOut if isinstance(refusal, ModelUnavailable) else QuotaRefused
            kind = out_or_full if refusal.retryable else CannotPay
            raise kind(str(refusal), retry_after=refusal.retry_after) from refusal

    async def _settle(self, reserved: _Reserved, reply: Reply) -> Reply:
        used = reply.usage
        paid = cost(reserved.price, input=used.input, output=used.output, cached=used.cached)
        for budget, hold in reserved.held:
            budget.settle(hold, Spending(paid, used.total))
        if used.total:
            self.bill.add(self._line(reply, reserved.price, paid))
        await admission.settle(reserved.grant, used_tokens=used.total)
        return reply

    def _line(self, reply: Reply, price: Price, paid: Decimal) -> LedgerLine:
        payer = self._payer
        return LedgerLine(
            call_id=uuid7(),
            tenant_id=payer.tenant_id,
            endpoint=payer.endpoint,
            mode=payer.mode,
            priority_class=payer.priority_class,
            run_id=payer.run_id,
            parent_kind=payer.parent_kind,
            parent_id=payer.parent_id,
            provider=self._provider.name,
            model=reply.model,
            input_tokens=reply.usage.input,
            output_tokens=reply.usage.output,
            cached_tokens=reply.usage.cached,
            price=price,
            cost_usd=paid,
            estimated=reply.estimated,
            at=datetime.now(UTC),
        )


def own_budget(cap_usd: Decimal) -> Budget:
    """Return a budget of money alone."""
    return Budget(Spending(cap_usd, UNBOUNDED_TOKENS))


def _release(held: _Held) -> None:
    for budget, hold in held:
        budget.release(hold)


def _cut_short(reserved: _Reserved, shown: str, *, is_refused: bool) -> Reply:
    used = Usage() if is_refused and not shown else Usage(reserved.input_tokens, count_tokens(shown))
    return Reply(text=shown, model=reserved.request.model, usage=used, finish="cut", estimated=True)
