"""Chats under everything that happens to connections, at full length (`make soak`)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.soak import scenes
from tests.soak.chats import Chats, chats

MEBIBYTE = 1024 * 1024
RECONNECTS, SESSIONS = 10_000, 40
IDLE = 500
pytestmark = pytest.mark.timeout(3_600)


@pytest.fixture(scope="module")
def here() -> Iterator[Chats]:
    with chats() as found:
        yield found


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")


async def test_ten_thousand_reconnects_lose_and_repeat_nothing(here: Chats) -> None:
    readers = await scenes.cut_off(here, reconnects=RECONNECTS, sessions=SESSIONS, seed=20_261_130)
    say(
        f"{sum(reader.reconnects for reader in readers)} reconnects, {sum(len(reader.texts) for reader in readers)} turns, "
        f"{sum(len(reader.seqs) for reader in readers)} events; refused {[code for reader in readers for code in reader.failures]}"
    )

    assert sum(reader.reconnects for reader in readers) >= RECONNECTS
    assert all(reader.is_whole and reader.has_all for reader in readers)
    assert not any(reader.gaps for reader in readers)


async def test_wiped_and_killed_again_and_again(here: Chats) -> None:
    readers = await scenes.hurt(here, turns=20, sessions=20, seed=20_261_131)
    say(
        f"{sum(len(reader.texts) for reader in readers)} turns, {sum(reader.gaps for reader in readers)} gaps, "
        f"{sum(reader.reconnects for reader in readers)} connections"
    )

    assert all(reader.seqs == sorted(set(reader.seqs)) and reader.has_all for reader in readers)


async def test_forty_readers_of_a_byte_a_second(here: Chats) -> None:
    slow = await scenes.read_slowly(here, "web-b", readers=40, for_s=60)
    say(
        f"{slow.readers} readers, {slow.sent / MEBIBYTE:.1f} MiB said to each, "
        f"{slow.before.bytes / MEBIBYTE:.0f} MiB before and at most {slow.most / MEBIBYTE:.0f}"
    )

    assert slow.most - slow.before.bytes < slow.readers * 6 * MEBIBYTE


async def test_five_hundred_idle_sockets(here: Chats) -> None:
    before, opened, after = await scenes.sit_idle(here, "web-b", readers=IDLE, for_s=60)
    say(
        f"{IDLE} idle: {(opened.bytes - before.bytes) / IDLE / 1024:.0f} KiB each, {1000 * (opened.cpu_s - before.cpu_s) / IDLE:.1f} ms of "
        f"CPU to open each, {1000 * (after.cpu_s - opened.cpu_s) / 60:.1f} ms of CPU a second while idle"
    )

    assert opened.bytes - before.bytes < IDLE * MEBIBYTE / 4
    assert after.bytes - opened.bytes < 8 * MEBIBYTE


async def test_a_stalled_provider_is_never_a_silence(here: Chats) -> None:
    ways = (scenes.over_socket, scenes.over_sse)
    kinds = ({"model": "Speak. [[fault:stall]]"}, {"model": "Speak. [[fault:slow]]"}, {"plan_s": 5.5, "progress_s": 0.7})
    turns = await asyncio.gather(*(way(here, "web-b", **kind) for way in ways for kind in kinds for _ in range(5)))
    silences = [
        later - sooner
        for events in turns
        for (sooner, _), (later, _) in pairwise(
            [each for each in events if each[1]["type"] not in {"progress", "plan.ready", "session.ready"}]
        )
    ]
    say(f"{len(turns)} turns, the longest time without a delta or a heartbeat {max(silences):.2f} s")

    assert all(any(event["type"] == "heartbeat" for _, event in events) for events in turns if events[-1][1]["type"] == "turn.failed")
