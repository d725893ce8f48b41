"""Shards under which a worker vanished: how long one waits, how carefully its rows run then, and when it ends."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

FIRST_WAIT = timedelta(seconds=1)
CAREFUL_ROWS = 64
"""So many rows run one at a time after a loss: about as many as may have been under way."""
LOSSES_OF_A_ROW = 3
"""In a row, without one finished row in between: from the second on one row alone was in flight, the first that is not finished."""
APART = 2
ANY = 32_767


def wait(losses: int) -> timedelta:
    """Return how long a shard waits after so many losses in a row: it doubles."""
    return FIRST_WAIT * (1 << min(max(losses - 1, 0), LOSSES_OF_A_ROW))


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
