"""A process that calls a model over HTTP as a batch does: many rows at once, each call through the quota of class p3."""

# ruff: noqa: E402  (Django before what needs it)

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import aclosing
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

import uvloop

from agents.domain.errors import ProviderError, ProviderRateLimited
from agents.domain.values import Message, ModelRequest, Reply, Role
from agents.gateways.providers import choice
from agents.gateways.providers.openai_compatible import OpenAICompatible
from agents.services.providers import count_messages
from invocation.services.provider_words import tell
from quota.domain.asks import Ask
from quota.domain.classes import PriorityClass
from quota.gateways import connection
from quota.services import admission

WORDS = [
    "a",
    "quiet",
    "long",
    "story",
    "of",
    "two",
    "brothers",
    "who",
    "keep",
    "the",
    "last",
    "lighthouse",
    "while",
    "the",
    "sea",
    "takes",
    "the",
    "town",
    "house",
    "by",
    "house",
]
BRIEF = "Write two paragraphs about the title for its page in the shop. Use the facts, and nothing else."
MOST_TOKENS = 400
PATIENCE = timedelta(hours=1)
TENANTS = 4


def rows(*, base_url: str, api_key: str, provider: str, model: str, callers: int, for_s: float, seed: int) -> dict[str, int]:
    """Call flat out for so long, so many calls at once; return what came of them."""
    choice.warm(OpenAICompatible.name)  # as a worker does before it takes work
    speaker = OpenAICompatible(base_url=base_url, api_key=api_key)
    return dict(uvloop.run(_rows(speaker, (provider, model), callers, time.monotonic() + for_s, seed)))


async def _rows(speaker: OpenAICompatible, of: tuple[str, str], callers: int, end: float, seed: int) -> Counter[str]:
    found: Counter[str] = Counter()
    tasks = [asyncio.create_task(_row_after_row(speaker, of, Random(seed * 1000 + number), number, found)) for number in range(callers)]  # noqa: S311  (variety)
    await asyncio.sleep(end - time.monotonic())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await admission.rest()
    await connection.aclose()
    await speaker.aclose()
    return found


async def _row_after_row(speaker: OpenAICompatible, of: tuple[str, str], luck: Random, number: int, found: Counter[str]) -> None:
    while True:
        facts = " ".join(luck.choice(WORDS) for _ in range(luck.randint(100, 500)))
        messages = (Message(Role.SYSTEM, BRIEF), Message(Role.USER, facts))
        request = ModelRequest(model=of[1], messages=messages, max_tokens=MOST_TOKENS)
        tokens = count_messages(messages) + MOST_TOKENS
        ask = Ask(provider=of[0], model=of[1], priority_class=PriorityClass.P3, tokens=tokens, tenant=UUID(int=number % TENANTS))
        await _call(speaker, request, ask, found)


async def _call(speaker: OpenAICompatible, request: ModelRequest, ask: Ask, found: Counter[str]) -> None:
    grant = await admission.reserve(ask, patience=PATIENCE)
    used = 0
    try:
        async with aclosing(speaker.stream(request)) as parts:
            async for part in parts:
                admission.answered(grant)
                used = part.usage.total if isinstance(part, Reply) else used
    except ProviderError as error:
        tell(grant, error)
        found["rate_limited" if isinstance(error, ProviderRateLimited) else "failed"] += 1
    finally:
        await admission.settle(grant, used_tokens=used)
    found["tokens"] += used
    found["reserved"] += ask.tokens if used else 0
    found["calls"] += 1


ACTS: Mapping[str, Callable[..., Any]] = {"rows": rows}
