"""Sessions' logs in the store: written by one connection and read by one, fenced, bounded, and found again after a loss."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
import redis

from invocation.gateways import streams
from invocation.gateways.streams import KEPT_EVENTS, KEPT_S, MOST_WAITING, Event, Mailbox
from invocation.gateways.writing import RENEWED_S, StreamWriter
from tests.integration.invocation.conftest import OnLoop, until


def event(seq: int, text: str = "") -> bytes:
    return orjson.dumps({"seq": seq, "type": "delta", "at": "", "data": {"text": text}})


def connections(store: redis.Redis) -> set[str]:
    found: Any = store.client_list()
    return {each["id"] for each in found}


def followed(store: redis.Redis, name: str) -> int:
    """How many sessions whose names begin so are followed; other tests' processes may still follow others."""
    found: Any = store.pubsub_channels(f"{streams.key(name)}*")
    return len(found)


def test_all_followers_of_a_process_share_one_connection(on_loop: OnLoop[Any], wiped: redis.Redis) -> None:
    before = connections(wiped)

    async def story() -> int:
        hub = streams.hub()
        held = [await hub.subscribe(f"shared-{number}") for number in range(20)]
        await asyncio.gather(*(hub.read_after(f"shared-{number}", 0) for number in range(20)))
        await until(lambda: followed(wiped, "shared-") == 20)
        found = len(connections(wiped) - before)
        assert len(held) == 20
        return found

    assert on_loop(story()) == 1


