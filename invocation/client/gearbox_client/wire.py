"""The two ways out: one that blocks its thread for an exchange, one that is awaited. What is decided is decided elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from http import HTTPStatus
from typing import TypeVar

import httpx

from gearbox_client.calls import Call, Page, Streaming
from gearbox_client.exchanges import (
    STREAM_TROUBLES,
    TROUBLES,
    EndedEarly,
    Terms,
    answer_of,
    following,
    luck,
    outgoing,
    pause_of,
    refusal_of,
    trouble_of_stream,
)
from gearbox_client.following import Follower
from gearbox_client.values.events import Event

T = TypeVar("T")


class Wire:
    """Carries out calls over httpx.Client."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._http = httpx.Client(**terms.options())

    def close(self) -> None:
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """Return what one exchange answers. Raises Problem, Unreachable or UnreadableAnswer."""
        sent = 0
        while True:
            sent += 1
            try:
                return answer_of(call, self._http.request(**outgoing(call)), sent=sent)
            except TROUBLES as cause:
                pause = pause_of(call, cause, sent=sent, rules=self._terms.retries)
            time.sleep(pause.total_seconds())

    def pages(self, call: Call[Page[T]]) -> Generator[T, None, None]:
        """Yield a list's entries; each page is one exchange, asked for when it is needed."""
        while True:
            page = self.send(call)
            yield from page.items
            if page.next is None:
                return
            call = following(call, page.next)

    def events(self, stream: Streaming) -> Generator[Event, None, None]:
        """Yield a stream's events, once each, up to the last."""
        follower = Follower(stream, self._terms.reconnects)
        while not follower.has_ended:
            try:
                yield from self._connection(follower)
                asked = follower.asks()
                if asked is not None and self.send(asked):
                    return
                cause: Exception = EndedEarly("it ended before its last event")
            except STREAM_TROUBLES as met:
                cause = met
            if not follower.has_ended:
                time.sleep(follower.pause(cause, trouble_of_stream(cause), luck=luck()).total_seconds())

    def _connection(self, follower: Follower) -> Generator[Event, None, None]:
        with self._http.stream(**outgoing(follower.connection()), timeout=self._terms.silence) as answer:
            if answer.status_code != HTTPStatus.OK:
                answer.read()
                raise refusal_of(answer)
            follower.opened(answer.headers)
            for chunk in answer.iter_bytes():
                yield from follower.take(chunk)
                if follower.has_ended:
                    return


class AsyncWire:
    """Carries out calls over httpx.AsyncClient."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._http = httpx.AsyncClient(**terms.options())

    async def aclose(self) -> None:
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Return what one exchange answers. Raises Problem, Unreachable or UnreadableAnswer."""
        sent = 0
        while True:
            sent += 1
            try:
                return answer_of(call, await self._http.request(**outgoing(call)), sent=sent)
            except TROUBLES as cause:
                pause = pause_of(call, cause, sent=sent, rules=self._terms.retries)
            await asyncio.sleep(pause.total_seconds())

    async def pages(self, call: Call[Page[T]]) -> AsyncGenerator[T, None]:
        """Yield a list's entries; each page is one exchange, asked for when it is needed."""
        while True:
            page = await self.send(call)
            for item in page.items:
                yield item
            if page.next is None:
                return
            call = following(call, page.next)

    async def events(self, stream: Streaming) -> AsyncGenerator[Event, None]:
        """Yield a stream's events, once each, up to the last."""
        follower = Follower(stream, self._terms.reconnects)
        while not follower.has_ended:
            try:
                async with aclosing(self._connection(follower)) as events:
                    async for event in events:
                        yield event
                asked = follower.asks()
                if asked is not None and await self.send(asked):
                    return
                cause: Exception = EndedEarly("it ended before its last event")
            except STREAM_TROUBLES as met:
                cause = met
            if not follower.has_ended:
                await asyncio.sleep(follower.pause(cause, trouble_of_stream(cause), luck=luck()).total_seconds())

    async def _connection(self, follower: Follower) -> AsyncGenerator[Event, None]:
        async with self._http.stream(**outgoing(follower.connection()), timeout=self._terms.silence) as answer:
            if answer.status_code != HTTPStatus.OK:
                await answer.aread()
                raise refusal_of(answer)
            follower.opened(answer.headers)
            async for chunk in answer.aiter_bytes():
                for event in follower.take(chunk):
                    yield event
                if follower.has_ended:
                    return
