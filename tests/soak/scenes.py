"""What is done to chats, at any length: cut them off, wipe, kill, read slowly, do nothing, fall silent."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket as sockets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import httpx
import psutil
import redis

from tests.soak.chats import LAST, Chats, Event, Reader, ask, heard, read

WORDS, GAP_S = 30, 0.03


@dataclass(frozen=True, slots=True)
class Resident:
    """What a process holds and has used: bytes, and seconds of processor time."""

    bytes: int
    cpu_s: float

    @classmethod
    def of(cls, process: psutil.Process) -> Resident:
        spent = process.cpu_times()
        return cls(process.memory_info().rss, spent.user + spent.system)


async def cut_off(here: Chats, *, reconnects: int, sessions: int, seed: int) -> Sequence[Reader]:
    """Let so many sessions chat while each reader is cut off at random points, until there were so many reconnects."""
    readers = [Reader(here, random.Random(seed + number), list(here.ports)) for number in range(sessions)]  # noqa: S311  (a seeded monkey)

    async def chat(reader: Reader) -> None:
        while sum(each.reconnects for each in readers) < reconnects:
            await reader.turn(words=WORDS, gap_s=GAP_S)

    await asyncio.gather(*map(chat, readers))
    return readers


async def hurt(here: Chats, *, turns: int, sessions: int, seed: int) -> Sequence[Reader]:
    """Wipe Redis, and kill a web process, in the middle of the turns of so many sessions; start the web process again."""
    readers = [Reader(here, random.Random(seed + number), list(here.ports), patience_s=4.0) for number in range(sessions)]  # noqa: S311

    async def chat(reader: Reader) -> None:
        for _ in range(turns):
            await reader.turn(words=2 * WORDS, gap_s=GAP_S)

    async def harm() -> None:
        """Before, while and after readers come back the log is lost: each order comes about."""
        luck = random.Random(seed)  # noqa: S311
        for _ in range(turns):
            await asyncio.sleep(0.7)
            name = luck.choice(list(here.ports))
            acts: list[Callable[[], Awaitable[None]]] = [wiped, partial(again, name)]
            for act in luck.sample(acts, 2):
                await act()
                await asyncio.sleep(luck.uniform(0.0, 0.5))
            await asyncio.to_thread(here.wait_for, name)

    async def wiped() -> None:
        await asyncio.to_thread(here.flush)

    async def again(name: str) -> None:
        """A process ends with the thread that started it: that is this one, which stays."""
        await asyncio.to_thread(here.kill, name)
        here.start_web(name)

    await asyncio.gather(harm(), *map(chat, readers))
    return readers


@dataclass(frozen=True, slots=True)
class Slow:
    """What slow readers were: how many, for how long, and what the web process held before and at most."""

    readers: int
    before: Resident
    most: int
    sent: int
    """Bytes that were said to each of them meanwhile."""


async def read_slowly(here: Chats, name: str, *, readers: int, for_s: float) -> Slow:
    """Let so many readers ask for a torrent and read one byte a second."""
    process = here.process(name)
    before, most = Resident.of(process), 0
    lines = [await asyncio.to_thread(_slow_line, here, name) for _ in range(readers)]
    end = time.monotonic() + for_s
    try:
        while time.monotonic() < end:
            await asyncio.sleep(1)
            for line in lines:
                _read_one_byte(line)
            most = max(most, Resident.of(process).bytes)
    finally:
        sent = _longest_log(here)
        for line in lines:
            line.close()
    return Slow(readers, before, most, sent)


def _slow_line(here: Chats, name: str) -> sockets.socket:
    """Ask over HTTP and read nothing: the smallest buffer that a client may have."""
    body = json.dumps({"endpoint": "talk@1", "input": {"words": 1_000, "gap_s": 0.005, "bytes": 4_000}}).encode()
    line = sockets.socket()
    line.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 2_048)
    line.connect(("127.0.0.1", here.ports[name]))
    head = f"POST /v1/chat HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {here.key}\r\nContent-Type: application/json\r\n"
    line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    line.settimeout(0)
    return line


def _longest_log(here: Chats) -> int:
    """Return the bytes that the largest of the sessions' logs takes in Redis."""
    with redis.Redis.from_url(here.stage.servers.redis_url) as store:
        return max((int(store.memory_usage(name) or 0) for name in store.scan_iter("gearbox:session:*")), default=0)


