"""When a batch will be done at the rate that was measured, through the windows ahead, and whether that is in time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import islice

from invocation.domain.windows import Window

FARTHEST = timedelta(days=3_650)
MOST_WINDOWS = 3_650
"""What would take longer is not predicted."""
NOTHING = timedelta(0)


class Misfit(StrEnum):
    WINDOW = "window"
    """It is not done when its window, or the next one, closes."""
    FINISH_BY = "finish_by"
    """It is not done by the moment that was wished for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Why a batch will not be done in time."""

    code: Misfit
    sentence: str


def time_left(rows: int, rate: float | None) -> timedelta | None:
    """Return how long so many rows take at so many a second, without what lies between windows; None where nobody can say."""
    if not rows:
        return NOTHING
    if not rate:
        return None
    seconds = rows / rate
    return timedelta(seconds=seconds) if seconds < FARTHEST.total_seconds() else None


def finish(work: timedelta | None, *, window: Window | None, now: datetime) -> datetime | None:
    """Return when work is done that goes on in the window only; None where nobody can say, or in more than ten years."""
    if work is None or window is None:
        return None if work is None else now + work
    for span in islice(window.ahead(now), MOST_WINDOWS):
        left = span.left(now)
        if work <= left:
            return max(span.begins, now) + work
        work -= left
    return None


def warnings(work: timedelta | None, *, window: Window | None, finish_by: datetime | None, now: datetime) -> Iterator[Warned]:
    """Yield why work will not be done in time: in the window that is open or comes next, and by the moment wished for."""
    done = finish(work, window=window, now=now)
    if work is None:
        if finish_by is not None and finish_by <= now:
            yield Warned(code=Misfit.FINISH_BY, sentence=f"It is not done, and was to be by {_told(finish_by)}.")
        return
    if window is not None:
        span = window.next(now)
        if work > span.left(now):
            yield Warned(
                code=Misfit.WINDOW,
                sentence=f"It will not fit: the window closes at {_told(span.ends)}, and at this rate it is done {_when(done)}.",
            )
    if finish_by is not None and (done is None or done > finish_by):
        yield Warned(code=Misfit.FINISH_BY, sentence=f"It was to be done by {_told(finish_by)}, and at this rate it is {_when(done)}.")


def cost_predicted(cost: Decimal, *, done: int, rows: int) -> Decimal | None:
    """Return what all rows cost if those left cost what the finished ones did; None while none is finished."""
    return round(cost / done * rows, 6) if done else None


def _when(done: datetime | None) -> str:
    return "in more than ten years" if done is None else f"at {_told(done)}"


def _told(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
