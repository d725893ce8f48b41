"""One model's quota as a test holds it: it speaks with the real store under simulated time, and remembers what it was granted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from uuid import uuid4

from quota.domain.classes import PriorityClass
from quota.domain.exchanges import Answer, Change, Place, Verdict, Want, Word
from quota.domain.limits import Limits
from quota.gateways import windows
from quota.gateways.windows import Party, Used

LIMITS = Limits(tokens_per_minute=6000, requests_per_minute=60, p0_reserved=0.3, p3_cap=0.4)
START = 1_800_000_000.0


@dataclass(eq=False)
class Client:
    """A process, as the store knows it."""

    name: str = field(default_factory=lambda: uuid4().hex[:8])
    generation: str = ""
    numbers: count[int] = field(default_factory=lambda: count(1))
    last: tuple[Sequence[Word], Party, Answer] | None = None


@dataclass(eq=False)
class Call:
    """What one call was granted, and what it used in the end."""

    priority_class: PriorityClass
    at: float
    place: Place
    reserved: int
    tokens: int
    requests: int = 1
    is_open: bool = True
    client: Client = field(default_factory=Client)


@dataclass
class Store:
    """One model. Without an idle window it stands wiped."""

    limits: Limits = LIMITS
    key: windows.ModelKey = field(default_factory=lambda: ("test", uuid4().hex))
    now: float = START
    calls: list[Call] = field(default_factory=list)
    me: Client = field(default_factory=Client)

    def begin(self) -> Store:
        """Start with an idle window."""
        windows.rebuild(self.key, generation=uuid4().hex, day=self.now - 3600, minute=windows.NOTHING, today=windows.NOTHING, at=self.now)
        return self

    async def say(self, *words: Word, client: Client | None = None) -> Answer:
        speaker = client or self.me
        party = Party(client=speaker.name, number=next(speaker.numbers), generation=speaker.generation)
        answer = await windows.exchange(self.key, self.limits, words, party, at=self.now)
        assert answer, "the store was wiped"
        speaker.generation = answer.generation
        speaker.last = (words, party, answer)
        return answer

    async def want(self, priority_class: PriorityClass, tokens: int, client: Client | None = None) -> Verdict:
        """Ask for one call; note it if it is granted."""
        answer = await self.say(Want(priority_class=priority_class, tokens=tokens, least_tokens=tokens), client=client)
        verdict = answer.verdicts[0]
        if verdict.is_granted:
            place = Place(verdict.figure, answer.slot, answer.generation)
            self.calls.append(Call(priority_class, self.now, place, tokens, tokens, client=client or self.me))
        return verdict

    async def ask(self, priority_class: PriorityClass, tokens: int, client: Client | None = None) -> timedelta:
        return (await self.want(priority_class, tokens, client)).wait

    async def settle(self, call: Call, *, tokens: int, requests: int = 1, client: Client | None = None) -> None:
        """Charge what was used; what goes beyond the reservation counts from now on."""
        word = Change(priority_class=call.priority_class, place=call.place, tokens=tokens - call.reserved, requests=requests - 1)
        await self.say(word, client=client)
        call.is_open, call.requests = False, requests
        call.tokens = min(tokens, call.reserved)
        if tokens > call.reserved:
            self.calls.append(Call(call.priority_class, self.now, call.place, 0, tokens - call.reserved, 0, is_open=False))

    def used(self, classes: frozenset[PriorityClass], *, since: float, until: float) -> Used:
        calls = [call for call in self.calls if call.priority_class in classes and since <= call.at <= until]
        return Used(sum(call.tokens for call in calls), sum(call.requests for call in calls))
