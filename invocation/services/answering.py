"""Answers: what people say to a job's questions, each kept as it comes; the last one queues the job again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from invocation.domain.errors import InputInvalid, NotWaiting
from invocation.domain.jobs import JobState, Move
from invocation.gateways import hints, schemas
from invocation.models import Job
from invocation.services import lifecycle

INPUT_RECEIVED = "input.received"


def answer(job_id: UUID, *, key: str, value: Any, now: datetime) -> None:
    """Store one answer, as answer_all does; a refusal names it `/value`."""
    _answer(job_id, {key: value}, {key: "/value"}, now=now)


def answer_all(job_id: UUID, answers: Mapping[str, Any], *, now: datetime) -> None:
    """Store answers, all or none of them; when none is missing any more, queue the job again.

    Raises NotWaiting if a key is not among what the job still asks, InputInvalid if an
    answer does not fit its question's schema.
    """
    _answer(job_id, answers, {key: f"/answers/{key}" for key in answers}, now=now)


def _answer(job_id: UUID, answers: Mapping[str, Any], fields: Mapping[str, str], *, now: datetime) -> None:
    with transaction.atomic():
        job = Job.objects.select_for_update(of=["self"], no_key=True).get(pk=job_id)
        asked = job.questions or {}
        for key, value in answers.items():
            if job.state != JobState.INPUT_REQUIRED or key not in asked:
                raise NotWaiting(_not_asked(job, key), field="key", found=key)
            _check(value, asked[key]["schema"], at=fields[key])
        lifecycle.note(job_id, INPUT_RECEIVED, {"keys": sorted(answers)}, now=now)
        _keep(job, answers, now=now)
    hints.wake(job.priority_class, job.tenant_id)


def _keep(job: Job, answers: Mapping[str, Any], *, now: datetime) -> None:
    missing = {key: question for key, question in (job.questions or {}).items() if key not in answers}
    if missing:
        Job.objects.filter(pk=job.pk).update(questions=missing, answers={**job.answers, **answers})
    else:
        lifecycle.move_one(Move.ANSWER, lifecycle.of(job.pk, answers=dict(answers)), now=now)


def _not_asked(job: Job, key: str) -> str:
    asked = f"it asks {', '.join(map(repr, job.questions))}" if job.questions else "it asks nothing"
    return f"Job {job.id} is {job.state} and does not ask {key!r}: {asked}."


def _check(value: Any, schema: Mapping[str, Any], *, at: str) -> None:
    try:
        schemas.check_storable(value)
        schemas.check(value, schema)
    except schemas.Unfit as unfit:
        raise InputInvalid(f"{at}{unfit.pointer}: {unfit.wanted}.", field=f"{at}{unfit.pointer}", found=unfit.found) from None
