"""A TCP proxy that does to a connection what networks do: cuts it, freezes it, delays it, refuses the next one."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")
CHUNK = 65_536
LOOK_S = 0.01
LIMIT_S = 10.0


class Proxy:
    """Listens on `port` and passes everything on. Each act is done when its method returns; any thread may call it."""

    def __init__(self, target_port: int, loop: asyncio.AbstractEventLoop) -> None:
        self.port = 0
        self.accepted = 0
        self.passed_down = 0
        self._target_port = target_port
        self._loop = loop
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self._delay_s = 0.0
        self._cut_at: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset every connection that stands."""
        self._do(self._abort)

    def cut_after(self, size: int) -> None:
        """Reset every connection once so many more bytes came down from the target."""
        self._do(lambda: setattr(self, "_cut_at", self.passed_down + size))

    def refuse(self) -> None:
        """Reset whoever connects from now on."""
        self._do(lambda: setattr(self, "_refuses", True))

    def accept(self) -> None:
        self._do(lambda: setattr(self, "_refuses", False))

    def freeze(self) -> None:
        """Let nothing pass, and keep the connections: neither side learns of it."""
        self._do(self._flows.clear)

    def thaw(self) -> None:
        self._do(self._flows.set)

    def delay(self, seconds: float) -> None:
        """Hold back each piece for this long, in both directions."""
        self._do(lambda: setattr(self, "_delay_s", seconds))

    async def serve(self, started: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        self.port = int(server.sockets[0].getsockname()[1])
        started.set()
        await stop.wait()
        server.close()
        self._abort()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            _reset(writer)
            return
        self.accepted += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            _reset(writer)
            return
        ends = {writer, far_writer}
        self._writers |= ends
        ways = {
            asyncio.create_task(self._pass(reader, far_writer, is_down=False)),
            asyncio.create_task(self._pass(far_reader, writer, is_down=True)),
        }
        self._tasks |= ways
        await asyncio.wait(ways)
        self._tasks -= ways
        self._writers -= ends
        for end in ends:
            end.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_down: bool) -> None:
        with suppress(OSError):
            while piece := await reader.read(CHUNK):
                await asyncio.sleep(self._delay_s)
                await self._flows.wait()
                writer.write(self._counted(piece) if is_down else piece)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()

    def _counted(self, piece: bytes) -> bytes:
        """Return what may still pass, and cut behind it when the measure is full."""
        passed = len(piece) if self._cut_at is None else min(len(piece), self._cut_at - self.passed_down)
        self.passed_down += passed
        if self._cut_at is not None and self.passed_down >= self._cut_at:
            self._cut_at = None
            self._loop.call_later(LOOK_S, self._abort)
        return piece[:passed]

    def _abort(self) -> None:
        for writer in self._writers:
            _reset(writer)

    def _do(self, act: Callable[[], T]) -> None:
        done = threading.Event()

        def acted() -> None:
            act()
            done.set()

        self._loop.call_soon_threadsafe(acted)
        assert done.wait(LIMIT_S)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST and not in good order (SO_LINGER of zero)."""
    found: socket.socket | None = writer.get_extra_info("socket")
    if found is not None and found.fileno() >= 0:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def proxied(target_port: int) -> Iterator[Proxy]:
    """Stand between a client and a port of this machine, on a loop and a thread of its own."""
    loop = asyncio.new_event_loop()
    proxy, started, stop = Proxy(target_port, loop), threading.Event(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(proxy.serve(started, stop),), daemon=True)
    thread.start()
    assert started.wait(LIMIT_S)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(LIMIT_S)
        loop.close()
