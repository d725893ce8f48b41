"""The simulated provider's routes, and running it until it is told to stop."""

from __future__ import annotations

import asyncio
import hmac
import math
import signal
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import asdict
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import count

import orjson

from agents.domain.errors import ProviderRateLimited, ProviderRefused, ProviderStalled, ProviderUnavailable, RunError, StreamCut
from agents.domain.values import Reply
from agents.gateways.providers.lengths import LENGTHS
from agents.gateways.providers.simulator import OfflineSimulator
from agents.gateways.simulated_provider import wire
from agents.gateways.simulated_provider.connection import Connection, HttpRequest
from agents.gateways.simulated_provider.limit import SlidingMinute

BODY_LIMIT = 1024 * 1024


class SimulatedProvider:
    """OpenAI's chat completions over one simulator. `tokens_per_minute` is a real limit: 429 above it, None for none."""

    def __init__(self, simulator: OfflineSimulator, *, api_key: str, tokens_per_minute: int | None = None) -> None:
        self._simulator = simulator
        self._authorization = f"Bearer {api_key}".encode()
        self._limit = SlidingMinute(tokens_per_minute) if tokens_per_minute else None
        self._numbers = count(1)

    def connect(self) -> Connection:
        """Return the protocol for one new connection."""
        return Connection(self.answer, body_limit=BODY_LIMIT)

    async def answer(self, http: HttpRequest, connection: Connection) -> None:
        """Answer one request on its connection."""
        given = http.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, self._authorization):
            _refuse(
                connection, HTTPStatus.UNAUTHORIZED, "Incorrect API key provided.", kind="invalid_request_error", code="invalid_api_key"
            )
        elif (http.method, http.path) == ("POST", "/v1/chat/completions"):
            await self._complete(http, connection)
        elif (http.method, http.path) == ("GET", "/v1/models"):
            connection.send(HTTPStatus.OK, wire.models(tuple(LENGTHS), created=0))
        elif (http.method, http.path) == ("GET", "/stats"):
            connection.send(HTTPStatus.OK, self.stats())
        else:
            _refuse(connection, HTTPStatus.NOT_FOUND, f"Unknown request URL: {http.method} {http.path}.", kind="invalid_request_error")

    def stats(self) -> bytes:
        """Write what was done since the start, as JSON."""
        return orjson.dumps(asdict(self._simulator.tally))

    async def _complete(self, http: HttpRequest, connection: Connection) -> None:
        try:
            call = wire.read_call(http.body)
            self._admit(call)
            await self._speak(call, connection)
        except wire.BadRequest as error:
            _refuse(connection, HTTPStatus.BAD_REQUEST, error.sentence, kind="invalid_request_error", param=error.param)
        except RunError as error:
            _FAILURES[type(error)](connection, error)

    def _admit(self, call: wire.ChatCall) -> None:
        """Hold the call against the limit; what it will say is known, so it is charged exactly."""
        if self._limit is None:
            return
        tokens = self._simulator.reply(call.request).usage.total
        wait = self._limit.take(tokens, now=asyncio.get_running_loop().time())
        if wait:
            raise self._simulator.over_limit(wait)

    async def _speak(self, call: wire.ChatCall, connection: Connection) -> None:
        envelope = wire.Envelope(id=f"chatcmpl-{next(self._numbers)}", created=int(datetime.now(UTC).timestamp()), model=call.request.model)
        if call.is_streamed:
            await self._stream(call, connection, envelope)
        else:
            connection.send(HTTPStatus.OK, envelope.whole(await self._whole(call)))

    async def _whole(self, call: wire.ChatCall) -> Reply:
        async with aclosing(self._simulator.stream(call.request)) as parts:
            replies = [part async for part in parts if isinstance(part, Reply)]
        return replies[0]

    async def _stream(self, call: wire.ChatCall, connection: Connection, envelope: wire.Envelope) -> None:
        """Send each piece as an event. The head waits for the first part, so that a refusal still has its own status."""
        before, after = envelope.around_text()
        opening: bytes | None = envelope.opening()
        async with aclosing(self._simulator.stream(call.request)) as parts:
            async for part in parts:
                if opening:
                    connection.begin_events()
                    connection.send_events(opening)
                    opening = None
                if isinstance(part, Reply):
                    connection.send_events(envelope.closing(part, with_usage=call.wants_usage))
                else:
                    connection.send_events(before + orjson.dumps(part.text) + after)
                await connection.drained()
        connection.end_events()


async def serve(provider: SimulatedProvider, *, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; tell `ready` the base URL once connections are taken. Port 0 takes a free one.

    Raises OSError if the port is taken. Calls that are open at the end are cut.
    """
    loop = asyncio.get_running_loop()
    server = await loop.create_server(provider.connect, host, port, backlog=1024)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    ready(f"http://{host}:{server.sockets[0].getsockname()[1]}/v1")
    await stopped.wait()
    server.close()


def _refuse(
    connection: Connection, status: HTTPStatus, sentence: str, *, kind: str, code: str | None = None, param: str | None = None
) -> None:
    connection.send(status, wire.problem(sentence, kind=kind, code=code, param=param))


def _rate_limited(connection: Connection, error: RunError) -> None:
    seconds = math.ceil(error.retry_after.total_seconds()) if error.retry_after else 1
    body = wire.problem(error.sentence, kind="tokens", code="rate_limit_exceeded")
    connection.send(HTTPStatus.TOO_MANY_REQUESTS, body, headers={"retry-after": str(seconds)})


def _unavailable(connection: Connection, error: RunError) -> None:
    _refuse(connection, HTTPStatus.INTERNAL_SERVER_ERROR, error.sentence, kind="server_error")


def _no_model(connection: Connection, error: RunError) -> None:
    _refuse(connection, HTTPStatus.NOT_FOUND, error.sentence, kind="invalid_request_error", code="model_not_found", param="model")


def _drop(connection: Connection, _error: RunError) -> None:
    connection.drop()


_FAILURES: dict[type[RunError], Callable[[Connection, RunError], None]] = {
    ProviderRateLimited: _rate_limited,
    ProviderUnavailable: _unavailable,
    ProviderRefused: _no_model,
    ProviderStalled: _drop,
    StreamCut: _drop,
}
