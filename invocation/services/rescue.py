"""Making true again what a dead worker or a lost message left undone; run by the dispatcher's leader all the time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from agents.domain.errors import Cause
from invocation.domain.jobs import Fault, JobState, Move, is_poison
from invocation.models import Job, Process, Shard, Turn
from invocation.services import endings, lifecycle
from invocation.services.lifecycle import Moved

MESSAGE_TRUSTED = timedelta(seconds=5)
"""A job admitted longer ago that no worker has claimed has lost its message."""

# The reason stands in the UPDATE itself: a process that renewed in between keeps its jobs.
LEASE_ENDED = "NOT EXISTS (SELECT FROM invocation_process AS holder WHERE holder.id = job.owner AND holder.lease_until > now.at)"
MESSAGE_LOST = "job.attempt = given.attempt AND job.dispatched_at < given.due_at"


def rescue_jobs(*, now: datetime) -> int:
    """Queue again what dead processes held; a job that cancels is cancelled, one that killed three workers is buried."""
    orphans = list(Job.objects.filter(_orphaned(now), owner__isnull=False).only("id", "state", "losses", "is_alone"))
    with transaction.atomic():
        endings.lock_around([job.id for job in orphans])
        rescued = lifecycle.move(
            Move.RESCUE, [lifecycle.of(job.id, charged=int(job.is_alone)) for job in orphans if not _kills(job)], now=now, right=LEASE_ENDED
        )
        buried = _bury([job for job in orphans if _kills(job)], now=now)
        stopped = endings.end(Move.CONFIRM_CANCEL, [lifecycle.of(job.id) for job in orphans], now=now, right=LEASE_ENDED)
    return len(rescued) + len(buried) + len(stopped)


def recall_lost_messages(*, now: datetime) -> int:
    """Queue again what was admitted and never claimed: the message died with the broker, or with its worker."""
    before = now - MESSAGE_TRUSTED
    lost = Job.objects.filter(state=JobState.DISPATCHED, dispatched_at__lt=before).values_list("id", "attempt")
    given = [lifecycle.of(job_id, attempt=attempt, due_at=before) for job_id, attempt in lost]
    return len(lifecycle.move(Move.RECALL, given, now=now, right=MESSAGE_LOST))


def forget_the_dead(*, now: datetime) -> int:
    """Delete processes whose lease has ended and that hold nothing any more."""
    gone = Process.objects.filter(lease_until__lt=now - timedelta(minutes=1))
    for model in (Job, Turn):
        gone = gone.exclude(Exists(model.objects.filter(owner=OuterRef("pk"))))
    ids = list(gone.values_list("pk", flat=True))
    with_shards = Shard.objects.filter(owner__in=ids).values_list("owner", flat=True) if ids else ()
    return gone.filter(pk__in=set(ids) - set(with_shards)).delete()[0]


def _kills(job: Job) -> bool:
    return job.is_alone and is_poison(job.losses + 1)


def _bury(poison: Sequence[Job], *, now: datetime) -> list[Moved]:
    fault = Fault(
        code="lost_worker",
        sentence="Three workers vanished while they ran this job.",
        cause=Cause.LOST_WORKER,
        remedy="Look for what ends the process (memory, a crash in native code); then redrive.",
    ).as_json()
    given = [lifecycle.of(job.id, error=fault, cause=fault["cause"], reason=fault["code"], charged=0) for job in poison]
    return endings.end(Move.BURY, given, now=now, right=LEASE_ENDED)


def _orphaned(now: datetime) -> Q:
    return Q(~Exists(Process.objects.filter(pk=OuterRef("owner"), lease_until__gt=now)))
