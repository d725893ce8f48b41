"""Cron expressions in a time zone, by the rules of Debian's cron at the clock's changes."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError


class BadCron(ValueError):
    """The expression or the time zone cannot be read; `field` says which."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


def next_after(expression: str, *, timezone: str, after: datetime) -> datetime:
    """Return the first moment of the expression after `after`. Raises BadCron."""
    try:
        local = after.astimezone(ZoneInfo(timezone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadCron("timezone", f"{timezone!r} is no time zone of the IANA database, such as Europe/Berlin.") from None
    try:
        return next(CronSim(expression, local))
    except (CronSimError, StopIteration):
        raise BadCron("cron", f"{expression!r} is no cron expression that ever fires, such as '0 9 * * 1'.") from None
