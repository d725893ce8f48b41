"""One exchange of a waiting room: what is told and asked, in which order, and what the answers mean to those who wait."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from quota.domain.asks import Grant, Source
from quota.domain.blocks import LIFE_S, QUANTUM, Block
from quota.domain.classes import PriorityClass
from quota.domain.errors import ModelUnavailable, QuotaError, QuotaExceeded
from quota.domain.exchanges import Answer, Leave, Place, Status, Verdict, Want, Word
from quota.domain.limits import Limits, pools
from quota.domain.lines import Line
from quota.domain.waiters import Waiter
from quota.gateways.windows import SLOT_S, ModelKey
from quota.services.books import Books, Held

MOST_WANTS = 64
WAITS_FOR_THE_PROVIDER = frozenset({PriorityClass.P3})
"""A row waits where it is until the provider is back; others are told, and park or fall back."""


def full(key: ModelKey, wait: timedelta) -> QuotaExceeded:
    return QuotaExceeded(f"{key[0]}/{key[1]} is at its limit.", retry_after=wait)


class Turn:
    """Takes from books and line what is to be said; `hear` is called once, with the answer."""

    def __init__(self, key: ModelKey, books: Books, line: Line[Waiter], tickets: set[PriorityClass], limits: Limits) -> None:
        self._key, self._books, self._line, self._tickets, self._limits = key, books, line, tickets, limits
        self._asked: list[Sequence[Waiter]] = []
        self._began = time.monotonic()
        self._end_stale_blocks()
        self.words: list[Word] = books.take_words()
        for word in PriorityClass:
            self._add_wants(word, line.next_of(word, MOST_WANTS))

    def hear(self, answer: Answer) -> list[timedelta]:
        """Serve and refuse; return how long those wait who were not served."""
        self._books.hear(answer)
        pairs = zip(self._asked, answer.verdicts, strict=True)
        waits = [self._answer(waiting, verdict, answer) for waiting, verdict in pairs]
        return [wait for wait in waits if wait]

    def _add_wants(self, word: PriorityClass, waiting: Sequence[Waiter]) -> None:
        if not waiting and word in self._tickets:
            self._tickets.discard(word)
            self.words.append(Leave(word))
        tokens, requests = self._books.demand[word].of_a_block(at=self._began)
        if waiting and requests:
            self.words.append(self._block_want(waiting, tokens, requests))
            self._asked.append(waiting)
            return
        for waiter in waiting:
            self.words.append(Want(priority_class=word, tokens=waiter.ask.tokens, least_tokens=waiter.ask.tokens))
            self._asked.append((waiter,))

    def _block_want(self, waiting: Sequence[Waiter], tokens: int, requests: int) -> Want:
        """Ask for what the next half second will take, at least for the head's call; a small part of the class's minute."""
        head = waiting[0].ask
        pool = pools(self._limits, head.priority_class)[-1]
        wanted = max(tokens, sum(each.ask.tokens for each in waiting))
        return Want(
            priority_class=head.priority_class,
            tokens=max(min(wanted, pool.tokens // QUANTUM), head.tokens),
            least_tokens=head.tokens,
            requests=max(min(max(requests, len(waiting)), pool.requests // QUANTUM), 1),
            ahead=round(LIFE_S / SLOT_S),
        )

    def _answer(self, waiting: Sequence[Waiter], verdict: Verdict, answer: Answer) -> timedelta:
        word = waiting[0].ask.priority_class
        if not verdict.is_granted:
            self._tickets.add(word)
            for waiter in waiting:
                self._refuse_for_now(waiter, verdict)
            return verdict.wait
        self._tickets.discard(word)
        place = Place(verdict.figure, answer.slot, answer.generation)
        if verdict.figure > answer.slot:
            self._begin_block(word, place, verdict)
        else:
            self._serve(waiting[0], place, verdict)
        return timedelta(0)

    def _refuse_for_now(self, waiter: Waiter, verdict: Verdict) -> None:
        refusal = self._refusal(verdict)
        waiter.hear(refusal, at=time.monotonic())
        if verdict.status is Status.OPEN and waiter.ask.priority_class not in WAITS_FOR_THE_PROVIDER:
            self._line.leave(waiter)
            waiter.refuse(refusal)

    def _refusal(self, verdict: Verdict) -> QuotaError:
        if verdict.status is Status.OPEN:
            return ModelUnavailable(f"{self._key[0]}/{self._key[1]} is out: its provider failed the last calls.", retry_after=verdict.wait)
        return full(self._key, verdict.wait)

    def _serve(self, waiter: Waiter, place: Place, verdict: Verdict) -> None:
        """Serve one call; one that went away meanwhile gives back what it was granted."""
        self._line.serve(waiter)
        grant = self._books.grant(waiter.ask, Source.STORE, Held(place, is_probe=verdict.status is Status.PROBE))
        self._hand_over(waiter, grant)

    def _hand_over(self, waiter: Waiter, grant: Grant) -> None:
        if not waiter.serve(grant):
            self._books.close(grant, tokens=0, requests=0)

    def _begin_block(self, word: PriorityClass, place: Place, verdict: Verdict) -> None:
        self._books.end_block(word)
        block = self._books.blocks[word] = Block(word, place, verdict.tokens, verdict.requests, self._began + LIFE_S)
        self._serve_from_block(block)

    def _serve_from_block(self, block: Block) -> None:
        """Serve the line as far as the block goes; a head that it cannot hold is not passed."""
        while head := self._line.head(block.priority_class):
            grant = self._books.from_block(head.ask)
            if grant is None:
                return
            self._line.serve(head)
            self._hand_over(head, grant)

    def _end_stale_blocks(self) -> None:
        """End each block that has run out: of time, or of what the next in line needs."""
        for word, block in list(self._books.blocks.items()):
            self._serve_from_block(block)
            if self._began >= block.expires_at or self._line.count(word):
                self._books.end_block(word)
