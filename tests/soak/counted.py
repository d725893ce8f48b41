"""The simulated provider as a server in this process, which counts how often it was asked about each row."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from datetime import timedelta

from agents.domain.values import ModelRequest, Piece, Reply
from agents.gateways.providers import briefing
from agents.gateways.providers.pacing import Pacing
from agents.gateways.providers.simulator import OfflineSimulator
from agents.gateways.simulated_provider import SimulatedProvider

KEY = "sk-for-the-simulator-only"
CAPACITY = 4_096
SETTLED_S = 0.2


class Counted(OfflineSimulator):
    """The simulator; `asked` are its calls by what they ask about."""

    def __init__(self, pacing: Pacing) -> None:
        super().__init__(pacing=pacing)
        self.asked: Counter[str] = Counter()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece | Reply, None]:
        self.asked[briefing.last_user_text(request.messages)] += 1
        async for part in super().stream(request):
            yield part


class Provider:
    """What the server has counted, read from another thread."""

    def __init__(self, simulator: Counted, loop: asyncio.AbstractEventLoop) -> None:
        self._simulator, self._loop = simulator, loop
        self.url = ""

    @property
    def calls(self) -> int:
        return self._simulator.tally.calls

    @property
    def cut_off(self) -> int:
        """How many calls broke off because the caller went away."""
        return self._simulator.tally.cancelled

    @property
    def rows(self) -> int:
        """How many rows it was asked about."""
        return len(self._simulator.asked)

    def settled(self) -> Counter[str]:
        """Return the calls by row, once all that was sent until now has been read."""

        async def counted() -> Counter[str]:
            await asyncio.sleep(SETTLED_S)
            return Counter(self._simulator.asked)

        return asyncio.run_coroutine_threadsafe(counted(), self._loop).result(timeout=30)


@contextmanager
def counting(*, call: timedelta) -> Iterator[Provider]:
    """Serve for as long as the block; each call takes about as long as `call`."""
    loop = asyncio.new_event_loop()
    simulator = Counted(Pacing(first_token=call, per_token=timedelta(milliseconds=1), jitter=0.5, capacity=CAPACITY))
    provider, server = Provider(simulator, loop), SimulatedProvider(simulator, api_key=KEY)
    started, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        listening = await loop.create_server(server.connect, "127.0.0.1", 0, backlog=1024)
        provider.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        started.set()
        await stop.wait()
        listening.close()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    if not started.wait(30):
        raise AssertionError("the provider did not start")
    try:
        yield provider
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()
