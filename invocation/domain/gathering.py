"""How often a batch's dataset is tried to be written, and how long after a try that failed the next one waits."""

from __future__ import annotations

from datetime import timedelta

DATASET_UNWRITTEN = "dataset_unwritten"
"""The code of the fault by which a batch fails after so many tries: its rows are done, and staging has them."""
MOST_TRIES = 20
"""Two to three hours, with the waits in between."""
FIRST_WAIT = timedelta(seconds=10)
LONGEST_WAIT = timedelta(minutes=10)


def wait(tries: int) -> timedelta:
    """Return how long after so many tries the next one waits: it doubles."""
    return min(LONGEST_WAIT, FIRST_WAIT * (1 << min(max(tries - 1, 0), MOST_TRIES)))


def is_enough(tries: int) -> bool:
    return tries >= MOST_TRIES
