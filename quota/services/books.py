"""What one process holds of one model's quota: open grants, leased blocks, and what the store is still to be told."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count

from quota.domain.asks import Ask, Grant, Source
from quota.domain.blocks import Block, Demand
from quota.domain.classes import PriorityClass
from quota.domain.exchanges import NOW, Answer, Answered, Change, Close, Failed, Place, Silent, Slow, Word

NOWHERE = Place(0, 0, "")


@dataclass(slots=True)
class Held:
    """A grant that is neither settled nor released: where it was charged, or the block that counts it."""

    place: Place | None = None
    block: Block | None = None
    is_probe: bool = False
    is_told: bool = False


@dataclass(frozen=True, slots=True)
class Rest:
    """What a call did not use, or used on top, of a block that has ended."""

    block: Block
    tokens: int
    requests: int

    def change(self) -> Change:
        """Say it: where the block stands now, or stands as soon as its end, which goes before, is heard."""
        place = self.block.place if self.block.is_placed else Place(NOW, NOW, self.block.place.generation)
        return Change(priority_class=self.block.priority_class, place=place, tokens=self.tokens, requests=self.requests)


class Books:
    """Nothing here awaits: on one event loop each act is atomic. A grant is closed once, whoever asks how often."""

    def __init__(self) -> None:
        self.words: list[Word | Rest] = []
        self.blocks: dict[PriorityClass, Block] = {}
        self.demand = {word: Demand() for word in PriorityClass}
        self.generation = ""
        self._failures = 0
        self._ending: list[Block] = []
        self._ended: list[Block] = []
        self._held: dict[int, Held] = {}
        self._ids = count(1)
        self._debts: dict[PriorityClass, list[int]] = defaultdict(lambda: [0, 0])

    @property
    def has_news(self) -> bool:
        return bool(self.words or self._debts or self.blocks)

    def grant(self, ask: Ask, source: Source, held: Held) -> Grant:
        number = next(self._ids)
        self._held[number] = held
        return Grant(
            id=number,
            provider=ask.provider,
            model=ask.model,
            priority_class=ask.priority_class,
            tokens=ask.tokens,
            source=source,
            is_probe=held.is_probe,
        )

    def from_block(self, ask: Ask) -> Grant | None:
        """Grant a call from its class's block, as far as that goes."""
        block = self.blocks.get(ask.priority_class)
        if block and block.take(ask.tokens, at=time.monotonic()):
            return self.grant(ask, Source.BLOCK, Held(block=block))
        return None

    def close(self, grant: Grant, *, tokens: int, requests: int) -> bool:
        """Note what a call has used; False if that was noted before. A probe that told nothing makes way for another."""
        held = self._held.pop(grant.id, None)
        if held is None:
            return False
        if held.is_probe and not held.is_told:
            self.words.append(Silent())
        if grant.source is Source.LOCAL:
            self._owe(grant.priority_class, tokens, requests)
        else:
            self._differ(grant, held, tokens - grant.tokens, requests - 1)
        return True

    def _owe(self, word: PriorityClass, tokens: int, requests: int) -> None:
        """Remember what was used while the store was away, to charge it when it is back."""
        self._debts[word][0] += tokens
        self._debts[word][1] += requests

    def _differ(self, grant: Grant, held: Held, tokens: int, requests: int) -> None:
        if not (tokens or requests) or (held.block and held.block.put_back(-tokens, -requests)):
            return
        if held.block:
            self.words.append(Rest(held.block, tokens, requests))
        else:
            place = held.place or NOWHERE
            self.words.append(Change(priority_class=grant.priority_class, place=place, tokens=tokens, requests=requests))

    def answered(self, grant: Grant) -> bool:
        """Note that the provider answered a call; say whether the store should hear of it: while there is something to mend."""
        held = self._held.get(grant.id)
        if held is None or held.is_told:
            return False
        held.is_told = True
        if held.is_probe or self._failures:
            self.words.append(Answered(held.is_probe))
            return True
        return False

    def failed(self, grant: Grant, retry_after: timedelta) -> None:
        self.words.append(Failed(self._told(grant), retry_after))
        self.end_blocks()

    def slowed(self, grant: Grant, retry_after: timedelta) -> None:
        self._told(grant)
        self.words.append(Slow(retry_after))
        self.end_blocks()

    def _told(self, grant: Grant) -> bool:
        """Mark a call as one whose fate is told; say whether it was the probe."""
        held = self._held.get(grant.id)
        if held is None:
            return False
        held.is_told = True
        return held.is_probe

    def end_blocks(self) -> None:
        for word in list(self.blocks):
            self.end_block(word)

    def end_block(self, word: PriorityClass) -> None:
        """End a class's block: no call is taken from it any more, and the store hears what was."""
        block = self.blocks.pop(word, None)
        if block and block.is_open:
            self.words.append(block.close())
            self._ending.append(block)

    def take_words(self) -> list[Word]:
        """Hand over what is to be told next, without what is of the past: that stands in what a wiped store was rebuilt from."""
        taken = [word.change() if isinstance(word, Rest) else word for word in self.words]
        self.words, self._ended, self._ending = [], self._ending, []
        owed = [Change(priority_class=word, place=NOWHERE, tokens=debt[0], requests=debt[1]) for word, debt in self._debts.items()]
        self._debts.clear()
        return [word for word in taken if not self._is_of_the_past(word)] + owed

    def _is_of_the_past(self, word: Word) -> bool:
        return (_gives_back(word) or isinstance(word, Close)) and _place(word).generation != self.generation

    def take_back(self, words: Sequence[Word]) -> None:
        """The store may not have heard these: keep what charges more. What gives back may have been done, and is not said twice."""
        self.words = [word for word in words if isinstance(word, Change) and not _gives_back(word)] + self.words
        self._blocks_stand_at(None)

    def hear(self, answer: Answer) -> None:
        self.generation, self._failures = answer.generation, answer.failures
        self._blocks_stand_at(answer.slot)

    def _blocks_stand_at(self, slot: int | None) -> None:
        for block in self._ended:
            block.ended(slot)
        self._ended = []

    def forget_blocks(self) -> None:
        """The store was wiped, and the blocks with it."""
        for block in self.blocks.values():
            block.close()
        self.blocks.clear()


def _gives_back(word: Word) -> bool:
    return isinstance(word, Change) and word.gives_back


def _place(word: Word) -> Place:
    return word.place if isinstance(word, Change | Close) else NOWHERE
