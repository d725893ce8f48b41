"""A server that says the same bytes to everyone and hangs up, and what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agents.domain.providers import Provider

SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
AWS = b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\nconnection: close\r\n\r\n"


@dataclass(slots=True)
class Asked:
    """The last request, as it came."""

    head: str = ""
    body: bytes = b""


@asynccontextmanager
async def answering(answer: bytes, make: Callable[[str], Provider]) -> AsyncIterator[tuple[Provider, Asked]]:
    """Yield a provider at such a server, made from its address, and what it asks."""
    asked = Asked()

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        asked.head, asked.body = head, await reader.readexactly(_length(head))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    provider = make(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server:
        yield provider, asked
        await provider.aclose()


def whole(status: str, body: bytes, *headers: str) -> bytes:
    """Write an answer that is not streamed."""
    lines = "".join(f"{header}\r\n" for header in ("content-type: application/json", f"content-length: {len(body)}", *headers))
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def _length(head: str) -> int:
    found = next((line for line in head.lower().splitlines() if line.startswith("content-length:")), "content-length: 0")
    return int(found.partition(":")[2])
