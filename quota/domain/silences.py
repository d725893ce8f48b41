"""Stores that take what they are asked and answer nothing, as one process knows them: who asks next need not wait as well.

All that a process has to do with one server shares what it knows of it, whatever it asks and over which connection.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlsplit

OVERDUE_S = 0.2
"""Who has no time waits no longer for an answer."""
SHORTEST_S = 0.1
"""Who gave up sooner has learnt nothing."""
REST_S = 1.0
"""So long nobody asks a silent store; then one does, and the others go by what comes of it."""
LOOK_S = 2.0
"""How long that one may take."""
KNOWN = 64


class Silence:
    """What a process knows of one server. Moments are monotonic seconds."""

    def __init__(self) -> None:
        self._heard_at = float("-inf")
        self._until: float | None = None

    @property
    def is_known(self) -> bool:
        """Whether the server was silent when it was last asked."""
        return self._until is not None

    def lets_ask(self, *, at: float) -> bool:
        """Say whether to ask: of a silent server, one may at a time, to see whether it still is."""
        if self._until is None:
            return True
        if at < self._until:
            return False
        self._until = at + LOOK_S
        return True

    def has_answered(self, *, since: float) -> bool:
        return self._heard_at >= since

    def heard(self, *, at: float) -> None:
        """It answered something."""
        self._heard_at, self._until = at, None

    def unanswered(self, *, since: float, at: float) -> None:
        """Nothing came of a question. What else was heard since then says that the server is there, and only busy or we are."""
        if not self.has_answered(since=since) and at - since >= SHORTEST_S:
            self._until = at + REST_S


@lru_cache(KNOWN)
def of(url: str) -> Silence:
    """Return what is known of the server at this URL, whichever of its databases is meant."""
    parts = urlsplit(url)
    return at_address(f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else parts.path)


@lru_cache(KNOWN)
def at_address(address: str) -> Silence:
    return Silence()
