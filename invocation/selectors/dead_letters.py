"""What is read of dead letters: failed jobs of the modes whose failure policy keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from agents.domain.errors import Cause
from invocation.domain.errors import NotFound
from invocation.domain.jobs import JobState
from invocation.domain.modes import POLICIES, FailurePolicy
from invocation.domain.outcomes import RunOutcome
from invocation.domain.redrives import Match
from invocation.models import DeadLetter, Discard, Job, RunRecord

KEPT = [terms for terms in POLICIES.values() if terms.failure is FailurePolicy.DEAD_LETTER]
KEPT_MODES = [str(terms.mode) for terms in KEPT]
KEPT_CLASSES = sorted({terms.priority_class for terms in KEPT})
ANSWERED = [str(RunOutcome.COMPLETED), str(RunOutcome.DECLINED)]
OPEN, REDRIVEN, DISCARDED = "open", "redriven", "discarded"


def dead_letters() -> QuerySet[DeadLetter]:
    return kept(DeadLetter.objects.all())


def kept(rows: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
    """Narrow jobs to those that are dead letters."""
    return rows.filter(state=JobState.FAILED, mode__in=KEPT_MODES)


def standing(rows: QuerySet[DeadLetter], name: str) -> QuerySet[DeadLetter]:
    """Narrow dead letters to those that are open, were redriven, or were discarded; another name narrows nothing.

    NOT EXISTS and no outer join: only of that PostgreSQL knows that most are open, and reads them in order.
    """
    redriven = Exists(Job.objects.filter(redrive_of=OuterRef("pk")))
    discarded = Exists(Discard.objects.filter(job=OuterRef("pk")))
    wanted = {OPEN: ~redriven & ~discarded, REDRIVEN: redriven, DISCARDED: discarded}
    return rows.filter(wanted[name]) if name in wanted else rows


def standing_of(row: DeadLetter) -> str:
    if getattr(row, "successor", None):
        return REDRIVEN
    return DISCARDED if getattr(row, "discard", None) else OPEN


def matching(match: Match) -> QuerySet[DeadLetter]:
    """Return the open dead letters that are meant."""
    return narrowed(standing(dead_letters(), OPEN), match)


def narrowed(rows: QuerySet[DeadLetter], match: Match) -> QuerySet[DeadLetter]:
    wanted = {
        "endpoint": match.endpoint,
        "cause": match.cause,
        "error__code": match.code,
        "tenant_id": match.tenant_id,
        "finished_at__gte": match.failed_after,
        "finished_at__lt": match.failed_before,
    }
    return rows.filter(**{name: value for name, value in wanted.items() if value})


def these(job_ids: Sequence[UUID], *, tenant_id: UUID | None) -> QuerySet[DeadLetter]:
    """Return the dead letters of these ids, a tenant's or anybody's (None). Raises NotFound naming the first that is none."""
    rows = dead_letters().filter(pk__in=job_ids)
    found = rows if tenant_id is None else rows.filter(tenant_id=tenant_id)
    missing = set(job_ids) - set(found.values_list("pk", flat=True))
    if missing:
        first = next(job_id for job_id in job_ids if job_id in missing)
        raise NotFound(f"There is no dead letter {first}.", field="/ids", found=str(first))
    return found


def counts_for_slo(*, since: datetime) -> QuerySet[DeadLetter]:
    """Return the dead letters since a moment that were the platform's failures.

    That an agent answered that it cannot (an AgentError, whose cause is the input) is an answer, not a failure.
    """
    return dead_letters().filter(finished_at__gte=since).exclude(cause=Cause.BAD_INPUT)


def share(*, since: datetime) -> tuple[int, int]:
    """Return how many jobs count as dead letters since a moment, and how many ended at all in their modes."""
    dead = counts_for_slo(since=since).count()
    done = RunRecord.objects.filter(mode__in=KEPT_MODES, finished_at__gte=since, outcome__in=ANSWERED).count()
    return dead, dead + done
