"""When the next request of a load is due."""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import Random


def moments(count: int, *, mean_gap_s: float, least_gap_s: float = 0.0, seed: int) -> Iterator[float]:
    """Yield at `count` moments with exponential gaps (a Poisson load) above a least gap; at once where the mean gap is 0.

    A load that is late does not skip: what is yielded is when the request was due.
    """
    luck, due = Random(seed), time.time()  # noqa: S311  (a load, not a secret)
    for _ in range(count):
        if not mean_gap_s:
            yield time.time()
            continue
        due += least_gap_s + luck.expovariate(1 / (mean_gap_s - least_gap_s))
        time.sleep(max(0.0, due - time.time()))
        yield due
