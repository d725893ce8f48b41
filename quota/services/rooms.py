"""The waiting room of one model in one process: what its calls ask is put to the store together, a tick at a time.

One exchange is under way at a time; what comes meanwhile goes with the next. So sixty-four callers cost one
round trip, and settling costs a caller none. Whoever cannot be served waits in line; the room, not each of them,
asks again: when the store said, when something is given back, and a few times a second.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import uuid4

import structlog

from quota.domain.asks import Ask, Grant, Source
from quota.domain.blocks import LIFE_S, QUANTUM, Block, Demand
from quota.domain.classes import PriorityClass
from quota.domain.errors import ModelUnavailable, QuotaError, QuotaExceeded, QuotaStoreUnavailable
from quota.domain.exchanges import Answer, Answered, Change, Close, Failed, Leave, Place, Silent, Slow, Status, Verdict, Want, Word
from quota.domain.limits import Limits, pools
from quota.domain.lines import Line
from quota.domain.local_share import NEVER, LocalShare, rate
from quota.gateways import windows
from quota.gateways.windows import ModelKey, Party
from quota.services import store_sight
from quota.services.limits import limits_of

log = structlog.get_logger()
MOST_WANTS, MOST_WORDS = 64, 256
POLL_S = 0.25
SETTLE_WITHIN_S = 0.01
AWAY_LOOK_S = 0.5
OVERDUE_S = 0.2  # a store that hangs costs one p0 call so much, and the next ones nothing
LEASES_BLOCKS = frozenset({PriorityClass.P3})
WAITS_FOR_THE_PROVIDER = frozenset({PriorityClass.P3})
"""A row waits where it is until the provider is back; others are told, and park or fall back."""


@dataclass(slots=True, eq=False)
class Waiter:
    """A call that waits for its quota, until `deadline` (monotonic seconds)."""

    ask: Ask
    deadline: float
    granted: asyncio.Future[Grant]
    refusal: QuotaError | None = None
    free_at: float = 0.0

    def hear(self, refusal: QuotaError) -> None:
        """Know why not yet, and until when."""
        self.refusal = refusal
        self.free_at = time.monotonic() + (refusal.retry_after or timedelta(0)).total_seconds()

    def refuse(self, refusal: QuotaError) -> None:
        if not self.granted.done():
            self.granted.set_exception(refusal)


@dataclass(slots=True)
class _Open:
    """A grant that is neither settled nor released."""

    place: Place | None
    block: Block | None = None
    is_probe: bool = False
    is_told: bool = False


@dataclass(slots=True)
class _Turn:
    """One exchange: who asked for what, in the order of the words."""

    words: list[Word] = field(default_factory=list)
    asked: list[Waiter | None] = field(default_factory=list)
    closing: list[Block] = field(default_factory=list)
    leased_at: float = 0.0


class Room:
    """Lives on one event loop."""

    def __init__(self, key: ModelKey) -> None:
        self.key = key
        self._line: Line[Waiter] = Line()
        self._open: dict[int, _Open] = {}
        self._ids = count(1)
        self._numbers = count(1)
        self._client = uuid4().hex[:12]
        self._generation = ""
        self._words: list[Word] = []
        self._tickets: set[PriorityClass] = set()
        self._block: Block | None = None
        self._demand = Demand()
        self._unbooked: dict[PriorityClass, list[int]] = defaultdict(lambda: [0, 0])
        self._local = LocalShare()
        self._limits: Limits | None = None
        self._failures = 0
        self._is_away = False
        self._ask_at = 0.0
        self._seen_at = float("-inf")
        self._wake = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def reserve(self, ask: Ask, limits: Limits, *, deadline: float) -> Grant:
        """Return the call's grant, from a block, the local share or the store, in its turn."""
        self._limits, now = limits, time.monotonic()
        if self._is_away and ask.priority_class is PriorityClass.P0:
            return self._from_local_share(ask, limits)
        if ask.priority_class in LEASES_BLOCKS:
            self._demand.note(ask.tokens, at=now)
            if self._block and not self._line.count(ask.priority_class) and self._block.take(ask.tokens, at=now):
                return self._grant(ask, Source.BLOCK, _Open(None, block=self._block))
        return await self._waited(Waiter(ask, deadline, asyncio.get_running_loop().create_future()))

    def close(self, grant: Grant, *, tokens: int, requests: int) -> None:
        """Take note of what was used, once; the store is told with the next exchange."""
        opened = self._open.pop(grant.id, None)
        if opened is None:
            return
        if opened.is_probe and not opened.is_told:
            self._words.append(Silent())
        self._give_back(grant, opened, tokens=tokens - grant.tokens, requests=requests - 1)
        self._work(within_s=SETTLE_WITHIN_S)

    def answered(self, grant: Grant) -> None:
        """The provider answered: that is told while it matters."""
        opened = self._open.get(grant.id)
        if opened is None or opened.is_told:
            return
        opened.is_told = True
        if opened.is_probe or self._failures:
            self._say(Answered(opened.is_probe))

    def failed(self, grant: Grant, *, retry_after: timedelta) -> None:
        self._say(Failed(self._told(grant), retry_after))

    def slowed(self, grant: Grant, *, retry_after: timedelta) -> None:
        self._told(grant)
        self._say(Slow(retry_after))

    async def rest(self) -> None:
        """Wait until all that was settled is told, or the store is away."""
        while self._words and not self._is_away:
            self._work(within_s=0.0)
            await asyncio.sleep(SETTLE_WITHIN_S)

    def _told(self, grant: Grant) -> bool:
        """Mark a call as one whose fate is told; say whether it was the probe."""
        opened = self._open.get(grant.id)
        if opened is None:
            return False
        opened.is_told = True
        return opened.is_probe

    def _say(self, word: Word) -> None:
        """Tell bad and good news at once; a block that was leased before it is not used any further."""
        if not isinstance(word, Answered):
            self._end_block()
        self._words.append(word)
        self._work(within_s=0.0)

    async def _waited(self, waiter: Waiter) -> Grant:
        self._line.join(waiter)
        self._work(within_s=0.0)
        try:
            return await waiter.granted
        except asyncio.CancelledError:
            self._line.leave(waiter)
            if waiter.granted.done() and not waiter.granted.cancelled() and not waiter.granted.exception():
                self.close(waiter.granted.result(), tokens=0, requests=0)
            raise

    def _from_local_share(self, ask: Ask, limits: Limits) -> Grant:
        """Take from this process's own share; what is used of it is told to the store when that is back."""
        wait = self._local.take(ask.tokens, rate=rate(limits), at=time.monotonic())
        if wait == NEVER:
            raise QuotaStoreUnavailable("The quota store is away, and the call exceeds this process's own share.", retry_after=_look())
        if wait:
            raise _full(self.key, wait)
        return self._grant(ask, Source.LOCAL, _Open(None))

    def _grant(self, ask: Ask, source: Source, opened: _Open) -> Grant:
        number = next(self._ids)
        self._open[number] = opened
        return Grant(
            id=number,
            provider=ask.provider,
            model=ask.model,
            priority_class=ask.priority_class,
            tokens=ask.tokens,
            source=source,
            is_probe=opened.is_probe,
        )

    def _give_back(self, grant: Grant, opened: _Open, *, tokens: int, requests: int) -> None:
        if grant.source is Source.LOCAL:
            debt = self._unbooked[grant.priority_class]
            debt[0] += tokens + grant.tokens
            debt[1] += requests + 1
            return
        if opened.block and opened.block.put_back(tokens, requests):
            return
        place = opened.block.place if opened.block else opened.place
        if place and (tokens or requests):
            self._words.append(Change(priority_class=grant.priority_class, place=place, tokens=tokens, requests=requests))

    # The pump: runs while there is something to tell, somebody to serve, or a store to look for.

    def _work(self, *, within_s: float) -> None:
        self._ask_at = min(self._ask_at, time.monotonic() + within_s)
        self._wake.set()
        if self._pump is None or self._pump.done():
            self._pump = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        await asyncio.sleep(0)
        while self._has_work():
            left = self._ask_at - time.monotonic()
            if left > 0:
                await self._rest(left)
            else:
                await self._one_turn()
        self._ask_at = float("inf")

    def _has_work(self) -> bool:
        return bool(self._words or len(self._line) or self._tickets or self._is_away or self._unbooked or self._block)

    async def _rest(self, seconds: float) -> None:
        self._wake.clear()
        timer = asyncio.get_running_loop().call_later(seconds, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    async def _one_turn(self) -> None:
        limits = self._limits = await limits_of(*self.key)
        turn = self._gathered(limits)
        self._ask_at = time.monotonic() + POLL_S
        if not turn.words and not self._is_away:
            return
        party = Party(client=self._client, number=next(self._numbers), generation=self._generation)
        overdue = asyncio.get_running_loop().call_later(OVERDUE_S, self._gone_away)
        try:
            answer = await windows.exchange(self.key, limits, turn.words, party)
        except QuotaStoreUnavailable:
            self._lost(turn)
        else:
            await self._heard(turn, answer, limits)
        finally:
            overdue.cancel()

    def _gathered(self, limits: Limits) -> _Turn:
        """Take what is to be told and asked; whoever waited too long goes before."""
        self._send_off_the_impatient()
        self._end_stale_block(limits)
        turn = _Turn(leased_at=time.monotonic())
        turn.words, self._words = self._words[:MOST_WORDS], self._words[MOST_WORDS:]
        turn.words = [word for word in turn.words if not self._is_of_the_past(word)]
        for word, (tokens, requests) in self._unbooked.items():
            turn.words.append(Change(priority_class=word, place=Place(0, 0, ""), tokens=tokens, requests=requests))
        self._unbooked.clear()
        for word in PriorityClass:
            self._add_wants(turn, word, limits)
        return turn

    def _is_of_the_past(self, word: Word) -> bool:
        """What was granted before the store was wiped is in what it was rebuilt from."""
        if isinstance(word, Change) and not word.gives_back:
            return False
        return isinstance(word, Change | Close) and word.place.generation != self._generation

    def _add_wants(self, turn: _Turn, word: PriorityClass, limits: Limits) -> None:
        waiting = self._line.next_of(word, MOST_WANTS)
        if not waiting and word in self._tickets:
            self._tickets.discard(word)
            turn.words.append(Leave(word))
        tokens, requests = self._demand.of_a_block(at=time.monotonic()) if word in LEASES_BLOCKS and waiting else (0, 0)
        if requests > 1:
            turn.words.append(self._block_want(waiting, tokens, requests, limits))
            turn.asked.append(None)
            return
        for waiter in waiting:
            turn.words.append(Want(priority_class=word, tokens=waiter.ask.tokens, least_tokens=waiter.ask.tokens))
            turn.asked.append(waiter)

    def _block_want(self, waiting: Sequence[Waiter], tokens: int, requests: int, limits: Limits) -> Want:
        """Ask for what the next half second will take, at least for the head's call; a small part of the class's minute."""
        head = waiting[0].ask
        pool = pools(limits, head.priority_class)[-1]
        return Want(
            priority_class=head.priority_class,
            tokens=max(min(max(tokens, sum(each.ask.tokens for each in waiting)), pool.tokens // QUANTUM), head.tokens),
            least_tokens=head.tokens,
            requests=max(min(max(requests, len(waiting)), pool.requests // QUANTUM), 1),
            ahead=round(LIFE_S / windows.SLOT_S),
        )

    async def _heard(self, turn: _Turn, answer: Answer | None, limits: Limits) -> None:
        if answer is None:
            await self._found_wiped(turn, limits)
            return
        self._is_away = False
        self._generation, self._failures = answer.generation, answer.failures
        waits = [self._answer(asked, verdict, answer, turn) for asked, verdict in zip(turn.asked, answer.verdicts, strict=True)]
        self._send_off_the_impatient()
        if waits and any(waits):
            soonest = min(wait for wait in waits if wait)
            self._ask_at = min(time.monotonic() + min(max(soonest.total_seconds(), 0.005), POLL_S), self._ask_at)
        if len(self._line) and not any(waits):
            self._ask_at = 0.0
        self._look_after(limits)

    def _answer(self, asked: Waiter | None, verdict: Verdict, answer: Answer, turn: _Turn) -> timedelta:
        """Serve or refuse for now; return how long to wait."""
        if asked is None:
            return self._leased(verdict, answer, turn)
        word = asked.ask.priority_class
        if not verdict.is_granted:
            self._tickets.add(word)
            asked.hear(self._refusal(verdict))
            if asked.refusal and verdict.status is Status.OPEN and word not in WAITS_FOR_THE_PROVIDER:
                self._line.leave(asked)
                asked.refuse(asked.refusal)
            return verdict.wait
        self._tickets.discard(word)
        self._line.serve(asked)
        opened = _Open(Place(verdict.figure, answer.slot, answer.generation), is_probe=verdict.status is Status.PROBE)
        self._serve(asked, self._grant(asked.ask, Source.STORE, opened))
        return timedelta(0)

    def _serve(self, waiter: Waiter, grant: Grant) -> None:
        if waiter.granted.done():
            self.close(grant, tokens=0, requests=0)
        else:
            waiter.granted.set_result(grant)

    def _leased(self, verdict: Verdict, answer: Answer, turn: _Turn) -> timedelta:
        word = PriorityClass.P3
        waiting = self._line.next_of(word, MOST_WANTS)
        if not verdict.is_granted:
            self._tickets.add(word)
            for waiter in waiting:
                waiter.hear(self._refusal(verdict))
            return verdict.wait
        self._tickets.discard(word)
        self._end_block()
        place = Place(verdict.figure, answer.slot, answer.generation)
        if verdict.status is Status.PROBE:
            self._serve_probe(waiting, place, verdict)
            return timedelta(0)
        self._block = Block(word, place, verdict.tokens, verdict.requests, turn.leased_at + LIFE_S)
        self._serve_from_block(self._block)
        return timedelta(0)

    def _serve_probe(self, waiting: Sequence[Waiter], place: Place, verdict: Verdict) -> None:
        if not waiting or waiting[0].ask.tokens > verdict.tokens:
            self._words += [Silent(), Change(priority_class=PriorityClass.P3, place=place, tokens=-verdict.tokens, requests=-1)]
            return
        self._line.serve(waiting[0])
        grant = self._grant(waiting[0].ask, Source.STORE, _Open(place, is_probe=True))
        if verdict.tokens > grant.tokens:
            self._words.append(Change(priority_class=PriorityClass.P3, place=place, tokens=grant.tokens - verdict.tokens, requests=0))
        self._serve(waiting[0], grant)

    def _serve_from_block(self, block: Block) -> None:
        """Serve the line as far as the block goes; a head that it cannot hold is not passed."""
        at = time.monotonic()
        while waiting := self._line.next_of(block.priority_class, 1):
            if not block.take(waiting[0].ask.tokens, at=at):
                break
            self._line.serve(waiting[0])
            self._serve(waiting[0], self._grant(waiting[0].ask, Source.BLOCK, _Open(None, block=block)))

    def _end_stale_block(self, limits: Limits) -> None:
        """End a block that has run out: of time, or of what the next in line needs."""
        block = self._block
        if block is None:
            return
        self._serve_from_block(block)
        if time.monotonic() >= block.expires_at or self._line.count(block.priority_class):
            self._end_block()

    def _end_block(self) -> None:
        block, self._block = self._block, None
        if block and block.is_open:
            self._words.append(block.close())

    def _refusal(self, verdict: Verdict) -> QuotaError:
        if verdict.status is Status.OPEN:
            return ModelUnavailable(f"{self.key[0]}/{self.key[1]} is out: its provider failed the last calls.", retry_after=verdict.wait)
        return _full(self.key, verdict.wait)

    def _send_off_the_impatient(self) -> None:
        """Refuse those whose time is up, or whose wait is known to be longer."""
        now = time.monotonic()
        for waiter in self._line.everyone():
            if waiter.refusal and max(waiter.free_at, now) > waiter.deadline:
                self._line.leave(waiter)
                waiter.refuse(waiter.refusal)

    # A store that is away, or was wiped.

    def _gone_away(self) -> None:
        """p0 goes on by the local share; the others wait, and those who would not are told."""
        self._is_away = True
        if self._limits is None:
            return
        for waiter in self._line.next_of(PriorityClass.P0, len(self._line)):
            self._line.leave(waiter)
            try:
                waiter.granted.set_result(self._from_local_share(waiter.ask, self._limits))
            except QuotaError as refusal:
                waiter.refuse(refusal)

    def _lost(self, turn: _Turn) -> None:
        """Keep what charges more; what would give back may have been done, and is not said twice."""
        self._words = [word for word in turn.words if isinstance(word, Change) and not word.gives_back] + self._words
        self._stay_away(AWAY_LOOK_S)

    async def _found_wiped(self, turn: _Turn, limits: Limits) -> None:
        self._words = [word for word in turn.words if isinstance(word, Change) and not word.gives_back] + self._words
        self._block = None
        try:
            is_done = await asyncio.to_thread(store_sight.rebuild, self.key, limits, now=datetime.now(UTC))
        except QuotaStoreUnavailable:
            is_done = False
        if is_done:
            self._ask_at = 0.0
        else:
            self._stay_away(SETTLE_WITHIN_S * 5)

    def _stay_away(self, look_s: float) -> None:
        self._gone_away()
        refusal = QuotaStoreUnavailable("The quota store does not answer.", retry_after=_look())
        for waiter in self._line.everyone():
            waiter.hear(refusal)
        self._send_off_the_impatient()
        self._ask_at = time.monotonic() + look_s

    def _look_after(self, limits: Limits) -> None:
        """Let PostgreSQL know what the minute holds, in the background."""
        now = time.monotonic()
        if now - self._seen_at < store_sight.SEEN_EVERY.total_seconds() or (self._looking and not self._looking.done()):
            return
        self._seen_at = now
        self._looking = asyncio.get_running_loop().create_task(_looked_after(self.key, limits))


async def _looked_after(key: ModelKey, limits: Limits) -> None:
    try:
        await asyncio.to_thread(store_sight.look_after, key, limits, now=datetime.now(UTC))
    except QuotaStoreUnavailable:
        log.warning("quota_store_not_seen", provider=key[0], model=key[1])


def _full(key: ModelKey, wait: timedelta) -> QuotaExceeded:
    return QuotaExceeded(f"{key[0]}/{key[1]} is at its limit.", retry_after=wait)


def _look() -> timedelta:
    return timedelta(seconds=AWAY_LOOK_S)
