"""When a call is sent again, and when a stream is opened again: decisions over values, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

MOST_DOUBLINGS = 20


class Trouble(StrEnum):
    """What came in place of an answer."""

    NOT_SENT = "not_sent"
    """No connection was made: the server has not seen the call."""
    LOST = "lost"
    """The connection broke or fell silent: the server may have done it."""
    TURNED_AWAY = "turned_away"
    """A 429 or 503 that says when to come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often one call is sent in all, and the longest pause between two of its sendings."""

    most: int = 3
    first_pause: timedelta = timedelta(milliseconds=200)
    longest_pause: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnects:
    """How often in a row a stream is opened again without one word from it, the pauses, and the silence that counts as a cut."""

    most: int = 10
    first_pause: timedelta = timedelta(milliseconds=200)
    longest_pause: timedelta = timedelta(seconds=10)
    longest_silence: timedelta = timedelta(seconds=10)


def pause_before_next(
    trouble: Trouble, *, sent: int, is_repeatable: bool, retry_after: timedelta | None, rules: Retries, luck: float
) -> timedelta | None:
    """Return the pause before the call is sent again, None if it is not; `sent` counts the sendings, `luck` is in [0, 1).

    A call that may have been done is repeated only if that does no harm. A server that
    asks for more patience than the longest pause is not bothered again.
    """
    is_safe = is_repeatable or trouble is Trouble.NOT_SENT
    asked = retry_after or timedelta()
    if not is_safe or sent >= rules.most or asked > rules.longest_pause:
        return None
    return max(asked, _backoff(rules.first_pause, rules.longest_pause, times=sent - 1, luck=luck))


def pause_before_reopening(*, failed: int, retry_after: timedelta | None, rules: Reconnects, luck: float) -> timedelta | None:
    """Return the pause before a stream is opened again, None if it is given up; `failed` counts the openings that brought nothing."""
    asked = retry_after or timedelta()
    if failed > rules.most or asked > rules.longest_pause:
        return None
    return max(asked, _backoff(rules.first_pause, rules.longest_pause, times=max(0, failed - 1), luck=luck))


def _backoff(first: timedelta, longest: timedelta, *, times: int, luck: float) -> timedelta:
    """Doubling, with jitter of a half (Brooker, "Exponential Backoff And Jitter")."""
    doubled: timedelta = first * 2 ** min(times, MOST_DOUBLINGS)
    return min(longest, doubled) * (0.5 + luck / 2)
