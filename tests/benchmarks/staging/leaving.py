"""People who lose their connection in the middle of an answer and come back, and people who stop an answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import uvloop

from tests.benchmarks.staging import talking
from tests.benchmarks.staging.asking import DELTA, Person, met, question, request

AWAY_S = 0.1
"""Long enough to miss at least two frames."""
LATEST = 8
"""Deltas, of some twenty-five or more."""
SETTLED_S = 5.0


def resumed(*, port: int, keys: Sequence[str], people: int, times: int, seed: int) -> dict[str, Any]:
    """Let each be cut off after some deltas and come back; tell the seconds from then to the first event that was missed."""
    return dict(zip(("each", "failures"), uvloop.run(_many(_resumed, port, keys, people, times, seed)), strict=True))


def stopped(*, port: int, keys: Sequence[str], people: int, times: int, seed: int) -> dict[str, Any]:
    """Let each stop its answer after some deltas; tell the seconds from then to the end of the model's call."""
    return dict(zip(("each", "failures"), uvloop.run(_all_stopped(port, keys, people, times, seed)), strict=True))


async def _many(act: Callable[..., Any], *given: Any) -> tuple[list[Any], list[str]]:
    port, keys, people, times, seed = given
    found: list[Any] = []
    failures: list[str] = []

    async def person(number: int) -> None:
        luck = Random(seed * 1000 + number)  # noqa: S311  (a load, not a secret)
        await asyncio.sleep(luck.random())
        for turn in range(times):
            try:
                found.append(await act(port, keys[number % len(keys)], f"Person {number} is cut off for the {turn}. time.", luck))
            except (OSError, ValueError) as failure:
                failures.append(str(failure))

    await asyncio.gather(*map(person, range(people)))
    return found, failures


async def _resumed(port: int, key: str, text: str, luck: Random) -> float:
    [person] = await met(port, 1)
    await _heard(person, question(port, key, text), luck)
    session = person.header("X-Gearbox-Session")
    seq = person.heard.rpartition(b"\nevent: ")[0].rpartition(b"id: ")[2].decode()
    person.close()
    await asyncio.sleep(AWAY_S)
    began = time.perf_counter()
    [back] = await met(port, 1)
    again = request("GET", f"/v1/sessions/{session}/events", port, key, None, f"Last-Event-ID: {seq}")
    failure = await back.send(again, until=lambda: b"\nevent: " in back.heard)
    took = time.perf_counter() - began
    back.close()
    if failure or f"id: {int(seq) + 1}\n".encode() not in back.heard:
        raise ValueError(failure or f"not the event behind {seq}: {back.heard[-300:].decode(errors='replace')}")
    return took


async def _all_stopped(*given: Any) -> tuple[list[float], list[str]]:
    stops, failures = await _many(_stopped, *given)
    await asyncio.sleep(SETTLED_S)
    ended = dict(line.split() for line in talking.cuts().read_text().splitlines()) if talking.cuts().exists() else {}
    failures += [f"turn {turn} went on" for turn, _ in stops if turn not in ended]
    return [float(ended[turn]) - at for turn, at in stops if turn in ended], failures


async def _stopped(port: int, key: str, text: str, luck: Random) -> tuple[str, float]:
    person, other = await met(port, 2)
    await _heard(person, question(port, key, text), luck)
    at = time.time()
    failure = await other.send(request("POST", f"/v1/sessions/{person.header('X-Gearbox-Session')}/cancel", port, key, {}))
    other.close()
    turn = person.header("X-Gearbox-Turn")
    person.close()
    if failure or not other.heard.startswith(b"HTTP/1.1 2"):
        raise ValueError(failure or other.heard[-300:].decode(errors="replace"))
    return turn, at


async def _heard(person: Person, asked: bytes, luck: Random) -> None:
    """Ask, and hear some of the answer. Raises ValueError when there is none."""
    wanted = luck.randint(1, LATEST)
    failure = await person.send(asked, until=lambda: person.heard.count(DELTA) >= wanted)
    if failure or person.has_ended:
        raise ValueError(failure or person.heard[-300:].decode(errors="replace"))


ACTS: Mapping[str, Callable[..., Any]] = {"resumed": resumed, "stopped": stopped}
