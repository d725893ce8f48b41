"""When a schedule will fire."""

from __future__ import annotations

from datetime import datetime

from invocation.gateways import cron
from invocation.models import Schedule


def upcoming(schedule: Schedule, *, most: int) -> list[datetime]:
    """Return the next moments, the one that is due first."""
    found = [schedule.next_fire_at]
    while len(found) < most:
        found.append(cron.next_after(schedule.cron, timezone=schedule.timezone, after=found[-1]))
    return found
