"""Shards under which a worker vanished: how long one waits, how carefully its rows run then, and when it ends."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple

FIRST_WAIT = timedelta(seconds=1)
LOSSES_OF_A_ROW = 4
"""In a row: for the last two, one row alone was in flight, the first that is not finished."""
APART = 2
"""From so many losses on rows run one at a time: what is lost then was lost by the first row in line, if none is finished in between."""
ANY = 32_767


class Care(NamedTuple):
    """How the rows behind a loss run: so many at once, and so many of them."""

    at_once: int
    rows: int


_FIRST, _ALONE = Care(at_once=8, rows=64), Care(at_once=1, rows=16)
"""A worker that was stopped from outside costs a shard little; a row that ends its process is among few, then alone.

Behind the first loss at most 15 rows are begun and in no checkpoint: seven that wait for one, and eight that run.
"""


def care(losses: int) -> Care | None:
    """Return the care that so many losses ask for; none without a loss."""
    if losses >= APART:
        return _ALONE
    return _FIRST if losses else None


def forgiven(losses: int) -> int:
    """Return what is held against a shard whose rows run with care, once some of them are finished."""
    return min(losses, APART)


def wait(losses: int) -> timedelta:
    """Return how long a shard waits after so many losses in a row: it doubles."""
    return FIRST_WAIT * (1 << min(max(losses - 1, 0), LOSSES_OF_A_ROW - 1))


def is_of_its_row(losses: int) -> bool:
    """Say whether the row that is first in line ends as an error, instead of being run once more."""
    return losses >= LOSSES_OF_A_ROW


def is_of_its_shard(losses: int) -> bool:
    """Say whether workers vanish though no row was run: nothing can be left out, and the batch cannot go on."""
    return losses > LOSSES_OF_A_ROW


def most_beside(careful: Iterable[int]) -> int:
    """Return how many losses a shard may have that begins in a process where careful ones run, each with so many.

    One that lost its second worker runs beside no other careful one: what kills that is not held against it.
    """
    losses = [each for each in careful if each]
    if max(losses, default=0) >= APART:
        return 0
    return APART - 1 if losses else ANY
