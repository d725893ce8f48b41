"""What the sessions' logs hold of turns' texts, for a thread without a loop: over one connection, and not for long in all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Self

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from invocation.domain.turns import EventType
from invocation.gateways.streams import PAGE, Event, key

ANSWER_S = 0.5
ALL_S = 1.0
"""The time for all texts that are asked for: whoever asks has others to look after."""


class ShownTexts:
    """Reads texts until its time is up, or the store fails it once; from then on it knows of none."""

    def __init__(self) -> None:
        bounds = {"socket_timeout": ANSWER_S, "socket_connect_timeout": ANSWER_S}
        self._store = redis.Redis.from_url(settings.REDIS_URL, retry=Retry(NoBackoff(), 0), **bounds)
        self._until_s = time.monotonic() + ALL_S

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def of(self, session_id: str, turn_id: str) -> str:
        """Return what a reader has before him of the turn; nothing where the log does not know, or cannot be asked."""
        if time.monotonic() >= self._until_s:
            return ""
        try:
            return self._since_its_beginning(session_id, turn_id)
        except (redis.RedisError, OSError):
            self._until_s = 0.0
            return ""
        except (ValueError, TypeError, KeyError):  # events as no release of ours writes them
            return ""

    def _since_its_beginning(self, session_id: str, turn_id: str) -> str:
        words: list[str] = []
        is_retracted = False
        for event in self._newest_first(session_id):
            if event.type == EventType.TURN_STARTED and event.data.get("turn") == turn_id:
                return "".join(reversed(words))
            is_retracted = is_retracted or event.type == EventType.RETRACTED
            if event.type == EventType.DELTA and not is_retracted:
                words.append(event.data["text"])
        return ""

    def _newest_first(self, session_id: str) -> Iterator[Event]:
        before = "+"
        while page := self._page(session_id, before):
            yield from (Event.parse(fields[b"e"]) for _, fields in page)
            before = f"({page[-1][0].decode()}"

    def _page(self, session_id: str, before: str) -> Any:
        return self._store.xrevrange(key(session_id), max=before, count=PAGE)
