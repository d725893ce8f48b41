"""Reading a plain call off the wire: one whole HTTP/1.1 request of a few addresses, with nothing about it that needs a full parser.

What is read here is a narrow part of RFC 9112, so narrow that no two readers can differ over it: whatever else
comes, or is malformed, is left to Twisted, which refuses it in its own words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

STARTS: tuple[bytes, ...] = (b"POST /v1/jobs HTTP/1.1\r\n", b"POST /v1/chat HTTP/1.1\r\n")
"""The request lines of the calls that are made so often, and are answered so quickly, that reading them is most of their cost."""
MOST_BYTES = 65_536
MOST_HEAD_BYTES = 8_192
NAME = re.compile(rb"[!#$%&'*+.^`|~0-9A-Za-z-]+")
"""A token (RFC 9110, 5.6.2) without the underscore, which could be taken for a hyphen."""
TEXT = bytes([*range(0x20, 0x7F), *b"\t\r\n"])
FOR_TWISTED = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"te", b"trailer", b"daphne-root-path"})

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class PlainCall:
    """A whole request. Names of headers are in lower case."""

    method: str
    path: bytes
    headers: Headers
    body: bytes


class Unread(Enum):
    """Why there is no call: its body is not all there yet, or it is not plain."""

    INCOMPLETE = "incomplete"
    OTHER = "other"


def read(data: bytes) -> PlainCall | Unread:
    """Return the call if `data` is one, from its first byte to its last."""
    if not data.startswith(STARTS):
        return Unread.OTHER
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return Unread.OTHER
    start, *lines = head.split(b"\r\n")
    headers = _headers(lines) if _is_text(head, lines=len(lines)) else None
    length = _length(headers) if headers is not None else None
    if headers is None or length is None or len(body) > length:
        return Unread.OTHER
    if len(body) < length:
        return Unread.INCOMPLETE
    method, path, _ = start.split(b" ")
    return PlainCall(method.decode(), path, headers, body)


def _is_text(head: bytes, *, lines: int) -> bool:
    """Say whether the head is printable ASCII, with no line break but those that end its lines."""
    return len(head) <= MOST_HEAD_BYTES and not head.translate(None, TEXT) and head.count(b"\r") == head.count(b"\n") == lines


def _headers(lines: list[bytes]) -> Headers | None:
    headers: Headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        lowered = name.lower()
        if not colon or not NAME.fullmatch(name) or lowered in FOR_TWISTED:
            return None
        headers.append((lowered, value := value.strip(b" \t")))
        if lowered == b"connection" and value.lower() != b"keep-alive":
            return None
    return headers


def _length(headers: Headers) -> int | None:
    """Return the body's length, None where it is not told once and plainly."""
    told = [value for name, value in headers if name == b"content-length"]
    if len(told) != 1 or not told[0].isdigit() or len(told[0]) > len(str(MOST_BYTES)):
        return None
    return length if (length := int(told[0])) <= MOST_BYTES else None
