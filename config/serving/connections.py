"""Makes the channel of each HTTP connection, and the request of each call that Twisted reads."""

from __future__ import annotations

import asyncio
from typing import Any, BinaryIO

from daphne.http_protocol import HTTPFactory, WebRequest
from twisted.web.http import HTTPChannel

from config.env import env
from config.serving import bodies
from config.serving.bodies import Gatherings, Intake
from config.serving.channel import Channel

LINGER_S = 2.0
"""For whoever still sends to read why nothing of it is taken: closed at once, the answer could be lost with the connection."""
PACE_BYTES, PACE_S = 64 * 1024, 20.0
"""What a body that is not whole must bring in such a while: who drips keeps the room of others."""
gathered = Gatherings(longest_upload=env.manifest_max_bytes)


class Request(WebRequest):  # type: ignore[misc]
    """daphne's request, whose body is bounded, and nobody's but the application's: Twisted would read forms out of it first."""

    content: BinaryIO
    body: BinaryIO | None = None
    """A long body, which the application is given piece by piece."""
    _intake: Intake | None = None
    _is_refused = False
    _pace: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, parsePOSTFormSubmission=False, **named)

    def gotLength(self, length: int | None) -> None:  # noqa: N802  (Twisted's own word)
        super().gotLength(length)
        channel = self.channel
        self._intake = gathered.intake(channel._command, channel._path, self.requestHeaders)  # noqa: SLF001  (not yet the request's own)
        self._intake.announce(length or 0)
        if self._intake.refused:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        intake = self._intake
        if intake is None or intake.take(len(data)):
            super().handleContentChunk(data)
            if intake and self._pace is None:
                self._watch_pace(intake.length)
        elif not self._is_refused:
            self._refuse()

    def _watch_pace(self, length: int) -> None:
        """Look again in a while; a body that has brought too little by then is given up."""
        self._pace = asyncio.get_running_loop().call_later(PACE_S, self._look_at_pace, length + PACE_BYTES)

    def _look_at_pace(self, least: int) -> None:
        length = self._intake.length if self._intake else 0
        if length < least:
            self.channel.loseConnection()
        else:
            self._watch_pace(length)

    def _refuse(self) -> None:
        """Answer before the body is whole; what still comes of it is dropped."""
        self._is_refused = True
        self.requestHeaders.removeHeader(b"Expect")  # nobody is to send on
        channel = self.channel
        if self._intake:
            channel.transport.write(bodies.refusal(self._intake, channel._command, channel._path))  # noqa: SLF001
        asyncio.get_running_loop().call_later(LINGER_S, channel.loseConnection)

    def process(self) -> Any:
        self._end_pace()
        if self._is_refused:
            self.channel.loseConnection()
            return None
        self.content, self.body = bodies.set_apart(self.content, self._intake.length if self._intake else 0)
        return super().process()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        self._let_go()
        super().connectionLost(reason)

    def finish(self) -> None:
        self._let_go()
        super().finish()

    def _let_go(self) -> None:
        self._end_pace()
        if self._intake:
            self._intake.let_go()
        if self.body:
            self.body.close()

    def handle_exception(self, exception: Exception) -> None:
        """Answer for an application that broke before it had; an answer that began can only be broken off."""
        if self._response_started:
            self.channel.loseConnection()
        else:
            super().handle_exception(exception)

    def _end_pace(self) -> None:
        if self._pace:
            self._pace.cancel()
            self._pace = None


class Connections(HTTPFactory):  # type: ignore[misc]
    """daphne's factory. Plain calls go the short way where nothing was asked of daphne that only its own way has."""

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802  (Twisted's own word)
        connection = super().buildProtocol(addr)
        connection.requestFactory = Request
        return connection

    def protocol(self) -> HTTPChannel:
        return Channel() if self._has_short_way() else HTTPChannel()

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802
        """Only HTTP/1.1: without Twisted's wrapper there is none to change over."""
        return [b"http/1.1"]

    def log(self, request: Any) -> None:
        """Write no line: daphne has an access log of its own, and Twisted's would be written for nobody."""

    def _has_short_way(self) -> bool:
        server = self.server
        return not (server.action_logger or server.http_timeout or server.root_path or server.proxy_forwarded_address_header)
