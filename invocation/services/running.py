"""The attempts that a worker process runs, by the id of their job or turn."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import structlog

log = structlog.get_logger()


class Running:
    """Knows every attempt from its message to its end. Its methods may be called on the loop only, its properties anywhere.

    Only the run itself is ever cancelled: not its claim, and not the storing of what came of it.
    """

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._stoppable: dict[asyncio.Task[Any], str] = {}

    @property
    def count(self) -> int:
        return len(self._tasks)

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(self._tasks.copy().values())

    def start(self, run_id: str, attempt: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(attempt)
        self._tasks[task] = run_id
        task.add_done_callback(self._end)

    @contextmanager
    def stoppable(self, run_id: str) -> Iterator[None]:
        """Let `stop` cancel the current task inside, once; outside it cannot."""
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("an attempt is a task")
        self._stoppable[task] = run_id
        try:
            yield
        finally:
            self._stoppable.pop(task, None)

    def stop(self, run_ids: Sequence[str]) -> None:
        """Cancel these runs: their model calls end."""
        wanted = frozenset(run_ids)
        for task in [task for task, run_id in self._stoppable.items() if run_id in wanted]:
            del self._stoppable[task]
            task.cancel()

    def stop_all(self) -> None:
        self.stop(list(self._stoppable.values()))

    async def rest(self, *, within_s: float) -> None:
        """Return when nothing runs any more, or after `within_s`."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=within_s)

    def _end(self, task: asyncio.Task[None]) -> None:
        """What broke off, as when the database went away, is given back by the heartbeat or ended by the sweep."""
        run_id = self._tasks.pop(task)
        broken = None if task.cancelled() else task.exception()
        if broken is not None:
            log.error("attempt_broke_off", run_id=run_id, error=repr(broken))


class Promised:
    """The jobs of messages that are being claimed: neither somebody else's nor started yet. May be used from any thread."""

    def __init__(self) -> None:
        self._promises: dict[int, tuple[str, ...]] = {}
        self._numbers = itertools.count()

    @property
    def count(self) -> int:
        return sum(map(len, self._promises.copy().values()))

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(itertools.chain.from_iterable(self._promises.copy().values()))

    def add(self, wakes: Sequence[tuple[UUID, int]]) -> int:
        """Note the jobs of a message and return the promise's number."""
        number = next(self._numbers)
        self._promises[number] = tuple(str(job_id) for job_id, _ in wakes)
        return number

    def keep(self, number: int) -> None:
        """Forget a promise whose jobs have been started, or are not to be."""
        del self._promises[number]


def uncancel() -> None:
    """Take note of a cancellation that was an answer, not an end: the task goes on to store what came of its run."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
