"""Ending turns for their workers: each by itself, with what was shown, and soon though the stream store hangs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from pytest_django import Settings

from invocation.domain.turns import TurnState
from invocation.gateways import shown_texts, streams
from invocation.gateways.shown_texts import ShownTexts
from invocation.gateways.streams import Event
from invocation.models import Turn
from invocation.services import overdue
from tests.integration.invocation.rows import a_turn
from tests.integration.invocation.test_unkept_ends import refused_to_be
from tests.proxy import Proxy, proxied

pytestmark = [pytest.mark.usefixtures("tried", "wiped"), pytest.mark.django_db(transaction=True)]
Told = tuple[str, dict[str, Any]]
STARTED = "turn.started"


def log(store: redis.Redis, session: str, *told: Told) -> None:
    for seq, (kind, data) in enumerate(told, start=1):
        store.xadd(streams.key(session), {"e": Event(seq, kind, "", data).as_bytes()}, id=f"{seq}-0")


def late(count: int, *, attempt: int = 1) -> list[Turn]:
    """Turns past their deadline that a worker holds or had, the oldest first."""
    ago = [datetime.now(UTC) - timedelta(seconds=60 - number) for number in range(count)]
    return [a_turn(TurnState.WORKING, now=moment, attempt=attempt, text="stored") for moment in ago]


def ended() -> int:
    return overdue.end_overdue_turns(now=datetime.now(UTC))


def states(turns: list[Turn]) -> list[str]:
    return [Turn.objects.get(pk=turn.pk).state for turn in turns]


@pytest.fixture
def network(settings: Settings) -> Iterator[Proxy]:
    """What stands between us and the stream store."""
    real = urlsplit(settings.REDIS_URL)
    with proxied(real.port or 6379) as proxy:
        who, at, _ = real.netloc.rpartition("@")
        settings.REDIS_URL = real._replace(netloc=f"{who}{at}127.0.0.1:{proxy.port}").geturl()
        yield proxy


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ([(STARTED, {"turn": "one"}), ("delta", {"text": "a "}), ("delta", {"text": "b"})], "a b"),
        ([("delta", {"text": "before"}), (STARTED, {"turn": "one"}), ("delta", {"text": "a"})], "a"),
        ([(STARTED, {"turn": "one"}), ("delta", {"text": "lost"}), (STARTED, {"turn": "one"}), ("delta", {"text": "a"})], "a"),
        ([(STARTED, {"turn": "one"}), ("delta", {"text": "taken back"}), ("retracted", {}), ("delta", {"text": "a"})], "a"),
        ([(STARTED, {"turn": "other"}), ("delta", {"text": "a"})], ""),
        ([(STARTED, {"turn": "one"}), ("progress", {"done": 1})], ""),
        ([(STARTED, {"turn": "one"}), ("delta", {"no": "text"})], ""),
        ([], ""),
    ],
)
def test_what_a_turn_showed_is_read_back_from_its_last_beginning(
    wiped: redis.Redis, monkeypatch: pytest.MonkeyPatch, told: list[Told], shown: str
) -> None:
    monkeypatch.setattr(shown_texts, "PAGE", 2)
    log(wiped, "s", *told)
    with ShownTexts() as texts:
        assert texts.of("s", "one") == shown


def test_each_overdue_turn_ends_whatever_is_wrong_with_those_before_it(wiped: redis.Redis) -> None:
    refused, odd, good = turns = late(3)
    for turn, text in zip(turns, ("good", "a\0b", "good"), strict=True):
        log(wiped, str(turn.session_id), (STARTED, {"turn": str(turn.pk)}), ("delta", {"text": text}))
    with refused_to_be(TurnState.FAILED, refused.pk):
        assert ended() == 2

    assert states(turns) == ["working", "failed", "failed"]
    assert [Turn.objects.get(pk=turn.pk).text for turn in (odd, good)] == ["a\ufffdb", "good"]
    assert ended() == 1


def test_all_that_was_shown_is_read_over_one_connection(wiped: redis.Redis, network: Proxy) -> None:
    turns = late(8)
    for turn in turns:
        log(wiped, str(turn.session_id), (STARTED, {"turn": str(turn.pk)}), ("delta", {"text": "shown"}))

    assert ended() == 8
    assert network.accepted == 1
    assert {Turn.objects.get(pk=turn.pk).text for turn in turns} == {"shown"}


def test_a_store_that_hangs_holds_up_the_ends_of_many_turns_once_and_not_for_long(network: Proxy) -> None:
    turns = late(20)
    network.freeze()
    began = time.monotonic()
    assert ended() == 20

    assert time.monotonic() - began < shown_texts.ALL_S + shown_texts.ANSWER_S + 1.0
    assert {Turn.objects.get(pk=turn.pk).text for turn in turns} == {"stored"}


def test_a_store_that_is_slow_is_asked_no_longer_than_for_its_time(wiped: redis.Redis, network: Proxy) -> None:
    turns = late(20)
    for turn in turns:
        log(wiped, str(turn.session_id), (STARTED, {"turn": str(turn.pk)}), ("delta", {"text": "shown"}))
    network.delay(0.15)
    began = time.monotonic()
    assert ended() == 20

    assert time.monotonic() - began < shown_texts.ALL_S + shown_texts.ANSWER_S + 1.0
    assert {Turn.objects.get(pk=turn.pk).text for turn in turns} == {"shown", "stored"}


def test_what_no_worker_ever_took_asks_no_store(network: Proxy) -> None:
    assert late(3, attempt=0)
    assert ended() == 3
    assert network.accepted == 0
