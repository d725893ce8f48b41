"""One HTTP connection: plain calls are read and answered at once, everything else is Twisted's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

from config.serving import gate, plain_calls
from config.serving.exchange import Exchange
from config.serving.gate import Gate
from config.serving.plain_calls import PlainCall, Unread
from config.serving.prompt import write_now

CLOSED = Failure(ConnectionDone())


class Channel(HTTPChannel):
    """Twisted's channel, with a short way for plain calls.

    A call that is answered on the short way counts as one that Twisted handles: what the other side
    sends meanwhile is kept, and read when the answer is written, and a sender too far ahead is held up.
    """

    transport: Any
    factory: Any
    _networkProducer: Any  # noqa: N815  (Twisted's own word)
    _held = b""
    _exchange: Exchange | None = None
    _place: Mapping[str, Any] | None = None

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  (Twisted's own word)
        if not self._is_between_calls():
            super().dataReceived(data)
            return
        held, self._held = self._held, b""
        call = plain_calls.read(held + data)
        if isinstance(call, PlainCall):
            self._begin(call)
        elif call is Unread.INCOMPLETE and not held:  # once: a body that trickles in is Twisted's to gather
            self.resetTimeout()
            self._held = data
        else:
            super().dataReceived(held + data)

    def connectionLost(self, reason: Failure = CLOSED) -> None:  # noqa: N802
        super().connectionLost(reason)
        if self._exchange is not None:
            self._exchange.lose()

    def timeoutConnection(self) -> None:  # noqa: N802
        """Only a caller can be idle: one who waits for an answer is not."""
        if self._exchange is None:
            super().timeoutConnection()
        else:
            self.setTimeout(self.timeOut)

    def begin_stream(self) -> Gate:
        return gate.before_stream(self)

    def tell(self, written: bytes) -> None:
        write_now(self.transport, written)  # saves a turn of the loop and two calls of the kernel

    def end(self, written: bytes) -> None:
        """Write, and read on, unless the other side first has to read what it was told."""
        self._exchange = None
        self.unregisterProducer()
        self.tell(written)
        self.resetTimeout()
        self._handlingRequest = False
        if self._waitingForTransport:
            self._networkProducer.pauseProducing()
        else:
            self._networkProducer.resumeProducing()
        data, self._dataBuffer = b"".join(self._dataBuffer), []
        self.setLineMode(data)

    def break_off(self) -> None:
        self._exchange = None
        self.loseConnection()

    def _is_between_calls(self) -> bool:
        return bool(self.line_mode and self.persistent and not (self.requests or self._buffer or self._busyReceiving))

    def _begin(self, call: PlainCall) -> None:
        self._handlingRequest = True
        self.setRawMode()
        server = self.factory.server
        self._exchange = Exchange(call, self, server_name=server.server_name)
        server.carry_out(self._exchange, self._scope(call))

    def _scope(self, call: PlainCall) -> dict[str, Any]:
        if self._place is None:
            peer, host = self.getPeer(), self.getHost()
            self._place = {
                "type": "http",
                "http_version": "1.1",
                "root_path": "",
                "scheme": "https" if self.isSecure() else "http",
                "query_string": b"",
                "client": [peer.host, peer.port] if hasattr(peer, "port") else None,
                "server": [host.host, host.port] if hasattr(host, "port") else None,
            }
        own = {"method": call.method, "path": call.path.decode(), "raw_path": call.path, "headers": call.headers}
        return {**self._place, **own, "asgi": {"version": "3.0"}}
