"""One model call that is paid for: what was set aside for it, what is heard of it, and what it came to, however it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from types import TracebackType
from typing import NamedTuple, Self

from agents.domain.errors import ProviderError, ProviderRateLimited, ProviderRefused, ProviderUnavailable
from agents.domain.providers import Provider
from agents.domain.values import ModelRequest, Piece, Reply, Usage
from agents.services.providers import count_messages, count_tokens
from invocation.domain.ids import new_id
from invocation.domain.tiers import Downshift, Option
from invocation.services import provider_words
from invocation.services.accounts import Account
from invocation.services.bills import Bill, Payer
from invocation.services.paces import Watch
from quota.domain.asks import Grant
from quota.domain.budgets import NONE, Budget, Hold, Spending
from quota.domain.days import DayHold
from quota.domain.ledger import LedgerLine
from quota.domain.prices import Price, cost
from quota.services import admission, days

Held = Sequence[tuple[Budget, Hold]]
REFUSALS = (ProviderRateLimited, ProviderUnavailable, ProviderRefused)
"""The provider did no work: nothing is billed."""


class SetAside(NamedTuple):
    """What was set aside for one call, and which tier answers it."""

    request: ModelRequest
    price: Price
    option: Option
    held: Held
    grant: Grant
    day: DayHold | None


class Paying(NamedTuple):
    """Who makes the calls of a run, who pays for them, and where that is written."""

    provider: Provider
    payer: Payer
    bill: Bill
    account: Account


class PaidCall:
    """A call while it is made: `async with` it, let it hear each of its parts, and take its answer.

    When it is left it is settled. What a cancelled, stalled or cut call had used by then is estimated and
    billed; one that the provider refused costs a request of the quota and no money.
    """

    def __init__(self, aside: SetAside, downshift: Downshift | None, paying: Paying) -> None:
        self._aside, self._downshift, self._paying = aside, downshift, paying
        self._watch = Watch(aside.request.model, aside.option.tier)
        self._shown: list[str] = []
        self._reply: Reply | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, ProviderError):
            provider_words.tell(self._aside.grant, error)
        if self._reply is None:
            self._reply = self._cut_short(is_refused=isinstance(error, REFUSALS))
        await self._settle(self._reply)

    def parts(self) -> AsyncGenerator[Piece | Reply, None]:
        """Make the call."""
        return self._paying.provider.stream(self._aside.request)

    def hear(self, part: Piece | Reply) -> None:
        """Tell the quota at the first part that the provider is there, and note how long the model was waited for, if it speaks."""
        if not self._shown:
            admission.answered(self._aside.grant)
            if isinstance(part, Piece):
                self._paying.bill.waited_for_model(self._watch.first_piece())
        if isinstance(part, Reply):
            self._reply = part
            self._watch.whole(part)
        else:
            self._shown.append(part.text)

    def answer(self) -> Reply:
        """Return the answer with the tier that gave it; one that was stepped down is noted on the run's record."""
        if self._reply is None:
            raise AssertionError("a call has its answer when it is left")
        if self._downshift is None:
            return self._reply.answered_by(self._aside.option.tier)
        self._paying.bill.downshifts.append(self._downshift)
        return self._reply.answered_by(self._aside.option.tier, downshift=self._downshift.why)

    def _cut_short(self, *, is_refused: bool) -> Reply:
        aside, shown = self._aside, "".join(self._shown)
        used = Usage() if is_refused and not shown else Usage(count_messages(aside.request.messages), count_tokens(shown))
        return Reply(text=shown, model=aside.request.model, usage=used, finish="cut", estimated=True)

    async def _settle(self, reply: Reply) -> None:
        aside, used = self._aside, reply.usage
        paid = cost(aside.price, input=used.input, output=used.output, cached=used.cached)
        spent = Spending(paid, used.total, 1) if used.total else NONE
        for budget, hold in aside.held:
            budget.settle(hold, spent)
        if used.total:
            self._paying.bill.add(self._line(reply, paid))
        await admission.settle(aside.grant, used_tokens=used.total)
        try:
            await days.settle(aside.day, spent)
        finally:
            if not used.total:
                await self._paying.account.release(aside.option.most)

    def _line(self, reply: Reply, paid: Decimal) -> LedgerLine:
        payer = self._paying.payer
        return LedgerLine(
            call_id=new_id(),
            tenant_id=payer.tenant_id,
            endpoint=payer.endpoint,
            mode=payer.mode,
            priority_class=payer.priority_class,
            run_id=payer.run_id,
            parent_kind=payer.parent_kind,
            parent_id=payer.parent_id,
            provider=self._paying.provider.name,
            model=reply.model,
            input_tokens=reply.usage.input,
            output_tokens=reply.usage.output,
            cached_tokens=reply.usage.cached,
            price=self._aside.price,
            cost_usd=paid,
            estimated=reply.estimated,
            at=datetime.now(UTC),
            held=self._aside.option.most if self._paying.account.is_durable else NONE,
        )


def release(held: Held) -> None:
    """Give back what was held for a call that was not made."""
    for budget, hold in held:
        budget.release(hold)
