"""Chats that are cut off, wiped, killed, read slowly and deployed under, in short; at full length in tests/soak."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator, Sequence

import pytest

from tests.soak import scenes
from tests.soak.chats import UNSTORED, Chats, Event, ask, chats, heard
from tests.soak.ground import until

MEBIBYTE = 1024 * 1024
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def here() -> Iterator[Chats]:
    with chats() as found:
        yield found


def seqs(events: Sequence[Event]) -> list[int]:
    """Return the seqs of the stored events, those that a gathered delta stands for included."""
    return [
        seq for event in events if event["type"] not in UNSTORED for seq in range(event["data"].get("from", event["seq"]), event["seq"] + 1)
    ]


async def test_reconnects_at_random_points_lose_and_repeat_nothing(here: Chats) -> None:
    readers = await scenes.cut_off(here, reconnects=200, sessions=20, seed=7)

    assert sum(reader.reconnects for reader in readers) >= 200
    assert [reader.failures for reader in readers if reader.failures] == []
    assert all(reader.is_whole and reader.has_all for reader in readers)
    assert not any(reader.gaps for reader in readers)


async def test_heartbeats_run_through_a_long_plan_a_stalled_model_and_on_both_lines(here: Chats) -> None:
    ways = (scenes.over_socket, scenes.over_sse)
    kinds = ({"plan_s": 4.6, "progress_s": 0.7}, {"model": "Speak. [[fault:stall]]"})
    turns = await asyncio.gather(*(way(here, "web-a", **kind) for way in ways for kind in kinds))

    for events in turns:
        beats = [event for _, event in events if event["type"] == "heartbeat"]
        assert beats, [(round(at, 2), event["type"]) for at, event in events]
        assert all(event["data"]["waited_ms"] >= 1_900 for event in beats)
    stalled = [events[-1][1] for events in turns[1::2]]
    assert {end["data"]["code"] for end in stalled} == {"latency_budget_exceeded"}


async def test_the_figures_of_all_web_processes_are_told_by_each(here: Chats) -> None:
    end = (await scenes.over_sse(here, "web-a", model="Speak."))[-1][1]
    shares = [f'gearbox_stream_first_delta_seconds_count{{endpoint="talk@1",share="{share}"}}' for share in ("whole", "model", "platform")]
    told = await asyncio.to_thread(until, lambda: here.metrics("web-b"), lambda text: all(share in text for share in shares), within=20)

    assert end["data"]["model_first_ms"] >= 20
    assert 'gearbox_stream_heartbeats_total{endpoint="talk@1",line="websocket"}' in told
    assert 'gearbox_stream_resumes_total{endpoint="talk@1",line="websocket"}' in told


async def test_a_stop_ends_a_running_turn_long_before_its_time(here: Chats) -> None:
    async with here.socket("web-a") as socket:
        await socket.send(ask(words=500, gap_s=0.01))
        await heard(socket, to=frozenset({"delta"}))
        await socket.send(json.dumps({"type": "cancel"}))
        end = (await heard(socket))[-1]

    assert (end["type"], end["data"]["code"], end["data"]["truncated"]) == ("turn.failed", "cancelled", True)


async def test_a_turn_whose_reader_left_is_stopped_and_one_who_comes_back_keeps_it(here: Chats) -> None:
    async def leave() -> tuple[str, int]:
        async with here.socket("web-a", "leave@1") as socket:
            await socket.send(ask(words=120, gap_s=0.025))
            ready, *_, last = [event for event in await heard(socket, to=frozenset({"delta"})) if event["type"] != "heartbeat"][1:]
            return str(ready["data"]["session"]), int(last["seq"])

    gone, back = await asyncio.gather(leave(), leave())
    async with here.socket("web-b", "leave@1", session=back[0], after=back[1]) as socket:
        await heard(socket)
    states = dict(here.stage.rows("SELECT session_id::text, error->>'code' FROM invocation_turn WHERE endpoint = 'leave@1'"))

    assert states[gone[0]] == "cancelled"
    assert states[back[0]] != "cancelled"


async def test_a_second_question_takes_the_place_of_the_first_or_waits_for_it(here: Chats) -> None:
    async def twice(endpoint: str) -> list[Event]:
        async with here.socket("web-a", endpoint) as socket:
            await socket.send(ask(words=60, gap_s=0.02))
            events = await heard(socket, to=frozenset({"delta"}))
            await socket.send(ask(words=3))
            return [*events, *await heard(socket), *await heard(socket)]

    replaced, waited = await asyncio.gather(twice("swap@1"), twice("queue@1"))

    assert [event["data"].get("code") for event in replaced if event["type"] == "turn.failed"] == ["cancelled"]
    assert [event["type"] for event in replaced if event["type"].startswith("turn.")][-1] == "turn.completed"
    assert [event["type"] for event in waited if event["type"].startswith("turn.")] == ["turn.started", "turn.completed"] * 2
    assert seqs(waited) == list(range(1, len(seqs(waited)) + 1))


async def test_readers_of_a_byte_a_second_grow_nothing_and_hold_nobody_up(here: Chats) -> None:
    slow, others = await asyncio.gather(
        scenes.read_slowly(here, "web-b", readers=4, for_s=4), scenes.cut_off(here, reconnects=10, sessions=2, seed=3)
    )

    assert slow.sent > MEBIBYTE / 4
    assert slow.most - slow.before.bytes < 24 * MEBIBYTE
    assert not any(reader.failures for reader in others)


async def test_idle_sockets_cost_little(here: Chats) -> None:
    before, opened, after = await scenes.sit_idle(here, "web-b", readers=100, for_s=2)

    assert opened.bytes - before.bytes < 100 * MEBIBYTE / 4
    assert after.bytes - opened.bytes < 2 * MEBIBYTE


async def test_a_wiped_redis_and_a_killed_web_process_lose_no_answer(here: Chats) -> None:
    readers = await scenes.hurt(here, turns=1, sessions=6, seed=11)

    assert [reader.failures for reader in readers if reader.failures] == []
    assert all(reader.seqs == sorted(set(reader.seqs)) and reader.has_all for reader in readers)


async def test_a_web_process_that_leaves_is_unready_first_and_its_readers_go_on_elsewhere(here: Chats) -> None:
    ws, sse, readiness = await scenes.deploy(here, "web-a", "web-b")

    assert 503 in readiness
    for events in (ws, sse):
        assert seqs(events) == list(range(1, len(seqs(events)) + 1))
        assert events[-1]["type"] == "turn.completed"
    assert await asyncio.to_thread(here.stage.processes.pop("web-a").wait, 30) == 0


async def test_a_worker_that_leaves_finishes_its_turns(here: Chats) -> None:
    async with here.socket("web-b") as socket:
        await socket.send(ask(words=100, gap_s=0.02))
        await heard(socket, to=frozenset({"delta"}))
        here.process("worker").send_signal(signal.SIGTERM)
        end = (await heard(socket))[-1]

    assert (end["type"], end["data"]["output"]) == ("turn.completed", {"said": 100})
    assert here.stage.processes.pop("worker").wait(timeout=30) == 0
    until(
        lambda: here.stage.value("SELECT count(*) FROM invocation_process WHERE priority_class = 'p0'"), lambda left: left == 0, within=10
    )
