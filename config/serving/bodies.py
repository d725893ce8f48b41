"""Bodies of requests: bounded while they come in, and handed to the application piece by piece.

Twisted keeps a body on disk until it is whole, however long it is, and daphne then reads all of it into memory before its
application runs. Here a body too long is refused as soon as that is known, all that wait on disk are bounded together, and
a long one is read as it is asked for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum, auto
from io import BytesIO
from typing import Any, BinaryIO, Protocol

MOST_BYTES = 2 * 1024 * 1024
"""Of a call that is no upload. Django refuses what is longer than half of that, in its own words."""
CALLS_BYTES = 256 * 1024 * 1024
"""Of all calls together that are no uploads."""
LARGE_BYTES = 256 * 1024
PIECE_BYTES = 64 * 1024
UPLOADS = b"/v1/manifests/"
BODY = "gearbox.body"
"""Where the scope says whence the application is to be given its body."""

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class Headers(Protocol):
    """Twisted's, as far as they are asked here."""

    def getRawHeaders(self, name: bytes) -> Sequence[bytes] | None: ...  # noqa: N802


def is_upload(method: bytes, path: bytes) -> bool:
    return method == b"PUT" and path.startswith(UPLOADS)


class Refused(Enum):
    """Why a body is not taken."""

    TOO_LONG = auto()
    NO_KEY = auto()
    """It would do for an upload, of who shows a key."""
    NO_ROOM = auto()


class Spool:
    """How many bytes of bodies wait in this process, and how many of them are whose: one caller's are half of all at most."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._of = Counter[bytes]()

    @property
    def held(self) -> int:
        return self._of.total()

    def has_room(self, count: int, *, of: bytes) -> bool:
        return self.held + count <= self._most and (not of or 2 * (self._of[of] + count) <= self._most)

    def hold(self, count: int, *, of: bytes) -> None:
        self._of[of] += count

    def let_go(self, count: int, *, of: bytes) -> None:
        self._of[of] -= count
        if not self._of[of]:
            del self._of[of]


class Intake:
    """The body of one request while it comes in."""

    def __init__(self, most: int, spool: Spool, *, of: bytes = b"", beyond: Refused = Refused.TOO_LONG) -> None:
        """What has more than `most` bytes is refused as `beyond` says."""
        self.most = most
        self.length = 0
        self.refused: Refused | None = None
        self._spool = spool
        self._of = of
        self._beyond = beyond

    def announce(self, length: int) -> None:
        """Take note of the length that the head tells, 0 where it tells none: who cannot be served need not send."""
        if length > self.most:
            self.refused = self._beyond
        elif not self._spool.has_room(length, of=self._of):
            self.refused = Refused.NO_ROOM

    def take(self, count: int) -> bool:
        """Count bytes that came, and say whether they are to be kept."""
        if not self.refused:
            self._look(count)
        if self.refused:
            return False
        self.length += count
        self._spool.hold(count, of=self._of)
        return True

    def let_go(self) -> None:
        """The request is over; again this changes nothing."""
        self._spool.let_go(self.length, of=self._of)
        self.length = 0

    def _look(self, count: int) -> None:
        if self.length + count > self.most:
            self.refused = self._beyond
        elif not self._spool.has_room(count, of=self._of):
            self.refused = Refused.NO_ROOM


class Gatherings:
    """All bodies that one process gathers. Uploads have a room of their own: whatever fills it, other calls go on."""

    def __init__(self, *, longest_upload: int) -> None:
        self._longest = longest_upload
        self._uploads = Spool(2 * longest_upload)
        self._calls = Spool(CALLS_BYTES)

    def intake(self, method: bytes, path: bytes, headers: Headers) -> Intake:
        """Return where a request's body is counted. Only who shows a key may upload, and a handshake has no body."""
        key = (headers.getRawHeaders(b"Authorization") or [b""])[0]
        if b"websocket" in (each.lower() for each in headers.getRawHeaders(b"Upgrade") or ()):
            return Intake(0, self._calls)
        if not is_upload(method, path):
            return Intake(MOST_BYTES, self._calls)
        return Intake(self._longest, self._uploads, of=key) if key else Intake(MOST_BYTES, self._calls, beyond=Refused.NO_KEY)


def refusal(intake: Intake, method: bytes, path: bytes) -> bytes:
    """Return the whole answer to a call whose body is not taken, as RFC 9112 has it on the wire; the connection ends with it."""
    # Loaded when first refused: the API's problems need Django, and this module must not.
    import orjson  # noqa: PLC0415
    from rest_framework.exceptions import NotAuthenticated  # noqa: PLC0415

    from invocation.api.problems import CONTENT_TYPE, problem_of  # noqa: PLC0415
    from invocation.domain.errors import BodyTooLarge, ManifestTooLarge, Saturated  # noqa: PLC0415

    error: Exception = Saturated("Other bodies fill what this server keeps of them at once. Nothing was kept of this one.")
    if intake.refused is Refused.TOO_LONG:
        kind = ManifestTooLarge if is_upload(method, path) else BodyTooLarge
        error = kind(f"The body has more than {intake.most} bytes.", limit=intake.most)
    if intake.refused is Refused.NO_KEY:
        error = NotAuthenticated()
    problem = problem_of(error)
    body = orjson.dumps(problem.body(path.partition(b"?")[0].decode("latin-1")), default=str)
    told = {**problem.all_headers(), "Content-Type": CONTENT_TYPE, "Content-Length": str(len(body)), "Connection": "close"}
    head = [f"HTTP/1.1 {problem.status} {problem.title}", *(f"{name}: {value}" for name, value in told.items())]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def set_apart(content: BinaryIO, length: int) -> tuple[BinaryIO, BinaryIO | None]:
    """Return what daphne is to read of a body, and what the application is to be given piece by piece instead."""
    return (BytesIO(), content) if length > LARGE_BYTES else (content, None)


class Reading:
    """A body on disk, as the application asks for it; after its end, what else the connection says."""

    def __init__(self, body: BinaryIO, receive: Receive) -> None:
        self._body = body
        self._receive = receive
        self._is_read = False
        body.seek(0)

    async def receive(self) -> Message:
        if not self._is_read:
            await asyncio.sleep(0)  # whoever reads a long body to its end leaves others their turns
            return self._piece()
        message = await self._receive()
        while message["type"] == "http.request":  # what daphne took for the body
            message = await self._receive()
        return message

    def _piece(self) -> Message:
        try:
            piece = self._body.read(PIECE_BYTES)
        except ValueError:  # closed: the other side is gone
            return {"type": "http.disconnect"}
        self._is_read = len(piece) < PIECE_BYTES
        return {"type": "http.request", "body": piece, "more_body": not self._is_read}


def by_pieces(application: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Give an application the bodies that were set apart."""

    def run(scope: dict[str, Any], receive: Receive, send: Callable[[Message], Awaitable[None]]) -> Awaitable[None]:
        body = scope.pop(BODY, None)
        return application(scope, Reading(body, receive).receive if body else receive, send)

    return run
