"""Each model's limits as this process knows them: one snapshot of all rows, at most 5 s old."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from django import db

from quota import selectors
from quota.domain.limits import UNKNOWN_MODEL, Limits

FRESH_S = 4.0  # and up to a second to read


@dataclass(frozen=True, slots=True)
class _Snapshot:
    rows: Mapping[tuple[str, str], Limits]
    at: float


_nothing = _Snapshot({}, float("-inf"))
_latest = _nothing
_reading = threading.Lock()


async def limits_of(provider: str, model: str) -> Limits:
    """Return the model's limits, or a conservative default for a model without a row.

    While the database is away the last known limits hold.
    """
    if _is_stale():
        await asyncio.to_thread(_refresh)
    return _latest.rows.get((provider, model), UNKNOWN_MODEL)


def known_limits(provider: str, model: str) -> Limits:
    """Return the same in a thread, over its own database connection and inside its transaction."""
    global _latest  # noqa: PLW0603
    if _is_stale():
        _latest = _Snapshot(_rows(), time.monotonic())
    return _latest.rows.get((provider, model), UNKNOWN_MODEL)


def forget() -> None:
    """Make the next question read the rows again."""
    global _latest  # noqa: PLW0603  (one snapshot for each process)
    _latest = _nothing


def _is_stale() -> bool:
    return time.monotonic() - _latest.at > FRESH_S


def _refresh() -> None:
    global _latest  # noqa: PLW0603
    with _reading:
        if _is_stale():
            _latest = _Snapshot(_read(), time.monotonic())


def _read() -> Mapping[tuple[str, str], Limits]:
    try:
        return _rows()
    finally:
        db.connection.close()


def _rows() -> Mapping[tuple[str, str], Limits]:
    try:
        return selectors.limits_by_model()
    except (db.OperationalError, db.InterfaceError):
        return _latest.rows