def _read_one_byte(line: sockets.socket) -> None:
    try:
        line.recv(1)
    except (BlockingIOError, ConnectionError):
        return


async def sit_idle(here: Chats, name: str, *, readers: int, for_s: float) -> tuple[Resident, Resident, Resident]:
    """Open so many sockets and ask nothing; what the web process held before, when all were open, and after `for_s`."""
    process = here.process(name)
    before = Resident.of(process)
    async with AsyncExitStack() as open_sockets:
        for _ in range(readers):
            socket = await open_sockets.enter_async_context(here.socket(name))
            assert json.loads(await socket.recv())["type"] == "session.ready"
        opened = Resident.of(process)
        await asyncio.sleep(for_s)
        return before, opened, Resident.of(process)


async def over_socket(here: Chats, name: str, endpoint: str = "talk@1", **given: object) -> list[tuple[float, Event]]:
    """Ask over WebSocket; each event with the second at which it came."""
    events: list[tuple[float, Event]] = []
    began = time.monotonic()
    async with here.socket(name, endpoint) as socket:
        await socket.send(ask(**given))
        while not events or events[-1][1]["type"] not in LAST:
            events.append((time.monotonic() - began, json.loads(await socket.recv())))
    return events


async def over_sse(here: Chats, name: str, endpoint: str = "talk@1", **given: object) -> list[tuple[float, Event]]:
    """Ask over Server-Sent Events; each event with the second at which it came."""
    began, body = time.monotonic(), {"endpoint": endpoint, "input": given}
    async with here.http(name) as http, http.stream("POST", "/v1/chat", json=body) as answer:
        return [(time.monotonic() - began, event) async for event in read(answer.aiter_lines())]


async def deploy(here: Chats, leaving: str, staying: str) -> tuple[list[Event], list[Event], list[int]]:
    """SIGTERM a web process in the middle of a turn over either line, and go on at another.

    Returns the stored events of the WebSocket's session and of the SSE's, and what readiness said until the port was closed.
    """
    given = {"words": 100, "gap_s": GAP_S}
    async with here.socket(leaving) as socket, here.http(leaving) as http:
        await socket.send(ask(**given))
        async with http.stream("POST", "/v1/chat", json={"endpoint": "talk@1", "input": given}) as answer:
            events = read(answer.aiter_lines())
            sse = [await anext(events) for _ in range(5)]
            session = answer.headers["X-Gearbox-Session"]
            here.process(leaving).send_signal(signal.SIGTERM)
            readiness = asyncio.create_task(_readiness(here, leaving))
            sse += [event async for event in events]
        ws = await heard(socket, to=frozenset({"reconnect"}))
        await socket.wait_closed()
        assert socket.close_code == 1012, socket.close_code
    own = next(event["data"]["session"] for event in ws if event["type"] == "session.ready" and event["data"]["session"])
    assert [ws[-1]["type"], sse[-1]["type"]] == ["reconnect", "reconnect"]
    async with here.socket(staying, session=own, after=ws[-1]["seq"]) as socket:
        ws += await heard(socket)
    async with here.http(staying) as http:
        last = {"Last-Event-ID": str(sse[-1]["seq"])}
        async with http.stream("GET", f"/v1/sessions/{session}/events", headers=last) as answer:
            sse += [event async for event in read(answer.aiter_lines())]
    return ws, sse, await readiness


async def _readiness(here: Chats, name: str) -> list[int]:
    """Return the statuses that readiness answered with, until nobody answered."""
    found: list[int] = []
    async with here.http(name) as http:
        while True:
            try:
                found.append((await http.get("/readyz", headers={"Connection": "close"})).status_code)
            except httpx.TransportError:
                return found
            await asyncio.sleep(0.05)
