"""Ids of our rows are UUIDs of version 7: they grow with the moment at which they were made."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID


def id_at(moment: datetime) -> UUID:
    """Return the bound below which are all ids that were made before the moment, to the millisecond (RFC 9562, section 5.7)."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)
