"""Makes the channel of each HTTP connection, and the request of each call that Twisted reads."""

from __future__ import annotations

from typing import Any

from daphne.http_protocol import HTTPFactory, WebRequest
from twisted.web.http import HTTPChannel

from config.serving.channel import Channel


class Request(WebRequest):  # type: ignore[misc]
    """daphne's request, whose body is nobody's but the application's: Twisted would read forms out of it first."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, parsePOSTFormSubmission=False, **named)

    def handle_exception(self, exception: Exception) -> None:
        """Answer for an application that broke before it had; an answer that began can only be broken off."""
        if self._response_started:
            self.channel.loseConnection()
        else:
            super().handle_exception(exception)


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
