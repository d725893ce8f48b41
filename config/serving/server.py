"""daphne's server, taught three things: to let an application wait for a slow reader, to bound what comes in, and to leave in order."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, cast

from daphne.server import Server
from twisted.internet import defer

from config.env import env
from config.serving import bodies, gate
from config.serving.connections import Connections
from config.serving.exchange import Exchange, Message, chunk, is_stream
from config.serving.gate import Gate
from config.serving.inbox import Inbox
from config.serving.prompt import make_prompt, write_now
from invocation.services import departing

TOO_MUCH = 1008
LAST_S = 1.0
"""For what was cancelled to let go of what it held."""
FAREWELL_S = 10.0
"""For the other side to answer a close frame. What a slow link had not read stands before it, so autobahn's one second cuts
off who would have heard why (RFC 6455, 7.1.1)."""
STANDARD = range(1001, 1015)
"""The registered close codes, which autobahn sends only by its inner method."""

log = logging.getLogger(__name__)


class WebServer(Server):  # type: ignore[misc]
    """One web process."""

    def __init__(self, application: Any, *args: Any, **named: Any) -> None:
        super().__init__(bodies.by_pieces(application), *args, **named)
        self._ports: list[Any] = []
        self._exchanges: set[asyncio.Task[None]] = set()

    @property
    def http_factory(self) -> Connections:
        """What answers HTTP; daphne would set its own."""
        return self._connections

    @http_factory.setter
    def http_factory(self, _: Any) -> None:
        self._connections = Connections(self)

    def carry_out(self, exchange: Exchange, scope: dict[str, Any]) -> None:
        """Start the application of a plain call."""
        task = asyncio.ensure_future(self._answered(exchange, scope))
        self._exchanges.add(task)
        task.add_done_callback(self._exchanges.discard)

    async def _answered(self, exchange: Exchange, scope: dict[str, Any]) -> None:
        try:
            await self.application(scope, exchange.receive, exchange.send)
        except Exception:
            log.exception("Exception inside application")
        if not exchange.is_over:
            await exchange.fail()

    def listen_success(self, port: Any) -> None:
        make_prompt(port)
        self._ports.append(port)
        super().listen_success(port)

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        """Start the application of a connection; frames reach it through a bounded inbox."""
        if body := getattr(protocol, "body", None):
            scope[bodies.BODY] = body
        queue = super().create_application(protocol, scope)
        if queue is None or scope["type"] != "websocket":
            return queue
        protocol.closeHandshakeTimeout = FAREWELL_S
        protocol.gate = gate.before_socket(protocol.transport)
        return Inbox(queue, lambda: protocol.sendCloseFrame(code=TOO_MUCH))

    async def handle_reply(self, protocol: Any, message: Message) -> None:
        """Write what the application says, and return when the connection can take more: that is ASGI's back-pressure."""
        if self._is_gone(protocol):
            await asyncio.sleep(0)  # else an application that says more and more leaves nobody else a turn
            return
        held = _gate(protocol)
        if held is not None and _goes_on(protocol, message) and self._is_connected(protocol):
            _write_part(protocol, message.get("body", b""))
            if held.is_shut:
                await held.opened()
            return
        if message["type"] == "http.response.start" and is_stream(message) and self._is_connected(protocol):
            protocol.gate = gate.before_stream(protocol.channel)
        if message["type"] == "http.response.body" and not message.get("more_body") and _gate(protocol):
            protocol.unregisterProducer()
            protocol.gate = None
        if message["type"].startswith("websocket.") and protocol.state in {protocol.STATE_CLOSING, protocol.STATE_CLOSED}:
            await asyncio.sleep(0)  # the application hears of the end in a moment; an error here would keep it from that
            return
        if message["type"] == "websocket.close" and message.get("code") in STANDARD and protocol.state == protocol.STATE_OPEN:
            protocol.sendCloseFrame(code=message["code"])
        else:
            await super().handle_reply(protocol, message)
        held = _gate(protocol)
        if held is not None and held.is_shut:
            await held.opened()

    def kill_all_applications(self) -> Any:
        """Leave: say so, let go of the port, send every stream elsewhere, wait for the rest; then end what is left.

        Twisted calls this before it shuts down (SIGTERM, SIGINT) and waits for the answer.
        """
        return defer.Deferred.fromFuture(asyncio.ensure_future(self._leave()))

    async def _leave(self) -> None:
        departing.announce()
        await asyncio.sleep(env.unready_s)
        for port in self._ports:
            await defer.maybeDeferred(port.stopListening).asFuture(asyncio.get_running_loop())
        departing.send_away()
        await self._rest(within_s=env.drain_s)
        await self._end()

    async def _rest(self, *, within_s: float) -> None:
        """Return when every application has ended, or after `within_s`."""
        until = time.monotonic() + within_s
        while (left := self._under_way()) and time.monotonic() < until:
            await asyncio.wait(left, timeout=until - time.monotonic())

    async def _end(self) -> None:
        left = self._under_way()
        for application in left:
            application.cancel()
        if left:
            await asyncio.wait(left, timeout=LAST_S)
        await departing.last_words()

    def _under_way(self) -> list[asyncio.Future[None]]:
        found = (details.get("application_instance") for details in self.connections.values())
        return [*self._exchanges, *(application for application in found if application is not None and not application.done())]

    def _is_gone(self, protocol: Any) -> bool:
        return protocol not in self.connections or "disconnected" in self.connections[protocol]

    def _is_connected(self, protocol: Any) -> bool:
        return not self._is_gone(protocol) and protocol.channel is not None


def _gate(protocol: Any) -> Gate | None:
    return cast("Gate | None", getattr(protocol, "gate", None))


def _goes_on(protocol: Any, message: Message) -> bool:
    """Say whether this is one more part of an answer in chunks whose head is out: all that a stream is, but for its two ends."""
    is_part = message["type"] == "http.response.body" and message.get("more_body")
    return bool(is_part and protocol.startedWriting and protocol.chunked and not protocol.finished)


def _write_part(protocol: Any, body: bytes) -> None:
    """Write what Twisted's request would, without what it and daphne ask themselves before each chunk."""
    if body:
        protocol.sentLength += len(body)
        write_now(protocol.channel.transport, chunk(body))
