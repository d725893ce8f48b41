"""Erasures: everything that was said by or about a subject goes; the bare rows stay, for counting and for the bill.

An erasure is a row, carried on by a sweep page by page. What it has not reached yet still names
the subject, so that it goes on where it was after a crash, and two sweeps at once erase the same page once.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Value, When

from invocation.domain.errors import TooManyErasures
from invocation.domain.jobs import TERMINAL, JobState
from invocation.domain.turns import ENDED
from invocation.gateways import streams
from invocation.models import Callback, ContextRecord, Discard, Erasure, Job, Outbox, Redrive, RedriveMember, Turn
from invocation.services import cancelling, endings, journals, results, targets

log = structlog.get_logger()

FORGOTTEN = "run.forgotten"
"""The outbox topic that tells of jobs and turns whose words are erased: whoever copied some of them erases those."""
REASON = "forgotten"
CLOSED = "Its words were erased."
"""Why a dead letter of which nothing is left is closed for good."""
MOST_OPEN = 200
"""Erasures that one tenant may have open at a time."""
BEFORE_ALL = UUID(int=0)
PAGE = 200
WITHIN = timedelta(seconds=5)
SETTLED = timedelta(seconds=5)
"""By then a worker has written the last words of a turn that ended to the stream store."""

BLANK: Mapping[str, Any] = {
    "input": {},
    "metadata": {},
    "answers": {},
    "questions": None,
    "awaiting": None,
    "progress": None,
    "subject": "",
    "ordering_key": None,
    "is_behind": False,
    "idempotency_key": None,
    "fingerprint": "",
    "context_key": None,
    "context_version": None,
    "relevance": "",
    "broke": "",
    "reason": Case(When(state=JobState.CANCELLED, then=Value(REASON)), default=F("reason")),
}
"""Who cancels a job says why in words of his own; every other reason is one of ours."""
BLANK_TURN: Mapping[str, Any] = {"input": {}, "metadata": {}, "subject": "", "text": "", "output": None}

# What an error says may quote the input; its code and its cause do not.
ERRORS = """
UPDATE {table} SET error = jsonb_build_object('code', error -> 'code', 'sentence', 'Erased.', 'cause', error -> 'cause', 'remedy', '')
WHERE id = ANY(%s::uuid[]) AND error IS NOT NULL
"""
EVENTS = """
UPDATE invocation_jobevent SET data = jsonb_strip_nulls(jsonb_build_object('move', data -> 'move', 'attempt', data -> 'attempt'))
WHERE job_id = ANY(%s::uuid[])
"""
LAST_EVENTS = """
UPDATE invocation_turn SET last_event = jsonb_set(last_event, '{data}', jsonb_build_object('turn', id, 'text', '', 'is_erased', TRUE))
WHERE id = ANY(%s::uuid[]) AND last_event IS NOT NULL
"""


@dataclass(slots=True)
class Place:
    """Up to which erasure the sweeps of this process came. A new process begins with the first; in turn each is reached."""

    last: UUID = BEFORE_ALL


HERE = Place()


@transaction.atomic
def ask(tenant_id: UUID, subject: str, *, by: str, now: datetime) -> Erasure:
    """Write down that a subject is to be forgotten; one that is being forgotten already is told again. Raises TooManyErasures."""
    _one_at_a_time(tenant_id)
    sha256 = subject_hash(tenant_id, subject)
    open_ones = Erasure.objects.filter(tenant_id=tenant_id, finished_at=None)
    found = open_ones.filter(subject_sha256=sha256).first()
    if found is None:
        if open_ones.count() >= MOST_OPEN:
            raise TooManyErasures(f"{MOST_OPEN} erasures are open already.", most=MOST_OPEN)
        found = Erasure.objects.create(tenant_id=tenant_id, subject=subject, subject_sha256=sha256, asked_by=by, asked_at=now)
    log.info("erasure_asked", erasure_id=str(found.pk), tenant_id=str(tenant_id), by=by)
    return found


def subject_hash(tenant_id: UUID, subject: str) -> str:
    """Return what is left of a subject that was forgotten: enough to show that this one was."""
    return hashlib.sha256(f"{tenant_id} {subject}".encode()).hexdigest()


def sweep(*, now: datetime, within: timedelta = WITHIN, place: Place = HERE) -> None:
    """Carry on one open erasure after another for a bounded time; the next sweep goes on after the last of them.

    One that breaks off stops no other, and is tried again in its turn.
    """
    until = time.monotonic() + within.total_seconds()
    for erasure in _in_turn(place.last):
        place.last = erasure.pk
        _carry_on_until(erasure, until, now=now)
        if time.monotonic() >= until:
            return


def _in_turn(last: UUID) -> Iterator[Erasure]:
    open_ones = Erasure.objects.filter(finished_at=None).order_by("id")
    return chain(open_ones.filter(pk__gt=last), open_ones.filter(pk__lte=last))


def _carry_on_until(erasure: Erasure, until: float, *, now: datetime) -> None:
    try:
        while carry_on(erasure, now=now) and time.monotonic() < until:
            pass
    except Exception:
        log.exception("erasure_broke_off", erasure_id=str(erasure.pk), tenant_id=str(erasure.tenant_id))


def carry_on(erasure: Erasure, *, now: datetime) -> bool:
    """Stop what is open and erase a page of what has ended; True while there is more to do at once.

    What a worker still holds is waited for; when nothing names the subject any more the erasure is finished.
    """
    stopped = _stop(erasure, now=now)
    jobs, turns = _erase_jobs(erasure, now=now), _erase_turns(erasure, now=now)
    if stopped or jobs or turns:
        done = {
            "jobs_stopped": F("jobs_stopped") + stopped,
            "jobs_erased": F("jobs_erased") + jobs,
            "turns_erased": F("turns_erased") + turns,
        }
        Erasure.objects.filter(pk=erasure.pk).update(**done)
        return True
    _finish(erasure, now=now)
    return False


def _stop(erasure: Erasure, *, now: datetime) -> int:
    for turn_id in _turns(erasure).filter(stop_requested_at=None).exclude(state__in=ENDED).values_list("pk", flat=True)[:PAGE]:
        cancelling.stop_turn(turn_id, now=now)
    with transaction.atomic():
        going = {*TERMINAL, JobState.CANCELLING}
        still_open = list(_jobs(erasure).exclude(state__in=going).values_list("pk", flat=True)[:PAGE])
        return len(endings.stop(still_open, reason=REASON, now=now)) if still_open else 0


def _erase_jobs(erasure: Erasure, *, now: datetime) -> int:
    """Erase a page of ended jobs: first what can be read, then the files, at last the words that name the subject."""
    ended = _jobs(erasure).filter(state__in=TERMINAL)
    ids = list(ended.order_by("pk").values_list("pk", flat=True)[:PAGE])
    if not ids:
        return 0
    with transaction.atomic():
        results.drop(ids)
    results.remove_files_of(ids)
    targets.remove_of(ids)
    with transaction.atomic():
        erased = ended.filter(pk__in=ids).update(**BLANK)
        _run(EVENTS, ids)
        _run(ERRORS.format(table="invocation_job"), ids)
        _close_dead_letters(erasure, ids, now=now)
        journals.drop(ids)
        Callback.objects.filter(job__in=ids).delete()
        _forget_redrives(erasure.tenant_id, ids)
        ContextRecord.objects.filter(answer_job_id__in=ids, tenant_id=erasure.tenant_id).update(
            answer_job_id=None, answer_version=None, answered_at=None
        )
        _tell(ids, now=now)
    return erased


def _erase_turns(erasure: Erasure, *, now: datetime) -> int:
    """Erase a page of ended turns; the log of their sessions goes first, and readers get their end from the row."""
    ended = _turns(erasure).filter(finished_at__lte=now - SETTLED)
    found = dict(ended.order_by("pk").values_list("pk", "session_id")[:PAGE])
    if not found:
        return 0
    streams.forget({str(session_id) for session_id in found.values()})
    ids = list(found)
    with transaction.atomic():
        erased = ended.filter(pk__in=ids).update(**BLANK_TURN)
        _run(ERRORS.format(table="invocation_turn"), ids)
        _run(LAST_EVENTS, ids)
        _tell(ids, now=now)
    return erased


def _close_dead_letters(erasure: Erasure, ids: Sequence[UUID], *, now: datetime) -> None:
    """Discard the failed: there is nothing left with which they could be started again. Whoever was closed before keeps its reason."""
    failed = Job.objects.filter(pk__in=ids, state=JobState.FAILED, successor=None).values_list("pk", flat=True)
    Discard.objects.bulk_create(
        [Discard(job_id=job_id, reason=CLOSED, by=erasure.asked_by, at=now) for job_id in failed], ignore_conflicts=True
    )


def _finish(erasure: Erasure, *, now: datetime) -> None:
    """End the erasure unless something names its subject: asked in the UPDATE itself."""
    jobs, turns = (Exists(rows.objects.filter(tenant_id=OuterRef("tenant_id"), subject=OuterRef("subject"))) for rows in (Job, Turn))
    if Erasure.objects.filter(~jobs, ~turns, pk=erasure.pk, finished_at=None).update(subject="", finished_at=now):
        log.info("erasure_finished", erasure_id=str(erasure.pk), tenant_id=str(erasure.tenant_id))


def _forget_redrives(tenant_id: UUID, ids: Sequence[UUID]) -> None:
    """An input that was edited for one of these jobs goes with it, and what a refusal quoted of theirs."""
    theirs = Redrive.objects.filter(Q(tenant_id=tenant_id) | Q(tenant_id=None))
    members = RedriveMember.objects.filter(job_id__in=ids, redrive__in=theirs)
    Redrive.objects.filter(pk__in=members.values("redrive")).exclude(input=None).update(input={})
    members.update(sentence="")


def _tell(ids: Sequence[UUID], *, now: datetime) -> None:
    """Take back what the outbox still holds of these, and say that they are forgotten. Who took it before was first."""
    Outbox.objects.filter(run_id__in=ids).delete()
    Outbox.objects.bulk_create([Outbox(topic=FORGOTTEN, run_id=run_id, data={}, at=now) for run_id in ids])


def _jobs(erasure: Erasure) -> QuerySet[Job]:
    return Job.objects.filter(tenant_id=erasure.tenant_id, subject=erasure.subject).exclude(subject="")


def _turns(erasure: Erasure) -> QuerySet[Turn]:
    return Turn.objects.filter(tenant_id=erasure.tenant_id, subject=erasure.subject).exclude(subject="")


def _one_at_a_time(tenant_id: UUID) -> None:
    """Let only one transaction at a time count and add a tenant's erasures."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"erasures {tenant_id}"])


def _run(statement: str, ids: Sequence[UUID]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, [list(ids)])
