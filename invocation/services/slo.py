"""SLO records: one a class and minute, the alerts that follow from them, and their forgetting."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import connection, transaction

from invocation.domain.slo import OBJECTIVES, WINDOW_LASTS, Sample, judge
from invocation.models import SloRecord
from invocation.selectors import slo
from invocation.selectors.presence import is_locked
from invocation.services import alerts
from invocation.services.dispatching import LEADER

KEPT = timedelta(days=30)
LONGEST_COUNT = timedelta(hours=1)
"""After a longer gap in the records nobody counts what passed meanwhile."""
RECORDING = 0x6765_6172_0002
"""The advisory lock under which a minute is recorded."""


def keep(*, now: datetime) -> int:
    """Record every class once in this minute, open and close alerts, and return how many classes were recorded.

    Beats may tick as often as they like, two at once: the minute is recorded by the first. A minute in
    which nobody ticked has no record; what passed in it counts into the next one.
    """
    minute = now.replace(second=0, microsecond=0)
    with transaction.atomic():
        if not _is_ours() or SloRecord.objects.filter(minute=minute).exists():
            return 0
        samples = slo.measured(since=_since(now=now), is_led=is_locked(LEADER), now=now)
        SloRecord.objects.bulk_create([_row(name, sample, minute=minute) for name, sample in samples.items()])
        changed = alerts.follow(_findings(now=now), now=now)
        _forget(now=now)
    alerts.log_all(changed)
    return len(samples)


def _is_ours() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [RECORDING])
        return bool(cursor.fetchone()[0])


def _since(*, now: datetime) -> Mapping[str, datetime]:
    last = slo.last_looks()
    return {name: max(last.get(name, now - timedelta(minutes=1)), now - LONGEST_COUNT) for name in OBJECTIVES}


def _findings(*, now: datetime) -> list[alerts.Finding]:
    history = slo.history(since=now - WINDOW_LASTS)
    return [finding for name, objective in OBJECTIVES.items() for finding in judge(objective, history.get(name, ()))]


def _row(priority_class: str, sample: Sample, *, minute: datetime) -> SloRecord:
    return SloRecord(
        priority_class=priority_class,
        minute=minute,
        at=sample.at,
        depth=sample.depth,
        oldest_s=sample.oldest.total_seconds(),
        slots=sample.slots,
        busy=sample.busy,
        admitted=sample.admitted,
        finished=sample.finished,
        dead=sample.dead,
        volume=sample.volume,
        holds=sample.holds,
        is_led=sample.is_led,
    )


def _forget(*, now: datetime) -> None:
    SloRecord.objects.filter(minute__lt=now - KEPT).delete()
