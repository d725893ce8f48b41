"""Model calls that are paid for: budget and quota are reserved before each, settled and billed after."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import reduce
from types import MappingProxyType

from agents.domain.errors import (
    DayExceeded,
    DayTokensExceeded,
    LargerThanDay,
    PlatformError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnavailable,
)
from agents.domain.providers import Provider
from agents.domain.run import ModelAsk
from agents.domain.values import ModelRequest, Piece, Reply, Tier, Usage
from agents.services.providers import count_messages, count_tokens
from invocation.domain.ids import new_id
from invocation.domain.tiers import Downshift, Option, TooDear, Why, below, choose, patience
from invocation.selectors import outstanding
from invocation.services import accounts, paces
from invocation.services.accounts import Account
from invocation.services.bills import Bill, Payer
from invocation.services.paces import Watch
from invocation.services.provider_words import told
from quota.domain import errors
from quota.domain.asks import Ask, Grant
from quota.domain.budgets import NONE, Budget, Hold, Spending
from quota.domain.days import DayHold
from quota.domain.errors import BudgetSpent, DaySpent, ModelUnavailable, QuotaError, UnknownPrice
from quota.domain.ledger import LedgerLine
from quota.domain.prices import Price, cost, estimate
from quota.domain.resources import Resource
from quota.services import admission, days, prices


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


_Held = list[tuple[Budget, Hold]]
DAY_KINDS: Mapping[Resource, type[DayExceeded]] = MappingProxyType({Resource.MONEY: DayExceeded, Resource.TOKENS: DayTokensExceeded})
STEPS_DOWN = (QuotaRefused, ModelOut, CannotPay, DayExceeded, LargerThanDay)
"""What lets the next tier be tried: the call was not made."""
OF_MONEY = (DayExceeded, LargerThanDay)
REFUSALS = (ProviderRateLimited, ProviderUnavailable, ProviderRefused)
"""The provider did no work: nothing is billed."""


@dataclass(frozen=True, slots=True)
class _Reserved:
    """What was set aside for one call, and which tier answers it."""

    request: ModelRequest
    price: Price
    input_tokens: int
    option: Option
    held: _Held
    grant: Grant
    day: DayHold | None


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
        account: Account,
    ) -> None:
        self.bill = bill
        self._provider = provider
        self._names = names
        self._payer = payer
        self._budgets = budgets
        self._account = account
        self._deadline = time.monotonic() + patience.total_seconds()

    def remaining_usd(self) -> float:
        return float(self._remaining().usd)

    def remaining_tokens(self) -> int:
        return self._remaining().tokens

    def remaining_calls(self) -> int:
        return self._remaining().calls

    async def stream(self, ask: ModelAsk) -> AsyncGenerator[Piece | Reply, None]:
        """Stream one paid call of the best tier that budget, time and quota allow.

        Raises BudgetExceeded, LargerThanDay, DayExceeded or QuotaRefused before it, the provider's errors during it.
        What a cancelled, stalled or cut call had used by then is estimated and billed; one
        that the provider refused costs a request of the quota and no money.
        """
        reserved, why = await self._reserve(ask)
        watch = Watch(reserved.request.model, Tier(reserved.option.tier))
        shown: list[str] = []
        reply: Reply | None = None
        is_refused = False
        try:
            with told(reserved.grant):
                async with aclosing(self._provider.stream(reserved.request)) as parts:
                    async for part in parts:
                        if not shown:
                            self._hear_first(part, reserved.grant, watch)
                        if isinstance(part, Reply):
                            reply = part
                            watch.whole(part)
                        else:
                            shown.append(part.text)
                            yield part
        except REFUSALS:
            is_refused = True
            raise
        finally:
            settled = await self._settle(reserved, reply or _cut_short(reserved, "".join(shown), is_refused=is_refused))
        yield self._noted(settled, ask, reserved.option, why)

    def _hear_first(self, part: Piece | Reply, grant: Grant, watch: Watch) -> None:
        """Tell the quota that the provider is there, and note how long the model was waited for, if it speaks."""
        admission.answered(grant)
        if isinstance(part, Piece):
            self.bill.waited_for_model(watch.first_piece())

    def _noted(self, reply: Reply, ask: ModelAsk, option: Option, why: Why | None) -> Reply:
        """Say which tier answered, on the reply that is journaled and, if it was stepped down, on the run's record."""
        if why is not None:
            self.bill.downshifts.append(Downshift(wanted=str(ask.tiers[0]), used=option.tier, why=str(why)))
        return replace(reply, tier=option.tier, downshift=str(why or ""))

    async def _reserve(self, ask: ModelAsk) -> tuple[_Reserved, Why | None]:
        """Set a call aside with the first tier that can be had: one whose quota has no room gives way to the next."""
        options: Sequence[Option] = await self._options(ask)
        refused: Why | None = None
        while True:
            choice = choose(options, left=self._remaining(), time=self._time())
            if isinstance(choice, TooDear):
                raise accounts.exceeded(_too_dear(choice, self._remaining()))
            rest = below(options, choice.option)
            try:
                reserved = await self._set_aside(ask, choice.option, is_last=not rest)
            except STEPS_DOWN as refusal:
                if not rest:
                    raise
                options, refused = rest, Why.COST if isinstance(refusal, OF_MONEY) else Why.QUOTA
            else:
                return reserved, refused or choice.why

    async def _options(self, ask: ModelAsk) -> Sequence[Option]:
        """Return the tiers that may answer, best first; one without a price is none, because no budget could bound it. Raises CannotPay."""
        tokens, found, unpriced = count_messages(ask.messages), [], ""
        for tier in dict.fromkeys(ask.tiers):
            try:
                found.append(await self._option(tier, tokens, ask.max_tokens))
            except UnknownPrice as unknown:
                unpriced = unpriced or str(unknown)
        if not found:
            raise CannotPay(unpriced)
        return found

    async def _option(self, tier: Tier, tokens: int, most: int) -> Option:
        model = self._names[tier]
        price = await self._price(model)
        spending = Spending(estimate(price, input=tokens, max_output=most), tokens + most, 1)
        return Option(str(tier), model, spending, paces.estimate(model, tier, most_tokens=most))

    async def _set_aside(self, ask: ModelAsk, option: Option, *, is_last: bool) -> _Reserved:
        """Reserve the call's most on the run's budgets, the model's quota, the tenant's day and the job's row: on all or on none."""
        async with AsyncExitStack() as undo:
            held = self._hold(option.most)
            undo.callback(_release, held)
            wait = patience(option, time=self._time(), is_last=is_last)
            grant = await self._grant(option, wait)
            undo.push_async_callback(admission.release, grant)
            day = await self._take_of_day(option.most, wait)
            undo.push_async_callback(days.release, day)
            price = await self._price(option.model)
            await self._hold_elsewhere(option.most)
            undo.pop_all()
        request = ModelRequest(model=option.model, messages=ask.messages, max_tokens=ask.max_tokens)
        return _Reserved(request, price, option.most.tokens - ask.max_tokens, option, held, grant, day)

    async def _price(self, model: str) -> Price:
        """Return what the model costs now. Raises UnknownPrice."""
        return await prices.price_of(self._provider.name, model, at=datetime.now(UTC))

    def _hold(self, most: Spending) -> _Held:
        """Reserve the call's most on every budget, or on none. Does not await: on one loop it is atomic."""
        held: _Held = []
        try:
            for budget in self._budgets:
                held.append((budget, budget.reserve(most)))
        except BudgetSpent as spent:
            _release(held)
            raise accounts.exceeded(spent) from spent
        return held

    async def _hold_elsewhere(self, most: Spending) -> None:
        try:
            await self._account.hold(most)
        except BudgetSpent as spent:
            raise accounts.exceeded(spent) from spent

    async def _grant(self, option: Option, wait: timedelta) -> Grant:
        ask = Ask(
            provider=self._provider.name,
            model=option.model,
            priority_class=self._payer.priority_class,
            tokens=option.most.tokens,
            tenant=self._payer.tenant_id,
        )
        try:
            return await admission.reserve(ask, patience=wait)
        except QuotaError as refusal:
            out_or_full = ModelOut if isinstance(refusal, ModelUnavailable) else QuotaRefused
            kind = out_or_full if refusal.retryable else CannotPay
            raise kind(str(refusal), retry_after=refusal.retry_after) from refusal

    async def _take_of_day(self, most: Spending, wait: timedelta) -> DayHold | None:
        payer = self._payer
        try:
            under_way = outstanding.reader(payer.tenant_id)
            return await days.take(payer.tenant_id, most, priority_class=payer.priority_class, under_way=under_way, patience=wait)
        except errors.LargerThanDay as never:
            raise LargerThanDay(str(never)) from never
        except DaySpent as spent:
            self.bill.short = most
            raise DAY_KINDS[spent.what](str(spent), retry_after=spent.retry_after) from spent
        except QuotaError as refusal:
            kind = QuotaRefused if refusal.retryable else CannotPay
            raise kind(str(refusal), retry_after=refusal.retry_after) from refusal

    def _remaining(self) -> Spending:
        return reduce(Spending.within, (budget.remaining for budget in self._budgets))

    def _time(self) -> timedelta:
        return timedelta(seconds=self._deadline - time.monotonic())

    async def _settle(self, reserved: _Reserved, reply: Reply) -> Reply:
        used = reply.usage
        paid = cost(reserved.price, input=used.input, output=used.output, cached=used.cached)
        spent = Spending(paid, used.total, 1) if used.total else NONE
        for budget, hold in reserved.held:
            budget.settle(hold, spent)
        if used.total:
            self.bill.add(self._line(reply, reserved, paid))
        await admission.settle(reserved.grant, used_tokens=used.total)
        try:
            await days.settle(reserved.day, spent)
        finally:
            if not used.total:
                await self._account.release(reserved.option.most)
        return reply

    def _line(self, reply: Reply, reserved: _Reserved, paid: Decimal) -> LedgerLine:
        payer = self._payer
        return LedgerLine(
            call_id=new_id(),
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
            price=reserved.price,
            cost_usd=paid,
            estimated=reply.estimated,
            at=datetime.now(UTC),
            held=reserved.option.most if self._account.is_durable else NONE,
        )


def _release(held: _Held) -> None:
    for budget, hold in held:
        budget.release(hold)


def _cut_short(reserved: _Reserved, shown: str, *, is_refused: bool) -> Reply:
    used = Usage() if is_refused and not shown else Usage(reserved.input_tokens, count_tokens(shown))
    return Reply(text=shown, model=reserved.request.model, usage=used, finish="cut", estimated=True)


def _too_dear(refusal: TooDear, left: Spending) -> BudgetSpent:
    return BudgetSpent(f"The call could take {refusal.option.most}; the run has {left} left.", what=refusal.what)
