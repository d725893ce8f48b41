"""A web process whose application says as much as it is let, and writes down how many bytes it got rid of; run by test_serving."""

from __future__ import annotations

import os
import sys
from itertools import count
from pathlib import Path
from typing import Any

from config.serving import gate
from config.serving.server import WebServer
from tests.integration.config.pieces import BYTES, piece


class Torrent:
    """An ASGI application: the same torrent as Server-Sent Events, as plain text, and over a WebSocket."""

    def __init__(self, told: Path) -> None:
        self._told = told

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            await self._pour(send, "bytes", {"type": "websocket.send"})
        else:
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._pour(send, "body", {"type": "http.response.body", "more_body": True})

    async def _pour(self, send: Any, field: str, message: dict[str, Any]) -> None:
        for number in count(1):
            await send({**message, field: piece(number)})
            self._told.write_text(str(number * BYTES))


def main(port: str, told: str, certificate: str, stalled_s: str) -> None:
    gate.STALLED_S = float(stalled_s)
    kind = f"ssl:privateKey={certificate}:certKey={certificate}:" if certificate else "tcp:"
    WebServer(Torrent(Path(told)), endpoints=[f"{kind}port={port}:interface=127.0.0.1"], verbosity=0).run()


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()
    main(*sys.argv[1:])
