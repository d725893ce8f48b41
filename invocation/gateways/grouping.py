"""Merges what many coroutines want done at the same moment into one call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Generic, TypeVar, cast

from invocation.gateways.database import off_loop

Item = TypeVar("Item")
Answer = TypeVar("Answer")

MOST = 256


class Grouper(Generic[Item, Answer]):
    """Calls `together(items)`, a blocking function that answers in order, with all that is waiting.

    A lone item goes at once; what arrives while `abreast` calls are under way goes with the next, and what arrives
    within `apart_s` of the last one's beginning waits so long.
    After a call that carried several the next waits for as many to come again, at most for a `breath`: those
    who ask again once they are answered go together, too, instead of in two parties that take turns.
    An error of the call reaches every item of its group; the answer for one that is waited for no more reaches `unheard`.
    """

    def __init__(
        self,
        together: Callable[[Sequence[Item]], Sequence[Answer]],
        *,
        abreast: int = 1,
        most: int = MOST,
        apart_s: float = 0.0,
        breath: timedelta = timedelta(0),
        unheard: Callable[[Item, Answer], None] | None = None,
    ) -> None:
        self._together = together
        self._unheard = unheard or _forgotten
        self._abreast = abreast
        self._most = most
        self._apart_s = apart_s
        self._not_before = 0.0
        self._breath = breath
        self._enough, self._are_enough = 0, asyncio.Event()
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._under_way: set[asyncio.Task[None]] = set()

    async def do(self, item: Item) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if len(self._waiting) == self._enough:
            self._are_enough.set()
        if len(self._under_way) < self._abreast:
            self._under_way.add(asyncio.create_task(self._empty()))
        try:
            return await answer
        except asyncio.CancelledError:
            is_answered = answer.done() and not answer.cancelled() and answer.exception() is None
            if is_answered:  # at the moment of the cancellation
                self._unheard(item, answer.result())
            raise

    async def _empty(self) -> None:
        try:
            while self._waiting:
                await self._pause()
                group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                if group:
                    await self._call(group)
                if self._breath and len(group) > 1:
                    await self._breathe(len(group))
        finally:  # before anything else may run: whoever comes next must not count on a task that has ended
            self._under_way.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _pause(self) -> None:
        """Wait until the next call may begin; when it does, others of `abreast` may have taken what waited."""
        if not self._apart_s:
            return
        clock = asyncio.get_running_loop().time
        if (left := self._not_before - clock()) > 0:
            await asyncio.sleep(left)
        self._not_before = clock() + self._apart_s

    async def _breathe(self, answered: int) -> None:
        self._enough = min(len(self._waiting) + answered, self._most)
        self._are_enough.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._breath.total_seconds()):
                await self._are_enough.wait()
        self._enough = 0

    async def _call(self, group: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await off_loop(self._together, [item for item, _ in group])
        except Exception as error:  # noqa: BLE001  (each caller gets it)
            for _, waiting in group:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        for (item, waiting), answer in zip(group, answers, strict=True):
            if waiting.done():
                self._unheard(item, answer)
            else:
                waiting.set_result(answer)


def _forgotten(_item: object, _answer: object) -> None:
    """What nobody waits for is of no use to anybody."""
