"""The waiting room of one model in one process: what its calls ask is put to the store together, a tick at a time.

One exchange is under way at a time; what comes meanwhile goes with the next. So sixty-four callers cost one
round trip, and settling costs a caller none. Whoever cannot be served waits in line; the room, not each of them,
asks again: when the store said, when something is given back, and a few times a second.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import uuid4

from quota.domain.asks import Ask, Grant, Source
from quota.domain.classes import PriorityClass
from quota.domain.errors import QuotaError, QuotaStoreUnavailable
from quota.domain.exchanges import Answer
from quota.domain.limits import UNKNOWN_MODEL, Limits
from quota.domain.lines import Line
from quota.domain.local_share import NEVER, LocalShare, rate
from quota.domain.waiters import Waiter
from quota.gateways import windows
from quota.gateways.windows import ModelKey, Party
from quota.services import store_sight
from quota.services.books import Books, Held
from quota.services.limits import limits_of
from quota.services.turns import Turn, full

POLL_S, SOONEST_S = 0.25, 0.005
SETTLE_WITHIN_S = 0.04  # what calls of the same moment gave back is told together; until then it counts as used
AWAY_LOOK_S, REBUILT_LOOK_S = 0.5, 0.05
OVERDUE_S = 0.2  # a store that hangs costs one p0 call so much, and the next ones nothing


class Room:
    """Lives on one event loop. Its pump runs while there is something to tell, somebody to serve, or a store to look for."""

    def __init__(self, key: ModelKey) -> None:
        self.key = key
        self.books = Books()
        self.line: Line[Waiter] = Line()
        self.tickets: set[PriorityClass] = set()
        self._numbers = count(1)
        self._client = uuid4().hex[:12]
        self._local = LocalShare()
        self._limits: Limits | None = None
        self._is_away = False
        self._ask_at = 0.0
        self._seen_at = float("-inf")
        self._wake = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def reserve(self, ask: Ask, limits: Limits, *, deadline: float) -> Grant:
        """Return the call's grant, from a block, the local share or the store, in its turn."""
        self._limits = limits
        if self._is_away and ask.priority_class is PriorityClass.P0:
            local = self._from_local_share(ask, limits)
            if isinstance(local, Grant):
                return local
        self.books.demand[ask.priority_class].note(ask.tokens, at=time.monotonic())
        if not self.line.count(ask.priority_class) and (grant := self.books.from_block(ask)):
            return grant
        return await self._waited(Waiter(ask, deadline, asyncio.get_running_loop().create_future()))

    def close(self, grant: Grant, *, tokens: int, requests: int) -> None:
        """Take note of what was used, once; the store is told with the next exchange."""
        if self.books.close(grant, tokens=tokens, requests=requests):
            self._work(within_s=SETTLE_WITHIN_S)

    def answered(self, grant: Grant) -> None:
        if self.books.answered(grant):
            self._work(within_s=0.0)

    def failed(self, grant: Grant, *, retry_after: timedelta) -> None:
        self.books.failed(grant, retry_after)
        self._work(within_s=0.0)

    def slowed(self, grant: Grant, *, retry_after: timedelta) -> None:
        self.books.slowed(grant, retry_after)
        self._work(within_s=0.0)

    async def rest(self) -> None:
        """Wait until all that was settled is told, or the store is away, and nothing goes on behind."""
        self.books.end_blocks()
        while self.books.has_news and not self._is_away:
            self._work(within_s=0.0)
            await asyncio.sleep(SETTLE_WITHIN_S)
        if self._looking:
            await asyncio.wait([self._looking])

    async def _waited(self, waiter: Waiter) -> Grant:
        self.line.join(waiter)
        self._work(within_s=0.0)
        try:
            return await waiter.answer
        except asyncio.CancelledError:
            self.line.leave(waiter)
            if grant := waiter.granted:
                self.close(grant, tokens=0, requests=0)
            raise

    def _from_local_share(self, ask: Ask, limits: Limits) -> Grant | QuotaError:
        """Take from this process's own share; what is used of it is told to the store when that is back."""
        wait = self._local.take(ask.tokens, rate=rate(limits), at=time.monotonic())
        if wait == NEVER:
            return QuotaStoreUnavailable("The quota store is away, and the call exceeds this process's own share.", retry_after=_look())
        return full(self.key, wait) if wait else self.books.grant(ask, Source.LOCAL, Held())

    def _work(self, *, within_s: float) -> None:
        self._ask_at = min(self._ask_at, time.monotonic() + within_s)
        self._wake.set()
        if self._pump is None or self._pump.done():
            self._pump = asyncio.get_running_loop().create_task(self._run())
            self._pump.add_done_callback(self._ended)

    def _ended(self, pump: asyncio.Task[None]) -> None:
        """Let nobody wait for a pump that broke: its defect is theirs."""
        defect = None if pump.cancelled() else pump.exception()
        for waiter in self.line.everyone() if defect else ():
            self.line.leave(waiter)
            if defect and not waiter.answer.done():
                waiter.answer.set_exception(defect)

    async def _run(self) -> None:
        await asyncio.sleep(0)  # so that what asks in the same tick asks together
        while self.books.has_news or self.tickets or self._is_away or len(self.line):
            left = self._ask_at - time.monotonic()
            await (self._sleep(left) if left > 0 else self._ask())
        self._ask_at = float("inf")

    async def _sleep(self, seconds: float) -> None:
        self._wake.clear()
        timer = asyncio.get_running_loop().call_later(seconds, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    async def _ask(self) -> None:
        limits = self._limits = await limits_of(*self.key)
        self._send_off_the_impatient()
        turn = Turn(self.key, self.books, self.line, self.tickets, limits)
        self._ask_at = time.monotonic() + POLL_S
        if turn.words or self._is_away:
            await self._exchanged(turn, limits)

    async def _exchanged(self, turn: Turn, limits: Limits) -> None:
        party = Party(client=self._client, number=next(self._numbers), generation=self.books.generation)
        overdue = asyncio.get_running_loop().call_later(OVERDUE_S, self._go_away)
        try:
            answer = await windows.exchange(self.key, limits, turn.words, party)
        except QuotaStoreUnavailable:
            self.books.take_back(turn.words)
            self._stay_away(AWAY_LOOK_S)
        else:
            await (self._heard(turn, answer, limits) if answer else self._found_wiped(turn, limits))
        finally:
            overdue.cancel()

    async def _heard(self, turn: Turn, answer: Answer, limits: Limits) -> None:
        self._is_away = False
        waits = turn.hear(answer)
        self._send_off_the_impatient()
        if waits:
            soonest = min(max(min(waits).total_seconds(), SOONEST_S), POLL_S)
            self._ask_at = min(time.monotonic() + soonest, self._ask_at)
        elif len(self.line):
            self._ask_at = 0.0
        self._look_after(limits)

    async def _found_wiped(self, turn: Turn, limits: Limits) -> None:
        """Rebuild the store from PostgreSQL; one process does, the others look again."""
        self.books.take_back(turn.words)
        self.books.forget_blocks()
        try:
            is_done = await asyncio.to_thread(store_sight.rebuild, self.key, limits, now=datetime.now(UTC))
        except QuotaStoreUnavailable:
            is_done = False
        if is_done:
            self._ask_at = 0.0
        else:
            self._stay_away(REBUILT_LOOK_S)

    def _send_off_the_impatient(self) -> None:
        now = time.monotonic()
        for waiter in self.line.everyone():
            if waiter.refusal and waiter.is_out_of_patience(at=now):
                self.line.leave(waiter)
                waiter.refuse(waiter.refusal)

    def _go_away(self) -> None:
        """The store is overdue: p0 goes on by the local share, as far as that goes; the others wait."""
        self._is_away = True
        for waiter in self.line.next_of(PriorityClass.P0, len(self.line)):
            self._serve_locally(waiter)

    def _serve_locally(self, waiter: Waiter) -> QuotaError | None:
        found = self._from_local_share(waiter.ask, self._limits or UNKNOWN_MODEL)
        if isinstance(found, QuotaError):
            return found
        self.line.serve(waiter)
        if not waiter.serve(found):
            self.books.close(found, tokens=0, requests=0)
        return None

    def _stay_away(self, look_s: float) -> None:
        """The store did not answer: say so to those who wait, and look for it again."""
        self._is_away, now = True, time.monotonic()
        refusal = QuotaStoreUnavailable("The quota store does not answer.", retry_after=_look())
        for waiter in self.line.everyone():
            is_p0 = waiter.ask.priority_class is PriorityClass.P0
            why = self._serve_locally(waiter) if is_p0 else refusal
            if why:
                waiter.hear(why, at=now)
        self._send_off_the_impatient()
        self._ask_at = now + look_s

    def _look_after(self, limits: Limits) -> None:
        """Let PostgreSQL know what the minute holds, in the background."""
        now = time.monotonic()
        if now - self._seen_at >= store_sight.SEEN_EVERY.total_seconds() and (self._looking is None or self._looking.done()):
            self._seen_at = now
            self._looking = asyncio.get_running_loop().create_task(_looked_after(self.key, limits))


async def _looked_after(key: ModelKey, limits: Limits) -> None:
    await asyncio.to_thread(store_sight.look_after, key, limits, now=datetime.now(UTC))


def _look() -> timedelta:
    return timedelta(seconds=AWAY_LOOK_S)
