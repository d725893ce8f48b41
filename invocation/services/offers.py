"""The offer of an escape hatch: accepted by the person, once; then the turn's input is a job of the endpoint that was offered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from invocation.domain.endpoints import Endpoint
from invocation.domain.errors import NotFound, NothingOffered
from invocation.domain.modes import Transport
from invocation.models import Continuation, Turn
from invocation.selectors import endpoints
from invocation.services.submission import Accepted, Submission, submit
from quota.domain.callers import Caller


@dataclass(frozen=True, slots=True)
class Continued:
    """A turn that goes on as a job; `accepted` says whether an earlier call made it."""

    turn_id: UUID
    endpoint: Endpoint
    accepted: Accepted


def accept(caller: Caller, turn_id: UUID, *, now: datetime) -> Continued:
    """Go on with a turn as the job that was offered for it. Called again, by whomever, it returns the same job.

    The job gets the turn's input, subject, locale, metadata and trace, and the offered endpoint's own budgets.
    Raises NotFound, NothingOffered, what submit raises, and ClassNotAllowed; nothing is kept then.
    """
    with transaction.atomic():
        turn = _locked(caller.tenant_id, turn_id)
        label = _offered(turn)
        earlier = Continuation.objects.filter(turn=turn).first()
        if earlier is not None:
            return Continued(turn.pk, endpoints.named(label), Accepted(earlier.job_id, is_replay=True))
        endpoint = endpoints.callable_as(label, Transport.JOB)
        caller.require_class(endpoint.policy.priority_class)
        accepted = submit(_submission(turn, endpoint), now=now)
        Continuation.objects.create(turn=turn, job_id=accepted.job_id, accepted_at=now)
    return Continued(turn.pk, endpoint, accepted)


def _locked(tenant_id: UUID, turn_id: UUID) -> Turn:
    """Return the turn, held until the transaction's end: of two who accept at once the second finds the first's job."""
    found = Turn.objects.select_for_update(no_key=True).filter(pk=turn_id, tenant_id=tenant_id).first()
    if found is None:
        raise NotFound(f"There is no turn {turn_id}.", field="turn", found=str(turn_id))
    return found


def _offered(turn: Turn) -> str:
    escape = (turn.last_event or {}).get("data", {}).get("escape") or {}
    if not escape.get("offer"):
        raise NothingOffered(f"Turn {turn.pk} is {turn.state} and offers no job to go on as.", field="turn", found=str(turn.pk))
    return str(escape["offer"])


def _submission(turn: Turn, endpoint: Endpoint) -> Submission:
    return Submission(
        tenant_id=turn.tenant_id,
        endpoint=endpoint,
        input=turn.input,
        subject=turn.subject,
        locale=turn.locale,
        metadata=turn.metadata,
        traceparent=turn.traceparent,
    )
