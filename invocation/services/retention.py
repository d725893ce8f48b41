"""Retention: what is kept for how long, and its going when that is over, in pages and in a bounded time.

Ids are UUIDs of version 7 and grow with time, so what may be old enough is a range of the
primary key: no sweep looks at what is younger.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from invocation.domain.ids import id_at
from invocation.models import ContextRecord, Firing, Job, Outbox, Result, RunRecord, StepRecord
from invocation.selectors.dead_letters import OPEN, dead_letters, standing
from invocation.services import journals, results

PAGE = 500
WITHIN = timedelta(seconds=8)
WRITING = timedelta(hours=1)
"""Longer than any attempt takes from noting a file to committing its result."""


@dataclass(frozen=True, slots=True)
class Span:
    """One sweep's moment, and the monotonic moment at which it stops."""

    now: datetime
    until: float

    def before(self, days: int) -> datetime:
        return self.now - timedelta(days=days)

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.until


def sweep(*, now: datetime, within: timedelta = WITHIN) -> Mapping[str, int]:
    """Let go of what was kept long enough and return how much of each; what this sweep has no time for is the next one's."""
    span = Span(now, time.monotonic() + within.total_seconds())
    return MappingProxyType({name: _all(pages(span), span) for name, pages in SUBJECTS.items()})


def _all(pages: Iterator[int], span: Span) -> int:
    """Take page after page; each is a transaction of its own, and two sweeps at once take the same page once."""
    gone = 0
    for count in pages:
        gone += count
        if span.is_over:
            break
    return gone


def _results(span: Span) -> Iterator[int]:
    """Results go by their own age, but a child's not before its parent has ended; their files are orphans then."""
    before = span.before(settings.RETAIN_RESULTS_DAYS)
    for ids in _pages(Result.objects.filter(at__lt=before).exclude(_awaited("job__parent_id")), "job_id", before):
        results.drop(ids)
        yield len(ids)


def _files(span: Span) -> Iterator[int]:
    while gone := results.remove_orphans(before=span.now - WRITING, most=PAGE):
        yield gone


def _journals(span: Span) -> Iterator[int]:
    """The steps themselves are paged over, in the order of their jobs: of the many jobs whose journals went before none is read."""
    before = span.before(settings.RETAIN_JOURNAL_DAYS)
    for ids in _pages(StepRecord.objects.distinct(), "job_id", before):
        yield journals.drop(list(_ended(before).filter(pk__in=ids).values_list("pk", flat=True)))


def _outbox(span: Span) -> Iterator[int]:
    """What nobody consumed in this time is nobody's news any more. Rows are in the order of their moments."""
    before = span.before(settings.RETAIN_JOURNAL_DAYS)
    while ids := [row.pk for row in Outbox.objects.order_by("pk")[:PAGE] if row.at < before]:
        Outbox.objects.filter(pk__in=ids).delete()
        yield len(ids)


def _runs(span: Span) -> Iterator[int]:
    before = span.before(settings.RETAIN_JOBS_DAYS)
    for ids in _pages(RunRecord.objects.filter(finished_at__lt=before), "pk", before):
        RunRecord.objects.filter(pk__in=ids).delete()
        yield len(ids)


def _jobs(span: Span) -> Iterator[int]:
    """Ended jobs go with their history.

    A dead letter that is still open stays until somebody decided about it, and a child as long as its parent has not ended.
    """
    before = span.before(settings.RETAIN_JOBS_DAYS)
    undecided = standing(dead_letters(), OPEN).filter(pk=OuterRef("pk"))
    for ids in _pages(_ended(before).exclude(Exists(undecided)).exclude(_awaited("parent_id")), "pk", before):
        yield _drop_jobs(ids)


@transaction.atomic
def _drop_jobs(ids: list[UUID]) -> int:
    journals.drop(ids)
    results.drop(ids)
    Firing.objects.filter(job__in=ids).delete()
    Job.objects.filter(redrive_of__in=ids).update(redrive_of=None)
    _, gone = Job.objects.filter(pk__in=ids).delete()
    return gone.get("invocation.Job", 0)


def _contexts(span: Span) -> Iterator[int]:
    """A context goes when nobody has named, moved or answered it for as long as a job is kept."""
    old = ContextRecord.objects.filter(touched_at__lt=span.before(settings.RETAIN_JOBS_DAYS))
    while ids := list(old.order_by("touched_at").values_list("pk", flat=True)[:PAGE]):
        yield old.filter(pk__in=ids).delete()[0]


def _awaited(parent: str) -> Exists:
    """Say of a row whether the parent that the path names has not ended, and may still read it."""
    return Exists(Job.objects.filter(pk=OuterRef(parent), finished_at=None))


def _ended(before: datetime) -> QuerySet[Job]:
    return Job.objects.filter(finished_at__lt=before)


def _pages(rows: QuerySet[Any], key: str, before: datetime) -> Iterator[list[UUID]]:
    """Yield pages of the keys of rows whose key is of an earlier moment; what is passed over is not looked at twice."""
    last = UUID(int=0)
    ordered = rows.filter(**{f"{key}__lt": id_at(before)}).order_by(key).values_list(key, flat=True)
    while ids := list(ordered.filter(**{f"{key}__gt": last})[:PAGE]):
        last = ids[-1]
        yield ids


# Journals, results and runs before the jobs that they belong to; files after what names them.
SUBJECTS: Mapping[str, Callable[[Span], Iterator[int]]] = MappingProxyType(
    {
        "results": _results,
        "files": _files,
        "journals": _journals,
        "outbox": _outbox,
        "runs": _runs,
        "jobs": _jobs,
        "contexts": _contexts,
    }
)
