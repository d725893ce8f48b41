"""Merging what many coroutines want done at the same moment."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from invocation.gateways.grouping import MOST, Grouper
from tests.integration.invocation.conftest import until


class Together:
    """Doubles numbers, keeps the groups that it was called with, and can be held at its first."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.gate = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.groups.append(list(items))
        if not self.gate.wait(10):
            raise TimeoutError
        if -1 in items:
            raise LookupError("a bad item")
        return [2 * item for item in items]


async def test_a_lone_item_goes_at_once() -> None:
    together = Together()
    together.gate.set()

    assert await Grouper(together).do(4) == 8
    assert together.groups == [[4]]


async def test_what_comes_during_a_call_goes_together_with_the_next() -> None:
    together = Together()
    grouper = Grouper(together)
    first = asyncio.create_task(grouper.do(0))
    await until(lambda: together.groups == [[0]])
    rest = [asyncio.create_task(grouper.do(number)) for number in range(1, 10)]
    await asyncio.sleep(0)
    together.gate.set()

    assert await asyncio.gather(first, *rest) == [2 * number for number in range(10)]
    assert together.groups == [[0], list(range(1, 10))]


async def test_what_comes_soon_after_a_call_goes_together_where_calls_are_kept_apart() -> None:
    together = Together()
    together.gate.set()
    grouper = Grouper(together, apart_s=0.3)
    await grouper.do(0)
    soon = asyncio.create_task(grouper.do(1))
    await asyncio.sleep(0.05)
    later = asyncio.create_task(grouper.do(2))

    assert (await soon, await later) == (2, 4)
    assert together.groups == [[0], [1, 2]]


async def test_a_group_is_bounded() -> None:
    together = Together()
    together.gate.set()
    answers = await asyncio.gather(*(_asked(Grouper(together), number) for number in range(3)))
    grouper = Grouper(together)
    many = await asyncio.gather(*(grouper.do(number) for number in range(2 * MOST + 1)))

    assert answers == [0, 2, 4]
    assert many == [2 * number for number in range(2 * MOST + 1)]
    assert max(len(group) for group in together.groups) == MOST


async def _asked(grouper: Grouper[int, int], number: int) -> int:
    return await grouper.do(number)


async def test_an_error_reaches_each_of_its_group_and_nobody_else() -> None:
    together = Together()
    grouper = Grouper(together)
    first = asyncio.create_task(grouper.do(0))
    await until(lambda: together.groups == [[0]])
    rest = [asyncio.create_task(grouper.do(number)) for number in (1, -1, 2)]
    await asyncio.sleep(0)
    together.gate.set()
    found: list[Any] = await asyncio.gather(first, *rest, return_exceptions=True)

    assert found[0] == 0
    assert [type(error) for error in found[1:]] == [LookupError] * 3
    assert await grouper.do(5) == 10


async def test_one_who_stops_waiting_takes_nothing_from_the_others() -> None:
    together = Together()
    grouper = Grouper(together)
    first = asyncio.create_task(grouper.do(1))
    second = asyncio.create_task(grouper.do(2))
    await until(lambda: bool(together.groups))
    first.cancel()
    together.gate.set()

    assert await second == 4
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_those_who_were_answered_together_and_ask_again_go_together_again() -> None:
    together = Together()
    grouper = Grouper(together, breath=timedelta(seconds=20))
    async with asyncio.timeout(10):
        first = asyncio.create_task(grouper.do(0))
        await until(lambda: together.groups == [[0]])
        rest = [asyncio.create_task(grouper.do(number)) for number in (1, 2, 3)]
        await asyncio.sleep(0)
        together.gate.set()
        await asyncio.gather(first, *rest)
        for number in (4, 5, 6):
            rest.append(asyncio.create_task(grouper.do(number)))
            await asyncio.sleep(0.01)
        await asyncio.gather(*rest)

    assert together.groups == [[0], [1, 2, 3], [4, 5, 6]]


async def test_who_comes_alone_after_a_group_goes_after_a_breath() -> None:
    together = Together()
    together.gate.set()
    grouper = Grouper(together, breath=timedelta(milliseconds=20))
    async with asyncio.timeout(10):
        await asyncio.gather(*(grouper.do(number) for number in (1, 2)))
        assert await grouper.do(3) == 6

    assert together.groups == [[1, 2], [3]]


@pytest.mark.parametrize("when", ["before the call", "during the call", "at the answer"])
async def test_an_answer_that_nobody_waits_for_any_more_is_not_lost(when: str) -> None:
    together, unheard = Together(), list[tuple[int, int]]()
    grouper = Grouper(together, unheard=lambda item, answer: unheard.append((item, answer)))
    first = asyncio.create_task(grouper.do(1))
    await until(lambda: together.groups == [[1]])

    async def cancelling() -> None:
        await grouper.do(2)
        left.cancel()

    beside = asyncio.create_task(cancelling() if when == "at the answer" else grouper.do(2))
    left = asyncio.create_task(grouper.do(3))
    await asyncio.sleep(0)
    if when == "before the call":
        left.cancel()
    together.gate.set()
    if when == "during the call":
        await first
        together.gate.clear()
        await until(lambda: together.groups == [[1], [2, 3]])
        left.cancel()
        together.gate.set()
    await asyncio.wait([first, beside, left])
    await until(lambda: bool(unheard))

    assert (first.result(), left.cancelled(), unheard) == (2, True, [(3, 6)])
