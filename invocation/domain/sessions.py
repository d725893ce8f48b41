"""What happens to a session's open turn when its reader leaves, and when somebody asks before it has ended."""

from __future__ import annotations

from enum import StrEnum


class OnDisconnect(StrEnum):
    """A turn whose last reader left: it goes on to its end and is stored, or it is stopped unless somebody comes back."""

    CONTINUE = "continue"
    CANCEL = "cancel"


class OnDoubleSend(StrEnum):
    """A question while the last one is still answered: it waits for its end, is refused, or takes its place."""

    ENQUEUE = "enqueue"
    REJECT = "reject"
    REPLACE = "replace"


class Line(StrEnum):
    """What a stream travels on."""

    WEBSOCKET = "websocket"
    SSE = "sse"
