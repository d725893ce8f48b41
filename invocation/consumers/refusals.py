"""How a refusal is told over a WebSocket: an `error` event, and for a connection a close code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from invocation.domain.errors import (
    ConnectionIdle,
    InvocationError,
    SessionBusy,
    StaleMove,
    TooManyConnections,
    TooManyFrames,
)
from quota.domain.errors import BadKey, ClassNotAllowed, KeyRevoked, QuotaError, ScopeMissing

UNAUTHENTICATED, FORBIDDEN, UNKNOWN, IDLE, CONFLICT, TOO_MANY, UNAVAILABLE = 4401, 4403, 4404, 4408, 4409, 4429, 4503
GO_ELSEWHERE = 1012
"""Service restart (IANA's registry of close codes): connect again."""
BREATH = timedelta(seconds=2)

CODES: Mapping[type[Exception], int] = MappingProxyType(
    {
        BadKey: UNAUTHENTICATED,
        KeyRevoked: UNAUTHENTICATED,
        ScopeMissing: FORBIDDEN,
        ClassNotAllowed: FORBIDDEN,
        ConnectionIdle: IDLE,
        SessionBusy: CONFLICT,
        StaleMove: CONFLICT,
        TooManyConnections: TOO_MANY,
        TooManyFrames: TOO_MANY,
    }
)

Refusal = InvocationError | QuotaError


def close_code(refusal: Refusal) -> int:
    """What may pass is unavailable; the rest, unless it has a code of its own, is not to be found here."""
    return UNAVAILABLE if refusal.retryable and type(refusal) not in CODES else CODES.get(type(refusal), UNKNOWN)


def told(refusal: Refusal) -> dict[str, Any]:
    """Return what an `error` event says: as a problem does, without the status, which a socket has not."""
    facts = dict(getattr(refusal, "facts", {}))
    title = refusal.title if isinstance(refusal, InvocationError) else InvocationError.title
    said = {**facts, "code": refusal.code, "title": title, "detail": str(refusal)}
    return said | ({"retry_after_s": math.ceil((refusal.retry_after or BREATH).total_seconds())} if refusal.retryable else {})
