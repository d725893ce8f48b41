"""The transport of a connection: what is written goes out at once while nothing waits before it."""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp


class PromptServer(tcp.Server):
    """Twisted's transport of a connection that was accepted, which may write without the reactor.

    Twisted writes when the reactor says that the socket takes something: for each word of a stream that is two
    changes to the poll and a turn of the loop, to learn what is nearly always so. What the socket does not take
    waits as ever, and so does back-pressure.
    """

    is_prompt = False
    """Whether every write is tried at once; a plain answer's head had better wait for its body."""

    def write(self, data: bytes) -> None:
        if self.is_prompt:
            self.write_now(data)
        else:
            super().write(data)

    def write_now(self, data: bytes) -> None:
        """Write what the socket takes at this moment, and leave the rest, or what came before it, to the reactor."""
        if self._may_write():
            taken = self.writeSomeData(data)
            if isinstance(taken, int):  # a connection that was lost is the reactor's to find out
                data = data[taken:]
        if data:
            super().write(data)

    def _may_write(self) -> bool:
        is_open = self.connected and not self.disconnecting and not self._writeDisconnected and not self.TLS
        return bool(is_open) and not self._tempDataBuffer and not self.dataBuffer


def make_prompt(port: Any) -> None:
    """Let the connections of a listening port be of this kind; one of TLS or of a path in the file system has its own."""
    if getattr(port, "transport", None) is tcp.Server:
        port.transport = PromptServer


def write_now(transport: Any, data: bytes) -> None:
    """Write at once where the transport can. One that wraps ours, as for TLS, must not be passed by."""
    if isinstance(transport, PromptServer):
        transport.write_now(data)
    else:
        transport.write(data)
