"""People who chat over Server-Sent Events: one process, a kept connection each, as little of its own as HTTP allows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import uvloop

from tests.benchmarks.staging import talking

PATIENCE_S = 20.0
TURN_S = 1.2
END = b"event: turn.completed"
DELTA = b"event: delta"


@dataclass(slots=True)
class Seen:
    """What people saw, in seconds. `first` is what was added to each first delta, beyond the model's own first token."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    took_s: float = 0.0


class Person(asyncio.Protocol):
    """One connection; asks one question after the other."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.first_at = 0.0
        self._wanted: Callable[[], bool] = bool
        self._done: asyncio.Future[str] | None = None
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("the connection was lost")

    def data_received(self, data: bytes) -> None:
        self.heard += data
        if not self.first_at and DELTA in self.heard:
            self.first_at = time.perf_counter()
        if self._wanted() or self.has_ended:
            self._end("")

    @property
    def has_ended(self) -> bool:
        """A streamed answer ends with an empty chunk, a whole one is short."""
        return self.heard.endswith(b"0\r\n\r\n") or b"\r\ncontent-length" in self.heard[:600].lower()

    def close(self) -> None:
        self._transport.close()

    def header(self, name: str) -> str:
        lines = self.heard.partition(b"\r\n\r\n")[0].decode().split("\r\n")
        return next((line.partition(":")[2].strip() for line in lines if line.lower().startswith(name.lower() + ":")), "")

    async def send(self, request: bytes, *, until: Callable[[], bool] = bool) -> str:
        """Send a request and return when its answer has ended, or `until` holds; what went wrong, or nothing."""
        self.heard.clear()
        self.first_at, self._wanted, self._done = 0.0, until, asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await asyncio.wait_for(self._done, PATIENCE_S)
        except TimeoutError:
            return f"no end within {PATIENCE_S} s: {self.heard[-300:].decode(errors='replace')}"

    async def ask(self, port: int, key: str, text: str, seen: Seen) -> None:
        """Ask, read to the end, and note what was seen."""
        own, began = talking.own_first_token_s(text), time.perf_counter()
        failure = await self.send(question(port, key, text))
        if failure or not self.first_at or END not in self.heard:
            seen.failures.append(failure or self.heard[-400:].decode(errors="replace"))
            return
        seen.first.append(self.first_at - began - own)
        seen.whole.append(time.perf_counter() - began)

    def _end(self, failure: str) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(failure)


def staggered(*, port: int, keys: Sequence[str], people: int, for_s: float) -> dict[str, Any]:
    """Let so many people chat for so long, each asking again when the answer has ended; they begin one after the other."""
    return asdict(uvloop.run(_staggered(port, keys, people, for_s)))


def at_once(*, port: int, keys: Sequence[str], people: int, times: int) -> dict[str, Any]:
    """Let so many people ask in the same instant, over connections that stand; so many times."""
    return asdict(uvloop.run(_at_once(port, keys, people, times)))


async def _staggered(port: int, keys: Sequence[str], people: int, for_s: float) -> Seen:
    crowd, seen, began = await met(port, people), Seen(), time.perf_counter()

    async def chat(number: int, person: Person) -> None:
        await asyncio.sleep(TURN_S * number / people)
        turn = 0
        while time.perf_counter() < began + for_s:
            turn += 1
            await person.ask(port, keys[number % len(keys)], f"Person {number} asks for the {turn}. time.", seen)

    await asyncio.gather(*(chat(number, person) for number, person in enumerate(crowd)))
    seen.took_s = time.perf_counter() - began
    for person in crowd:
        person.close()
    return seen


async def _at_once(port: int, keys: Sequence[str], people: int, times: int) -> Seen:
    crowd, seen = await met(port, people), Seen()
    for turn in range(times):
        asked = (
            person.ask(port, keys[number % len(keys)], f"Person {number} asks for the {turn}. time.", seen)
            for number, person in enumerate(crowd)
        )
        await asyncio.gather(*asked)
        await asyncio.sleep(0.5)
    for person in crowd:
        person.close()
    return seen


async def met(port: int, people: int) -> list[Person]:
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Person, "127.0.0.1", port))[1] for _ in range(people)]


def question(port: int, key: str, text: str) -> bytes:
    return request("POST", "/v1/chat", port, key, {"endpoint": talking.TALKER, "input": {"text": text}})


def request(method: str, path: str, port: int, key: str, body: Any = None, *more: str) -> bytes:
    """Write a request as it goes out."""
    content = json.dumps(body).encode() if body is not None else b""
    lines = (
        f"{method} {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *more,
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


ACTS: Mapping[str, Callable[..., Any]] = {"staggered": staggered, "at_once": at_once}
