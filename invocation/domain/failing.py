"""From how many failed rows on a batch only burns money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SHARE, LEAST = 0.2, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """A batch is paused when `share` of its rows failed, or `count` of them, once `least` have ended; None never."""

    share: float | None = SHARE
    count: int | None = None
    least: int = LEAST

    def is_exceeded(self, *, ended: int, failed: int) -> bool:
        if ended < self.least or not failed:
            return False
        return (self.share is not None and failed >= self.share * ended) or (self.count is not None and failed >= self.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A batch's tolerance, and how many tries of rows had ended and failed when it was last let go on in spite of them.

    Tries are counted in all rounds: a row that runs again is one more.
    """

    tolerance: Tolerance
    ended: int = 0
    failed: int = 0

    def verdict(self, *, ended: int, failed: int) -> str | None:
        """Return what is too much since then, in words that the causes of all failures follow; nothing, if it is tolerated."""
        ended, failed = ended - self.ended, failed - self.failed
        if not self.tolerance.is_exceeded(ended=ended, failed=failed):
            return None
        return f"{failed} of {ended} rows failed{' since it last went on; in all' if self.ended else ''}"


def read(kept: Mapping[str, Any]) -> Judged:
    """Return what is kept with the batch."""
    told = {name: kept[name] for name in ("share", "count", "least") if name in kept}
    return Judged(tolerance=Tolerance(**told), ended=kept.get("ended", 0), failed=kept.get("failed", 0))
