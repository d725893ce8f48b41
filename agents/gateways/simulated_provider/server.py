"""The simulated provider's routes, and running it until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import asdict
from http import HTTPStatus
from itertools import count

import orjson

from agents.domain.errors import ProviderStalled, ProviderUnavailable, RunError, StreamCut
from agents.domain.values import Reply
from agents.gateways.providers.lengths import LENGTHS
from agents.gateways.providers.simulator import OfflineSimulator
from agents.gateways.simulated_provider import chat_completions, converse
from agents.gateways.simulated_provider.chat_completions import ChatCompletions
from agents.gateways.simulated_provider.connection import Connection, HttpRequest
from agents.gateways.simulated_provider.converse import Converse
from agents.gateways.simulated_provider.dialect import Call, Dialect, Refusal
from agents.gateways.simulated_provider.limit import SlidingMinute
from agents.gateways.simulated_provider.messages import Messages
from agents.gateways.simulated_provider.reading import BadRequest

BODY_LIMIT = 1024 * 1024


class SimulatedProvider:
    """Three companies' protocols over one simulator. `tokens_per_minute` is a real limit over all: 429 above it, None for none."""

    def __init__(self, simulator: OfflineSimulator, *, api_key: str, tokens_per_minute: int | None = None) -> None:
        self._simulator = simulator
        self._limit = SlidingMinute(tokens_per_minute) if tokens_per_minute else None
        self._numbers = count(1)
        self._own = ChatCompletions(api_key=api_key)
        self._converse = Converse(api_key=api_key)
        self._dialects: dict[str, Dialect] = {"/v1/chat/completions": self._own, "/v1/messages": Messages(api_key=api_key)}

    def connect(self) -> Connection:
        """Return the protocol for one new connection."""
        return Connection(self.answer, body_limit=BODY_LIMIT)

    async def answer(self, http: HttpRequest, connection: Connection) -> None:
        """Answer one request on its connection."""
        dialect = self._dialect(http)
        stranger = (dialect or self._own).stranger(http)
        if stranger:
            _refuse(connection, stranger)
        elif dialect:
            await self._complete(dialect, http, connection)
        else:
            self._tell(http, connection)

    def stats(self) -> bytes:
        """Write what was done since the start, as JSON."""
        return orjson.dumps(asdict(self._simulator.tally))

    def _dialect(self, http: HttpRequest) -> Dialect | None:
        if http.method != "POST":
            return None
        return self._converse if converse.is_asked(http) else self._dialects.get(http.path)

    def _tell(self, http: HttpRequest, connection: Connection) -> None:
        if (http.method, http.path) == ("GET", "/v1/models"):
            connection.send(HTTPStatus.OK, chat_completions.models(tuple(LENGTHS)))
        elif (http.method, http.path) == ("GET", "/stats"):
            connection.send(HTTPStatus.OK, self.stats())
        else:
            _refuse(connection, chat_completions.refusal(404, f"Unknown request URL: {http.method} {http.path}."))

    async def _complete(self, dialect: Dialect, http: HttpRequest, connection: Connection) -> None:
        try:
            call = dialect.read(http)
            self._admit(call)
            await self._speak(dialect, call, connection)
        except BadRequest as error:
            _refuse(connection, dialect.misread(error))
        except (ProviderStalled, StreamCut):
            connection.drop()
        except RunError as error:
            _refuse(connection, dialect.failure(error))

    def _admit(self, call: Call) -> None:
        """Hold the call against the limit; what it will say is known, so it is charged exactly."""
        if self._limit is None:
            return
        tokens = self._simulator.reply(call.request).usage.total
        wait = self._limit.take(tokens, now=asyncio.get_running_loop().time())
        if wait:
            raise self._simulator.over_limit(wait)

    async def _speak(self, dialect: Dialect, call: Call, connection: Connection) -> None:
        if call.is_streamed:
            await self._stream(dialect, call, connection)
        else:
            reply = await self._whole(call)
            connection.send(HTTPStatus.OK, dialect.voice(call, next(self._numbers)).whole(reply))

    async def _whole(self, call: Call) -> Reply:
        async with aclosing(self._simulator.stream(call.request)) as parts:
            replies = [part async for part in parts if isinstance(part, Reply)]
        return replies[0]

    async def _stream(self, dialect: Dialect, call: Call, connection: Connection) -> None:
        """Send each piece as an event. The head waits for the first part, so that a refusal still has its own status."""
        voice, is_begun = dialect.voice(call, next(self._numbers)), False
        try:
            async with aclosing(self._simulator.stream(call.request)) as parts:
                async for part in parts:
                    if not is_begun:
                        connection.begin_stream(dialect.media_type)
                        connection.send_piece(voice.opening())
                        is_begun = True
                    connection.send_piece(voice.closing(part) if isinstance(part, Reply) else voice.piece(part.text))
                    await connection.drained()
        except ProviderUnavailable as error:
            if not is_begun:
                raise
            connection.send_piece(voice.broken(error))
        connection.end_stream()


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


def _refuse(connection: Connection, refusal: Refusal) -> None:
    connection.send(refusal.status, refusal.body, headers=refusal.headers)
