"""A client of `POST /v1/jobs`: one process, several connections that are kept alive, as little of its own as HTTP allows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

ACCEPTED = b"HTTP/1.1 202"


@dataclass(slots=True)
class Connection:
    """A kept connection; it carries one request at a time."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def post(self, request: bytes) -> None:
        """Send the request and read the whole answer. Raises ConnectionError when it is not 202."""
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        body = await self.reader.readexactly(_length(head))
        if not head.startswith(ACCEPTED):
            raise ConnectionError((head + body).decode(errors="replace"))


def flat_out(*, port: int, keys: Sequence[str], count: int, connections: int, endpoint: str, given: Mapping[str, Any]) -> dict[str, float]:
    """Post `count` jobs as fast as they are accepted."""
    requests = iter(_requests(port, keys, count, endpoint, given))
    return asyncio.run(_flat_out(port, requests, connections))


def paced(
    *, port: int, keys: Sequence[str], count: int, connections: int, endpoint: str, given: Mapping[str, Any], mean_gap_s: float, seed: int
) -> list[float]:
    """Post at random moments and return how long each answer took, from the moment when its request was due."""
    luck = Random(seed)  # noqa: S311  (a load, not a secret)
    return asyncio.run(_paced(port, _requests(port, keys, count, endpoint, given), connections, mean_gap_s, luck))


async def _flat_out(port: int, requests: Iterator[bytes], connections: int) -> dict[str, float]:
    opened = [await _open(port) for _ in range(connections)]
    began = time.time()
    await asyncio.gather(*(_use(connection, requests) for connection in opened))
    ended = time.time()
    _close(opened)
    return {"began": began, "ended": ended}


async def _use(connection: Connection, requests: Iterator[bytes]) -> None:
    for request in requests:
        await connection.post(request)


async def _paced(port: int, requests: Sequence[bytes], connections: int, mean_gap_s: float, luck: Random) -> list[float]:
    opened = [await _open(port) for _ in range(connections)]
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for connection in opened:
        free.put_nowait(connection)
    due, sent = time.perf_counter(), []
    for request in requests:
        due += luck.expovariate(1 / mean_gap_s)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        sent.append(asyncio.create_task(_answered(free, request, due)))
    took = await asyncio.gather(*sent)
    _close(opened)
    return list(took)


async def _answered(free: asyncio.Queue[Connection], request: bytes, due: float) -> float:
    connection = await free.get()
    await connection.post(request)
    free.put_nowait(connection)
    return time.perf_counter() - due


async def _open(port: int) -> Connection:
    return Connection(*await asyncio.open_connection("127.0.0.1", port))


def _close(opened: Sequence[Connection]) -> None:
    for connection in opened:
        connection.writer.close()


def _requests(port: int, keys: Sequence[str], count: int, endpoint: str, given: Mapping[str, Any]) -> list[bytes]:
    body = json.dumps({"endpoint": endpoint, "input": given}).encode()
    return [_request(port, keys[number % len(keys)], body) for number in range(count)]


def _request(port: int, key: str, body: bytes) -> bytes:
    lines = (
        "POST /v1/jobs HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _length(head: bytes) -> int:
    found = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), None)
    if found is None:
        raise ConnectionError(f"an answer without Content-Length:\n{head.decode(errors='replace')}")
    return int(found.split(b":")[1])


ACTS: Mapping[str, Callable[..., Any]] = {"flat_out": flat_out, "paced": paced}
