"""What the opening of a WebSocket says: who, which session, behind which seq."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import parse_qsl
from uuid import UUID

from django.utils import timezone

from invocation.domain.errors import InputInvalid, NotFound
from invocation.services import tickets
from quota.api.authentication import caller_from_header
from quota.domain.callers import Caller

MOST_SEQ = 2**53
MOST_QUERY_BYTES = 1_024


def recognise(query: Mapping[str, str], authorization: str | None) -> Caller:
    """Return whose ticket or key it is. Raises BadKey, KeyRevoked, StreamUnavailable."""
    if "ticket" in query:
        return tickets.redeem(query["ticket"], now=timezone.now())
    return caller_from_header(authorization)


def query_of(scope: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the query. Raises InputInvalid for one that is longer than any of ours."""
    raw: bytes = scope["query_string"]
    if len(raw) > MOST_QUERY_BYTES:
        raise InputInvalid(f"The query has {len(raw)} bytes; {MOST_QUERY_BYTES} are enough.", field="query", found=len(raw))
    return dict(parse_qsl(raw.decode("latin1")))


def authorization_of(scope: Mapping[str, Any]) -> str | None:
    found = header(scope, b"authorization")
    return found.decode("latin1") if found is not None else None


def header(scope: Mapping[str, Any], wanted: bytes) -> bytes | None:
    return next((cast(bytes, value) for name, value in scope["headers"] if name == wanted), None)


def uuid_of(text: str, *, what: str) -> UUID:
    """Return the id of a session or turn. Raises NotFound."""
    try:
        return UUID(text)
    except ValueError:
        raise NotFound(f"There is no {what} {text[:80]!r}.", field=what, found=text[:80]) from None


def seq_of(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > MOST_SEQ:
        raise InputInvalid("after: the seq of an event, a whole number, is wanted.", field="after", found=text[:40])
    return int(text)
