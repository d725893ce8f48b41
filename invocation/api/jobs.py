"""Calls on jobs: submit, follow, cancel, answer, redrive. None waits for a result."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from invocation.api import bodies
from invocation.api.calls import READS_AND_INVOKES, Call, caller_of, must_have_room
from invocation.api.cursors import Place, page
from invocation.api.describing import IDEMPOTENCY_KEY, TRACEPARENT, described
from invocation.api.shapes.fields import wish_of
from invocation.api.shapes.jobs import (
    AcceptedJob,
    AnswerBody,
    CancelBody,
    JobBody,
    JobDetail,
    JobPage,
    JobQuery,
    JobShape,
    JournalShape,
    RedriveBody,
    ResultQuery,
    ResultShape,
    StepShape,
    links,
)
from invocation.domain import traces
from invocation.domain.contexts import Context, Relevance
from invocation.domain.endpoints import Endpoint, check_size
from invocation.domain.errors import InputInvalid, InvocationError
from invocation.domain.jobs import JobState, OrderingPolicy
from invocation.domain.modes import Transport
from invocation.domain.redrives import AgentChoice, Edit
from invocation.models import Job
from invocation.selectors import contexts, endpoints, estimates, results, waits, webhooks
from invocation.selectors import jobs as seen
from invocation.selectors.estimates import Estimate
from invocation.services import contexts as keeping
from invocation.services import jobs, redriving, submission
from invocation.services.submission import Accepted, Submission
from quota.domain.callers import Caller
from quota.domain.classes import PriorityClass
from quota.domain.errors import QuotaError

TAG = "jobs"


class Jobs(Call):
    scopes = READS_AND_INVOKES

    @described("list_jobs", "List jobs, newest first", tag=TAG, answers={200: JobPage}, refuses=(400, 422), parameters=[JobQuery])
    def get(self, request: Request) -> Response:
        asked = bodies.query(request, JobQuery)
        limit, cursor = asked.pop("limit"), asked.pop("cursor", None)
        place = Place(caller_of(request).tenant_id, request.path, asked)
        found, following = page(seen.jobs_of(place.tenant_id, asked), at=place, cursor=cursor, limit=limit)
        return Response({"items": JobShape(found, many=True).data, "next": following})

    @described(
        "submit_job",
        "Submit a job",
        tag=TAG,
        answers={202: AcceptedJob},
        refuses=(400, 404, 409, 410, 413, 415, 422),
        request=JobBody,
        parameters=[IDEMPOTENCY_KEY, TRACEPARENT],
    )
    def post(self, request: Request) -> Response:
        """Accept a job durably and answer at once; no call waits for a result.

        Follow the job's events, or read it again. The input must fit the endpoint's input
        schema, which `GET /v1/endpoints/{label}` tells. Sent again with the same Idempotency-Key and body it is answered
        with the first call's job, also where it would be refused by now.
        """
        now = timezone.now()
        try:
            wanted = _submission(request, bodies.body(request, JobBody), now=now)
            accepted = submission.submit(wanted, now=now)
        except (InvocationError, QuotaError):
            made = _made_before(request)
            if made is None:
                raise
            return _taken(_told_of_replay(made, now=now))
        return _accepted(accepted, wanted.endpoint, wanted.tenant_id, now=now)


class OneJob(Call):
    @described("read_job", "Read a job", tag=TAG, answers={200: JobDetail}, refuses=(404,))
    def get(self, request: Request, job_id: UUID) -> Response:
        return Response(_detail(_owned(request, job_id)))


class JobResult(Call):
    @described(
        "read_result",
        "Read a completed job's result",
        tag=TAG,
        answers={200: ResultShape},
        refuses=(404, 409, 410, 422),
        parameters=[ResultQuery],
    )
    def get(self, request: Request, job_id: UUID) -> Response:
        """404 `result_not_ready` before the end, 410 `no_result` after a failure or a cancellation.

        A result is kept for a while; then the answer is 410 `result_expired`.
        While the store of large results does not answer it is 503 `store_unavailable`.
        Where the job named a context that has moved on since, its policy says whether the result is delivered as it is,
        annotated in `relevance`, or withheld: 409 `result_withheld`, unless `withheld=show`.
        """
        job, asked = _owned(request, job_id), bodies.query(request, ResultQuery)
        result = results.result_of(job)
        if "withheld" not in asked:
            results.must_be_wanted(job)
        told = {"id": str(job.pk), "endpoint": job.endpoint, "output": results.delivered_output(result), "at": result.at}
        return Response({**told, "relevance": contexts.relevance_of(job)})


class JobJournal(Call):
    @described("read_journal", "Read a job's finished steps", tag=TAG, answers={200: JournalShape}, refuses=(404,))
    def get(self, request: Request, job_id: UUID) -> Response:
        steps = seen.steps_of(_owned(request, job_id))
        return Response({"items": [{**StepShape(step).data, "result": seen.step_result(step)} for step in steps]})


class CancelJob(Call):
    scopes = READS_AND_INVOKES

    @described(
        "cancel_job",
        "Cancel a job",
        tag=TAG,
        answers={202: JobDetail},
        refuses=(400, 404, 409, 422),
        request=CancelBody,
    )
    def post(self, request: Request, job_id: UUID) -> Response:
        """End a job that no worker holds at once; one that runs is `cancelling` until its worker confirms."""
        job = _owned(request, job_id)
        reason = bodies.body(request, CancelBody).get("reason", "cancelled")
        jobs.cancel(job.pk, reason=reason, now=timezone.now())
        return Response(_detail(_owned(request, job_id)), status=202)


class AnswerJob(Call):
    scopes = READS_AND_INVOKES

    @described("answer_job", "Answer a job", tag=TAG, answers={202: JobDetail}, refuses=(400, 404, 409, 422), request=AnswerBody)
    def post(self, request: Request, job_id: UUID) -> Response:
        """Answer one or several of the questions that the job asks; it goes on when all are answered.

        All answers of a call are kept, or none: each must fit its question's schema.
        """
        job = _owned(request, job_id)
        told = bodies.body(request, AnswerBody)
        if "key" in told:
            jobs.answer(job.pk, key=told["key"], value=told["value"], now=timezone.now())
        else:
            jobs.answer_all(job.pk, told["answers"], now=timezone.now())
        return Response(_detail(_owned(request, job_id)), status=202)


class RedriveJob(Call):
    scopes = READS_AND_INVOKES

    @described(
        "redrive_job",
        "Start a failed job again as a new one",
        tag=TAG,
        answers={202: AcceptedJob},
        refuses=(400, 404, 409, 410, 422),
        request=RedriveBody,
    )
    def post(self, request: Request, job_id: UUID) -> Response:
        """Make a new job of a failed one, which stays failed and names its successor.

        Without `input` the old input is used. The new job runs the agent version of the old one unless `agent` says otherwise.
        """
        job = _owned(request, job_id)
        endpoint = endpoints.callable_as(job.endpoint, endpoints.named(job.endpoint).policy.transport)
        caller_of(request).require_class(endpoint.policy.priority_class)
        must_have_room(caller_of(request))
        now = timezone.now()
        told = bodies.body(request, RedriveBody)
        edit = Edit(input=told.get("input"), agent=AgentChoice(told.get("agent", AgentChoice.ORIGINAL)))
        accepted = redriving.redrive(job.pk, now=now, edit=edit)
        return _accepted(accepted, endpoint, job.tenant_id, now=now)


def _submission(request: Request, told: dict[str, Any], *, now: datetime) -> Submission:
    caller, key = caller_of(request), bodies.idempotency_key(request)
    endpoint = endpoints.callable_as(told["endpoint"], Transport.JOB)
    check_size(endpoint, len(request.body))
    caller.require_class(endpoint.policy.priority_class)
    _must_lie_ahead(told.get("expires_at"), now=now)
    must_have_room(caller)
    return Submission(
        tenant_id=caller.tenant_id,
        endpoint=endpoint,
        input=told["input"],
        subject=told.get("subject", ""),
        locale=told.get("locale", "en"),
        metadata=told.get("metadata", {}),
        ordering_key=told.get("ordering_key"),
        ordering_policy=_ordering(told),
        webhook_id=_webhook(caller, told.get("webhook")),
        context=_context(caller, told.get("context"), now=now),
        idempotency_key=key,
        fingerprint=_fingerprint(request) if key else "",
        wish=wish_of(told),
        expires_at=told.get("expires_at"),
        traceparent=traces.taken(request.headers.get("traceparent")),
    )


def _ordering(told: dict[str, Any]) -> OrderingPolicy:
    policy = OrderingPolicy(told.get("ordering_policy", OrderingPolicy.ENQUEUE))
    if "ordering_policy" in told and "ordering_key" not in told:
        raise InputInvalid("/ordering_policy: it says nothing without an ordering_key.", field="/ordering_policy", found=str(policy))
    return policy


def _webhook(caller: Caller, webhook_id: UUID | None) -> UUID | None:
    """Return the id of the tenant's webhook. Raises InputInvalid, also for another tenant's."""
    if webhook_id is not None and not webhooks.webhooks_of(caller.tenant_id).filter(pk=webhook_id).exists():
        raise InputInvalid(f"/webhook: you keep no webhook {webhook_id}.", field="/webhook", found=str(webhook_id))
    return webhook_id


def _context(caller: Caller, told: dict[str, Any] | None, *, now: datetime) -> Context | None:
    if told is None:
        return None
    policy = Relevance(told.get("policy", Relevance.ANNOTATE))
    return keeping.asked(caller.tenant_id, told["key"], version=told.get("version"), policy=policy, now=now)


def _must_lie_ahead(expires_at: datetime | None, *, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise InputInvalid("/expires_at: this moment is past.", field="/expires_at", found=expires_at.isoformat())


def _made_before(request: Request) -> Job | None:
    """Return the job of a call that is sent again; looked for after a refusal only: of a call that fits it is found as it is written.

    Raises ClassNotAllowed where the caller may not submit such a job.
    """
    caller, key = caller_of(request), bodies.idempotency_key(request)
    if key is None:
        return None
    made = submission.made_before(caller.tenant_id, key, _fingerprint(request))
    if made is not None:
        caller.require_class(PriorityClass(made.priority_class))
    return made


def _fingerprint(request: Request) -> str:
    return submission.fingerprint("POST", request.path, bodies.read(request))


def _accepted(accepted: Accepted, endpoint: Endpoint, tenant_id: UUID, *, now: datetime) -> Response:
    return _taken(told_of_accepted(accepted, endpoint, tenant_id, now=now))


def _taken(told: dict[str, Any]) -> Response:
    return Response(told, status=202, headers={"Location": told["links"]["self"]})


def told_of_accepted(accepted: Accepted, endpoint: Endpoint, tenant_id: UUID, *, now: datetime) -> dict[str, Any]:
    """Return an AcceptedJob."""
    if accepted.is_replay:
        return _told_of_replay(seen.owned_job(tenant_id, accepted.job_id), now=now)
    estimate = estimates.of_new(str(endpoint.policy.priority_class), str(endpoint.mode), now=now)
    return _told(accepted.job_id, endpoint.label, estimate, created_at=now)


def _told_of_replay(job: Job, *, now: datetime) -> dict[str, Any]:
    return _told(job.pk, job.endpoint, estimates.of_new(job.priority_class, job.mode, now=now), created_at=job.created_at)


def _told(job_id: UUID, endpoint: str, estimate: Estimate, *, created_at: datetime) -> dict[str, Any]:
    return {
        "id": str(job_id),
        "state": str(JobState.QUEUED),
        "endpoint": endpoint,
        "queue_position": estimate.queue_position,
        "eta_s": estimate.eta_s,
        "created_at": created_at,
        "links": links(job_id),
    }


def _owned(request: Request, job_id: UUID) -> Job:
    return seen.owned_job(caller_of(request).tenant_id, job_id)


def _detail(job: Job) -> dict[str, Any]:
    estimate = estimates.of_job(job, now=timezone.now())
    successor = getattr(job, "successor", None)
    return {
        **JobShape(job).data,
        "input": job.input,
        "downshifts": seen.downshifts_of(job.pk),
        "awaiting": waits.awaiting_of(job),
        "due_at": job.due_at,
        "queue_position": estimate.queue_position,
        "eta_s": estimate.eta_s,
        "redrive_of": job.redrive_of_id and str(job.redrive_of_id),
        "redriven_as": str(successor.pk) if successor else None,
        "relevance": contexts.relevance_of(job),
        "links": links(job.pk),
    }
