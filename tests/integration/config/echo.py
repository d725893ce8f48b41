"""A web process whose application tells what it was told, and does as the path's call asks; run by tests of plain calls."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import django

from config.serving import reactor

reactor.install()

from twisted.internet import reactor as running  # noqa: E402

from config.serving import connections  # noqa: E402
from config.serving.server import WebServer  # noqa: E402

MUCH = b"x" * 65_536
INJECTION = (b"x-broken", b"a\r\nx-injected: b")


class Echo:
    """An ASGI application. What it is to do stands in the header `x-act`; it writes down what it heard."""

    def __init__(self, told: Path) -> None:
        self._told = told
        self._calls = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        act = dict(scope["headers"]).get(b"x-act", b"").decode()
        first = await receive()
        body = first.get("body", b"")
        self._calls += 1
        self._told.write_text(f"called {self._calls}")
        if act == "read":
            body = await self._read(first, receive)
        if act == "break":
            raise LookupError("as asked")
        if act == "wait":
            await asyncio.sleep(1)
        if act == "leave":
            self._told.write_text((await receive())["type"])
            return
        if act.startswith("stream"):
            await self._stream(act, receive, send)
            return
        extra = [INJECTION] if act == "inject" else []
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-type", b"application/json"), *extra]})
        for part in (MUCH,) if act == "much" else (self._answer(scope, body, receive), b""):
            await send({"type": "http.response.body", "body": part, "more_body": bool(part) and act != "much"})

    async def _read(self, message: Any, receive: Any) -> bytes:
        """Read a body to its end, and return its length, its hash and the number of its pieces."""
        digest, length, pieces = hashlib.sha256(), 0, 0
        while message["type"] == "http.request":
            digest.update(message["body"])
            length, pieces = length + len(message["body"]), pieces + 1
            if not message.get("more_body"):
                break
            message = await receive()
        return f"{length} {digest.hexdigest()} {pieces}".encode()

    async def _stream(self, act: str, receive: Any, send: Any) -> None:
        extra = [INJECTION] if act == "stream-inject" else []
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream"), *extra]})
        for part in (b": open\n\n", b"", b"data: 1\n\n"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        if act == "stream-wait":
            await asyncio.sleep(1)
        if act == "stream-break":
            raise LookupError("as asked")
        if act == "stream-leave":
            self._told.write_text((await receive())["type"])
        await send({"type": "http.response.body", "body": b"data: 2\n\n"})

    def _answer(self, scope: Any, body: bytes, receive: Any) -> bytes:
        way = "short" if type(getattr(receive, "__self__", None)).__name__ == "Exchange" else "long"
        loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
        told = {"scope": scope, "body": body, "way": way, "loop": loop, "number": self._calls}
        return json.dumps(told, default=lambda value: value.decode("latin-1")).encode()


def main(port: str, told: str, given: str) -> None:
    """Serve. `given` is JSON: what the server is made with, `idle_s` that a connection may be idle, `pace_s` of a body, and `is_django`."""
    words = json.loads(given)
    if words.pop("is_django", False):
        django.setup()
    idle_s = words.pop("idle_s", None)
    connections.PACE_S = words.pop("pace_s", connections.PACE_S)
    if "action_logger" in words:
        words["action_logger"] = lambda *_: None
    server = WebServer(Echo(Path(told)), endpoints=[f"tcp:port={port}:interface=127.0.0.1"], verbosity=0, **words)
    if idle_s:
        running.callWhenRunning(lambda: setattr(server.http_factory, "timeOut", idle_s))
    server.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
