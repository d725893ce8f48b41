"""One HTTP call to a tenant's own address: bounded in time and size, and made to the very address that was checked."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx

from invocation.domain.destinations import Reach, check_url
from invocation.domain.errors import UrlRefused
from invocation.domain.webhooks import LONGEST_EXCERPT, MOST_AT_ONCE, Answer, CallFault, read_retry_after

CONNECT_S = 5.0
WHOLE_S = 15.0
READING_S = 2.0
"""For what follows the head of an answer: the status has decided, the rest is for the log."""
MOST_BYTES = 65_536
MOST_ADDRESSES = 4
NAME = "Gearbox-Webhooks/1"

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

# As many as calls at once: a name server that hangs holds up no other's.
_lookups = ThreadPoolExecutor(max_workers=MOST_AT_ONCE, thread_name_prefix="lookup")


class NoAnswer(Exception):
    """There is no answer, and why."""

    def __init__(self, fault: CallFault) -> None:
        super().__init__(str(fault))
        self.fault = fault


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return every address that the name stands for, A and AAAA, the system's first choice first. Raises OSError."""
    found = await asyncio.get_running_loop().run_in_executor(_lookups, _look_up, host, port)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _look_up(host: str, port: int) -> Sequence[tuple[object, object, object, object, tuple[object, ...]]]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Caller:
    """Posts to URLs that tenants gave. Follows no redirect, keeps no cookie and no connection, asks no proxy."""

    def __init__(self, *, reach: Reach, resolve: Resolve = resolve, tls: ssl.SSLContext | None = None) -> None:
        self._reach = reach
        self._resolve = resolve
        self._transport = httpx.AsyncHTTPTransport(
            verify=tls or httpx.create_ssl_context(trust_env=False),
            trust_env=False,
            # A kept connection would be known by its address alone, not by the name whose certificate it showed.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Answer:
        """Return what came of one call; never later than the limit, and never an error."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(WHOLE_S):
                answer = await self._posted(url, headers, body)
        except (TimeoutError, httpx.TimeoutException):
            answer = Answer(fault=CallFault.TIMED_OUT)
        except NoAnswer as none:
            answer = Answer(fault=none.fault)
        except httpx.HTTPError:
            answer = Answer(fault=CallFault.BROKE_OFF)
        except (UrlRefused, httpx.InvalidURL):
            answer = Answer(fault=CallFault.URL_REFUSED)
        return replace(answer, took=timedelta(seconds=time.perf_counter() - began))

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def _posted(self, text: str, headers: Mapping[str, str], body: bytes) -> Answer:
        check_url(text, reach=self._reach)
        url = httpx.URL(text)
        host = url.raw_host.decode("ascii").rstrip(".")
        addresses = await self._checked(host, url.port or (443 if url.scheme == "https" else 80))
        told = {"host": url.netloc.decode("ascii"), "user-agent": NAME, "accept-encoding": "identity", **headers}
        for address in addresses[:-1]:
            try:
                return await self._post_to(address, url, host, told, body)
            except (httpx.ConnectTimeout, httpx.ConnectError) as error:
                if _is_tls(error):
                    raise NoAnswer(CallFault.TLS_FAILED) from error
        try:
            return await self._post_to(addresses[-1], url, host, told, body)
        except httpx.ConnectError as error:
            raise NoAnswer(CallFault.TLS_FAILED if _is_tls(error) else CallFault.UNREACHABLE) from error

    async def _checked(self, host: str, port: int) -> Sequence[str]:
        """Return where the name leads at this moment, if it leads nowhere that is closed. Raises NoAnswer."""
        try:
            async with asyncio.timeout(CONNECT_S):
                found = await self._resolve(host, port)
        except (OSError, UnicodeError) as unknown:
            if isinstance(unknown, TimeoutError):
                raise
            raise NoAnswer(CallFault.UNKNOWN_HOST) from unknown
        if not found:
            raise NoAnswer(CallFault.UNKNOWN_HOST)
        if not all(map(self._reach.allows, found)):
            raise NoAnswer(CallFault.ADDRESS_REFUSED)
        return found[:MOST_ADDRESSES]

    async def _post_to(self, address: str, url: httpx.URL, host: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Connect to the address, not to the name; TLS shows and checks the name."""
        limits = {"connect": CONNECT_S, "read": WHOLE_S, "write": WHOLE_S, "pool": WHOLE_S}
        request = httpx.Request(
            "POST", url.copy_with(host=address), headers=headers, content=body, extensions={"sni_hostname": host, "timeout": limits}
        )
        async with _closing(await self._transport.handle_async_request(request)) as heard:
            return Answer(
                status=heard.status_code,
                excerpt=await _excerpt(heard),
                retry_after=read_retry_after(heard.headers.get("retry-after"), now=datetime.now(UTC)),
            )


@asynccontextmanager
async def _closing(heard: httpx.Response) -> AsyncIterator[httpx.Response]:
    try:
        yield heard
    finally:
        await heard.aclose()


async def _excerpt(heard: httpx.Response) -> str:
    """Return how the answer's body begins. One without an end, or that breaks off, takes nothing from its status."""
    found = bytearray()
    try:
        async with asyncio.timeout(READING_S):
            async for piece in heard.aiter_raw():
                found += piece
                if len(found) >= MOST_BYTES:
                    break
    except (TimeoutError, httpx.HTTPError):
        pass
    return found[: 4 * LONGEST_EXCERPT].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")[:LONGEST_EXCERPT]


def _is_tls(error: BaseException) -> bool:
    """Say whether a connection failed in the handshake: httpx tells only by what lies below its own error."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, ssl.SSLError):
            return True
        below = below.__cause__ or below.__context__
    return False