def test_a_session_is_left_when_the_next_is_followed_and_is_heard_again_if_somebody_comes_back_before(
    on_loop: OnLoop[Any], wiped: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LEFT_S", 60.0)

    async def story() -> None:
        hub = streams.hub()
        for name in ("back-1", "back-2"):
            (await hub.subscribe(name)).close()
        back = await hub.subscribe("back-1")
        other = await hub.subscribe("other")
        await until(lambda: followed(wiped, "back-2") == 0)
        wiped.publish(streams.key("back-1"), event(1))
        assert [told.seq for told in await back.mailbox.take(within_s=2.0)] == [1]
        other.close()

    on_loop(story())


def test_what_was_left_before_the_connection_was_lost_is_followed_anew(
    on_loop: OnLoop[Any], wiped: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LEFT_S", 60.0)

    async def story() -> None:
        hub = streams.hub()
        (await hub.subscribe("lost")).close()
        wiped.client_kill_filter(_type="pubsub")
        await until(lambda: not hub.link.is_up)
        again = await hub.subscribe("lost")
        await until(lambda: followed(wiped, "lost") == 1)
        again.close()

    on_loop(story())


@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_a_session_that_nobody_follows_any_more_is_left(on_loop: OnLoop[Any], wiped: redis.Redis, how: str) -> None:
    async def story() -> None:
        one, other = [await streams.hub().subscribe("left") for _ in range(2)]
        await until(lambda: followed(wiped, "left") == 1)
        one.close()
        one.close()
        await streams.hub().read_after("left", 0)
        assert followed(wiped, "left") == 1
        if how == "closed":
            other.close()
        del one, other
        await until(lambda: followed(wiped, "left") == 0)

    on_loop(story())


def test_followers_are_told_to_look_when_the_connection_has_come_back(on_loop: OnLoop[Any], wiped: redis.Redis) -> None:
    before = connections(wiped)

    async def story() -> list[Event]:
        here = await streams.hub().subscribe("back")
        await until(lambda: followed(wiped, "back") == 1)
        [ours] = connections(wiped) - before
        wiped.client_kill_filter(_id=ours)
        assert await here.mailbox.take(within_s=3600) == []
        await until(lambda: bool(wiped.publish(streams.key("back"), event(7))))
        return await here.mailbox.take(within_s=10)

    assert [each.seq for each in on_loop(story())] == [7]


async def test_a_reader_too_slow_for_its_mailbox_is_told_to_read_the_log() -> None:
    mailbox = Mailbox()
    for seq in range(MOST_WAITING):
        mailbox.put(Event(seq, "delta", "", {}))
    assert len(await mailbox.take(within_s=0)) == MOST_WAITING

    for seq in range(MOST_WAITING + 1):
        mailbox.put(Event(seq, "delta", "", {}))
    assert await mailbox.take(within_s=5) == []


async def test_each_silence_is_as_long_as_was_asked_for_whatever_was_waited_for_before() -> None:
    mailbox, clock = Mailbox(), asyncio.get_running_loop().time
    word = Event(1, "delta", "", {})
    asyncio.get_running_loop().call_later(0.2, mailbox.put, word)
    assert await mailbox.take(within_s=0.3) == [word]
    began = clock()
    assert await asyncio.wait_for(mailbox.take(within_s=0.3), 10) == []
    assert clock() - began > 0.25

    asyncio.get_running_loop().call_later(0.05, mailbox.put, word)
    assert await mailbox.take(within_s=60) == [word]
    assert await asyncio.wait_for(mailbox.take(within_s=0.05), 10) == []


def test_what_a_writer_that_was_fenced_out_says_is_neither_kept_nor_told(on_loop: OnLoop[Any], wiped: redis.Redis) -> None:
    async def story() -> list[int]:
        here = await streams.hub().subscribe("fenced")
        writer = StreamWriter()
        for seq in (5, 4, 5, 6):
            writer.write("fenced", seq, event(seq))
            await writer.drain()
        told: list[Event] = []
        while not told or told[-1].seq < 6:
            told += await here.mailbox.take(within_s=5)
        await writer.aclose()
        return [each.seq for each in told]

    assert on_loop(story()) == [5, 6]
    assert wiped.xlen(streams.key("fenced")) == 2


def test_a_log_is_bounded_in_length_and_in_age(on_loop: OnLoop[Any], wiped: redis.Redis) -> None:
    async def story() -> None:
        writer = StreamWriter()
        for seq in range(1, 2 * KEPT_EVENTS):
            writer.write("long", seq, event(seq))
        await writer.drain()
        await writer.aclose()

    on_loop(story())
    length: Any = wiped.xlen(streams.key("long"))
    lives: Any = wiped.ttl(streams.key("long"))
    assert KEPT_EVENTS <= length < KEPT_EVENTS + 200
    assert 0 < lives <= KEPT_S


def test_a_log_that_is_written_to_lives_on_for_an_hour_and_is_not_told_so_with_each_event(on_loop: OnLoop[Any], wiped: redis.Redis) -> None:
    name = streams.key("living")

    async def story() -> list[Any]:
        writer, lives = StreamWriter(), []
        for seq, left_s in enumerate((None, KEPT_S - RENEWED_S // 2, KEPT_S - RENEWED_S - 1, -1), start=1):
            if left_s == -1:
                wiped.persist(name)  # as after a wipe, where the first event that comes again makes the log
            elif left_s:
                wiped.expire(name, left_s)
            writer.write("living", seq, event(seq))
            await writer.drain()
            lives.append(wiped.ttl(name))
        await writer.aclose()
        return lives

    new, fresh, old, endless = on_loop(story())
    renewed = range(KEPT_S - RENEWED_S // 2 + 1, KEPT_S + 1)
    assert new in renewed
    assert fresh not in renewed
    assert old in renewed
    assert endless in renewed


def test_what_is_written_at_one_moment_goes_to_each_session_and_one_that_was_fenced_out_costs_no_other(
    on_loop: OnLoop[Any], wiped: redis.Redis
) -> None:
    async def story() -> None:
        writer = StreamWriter()
        writer.write("fenced", 9, event(9))
        await writer.drain()
        for session, seq in (("one", 1), ("fenced", 8), ("other", 1), ("one", 2), ("other", 2), ("other", 3)):
            writer.write(session, seq, event(seq))
        await writer.drain()
        await writer.aclose()

    on_loop(story())
    logs: list[Any] = [wiped.xrange(streams.key(session)) for session in ("one", "fenced", "other")]
    assert [[entry for entry, _ in log] for log in logs] == [[b"1-0", b"2-0"], [b"9-0"], [b"1-0", b"2-0", b"3-0"]]


def test_what_was_said_while_the_store_forgot_its_scripts_is_lost_and_the_next_is_not(on_loop: OnLoop[Any], wiped: redis.Redis) -> None:
    async def story() -> None:
        writer = StreamWriter()
        writer.write("scripts", 1, event(1))
        await writer.drain()
        wiped.script_flush()
        writer.write("scripts", 2, event(2))
        await writer.drain()
        writer.write("scripts", 3, event(3))
        await writer.drain()
        await writer.aclose()

    on_loop(story())
    kept: Any = wiped.xrange(streams.key("scripts"))
    assert [name for name, _ in kept] == [b"1-0", b"3-0"]
