"""Back-pressure for one connection: shut while what was written waits to be read by the other side."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

KERNEL_BYTES = 64 * 1024
"""What the kernel may hold of a stream for a slow reader; left alone it grows to megabytes."""
STALLED_S = 30.0
"""A reader that takes nothing for so long is cut off; its turn goes on, and it may resume."""


@implementer(IPushProducer)
class Gate:
    """Hears from the transport when its buffer (64 KiB) is full and when it is empty again."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._open = asyncio.Event()
        self._open.set()

    @property
    def is_shut(self) -> bool:
        return not self._open.is_set()

    async def opened(self) -> None:
        """Return when the connection can take more; one that takes nothing is cut off."""
        try:
            async with asyncio.timeout(STALLED_S):
                await self._open.wait()
        except TimeoutError:
            self._transport.abortConnection()

    def pauseProducing(self) -> None:  # noqa: N802  (Twisted's own word)
        self._open.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self._open.set()

    def stopProducing(self) -> None:  # noqa: N802
        """The connection is gone: nobody has to wait any more."""
        self._open.set()


def before_socket(transport: Any) -> Gate:
    """Put a gate before a WebSocket.

    daphne leaves the HTTP channel of the handshake registered with the transport, which hears of
    a full buffer and tells nobody (django/daphne#170): it has to give way.
    """
    gate = Gate(transport)
    transport.unregisterProducer()
    transport.registerProducer(gate, True)  # noqa: FBT003  (a push producer, in Twisted's order)
    transport.is_prompt = True
    _keep_small(transport)
    return gate


def before_stream(channel: Any) -> Gate:
    """Put a gate before a streamed answer, by way of the HTTP channel that is there."""
    gate = Gate(channel.transport)
    channel.registerProducer(gate, True)  # noqa: FBT003
    _keep_small(channel.transport)
    return gate


def _keep_small(transport: Any) -> None:
    handle = getattr(transport, "socket", None)
    if handle is not None:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
