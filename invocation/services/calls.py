"""Model calls that are paid for: budget and quota are reserved before each, settled and billed after."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import reduce
from types import MappingProxyType
from uuid import UUID, uuid4

from agents.domain.errors import (
    DayExceeded,
    DayTokensExceeded,
    LargerThanDay,
    PlatformError,
    ProviderRateLimited,
)
from agents.domain.providers import Provider
from agents.domain.run import ModelAsk
from agents.domain.values import ModelRequest, Piece, Reply, Tier
from agents.services.providers import most_of_messages
from invocation.domain.tiers import Downshift, Option, TooDear, Why, below, choose, patience
from invocation.selectors import outstanding
from invocation.services import accounts, paces
from invocation.services.accounts import Account
from invocation.services.bills import Bill, Payer
from invocation.services.paid_calls import Held, PaidCall, Paying, SetAside, release
from quota.domain import errors
from quota.domain.asks import Ask, Grant
from quota.domain.budgets import Budget, Hold, Spending
from quota.domain.days import DayHold
from quota.domain.errors import BudgetSpent, DaySpent, ModelUnavailable, QuotaError, UnknownPrice
from quota.domain.prices import Price, estimate
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


DAY_KINDS: Mapping[Resource, type[DayExceeded]] = MappingProxyType({Resource.MONEY: DayExceeded, Resource.TOKENS: DayTokensExceeded})
STEPS_DOWN = (QuotaRefused, ModelOut, CannotPay, DayExceeded, LargerThanDay)
"""What lets the next tier be tried: the call was not made."""
OF_MONEY = (DayExceeded, LargerThanDay)


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
        self._paying = Paying(provider, payer, bill, account)
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
        """
        call = await self._begun(ask)
        async with call, aclosing(call.parts()) as parts:
            async for part in parts:
                call.hear(part)
                if isinstance(part, Piece):
                    yield part
        yield call.answer()

    async def whole(self, ask: ModelAsk) -> Reply:
        """Make the same call for one who reads nothing before the end. Raises as `stream` does."""
        call = await self._begun(ask)
        async with call, aclosing(call.parts()) as parts:
            async for part in parts:
                call.hear(part)
        return call.answer()

    async def _begun(self, ask: ModelAsk) -> PaidCall:
        """Set a call aside with the first tier that can be had: one whose quota has no room gives way to the next."""
        options: Sequence[Option] = await self._options(ask)
        refused: Why | None = None
        while True:
            left = self._remaining()
            choice = choose(options, left=left, time=self._time())
            if isinstance(choice, TooDear):
                raise accounts.exceeded(_too_dear(choice, left))
            rest = below(options, choice.option)
            try:
                aside = await self._set_aside(ask, choice.option, is_last=not rest)
            except STEPS_DOWN as refusal:
                if not rest:
                    raise
                options, refused = rest, Why.COST if isinstance(refusal, OF_MONEY) else Why.QUOTA
            else:
                return PaidCall(aside, _downshift(ask, choice.option, refused or choice.why), self._paying)

    async def _options(self, ask: ModelAsk) -> Sequence[Option]:
        """Return the tiers that may answer, best first; one without a price is none, because no budget could bound it. Raises CannotPay."""
        tokens, found, unpriced = most_of_messages(ask.messages), [], ""
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

    async def _set_aside(self, ask: ModelAsk, option: Option, *, is_last: bool) -> SetAside:
        """Reserve the call's most on the run's budgets, the model's quota, the tenant's day and the job's row: on all or on none."""
        wait = patience(option, time=self._time(), is_last=is_last)
        held = self._hold(option.most)
        grant: Grant | None = None
        day: DayHold | None = None
        try:
            grant, day = await self._granted(option, wait)
            price = await self._price(option.model)
            await self._hold_elsewhere(option.most)
        except BaseException:
            await _give_back(held, grant, day)
            raise
        request = ModelRequest(model=option.model, messages=ask.messages, max_tokens=ask.max_tokens)
        return SetAside(request, price, option, held, grant, day)

    async def _price(self, model: str) -> Price:
        """Return what the model costs now. Raises UnknownPrice."""
        return await prices.price_of(self._provider.name, model, at=datetime.now(UTC))

    def _hold(self, most: Spending) -> Held:
        """Reserve the call's most on every budget, or on none. Does not await: on one loop it is atomic."""
        held: list[tuple[Budget, Hold]] = []
        try:
            for budget in self._budgets:
                held.append((budget, budget.reserve(most)))  # noqa: PERF401  (where the next refuses, those before are given back)
        except BudgetSpent as spent:
            release(held)
            raise accounts.exceeded(spent) from spent
        return held

    async def _hold_elsewhere(self, most: Spending) -> None:
        try:
            await self._account.hold(most)
        except BudgetSpent as spent:
            raise accounts.exceeded(spent) from spent

    async def _granted(self, option: Option, wait: timedelta) -> tuple[Grant, DayHold | None]:
        """Reserve the model's quota and the tenant's day together; who waits for one of them holds nothing of the other.

        Quota that is held outside of its minute is no limit any more, and what a day has set aside is missing to the tenant's chats.
        """
        end, pause_s, hold_id = time.monotonic() + wait.total_seconds(), days.LOOK_AGAIN_S, uuid4()
        while True:
            grant = await self._grant(option, timedelta(seconds=end - time.monotonic()))
            try:
                return grant, await self._take_of_day(option.most, hold_id)
            except BaseException as refusal:
                await admission.release(grant)
                left_s = end - time.monotonic()
                if not isinstance(refusal, QuotaRefused) or left_s <= 0:
                    raise
            await asyncio.sleep(min(left_s, days.spread(pause_s)))
            pause_s = min(2 * pause_s, days.LONGEST_LOOK_S)

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

    async def _take_of_day(self, most: Spending, hold_id: UUID) -> DayHold | None:
        payer = self._payer
        try:
            under_way = outstanding.reader(payer.tenant_id)
            return await days.take(payer.tenant_id, most, priority_class=payer.priority_class, under_way=under_way, hold_id=hold_id)
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


def _downshift(ask: ModelAsk, option: Option, why: Why | None) -> Downshift | None:
    return None if why is None else Downshift(wanted=str(ask.tiers[0]), used=option.tier, why=str(why))


async def _give_back(held: Held, grant: Grant | None, day: DayHold | None) -> None:
    """Undo what was set aside for a call that is not made; the day last, which may have to be awaited."""
    release(held)
    if grant:
        await admission.release(grant)
    await days.release(day)


def _too_dear(refusal: TooDear, left: Spending) -> BudgetSpent:
    return BudgetSpent(f"The call could take {refusal.option.most}; the run has {left} left.", what=refusal.what)
