"""Reads that callers of one moment share."""

from __future__ import annotations

import asyncio
import threading

import pytest

from quota.services.shared_reads import SharedReads


class Rows:
    """Rows whose reading ends when it is told to; it counts how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = threading.Event()

    def read(self) -> int:
        self.begun += 1
        assert self.may_end.wait(20)
        return self.begun


async def asking(reads: SharedReads[int], rows: Rows, *, what: str = "rows", callers: int = 1) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(reads.of(what, rows.read)) for _ in range(callers)]
    await asyncio.sleep(0)
    return tasks


async def test_callers_of_one_moment_share_one_read_and_a_later_one_reads_anew() -> None:
    reads, rows = SharedReads[int](), Rows()
    tasks = await asking(reads, rows, callers=100)
    rows.may_end.set()

    assert await asyncio.gather(*tasks) == [1] * 100
    assert await reads.of("rows", rows.read) == 2


async def test_what_is_read_of_one_thing_is_told_to_nobody_who_asks_for_another() -> None:
    reads, one, other = SharedReads[int](), Rows(), Rows()
    one.begun = 10
    tasks = [*await asking(reads, one, what="one"), *await asking(reads, other, what="other")]
    one.may_end.set()
    other.may_end.set()

    assert await asyncio.gather(*tasks) == [11, 1]


async def test_a_caller_who_is_cancelled_ends_the_read_for_nobody_else() -> None:
    reads, rows = SharedReads[int](), Rows()
    first, second = await asking(reads, rows, callers=2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    rows.may_end.set()

    assert await second == 1


async def test_what_a_read_raises_is_raised_for_all_and_kept_for_nobody() -> None:
    reads: SharedReads[int] = SharedReads()

    def broken() -> int:
        raise ConnectionError("away")

    found = await asyncio.gather(*(reads.of("rows", broken) for _ in range(3)), return_exceptions=True)

    assert [type(each) for each in found] == [ConnectionError] * 3
    assert await reads.of("rows", lambda: 7) == 7
