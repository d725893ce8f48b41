"""The door of calls that stream: straight to their views, on the loop, past middleware that would hold a thread for each.

Static files, sessions, cookies, forms and frames concern no call that brings a key and is answered
with events; one middleware that only blocks makes Django run the whole call on a thread of its own.
What is not such a call, or is too long to be one, is passed on untouched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import aclosing
from functools import lru_cache
from io import BytesIO
from typing import Any, cast

from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import Resolver404, ResolverMatch, resolve

from invocation.api.front import App, Message, Receive, Request, Send
from invocation.api.streaming import EventStream
from invocation.api.streams import Stream

BASE = "/v1/"
ENDS = ("/chat", "/events")
MOST_BYTES = 1_048_576
KNOWN_PATHS = 256
"""Nearly every call asks for the same one, and Django tries its patterns anew for each."""
STANDING = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}


class StreamDoor:
    """An ASGI application in front of Django's."""

    def __init__(self, behind: App) -> None:
        self._behind = behind

    async def __call__(self, scope: Request, receive: Receive, send: Send) -> None:
        view = _view(scope)
        if view is None:
            await self._behind(scope, receive, send)
            return
        heard, body = await _read(receive)
        request = _request(scope, body) if body is not None else None
        if request is None:
            await self._behind(scope, _again(heard, receive), send)
        else:
            await _until_gone(_answered(view, request, send), receive)


def _view(scope: Mapping[str, Any]) -> ResolverMatch | None:
    """Return the view of a call that streams."""
    path = scope["path"]
    return _resolved(path) if path.startswith(BASE) and path.endswith(ENDS) else None


@lru_cache(KNOWN_PATHS)
def _resolved(path: str) -> ResolverMatch | None:
    try:
        found = resolve(path)
    except Resolver404:
        return None
    return found if issubclass(getattr(found.func, "view_class", object), Stream) else None


def _request(scope: Request, body: bytes) -> ASGIRequest | None:
    request = ASGIRequest(scope, BytesIO(body))
    try:
        request.get_host()
    except DisallowedHost:
        return None
    return request


async def _read(receive: Receive) -> tuple[list[Message], bytes | None]:
    """Return what was received and the whole body; None for one that is too long, or that never came to its end."""
    heard: list[Message] = []
    body = b""
    while len(body) <= MOST_BYTES:
        message = await receive()
        heard.append(message)
        if message["type"] != "http.request":
            return heard, None
        body += message.get("body", b"")
        if not message.get("more_body"):
            return heard, body
    return heard, None


def _again(heard: list[Message], receive: Receive) -> Receive:
    """Let whoever is behind hear what was heard, and then what follows."""

    async def again() -> Message:
        return heard.pop(0) if heard else await receive()

    return again


async def _until_gone(answering: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Answer, and leave off when the caller has gone: whatever the view holds is let go then."""
    tasks = {asyncio.create_task(answering), asyncio.create_task(_gone(receive))}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        task.result()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answered(view: ResolverMatch, request: ASGIRequest, send: Send) -> None:
    request.resolver_match = view
    response: HttpResponseBase = await view.func(request, *view.args, **view.kwargs)
    for name, value in STANDING.items():
        response.headers.setdefault(name, value)
    if not isinstance(response, EventStream):
        response.headers["Content-Length"] = str(len(cast(HttpResponse, response).content))
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.items()]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    if isinstance(response, EventStream):
        async with aclosing(response.parts) as parts:
            async for part in parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({"type": "http.response.body", "body": cast(HttpResponse, response).content})
