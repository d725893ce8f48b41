"""The one connection to the store: answers in order, words that are pushed, and a store that goes away or falls silent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import redis
from django.conf import settings as configured

from invocation.gateways import link
from invocation.gateways.link import Link, LinkDown, LinkRefused, pack
from tests.integration.invocation.conftest import until

HELLO = b"%1\r\n$5\r\nproto\r\n:3\r\n"


@pytest.fixture
def store(wiped: redis.Redis) -> redis.Redis:
    return wiped


async def test_each_hears_its_own_answer_whatever_is_pushed_between(store: redis.Redis) -> None:
    pushed: list[Sequence[Any]] = []
    here = Link(configured.REDIS_URL, pushed=pushed.append)
    await here.up()
    here.tell(pack("SUBSCRIBE", "words"), [])
    answers = await asyncio.gather(*(here.ask("ECHO", str(number)) for number in range(50)), here.ask("PUBLISH", "words", "said"))
    await until(lambda: len(pushed) == 2)
    await here.aclose()

    assert answers == [*(str(number).encode() for number in range(50)), 1]
    assert list(pushed[1]) == [b"message", b"words", b"said"]


async def test_an_error_of_the_store_is_the_error_of_its_command_alone(store: redis.Redis) -> None:
    here = Link(configured.REDIS_URL)
    wrong, right = list(await asyncio.gather(here.ask("NO-SUCH-COMMAND"), here.ask("ECHO", "x"), return_exceptions=True))
    await here.aclose()

    assert isinstance(wrong, LinkRefused)
    assert right == b"x"


async def test_a_script_is_sent_in_full_to_a_store_that_does_not_know_it(store: redis.Redis) -> None:
    here = Link(configured.REDIS_URL)
    script = "return {KEYS[1], ARGV[1]}"
    store.script_flush()
    store.config_resetstat()
    answers = [await here.run(script, ["a"], [1])]
    store.script_flush()
    answers += [await here.run(script, ["b"], [2.5]), await here.run(script, ["c"], [3])]
    for _ in range(2):
        with pytest.raises(LinkRefused, match="as asked"):
            await here.run("return redis.error_reply('ERR as asked')", [], [])
    calls: Any = store.info("commandstats")["cmdstat_eval"]["calls"]
    await here.aclose()

    assert answers == [[b"a", b"1"], [b"b", b"2.5"], [b"c", b"3"]]
    assert calls == 3


async def test_whoever_waits_when_it_is_lost_is_told_and_the_next_question_makes_it_again(store: redis.Redis) -> None:
    lost: list[bool] = []
    here = Link(configured.REDIS_URL, lost=lambda: lost.append(True))
    number = await here.ask("CLIENT", "ID")
    waiting = asyncio.create_task(here.ask("BLPOP", "nothing", "0"))
    await asyncio.sleep(0.05)
    store.client_kill_filter(_id=number)

    with pytest.raises(LinkDown):
        await waiting
    assert lost == [True]
    assert await here.ask("CLIENT", "ID") != number
    await here.aclose()


async def test_where_nobody_listens_it_is_down_for_all_who_ask() -> None:
    here = Link("redis://127.0.0.1:1/0")
    answers = await asyncio.gather(here.ask("PING"), here.up(), return_exceptions=True)

    assert [type(answer) for answer in answers] == [LinkDown, LinkDown]
    with pytest.raises(LinkDown):
        here.tell(pack("PING"), [None])


async def test_a_store_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "ANSWER_S", 0.1)

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (HELLO, b"+OK\r\n"):
            await reader.read(1000)
            writer.write(answer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    async with server:
        here = Link(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
        with pytest.raises(LinkDown):
            await asyncio.wait_for(here.ask("GET", "x"), 5)
        assert not here.is_up
    await here.aclose()
