"""What a process says to the store of its blocks and its calls, and what it does not say twice."""

from __future__ import annotations

import time
from datetime import timedelta
from uuid import UUID

import pytest

from quota.domain.asks import Ask, Grant
from quota.domain.blocks import QUANTUM, Block
from quota.domain.classes import PriorityClass
from quota.domain.exchanges import Change, Close, Place, Want
from quota.domain.limits import Limits
from quota.domain.lines import Line
from quota.domain.waiters import Waiter
from quota.services.books import Books
from quota.services.turns import Turn

P0, P1, P2, P3 = PriorityClass
PLACE = Place(102, 100, "g")
LIMITS = Limits(tokens_per_minute=40_000, requests_per_minute=400, p0_reserved=0.3, p3_cap=0.4)
A_SECOND = timedelta(seconds=1)


def ask(tokens: int, priority_class: PriorityClass = P1) -> Ask:
    return Ask(provider="test", model="model", priority_class=priority_class, tokens=tokens, tenant=UUID(int=0))


def with_block() -> tuple[Books, Grant]:
    """Books with a block of each of two classes, and a grant of the one."""
    books = Books()
    books.generation = "g"
    for word in (P1, P3):
        books.blocks[word] = Block(word, PLACE, 1_000, 10, expires_at=time.monotonic() + 60)
    grant = books.from_block(ask(10))
    assert grant is not None
    return books, grant


@pytest.mark.parametrize("said", [Books.slowed, Books.failed])
def test_what_the_provider_says_no_to_ends_all_blocks_of_its_model(said: object) -> None:
    books, grant = with_block()
    assert callable(said)
    said(books, grant, A_SECOND)

    assert books.from_block(ask(10)) is None
    assert [word.priority_class for word in books.take_words() if isinstance(word, Close)] == [P1, P3]


def test_after_a_lost_answer_what_charges_is_said_again_and_what_gives_back_is_not() -> None:
    books = Books()
    charges = Change(priority_class=P1, place=PLACE, tokens=5, requests=0)
    gives = [Change(priority_class=P1, place=PLACE, tokens=tokens, requests=requests) for tokens, requests in ((-5, 0), (0, -1), (5, -1))]
    books.take_back([*gives, charges])

    assert books.words == [charges]


def test_no_block_is_more_than_a_twentieth_of_what_its_class_has_a_minute() -> None:
    """However much was asked for in the last second; p3 has four tenths of the model's minute."""
    want = _block_wanted(tokens=400, calls=60)
    assert (want.tokens, want.requests) == (16_000 // QUANTUM, 160 // QUANTUM)
    assert QUANTUM == 20


def test_a_block_holds_the_call_at_the_head_of_the_line_however_large_it_is() -> None:
    assert _block_wanted(tokens=9_000, calls=4).tokens == 9_000


def _block_wanted(*, tokens: int, calls: int) -> Want:
    books, line = Books(), Line[Waiter]()
    for _ in range(calls):
        books.demand[P3].note(tokens, at=time.monotonic())
    line.join(Waiter(ask(tokens, P3), 0.0, None))  # type: ignore[arg-type]  # nobody waits for its answer
    [want] = Turn(("test", "model"), books, line, set(), LIMITS).words
    assert isinstance(want, Want)
    return want
