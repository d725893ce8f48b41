"""Real receivers of webhooks for tests: asyncio servers that answer, refuse, hang, stream for ever or close; and a verifier."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

TOLERANCE_S = 300


@dataclass(frozen=True)
class Heard:
    """One request as it came in."""

    line: str
    headers: Mapping[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def told(self) -> Any:
        return json.loads(self.body)


Behave = Callable[[Heard, asyncio.StreamWriter], Awaitable[None]]


def plain(status: int, *, body: bytes = b"", **headers: str) -> Behave:
    """Answer this and close."""
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())

    async def behave(_: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status} X\r\n{named}content-length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()

    return behave


async def hang(_: Heard, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def close(_: Heard, writer: asyncio.StreamWriter) -> None:
    return


async def stream_for_ever(_: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        await writer.drain()


async def drip(_: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 202 X\r\ncontent-length: 1000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def endless_head(_: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 X\r\n")
    while True:
        writer.write(b"x-more: " + b"y" * 4096 + b"\r\n")
        await writer.drain()


@dataclass
class Receiver:
    """What it heard, and what it does about the next request: the last behaviour goes on. `keeps` offers to keep a connection."""

    behaviours: list[Behave]
    host: str = "127.0.0.1"
    name: str = ""
    scheme: str = "http"
    keeps: bool = False
    port: int = 0
    heard: list[Heard] = field(default_factory=list)
    connections: int = 0
    most_at_once: int = 0
    open_now: int = 0

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.name or self.host}:{self.port}/hook"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        self.most_at_once = max(self.most_at_once, self.open_now)
        try:
            await self._answer(reader, writer)
            while self.keeps:
                await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open_now -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = await _request(reader)
        self.heard.append(heard)
        await (self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0])(heard, writer)


async def _request(reader: asyncio.StreamReader) -> Heard:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *rest = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
    return Heard(line, headers, await reader.readexactly(int(headers.get("content-length", 0))))


@asynccontextmanager
async def receiving(
    *behaviours: Behave, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, name: str = "", keeps: bool = False
) -> AsyncIterator[Receiver]:
    """Serve on a free port of this machine."""
    receiver = Receiver(list(behaviours) or [plain(204)], host=host, name=name, keeps=keeps, scheme="https" if tls else "http")
    tasks: set[asyncio.Task[None]] = set()

    async def each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        with suppress(asyncio.CancelledError):
            await receiver.serve(reader, writer)

    server = await asyncio.start_server(each, host, 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def verify(heard: Heard, secret: str, *, now: float | None = None) -> Any:
    """Verify a request by the text of the Standard Webhooks specification, with none of our code, and return what it tells."""
    at = int(heard.headers["webhook-timestamp"])
    assert abs((time.time() if now is None else now) - at) <= TOLERANCE_S, "the timestamp is too far away"
    key = base64.b64decode(secret.split("_", 1)[1])
    content = b".".join([heard.headers["webhook-id"].encode(), str(at).encode(), heard.body])
    wanted = hmac.new(key, content, hashlib.sha256).digest()
    versions = [each.split(",", 1) for each in heard.headers["webhook-signature"].split(" ")]
    assert any(version == "v1" and hmac.compare_digest(base64.b64decode(given), wanted) for version, given in versions), "no signature fits"
    return json.loads(heard.body)


class Names:
    """A resolver that answers from a table, in order; the last answer goes on."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self._answers = {name.replace("_", "."): [list(each) for each in given] for name, given in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host not in self._answers:
            raise OSError(f"no such name: {host}")
        given = self._answers[host]
        return given.pop(0) if len(given) > 1 else given[0]


@dataclass(frozen=True)
class Certified:
    """A TLS server's side and the side of who trusts its maker."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def certified(folder: Path, *names: str, days: int = 1) -> Certified:
    """Make an authority and a certificate of it for these names; negative days are past."""
    now = datetime.now(UTC)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trial authority")])

    def made(subject: x509.Name, public: Any, until: datetime, *extensions: tuple[Any, bool]) -> x509.Certificate:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=9)).not_valid_after(until)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(root_key, hashes.SHA256())

    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    root = made(
        issuer, root_key.public_key(), now + timedelta(days=9), (x509.BasicConstraints(ca=True, path_length=None), True), (usage, True)
    )
    named = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    leaf = made(subject, key.public_key(), now + timedelta(days=days), (named, False))
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, secret)
    client = ssl.create_default_context(cadata=root.public_bytes(serialization.Encoding.PEM).decode())
    return Certified(server, client)
