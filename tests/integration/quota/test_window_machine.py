"""The store against a model of it: whatever happens in whatever order, no limit is passed and p0 gets its reserve."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar
from uuid import uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from quota.domain.blocks import Block
from quota.domain.classes import PriorityClass
from quota.domain.exchanges import Place, Want
from quota.domain.limits import nested, pools
from quota.gateways import connection, windows
from quota.gateways.windows import ByClass
from quota.services.store_sight import most, most_of_the_day
from tests.integration.quota.store import LIMITS, Call, Client, Store

T = TypeVar("T")
P0, P1, P2, P3 = PriorityClass
CLASSES = {0: frozenset(PriorityClass), 1: frozenset({P1, P2, P3}), 2: frozenset({P3})}
DAYS = replace(LIMITS, tokens_per_day=14_000, requests_per_day=200)
LOOK_EVERY_S = 8.0
BLOCK_SLOTS = 2


class Quota(RuleBasedStateMachine):
    """Two processes, leases, deaths, resent exchanges, wipes and rebuilds over one model."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clients = [Client(), Client()]
        self.blocks: list[Block] = []
        self.over: list[Call] = []
        self.wiped_at = float("-inf")

    def do(self, act: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(act)

    def teardown(self) -> None:
        self.do(connection.aclose())
        self.runner.close()

    @initialize()
    def begin(self) -> None:
        self.store = Store(limits=DAYS).begin()
        self.seen: tuple[float, ByClass] = (self.store.now, windows.NOTHING)
        self.began = self.store.now

    @rule(gap=st.one_of(st.floats(0.01, 20), st.sampled_from([9.9, 10.4, 58.8, 59.9, 60.4])))
    def pass_time(self, gap: float) -> None:
        """Somebody looks at the minute every few seconds, as the rooms do."""
        until = self.store.now + gap
        while self.store.now < until:
            self.store.now = min(until, self.store.now + LOOK_EVERY_S)
            self.seen = (self.store.now, self.reading().minute)

    @rule(word=st.sampled_from(PriorityClass), tokens=st.integers(1, 600), who=st.integers(0, 1))
    def reserve(self, word: PriorityClass, tokens: int, who: int) -> None:
        due = word is P0 and self.p0_keeps_within_its_reserve(tokens)
        verdict = self.do(self.store.want(word, tokens, self.clients[who]))
        assert verdict.is_granted or not due

    @rule(word=st.sampled_from(PriorityClass), who=st.integers(0, 1))
    def take_all_there_is(self, word: PriorityClass, who: int) -> None:
        for tokens in (600, 100):
            while self.do(self.store.want(word, tokens, self.clients[who])).is_granted:
                pass

    @precondition(lambda self: any(call.is_open for call in self.store.calls))
    @rule(luck=st.randoms(use_true_random=False), share=st.floats(0, 1), is_made=st.booleans())
    def settle(self, luck: Any, share: float, *, is_made: bool) -> None:
        call = luck.choice([call for call in self.store.calls if call.is_open])
        used, requests = int(call.reserved * share) * is_made, int(is_made)
        if call.place.generation == call.client.generation:
            self.do(self.store.settle(call, tokens=used, requests=requests, client=call.client))
        call.is_open = False
        if call.place.generation == self.generation:
            call.tokens, call.requests = used, requests

    @rule(who=st.integers(0, 1))
    def send_again(self, who: int) -> None:
        """A lost answer makes the client send the exchange again."""
        last = self.clients[who].last
        if last and last[2].generation == self.generation:
            before = self.reading()
            words, party, answer = last
            assert self.do(windows.exchange(self.store.key, DAYS, words, party, at=self.store.now)) == answer
            assert self.reading() == before

    @rule(tokens=st.integers(100, 900), who=st.integers(0, 1))
    def lease(self, tokens: int, who: int) -> None:
        want = Want(priority_class=P3, tokens=tokens, least_tokens=100, requests=6, least_requests=1, ahead=BLOCK_SLOTS)
        answer = self.do(self.store.say(want, client=self.clients[who]))
        verdict = answer.verdicts[0]
        if verdict.is_granted:
            place = Place(verdict.figure, answer.slot, answer.generation)
            self.blocks.append(Block(P3, place, verdict.tokens, verdict.requests, self.store.now + BLOCK_SLOTS * windows.SLOT_S))

    @precondition(lambda self: self.blocks)
    @rule(luck=st.randoms(use_true_random=False), tokens=st.integers(1, 300))
    def call_from_a_block(self, luck: Any, tokens: int) -> None:
        block = luck.choice(self.blocks)
        if block.take(tokens, at=self.store.now):
            self.store.calls.append(Call(P3, self.store.now, block.place, tokens, tokens, is_open=False))

    @rule(word=st.sampled_from(PriorityClass), who=st.integers(0, 1))
    def fill_the_minute(self, word: PriorityClass, who: int) -> None:
        for _ in range(5):
            self.take_all_there_is(word, who)
            self.pass_time(10.6)

    @precondition(lambda self: self.blocks)
    @rule(luck=st.randoms(use_true_random=False))
    def close_a_block(self, luck: Any) -> None:
        block = self.blocks.pop(luck.randrange(len(self.blocks)))
        client = luck.choice(self.clients)
        if block.place.generation == client.generation:
            self.do(self.store.say(block.close(), client=client))

    @rule(who=st.integers(0, 1))
    def die(self, who: int) -> None:
        """A process vanishes with what it has open; nothing of it is ever given back."""
        self.clients[who] = Client()
        self.blocks.clear()
        for call in self.store.calls:
            call.is_open = False

    @rule()
    def wipe(self) -> None:
        """The store loses everything, and is rebuilt from what PostgreSQL knows."""
        now, key = self.store.now, f"{self.store.key[0]}/{self.store.key[1]}"
        redis = connection.in_threads()
        redis.delete(*(f"{{quota}}:{kind}:{key}" for kind in ("model", "line")), *redis.keys(f"{{quota}}:said:{key}:*"))
        minute = most(nested(DAYS), self.seen[1], self.booked(now - 60), now - self.seen[0])
        today = most_of_the_day(nested(DAYS), self.booked(0), minute)
        windows.rebuild(self.store.key, generation=uuid4().hex, day=self.began - 3600, minute=minute, today=today, at=now)
        self.seen = (now, minute)
        self.wiped_at = now

    @invariant()
    def no_window_of_a_minute_passes_a_limit(self) -> None:
        if not hasattr(self, "store"):
            return
        limits = pools(DAYS, P3)
        for end in {call.at for call in self.store.calls[-30:]}:
            for place, classes in CLASSES.items():
                used = self.store.used(classes, since=end - 60, until=end)
                assert used.tokens <= limits[place].tokens
                assert used.requests <= limits[place].requests

    @invariant()
    def no_day_passes_its_limit(self) -> None:
        if not hasattr(self, "store") or self.store.now > self.began + 50_000:
            return
        for place, classes in CLASSES.items():
            used = self.store.used(classes, since=0, until=self.store.now)
            assert used.tokens <= (pools(DAYS, P3)[place].day_tokens or 0)
            assert used.requests <= (pools(DAYS, P3)[place].day_requests or 0)

    @property
    def generation(self) -> str:
        found: bytes | None = connection.in_threads().hget(f"{{quota}}:model:{self.store.key[0]}/{self.store.key[1]}", "gen")  # type: ignore[assignment]
        return found.decode() if found else ""

    def reading(self) -> windows.Reading:
        return windows.read({self.store.key: DAYS}, at=self.store.now)[self.store.key]

    def booked(self, since: float) -> ByClass:
        """The ledger: all calls, for p0; for the others a part is not booked yet, which the rebuild must not need."""
        return {
            word: self.store.used(frozenset({word}), since=since, until=self.store.now if word is P0 else self.store.now - 60)
            for word in PriorityClass
        }

    def p0_keeps_within_its_reserve(self, tokens: int) -> bool:
        """Say whether p0, counted as coarsely as the store counts, asks for no more than what is reserved for it."""
        if self.store.now < self.wiped_at + 62 or self.store.now > self.began + 50_000:
            return False
        whole, shared, _ = nested(DAYS)
        minute = self.store.used(frozenset({P0}), since=self.store.now - 61.5, until=self.store.now)
        day = self.reading().day[P0]
        return (
            minute.tokens + tokens <= whole.tokens - shared.tokens
            and minute.requests + 1 <= whole.requests - shared.requests
            and day.tokens + tokens <= (whole.day_tokens or 0) - (shared.day_tokens or 0)
            and day.requests + 1 <= (whole.day_requests or 0) - (shared.day_requests or 0)
        )


Quota.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
TestQuota = Quota.TestCase
