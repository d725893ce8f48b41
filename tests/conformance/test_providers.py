"""What agents.domain.providers.Provider promises, of every provider that can be run here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import timedelta

import pytest

from agents.domain.errors import (
    ProviderDown,
    ProviderError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderStalled,
    ProviderUnavailable,
    StreamCut,
)
from agents.domain.providers import Provider
from agents.domain.values import Message, ModelRequest, Piece, Reply, Role
from agents.gateways.providers.faults import Faults
from agents.gateways.providers.lengths import OFFLINE_ECONOMY, OFFLINE_STANDARD
from agents.gateways.providers.pacing import Pacing
from agents.gateways.providers.simulator import OfflineSimulator
from tests.conformance.simulated import OVER_HTTP, PACE, serving, stats, until

SILENCE = timedelta(seconds=3)
RETRY_AFTER = timedelta(seconds=7)
SAYS_NOT_WHEN = {"bedrock"}
"""Whose 429 has no Retry-After."""
MONSTER = {
    "slug": "monster",
    "title": "Monster",
    "author": "Naoki Urasawa",
    "year": 1994,
    "demographic": "seinen",
    "genres": ["mystery", "thriller"],
    "volumes": 18,
    "status": "completed",
    "synopsis": "A surgeon saves a boy and years later learns what the boy has become.",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """A provider under test, and what the company behind it has counted."""

    provider: Provider
    counts: Callable[[], Awaitable[dict[str, int]]]


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with serving(*PACE, "--retry-after-s", "7") as url:
        yield url


@pytest.fixture(params=["in process", *OVER_HTTP])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    made = _in_process() if request.param == "in process" else _over_http(request.param, request.getfixturevalue("base_url"))
    yield made
    await made.provider.aclose()


def _in_process() -> Subject:
    pacing = Pacing(first_token=timedelta(milliseconds=20), per_token=timedelta(milliseconds=4), capacity=8)
    simulator = OfflineSimulator(pacing=pacing, faults=Faults(markers=True, retry_after=RETRY_AFTER), stall_timeout=SILENCE)

    async def counts() -> dict[str, int]:
        return asdict(simulator.tally)

    return Subject(simulator, counts)


def _over_http(name: str, base_url: str) -> Subject:
    return Subject(OVER_HTTP[name](base_url, timeout=SILENCE), lambda: stats(base_url))


def ask(
    text: str = "Something dark?", *, model: str = OFFLINE_STANDARD, max_tokens: int = 512, before: tuple[Message, ...] = ()
) -> ModelRequest:
    system = Message(Role.SYSTEM, "You advise readers of manga.")
    user = Message(Role.USER, f"{text}\nTASK: answer\nFACTS:\n{json.dumps(MONSTER)}")
    return ModelRequest(model=model, messages=(system, *before, user), max_tokens=max_tokens)


async def parts(provider: Provider, request: ModelRequest) -> list[Piece | Reply]:
    return [part async for part in provider.stream(request)]


async def reply(provider: Provider, request: ModelRequest) -> Reply:
    last = (await parts(provider, request))[-1]
    assert isinstance(last, Reply)
    return last


async def test_the_pieces_joined_are_the_text_of_the_one_reply_at_the_end(subject: Subject) -> None:
    *pieces, last = await parts(subject.provider, ask())

    assert isinstance(last, Reply)
    assert all(isinstance(piece, Piece) for piece in pieces)
    assert len(pieces) > 20
    assert "".join(piece.text for piece in pieces if isinstance(piece, Piece)) == last.text
    assert (last.finish, last.model, last.estimated) == ("stop", OFFLINE_STANDARD, False)


async def test_the_same_request_has_the_same_text_and_usage_everywhere(subject: Subject) -> None:
    expected = OfflineSimulator(pacing=Pacing.instant()).reply(ask())

    first, second = await reply(subject.provider, ask()), await reply(subject.provider, ask())

    assert first == second == expected
    assert first.usage.input > 0
    assert first.usage.output > 0


async def test_the_answer_holds_the_facts(subject: Subject) -> None:
    text = (await reply(subject.provider, ask())).text

    assert all(str(fact) in text for fact in ("Monster", "Naoki Urasawa", 1994, "18 volumes", "completed", "mystery", "thriller"))


async def test_the_economy_model_writes_less(subject: Subject) -> None:
    standard, economy = await reply(subject.provider, ask()), await reply(subject.provider, ask(model=OFFLINE_ECONOMY))

    assert economy.usage.output < standard.usage.output


async def test_max_tokens_cut_the_answer_and_say_so(subject: Subject) -> None:
    whole, short = await reply(subject.provider, ask()), await reply(subject.provider, ask(max_tokens=10))

    assert short.finish == "length"
    assert 0 < short.usage.output <= 10
    assert whole.text.startswith(short.text)


async def test_earlier_turns_are_part_of_the_conversation(subject: Subject) -> None:
    before = (Message(Role.USER, "Something funny?"), Message(Role.ASSISTANT, "Yotsuba&! is funny."))

    alone, following = await reply(subject.provider, ask()), await reply(subject.provider, ask(before=before))

    assert following.usage.input > alone.usage.input
    assert following.text != alone.text


@pytest.mark.parametrize(
    ("marker", "error"),
    [
        ("429", ProviderRateLimited),
        ("500", ProviderUnavailable),
        ("529", ProviderDown),
        ("stall", ProviderStalled),
        ("cut", StreamCut),
        ("break", ProviderUnavailable),
    ],
)
async def test_each_fault_is_the_contracts_own_error_and_is_worth_a_retry(
    subject: Subject, marker: str, error: type[ProviderError]
) -> None:
    with pytest.raises(error) as raised:
        await parts(subject.provider, ask(f"[[fault:{marker}]]"))

    says_when = error is ProviderRateLimited and subject.provider.name not in SAYS_NOT_WHEN
    assert raised.value.retryable
    assert raised.value.retry_after == (RETRY_AFTER if says_when else None)


@pytest.mark.parametrize("marker", ["429", "500", "529"])
async def test_a_refused_call_is_not_tried_again(subject: Subject, marker: str) -> None:
    before = (await subject.counts())["calls"]

    with pytest.raises(ProviderError):
        await parts(subject.provider, ask(f"[[fault:{marker}]]"))

    assert (await subject.counts())["calls"] == before + 1


@pytest.mark.parametrize("marker", ["stall", "cut", "break"])
async def test_what_came_before_a_break_was_delivered(subject: Subject, marker: str) -> None:
    request = ask(f"[[fault:{marker}]]")
    heard: list[str] = []

    with pytest.raises(ProviderError):
        await _listen(subject.provider, request, heard)

    assert heard
    assert OfflineSimulator().reply(request).text.startswith("".join(heard))


async def test_a_broken_call_leaves_the_provider_usable(subject: Subject) -> None:
    for marker in ("429", "500", "529", "stall", "cut", "break"):
        with pytest.raises(ProviderError):
            await parts(subject.provider, ask(f"[[fault:{marker}]]"))

    assert (await reply(subject.provider, ask())).finish == "stop"


async def test_an_unknown_model_is_refused_and_the_known_ones_are_named(subject: Subject) -> None:
    with pytest.raises(ProviderRefused, match=OFFLINE_ECONOMY) as raised:
        await parts(subject.provider, ask(model="gearbox-offline-deluxe"))

    assert not raised.value.retryable


async def test_closing_the_iterator_ends_the_call_at_the_provider(subject: Subject) -> None:
    before = (await subject.counts())["cancelled"]

    async with aclosing(subject.provider.stream(ask("[[fault:slow]]"))) as stream:
        await anext(stream)
        assert (await subject.counts())["in_flight"] == 1

    await _ended(subject, cancelled=before + 1)


async def test_cancelling_the_reader_ends_the_call_at_the_provider(subject: Subject) -> None:
    before = (await subject.counts())["cancelled"]
    reader = asyncio.create_task(parts(subject.provider, ask("[[fault:slow]]")))
    await until(lambda: _is_open(subject))

    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader

    await _ended(subject, cancelled=before + 1)


async def test_more_calls_than_the_capacity_are_served_without_an_error(subject: Subject) -> None:
    """Two and a half times as many: the last wait, but less than the silence that would be a fault."""
    requests = [ask(f"Something dark, number {number}?") for number in range(20)]

    replies = await asyncio.gather(*(reply(subject.provider, request) for request in requests))

    simulator = OfflineSimulator()
    assert replies == [simulator.reply(request) for request in requests]
    assert (await subject.counts())["in_flight"] == 0


async def _listen(provider: Provider, request: ModelRequest, heard: list[str]) -> None:
    async for part in provider.stream(request):
        assert isinstance(part, Piece)
        heard.append(part.text)


async def _is_open(subject: Subject) -> bool:
    return (await subject.counts())["in_flight"] == 1


async def _ended(subject: Subject, *, cancelled: int) -> None:
    async def has_ended() -> bool:
        counts = await subject.counts()
        return (counts["in_flight"], counts["cancelled"]) == (0, cancelled)

    await until(has_ended)
