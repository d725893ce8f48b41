"""Streaming through the SDKs of OpenAI and Anthropic, which are generated alike: loading, reading, and their errors as ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextvars import ContextVar
from datetime import timedelta
from importlib import import_module
from typing import Any

from agents.domain.errors import ProviderDown, ProviderError, ProviderStalled, ProviderUnavailable, StreamCut
from agents.gateways.providers.refusals import from_chunk, from_status

CONNECT_TIMEOUT_S = 5.0
Event = Mapping[str, Any]


class Departure:
    """Whether a call's request has begun to leave: only then can its silence be the provider's, and cost something.

    A loop that was blocked, or a crowd before the connections, can use up a call's whole time before that.
    """

    __slots__ = ("is_done",)

    def __init__(self) -> None:
        self.is_done = False

    async def hear(self, event: str, _details: Mapping[str, Any]) -> None:
        """Take a trace of the HTTP client's: httpcore's extension `trace`."""
        if event.endswith("send_request_headers.started"):
            self.is_done = True


_departure: ContextVar[Departure | None] = ContextVar("departure", default=None)


async def _trace(request: Any) -> None:
    """Have the HTTP client tell of a request what becomes of it."""
    if departure := _departure.get():
        request.extensions["trace"] = departure.hear


class Sdk:
    """One company's client, made at the first call. One object serves one event loop.

    `make` builds it from the package, its time-outs and its HTTP client; its own retries must be off.
    `silence` bounds each wait: until the first event and between two.
    """

    def __init__(self, package: str, *, at: str, silence: timedelta, make: Callable[[Any, Any, Any], Any]) -> None:
        self._package = package
        self._at = at
        self._silence_s = silence.total_seconds()
        self._make = make
        self._loaded: Any = None
        self._made: Any = None

    async def events(self, path: str, body: dict[str, Any]) -> AsyncGenerator[Event, None]:
        """Post and yield what is streamed, as plain objects: typed ones cost several times the parsing.

        Raises the contract's errors; closing it ends the call.
        """
        client = await self._client()
        departure = Departure()
        _departure.set(departure)
        try:
            async with asyncio.timeout(self._silence_s):
                stream = await client.post(path, body=body, cast_to=object, stream=True, stream_cls=self._loaded.AsyncStream[object])
        except Exception as error:
            raise self._translated(error, lost=ProviderUnavailable, has_left=departure.is_done) from error
        async with stream:
            while (event := await self._next(stream)) is not None:
                yield event

    async def aclose(self) -> None:
        """Close the connections."""
        if self._made:
            await self._made.close()
            self._made = None

    async def _client(self) -> Any:
        """Return the client. Its package is imported beside the loop: one to three seconds of work must stop no other run."""
        self._loaded = self._loaded or await asyncio.to_thread(import_module, self._package)
        if self._made is None:
            times = self._loaded.Timeout(self._silence_s, connect=CONNECT_TIMEOUT_S)
            self._made = self._make(self._loaded, times, self._loaded.DefaultAsyncHttpxClient(event_hooks={"request": [_trace]}))
        return self._made

    async def _next(self, stream: Any) -> Event | None:
        """Return the next event, or None at the end."""
        try:
            async with asyncio.timeout(self._silence_s):
                event = await anext(stream, None)
        except Exception as error:
            raise self._translated(error, lost=StreamCut, has_left=True) from error
        return event if isinstance(event, dict) or event is None else {}

    def _translated(self, error: Exception, *, lost: type[ProviderError], has_left: bool) -> Exception:
        """Return the contract's error for one of the SDK's, `lost` for a broken connection; other errors as they are."""
        sdk = self._loaded
        if isinstance(error, sdk.APIStatusError) and error.status_code >= 400:
            return from_status(error.status_code, headers=error.response.headers, sentence=_sentence(error))
        if _is_silence(error):
            return self._silent(has_left=has_left)
        if _is_unreachable(error):
            return ProviderDown(f"The connection to {self._at} failed: {error.__cause__ or error}.")
        if isinstance(error, sdk.APIConnectionError) or "TransportError" in _kinds(error):
            return lost(f"The connection to {self._at} failed: {error.__cause__ or error}.")
        if isinstance(error, sdk.APIError):
            return from_chunk(error.body, sentence=_sentence(error))
        return StreamCut(f"{self._at} sent what is no JSON.") if isinstance(error, ValueError) else error

    def _silent(self, *, has_left: bool) -> ProviderError:
        if has_left:
            return ProviderStalled(f"{self._at} was silent for {self._silence_s:g} s.")
        return ProviderDown(f"The request to {self._at} had not left after {self._silence_s:g} s.")


def _sentence(error: Any) -> str:
    """Return the provider's own words, without the SDK's wrapping where it has both."""
    return getattr(error, "api_message", None) or str(error.message)


def _is_unreachable(error: Exception) -> bool:
    """Say whether there never was a connection: nothing of the request has arrived."""
    return bool((_kinds(error) | _kinds(error.__cause__)) & {"ConnectError", "ConnectTimeout"})


def _is_silence(error: Exception) -> bool:
    """Say whether a time-out struck, other than before there was a connection."""
    if "APITimeoutError" in _kinds(error):
        return not _kinds(error.__cause__) & {"ConnectTimeout", "PoolTimeout"}
    return isinstance(error, TimeoutError) or bool(_kinds(error) & {"ReadTimeout", "WriteTimeout"})


def _kinds(error: BaseException | None) -> set[str]:
    """Return the names of an error's classes: an SDK's own HTTP client is no dependency of ours, but its errors come through."""
    return {kind.__name__ for kind in type(error).__mro__}
