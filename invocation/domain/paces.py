"""How fast rows come to their end lately: each shard counts them in buckets of a few seconds, of which only the newest are kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

BUCKET_S = 5
LATELY = timedelta(minutes=1)
LEAST = timedelta(seconds=1)
_KEPT_S = 2 * int(LATELY.total_seconds())

Pace = Sequence[Sequence[int]]
"""[second at which the bucket begins, rows], oldest first: twice what a rate looks back to, so that it is whole at any time."""


def counted(pace: Pace, rows: int, *, at: datetime) -> list[list[int]]:
    """Return a shard's pace with the rows of a checkpoint: never more than 25 buckets."""
    bucket = int(at.timestamp()) // BUCKET_S * BUCKET_S
    sums = {begin: count for begin, count in pace if begin > bucket - _KEPT_S}
    sums[bucket] = sums.get(bucket, 0) + rows
    return [[begin, sums[begin]] for begin in sorted(sums)]


def rate(paces: Iterable[Pace], *, since: datetime | None, now: datetime) -> float | None:
    """Return the rows a second of the last minute, or where nothing ended in it, of the last minute in which something did.

    `since` is when the batch began to run without a break: of a minute that is not full only that part counts. None while no
    row has ended.
    """
    sums: dict[int, int] = {}
    for pace in paces:
        for begin, rows in pace:
            sums[begin] = sums.get(begin, 0) + rows
    sums = {begin: rows for begin, rows in sums.items() if rows}
    if not sums:
        return None
    last = _at(max(sums) + BUCKET_S)
    is_running_since = since is not None and since < last
    at = now if is_running_since and now - last < LATELY else last
    first = -int(-(at - LATELY).timestamp() // BUCKET_S) * BUCKET_S
    counted = {begin: rows for begin, rows in sums.items() if begin >= first}
    began = max(_at(first), since) if since is not None and is_running_since else _at(min(counted))
    return sum(counted.values()) / max(at - began, LEAST).total_seconds()


def _at(second: int) -> datetime:
    return datetime.fromtimestamp(second, tz=UTC)
