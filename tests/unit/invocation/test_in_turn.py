"""One thing after another, however many threads are asked to."""

from __future__ import annotations

import threading
from uuid import UUID

import pytest

from invocation.services.in_turn import InTurn

FIRST, SECOND, THIRD = (UUID(int=number) for number in (1, 2, 3))
PATIENCE_S = 20.0


class Slow:
    """An act that begins, and ends when it may."""

    def __init__(self) -> None:
        self.begun: list[UUID] = []
        self.has_begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self, wanted: UUID) -> None:
        self.begun.append(wanted)
        self.has_begun.set()
        assert self.may_end.wait(PATIENCE_S)


def busy(act: Slow, turns: InTurn) -> threading.Thread:
    thread = threading.Thread(target=turns.take, args=(FIRST,))
    thread.start()
    assert act.has_begun.wait(PATIENCE_S)
    return thread


def test_what_comes_meanwhile_holds_no_thread_and_is_acted_on_afterwards_once() -> None:
    act = Slow()
    turns = InTurn(act)
    thread = busy(act, turns)
    for wanted in (SECOND, THIRD, SECOND):
        turns.take(wanted)
    assert act.begun == [FIRST]

    act.may_end.set()
    thread.join(PATIENCE_S)
    assert act.begun == [FIRST, SECOND, THIRD]


def test_what_waits_when_the_process_ends_is_left_to_another() -> None:
    act = Slow()
    turns = InTurn(act)
    thread = busy(act, turns)
    turns.take(SECOND)
    turns.end()
    act.may_end.set()
    thread.join(PATIENCE_S)
    turns.take(THIRD)

    assert act.begun == [FIRST]


def test_what_an_act_raises_holds_nobody_up() -> None:
    acted: list[UUID] = []

    def act(wanted: UUID) -> None:
        acted.append(wanted)
        if wanted == FIRST:
            raise RuntimeError("broken")

    turns = InTurn(act)
    with pytest.raises(RuntimeError):
        turns.take(FIRST)
    turns.take(SECOND)

    assert acted == [FIRST, SECOND]
