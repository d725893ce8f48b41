"""Each model's limits as this process knows them: one snapshot of all rows, at most 5 s old."""

from __future__ import annotations

from collections.abc import Mapping

from quota import selectors
from quota.domain.limits import UNKNOWN_MODEL, Limits
from quota.services.snapshots import Snapshot


def _read() -> Mapping[tuple[str, str], Limits]:
    return selectors.limits_by_model()


_latest: Snapshot[Mapping[tuple[str, str], Limits]] = Snapshot(_read, nothing={})
forget = _latest.forget


async def limits_of(provider: str, model: str) -> Limits:
    """Return the model's limits, or a conservative default for a model without a row.

    While the database is away the last known limits hold.
    """
    return (await _latest.fresh()).get((provider, model), UNKNOWN_MODEL)


def known_limits(provider: str, model: str) -> Limits:
    """Return the same in a thread, over its own database connection and inside its transaction."""
    return _latest.known().get((provider, model), UNKNOWN_MODEL)
