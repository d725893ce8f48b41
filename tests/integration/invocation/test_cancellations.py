"""What cancels a task reaches it, though a client swallows it on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from invocation.gateways import cancellations


class Swallowing:
    """Asks as redis-py does at the moment that matters: the cancellation is taken, and an answer or an error comes."""

    def __init__(self, outcome: Callable[[], str]) -> None:
        self.asked = asyncio.Event()
        self._outcome = outcome

    async def ask(self) -> str:
        with suppress(asyncio.CancelledError):
            self.asked.set()
            await asyncio.Event().wait()
        return self._outcome()


def an_error() -> str:
    raise ConnectionError("gone")


@pytest.mark.parametrize("outcome", [lambda: "an answer", an_error], ids=["answer", "error"])
async def test_a_cancellation_that_a_client_swallows_is_not_lost(outcome: Callable[[], str]) -> None:
    client = Swallowing(outcome)

    async def asking() -> str:
        try:
            with cancellations.kept():
                return await client.ask()
        except ConnectionError:
            return "it is away"

    task = asyncio.create_task(asking())
    await client.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_was_cancelled_before_and_goes_on_may_ask() -> None:
    async def going_on() -> str:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        with cancellations.kept():
            return "an answer"

    task = asyncio.create_task(going_on())
    await asyncio.sleep(0)
    task.cancel()

    assert await task == "an answer"
