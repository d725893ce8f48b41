"""When a batch may work: from one time of the day to another on the clocks of a time zone, every day.

At the clock's changes each of the two times is the moment at which cron would fire (gateways/cron.py): the first of two where
an hour comes twice, the moment of the jump where it is missing. So there is one window a day, and a night of which both times
are missing has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
SHORT = re.compile(r"(?P<start>[\d:]+)-(?P<end>[\d:]+)@(?P<zone>.+)")
SECOND = timedelta(seconds=1)


class WindowInvalid(ValueError):
    """A window cannot be read; `field` says which part of it."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


@dataclass(frozen=True, slots=True)
class Span:
    """One day's window. Its end is outside of it."""

    begins: datetime
    ends: datetime

    def left(self, moment: datetime) -> timedelta:
        """Return how long it is open from a moment on that is not behind it."""
        return self.ends - max(self.begins, moment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Open from `start` to `end` on the clocks of a zone of the IANA database; over midnight where the end is not after the start."""

    start: time
    end: time
    zone: str

    def __post_init__(self) -> None:
        """Raises WindowInvalid."""
        if self.start == self.end:
            raise WindowInvalid("end", "A window ends at another time than it starts: to run at any time, give none.")
        _zone(self.zone)

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}@{self.zone}"

    def as_json(self) -> dict[str, str]:
        return {"start": f"{self.start:%H:%M}", "end": f"{self.end:%H:%M}", "zone": self.zone}

    def ahead(self, moment: datetime) -> Iterator[Span]:
        """Yield the window that holds the moment, if there is one, and those after it, in their order and in UTC, without end."""
        zone = _zone(self.zone)
        # Two days back: a window over midnight, in a zone that once left out a day.
        day = moment.astimezone(zone).date() - timedelta(days=2)
        while True:
            span = self._of(day, zone)
            if span.begins < span.ends and moment < span.ends:
                yield span
            day += timedelta(days=1)

    def next(self, moment: datetime) -> Span:
        """Return the window that holds the moment, or else the one after it."""
        return next(self.ahead(moment))

    def holds(self, moment: datetime) -> bool:
        return self.next(moment).begins <= moment

    def _of(self, day: date, zone: ZoneInfo) -> Span:
        last = day if self.start < self.end else day + timedelta(days=1)
        return Span(_moment(day, self.start, zone), _moment(last, self.end, zone))


def window_of(told: Mapping[str, str]) -> Window:
    """Return the window of its three texts. Raises WindowInvalid, naming the part."""
    return Window(start=_clock(told, "start"), end=_clock(told, "end"), zone=told["zone"])


def is_open(kept: Mapping[str, str] | None, moment: datetime) -> bool:
    """Say whether work may go on in the window that is kept with a batch; where there is none it always may."""
    return kept is None or window_of(kept).holds(moment)


def window_of_text(text: str) -> Window:
    """Return the window that is written 22:00-06:00@Europe/Berlin. Raises WindowInvalid."""
    found = SHORT.fullmatch(text)
    if found is None:
        raise WindowInvalid("window", f"{text!r} is no window such as 22:00-06:00@Europe/Berlin.")
    return window_of(found.groupdict())


def _clock(told: Mapping[str, str], part: str) -> time:
    if not CLOCK.fullmatch(told[part]):
        raise WindowInvalid(part, f"{told[part]!r} is no time of the day such as 22:00.")
    return time.fromisoformat(told[part])


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise WindowInvalid("zone", f"{name!r} is no time zone of the IANA database, such as Europe/Berlin.") from None


def _moment(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Return when the clocks show a time for the first time on a day, or jump over it."""
    local = datetime.combine(day, at, zone)
    found = local.astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return found
    return _jump(local.replace(fold=1).astimezone(UTC), found, zone)


def _jump(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """Return the whole second between the two from which on the zone has the later offset."""
    offset = after.astimezone(zone).utcoffset()
    while after - before > SECOND:
        middle = before + (after - before) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after.replace(microsecond=0)
