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
ENDS = (b"event: turn.completed", b"event: turn.failed")


@dataclass(slots=True)
class Seen:
    """What people saw. `first` is what was added to each first delta, beyond the model's own first token, in seconds."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    began: float = 0.0
    ended: float = 0.0


class Person(asyncio.Protocol):
    """One connection; asks one question after the other."""

    def __init__(self) -> None:
        self._heard = bytearray()
        self._first_at = 0.0
        self._done: asyncio.Future[str] | None = None
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("the connection was lost")

    def data_received(self, data: bytes) -> None:
        self._heard += data
        if not self._first_at and b"event: delta" in self._heard:
            self._first_at = time.perf_counter()
        if self._heard.endswith(b"0\r\n\r\n") or b"\r\ncontent-length" in self._heard[:400].lower():
            self._end("" if ENDS[0] in self._heard else self._heard[-400:].decode(errors="replace"))

    def close(self) -> None:
        self._transport.close()

    async def ask(self, head: bytes, text: str, seen: Seen) -> None:
        """Ask, read to the end, and note what was seen."""
        self._heard.clear()
        self._first_at, self._done = 0.0, asyncio.get_running_loop().create_future()
        own, began = talking.own_first_token_s(text), time.perf_counter()
        self._transport.write(_request(head, text))
        try:
            failure = await asyncio.wait_for(self._done, PATIENCE_S)
        except TimeoutError:
            failure = f"no end within {PATIENCE_S} s: {self._heard[-300:].decode(errors='replace')}"
        if failure or not self._first_at:
            seen.failures.append(failure or "no delta")
            return
        seen.first.append(self._first_at - began - own)
        seen.whole.append(time.perf_counter() - began)

    def _end(self, failure: str) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(failure)


def staggered(*, port: int, keys: Sequence[str], people: int, for_s: float, settle_s: float = 0.0, pause_s: float = 0.0) -> dict[str, Any]:
    """Let so many people chat for so long, each asking again when the answer has ended; they begin one after the other.

    What is asked within the first `settle_s` is not counted.
    """
    return asdict(uvloop.run(_staggered(port=port, keys=keys, people=people, for_s=for_s, settle_s=settle_s, pause_s=pause_s)))


def at_once(*, port: int, keys: Sequence[str], people: int, times: int) -> dict[str, Any]:
    """Let so many people ask in the same instant, over connections that stand; so many times."""
    return asdict(uvloop.run(_at_once(port, keys, people, times)))


async def _staggered(*, port: int, keys: Sequence[str], people: int, for_s: float, settle_s: float, pause_s: float) -> Seen:
    crowd = await _crowd(port, people)
    seen, began = Seen(began=time.time() + settle_s), time.perf_counter()
    end, counted = began + for_s, began + settle_s
    spread_s = max(1.2 + pause_s, people / 100)

    async def chat(number: int, person: Person) -> None:
        await asyncio.sleep(spread_s * number / people)
        turn = 0
        while time.perf_counter() < end:
            turn += 1
            noted = seen if time.perf_counter() >= counted else Seen()
            await person.ask(_head(port, keys[number % len(keys)]), f"Person {number} asks for the {turn}. time.", noted)
            seen.failures += noted.failures if noted is not seen else []
            await asyncio.sleep(pause_s)

    await asyncio.gather(*(chat(number, person) for number, person in enumerate(crowd)))
    seen.ended = time.time()
    for person in crowd:
        person.close()
    return seen


async def _at_once(port: int, keys: Sequence[str], people: int, times: int) -> Seen:
    crowd, seen = await _crowd(port, people), Seen()
    for turn in range(times):
        asked = [
            person.ask(_head(port, keys[number % len(keys)]), f"Person {number} asks for the {turn}. time.", seen)
            for number, person in enumerate(crowd)
        ]
        await asyncio.gather(*asked)
        await asyncio.sleep(0.5)
    for person in crowd:
        person.close()
    return seen


async def _crowd(port: int, people: int) -> list[Person]:
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Person, "127.0.0.1", port))[1] for _ in range(people)]


def _head(port: int, key: str) -> bytes:
    lines = ("POST /v1/chat HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Authorization: Bearer {key}", "Content-Type: application/json")
    return "\r\n".join(lines).encode()


def _request(head: bytes, text: str) -> bytes:
    body = json.dumps({"endpoint": talking.TALKER, "input": {"text": text}}).encode()
    return head + f"\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


ACTS: Mapping[str, Callable[..., Any]] = {"staggered": staggered, "at_once": at_once}
