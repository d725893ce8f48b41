"""The figures of an SLO record, and the records themselves."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Count, Q, Sum

from invocation.domain.jobs import IN_FLIGHT
from invocation.domain.modes import POLICIES
from invocation.domain.slo import Sample
from invocation.models import Hold, Job, RunRecord, Shard, SloRecord, Turn
from invocation.selectors import dead_letters, depth
from quota.domain.classes import PriorityClass

DAY = timedelta(hours=24)


def measured(*, since: Mapping[str, datetime], is_led: bool, now: datetime) -> Mapping[str, Sample]:
    """Measure every class now; what began and ended is counted from each class's moment in `since`."""
    waiting = {line.priority_class: line for line in depth.depths()}
    slots = {line.priority_class: line for line in depth.slots(now=now)}
    holds = Hold.objects.filter(released_at__isnull=True).count()
    dead, volumes = _dead(now=now), _volumes(now=now)
    found = {}
    for name, line in waiting.items():
        admitted, finished = _PASSED.get(name, _passed_jobs)(name, since=since[name], now=now)
        found[name] = Sample(
            at=now,
            depth=line.waiting,
            oldest=timedelta(seconds=line.oldest_s(now=now)),
            slots=slots[name].slots,
            busy=slots[name].in_use,
            admitted=admitted,
            finished=finished,
            dead=dead[name],
            volume=volumes[name] + finished + dead[name],
            holds=holds,
            is_led=is_led,
        )
    return found


def history(*, since: datetime) -> Mapping[str, Sequence[Sample]]:
    """Return each class's records since a moment, the newest last."""
    found: defaultdict[str, list[Sample]] = defaultdict(list)
    for row in SloRecord.objects.filter(minute__gte=since).order_by("minute"):
        found[row.priority_class].append(_sample(row))
    return found


def last_looks() -> Mapping[str, datetime]:
    """Return when each class was recorded last."""
    newest = [SloRecord.objects.filter(priority_class=name).order_by("-minute").first() for name in PriorityClass]
    return {row.priority_class: row.at for row in newest if row}


def _sample(row: SloRecord) -> Sample:
    return Sample(
        at=row.at,
        depth=row.depth,
        oldest=timedelta(seconds=row.oldest_s),
        slots=row.slots,
        busy=row.busy,
        admitted=row.admitted,
        finished=row.finished,
        dead=row.dead,
        volume=row.volume,
        holds=row.holds,
        is_led=row.is_led,
    )


def _dead(*, now: datetime) -> Counter[str]:
    counted = dead_letters.counts_for_slo(since=now - DAY).values_list("priority_class").annotate(Count("pk"))
    return Counter(dict(counted.order_by()))


def _volumes(*, now: datetime) -> Counter[str]:
    """Sum the records of the last day: their number is bounded, whatever ran."""
    rows = SloRecord.objects.filter(minute__gt=now - DAY).values_list("priority_class")
    return Counter(dict(rows.annotate(Sum("finished")).order_by()))


def _passed_jobs(priority_class: str, *, since: datetime, now: datetime) -> tuple[int, int]:
    """Return how many runs began and how many gave their answer; a run that began and parked in between is not counted."""
    begun, answered = _runs(priority_class, since=since, now=now)
    in_flight = Job.objects.filter(priority_class=priority_class, state__in=IN_FLIGHT, dispatched_at__gt=since).count()
    return begun + in_flight, answered


def _passed_turns(priority_class: str, *, since: datetime, now: datetime) -> tuple[int, int]:
    _, answered = _runs(priority_class, since=since, now=now)
    return Turn.objects.filter(pk__gte=_first_id(since)).count(), answered


def _passed_shards(priority_class: str, *, since: datetime, now: datetime) -> tuple[int, int]:
    recent = Shard.objects.filter(Q(batch__finished_at__isnull=True) | Q(batch__finished_at__gt=since))
    found = recent.aggregate(begun=Count("pk", filter=Q(started_at__gt=since)), ended=Count("pk", filter=Q(finished_at__gt=since)))
    return found["begun"], found["ended"]


_PASSED = {PriorityClass.P0.value: _passed_turns, PriorityClass.P3.value: _passed_shards}
"""Who counts what began and ended in a class; jobs where nobody is named."""


def _runs(priority_class: str, *, since: datetime, now: datetime) -> tuple[int, int]:
    """Return how many runs have begun and ended since, and how many have given their answer."""
    modes = [str(mode) for mode, terms in POLICIES.items() if terms.priority_class == priority_class]
    ended = RunRecord.objects.filter(mode__in=modes, finished_at__gt=since, finished_at__lte=now)
    found = ended.aggregate(
        begun=Count("pk", filter=Q(started_at__gt=since)), answered=Count("pk", filter=Q(outcome__in=dead_letters.ANSWERED))
    )
    return found["begun"], found["answered"]


def _first_id(moment: datetime) -> UUID:
    """Return the smallest UUIDv7 of a moment: ids are in the order of their making."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)
