"""Writing an output directly to its durable target, where the mode's delivery says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from uuid import UUID

import orjson

from invocation.domain.endpoints import Endpoint
from invocation.domain.errors import StaleMove
from invocation.domain.jobs import Fence
from invocation.domain.modes import Delivery
from invocation.gateways import objects
from invocation.models import Firing
from invocation.services import attempts
from invocation.services.claims import HeldJob

Writer = Callable[[Fence, HeldJob, Mapping[str, Any]], None]


def writer_of(endpoint: Endpoint) -> Writer | None:
    """Return what delivers an output before its job is completed; None where the result store is enough.

    A second attempt writes the same file again.
    """
    return _WRITERS[endpoint.policy.delivery]


def target_of(firing: Firing) -> str:
    """Return where a firing's output is, relative to the tenant's part of the object store."""
    return f"schedules/{firing.schedule_id}/{firing.due_at:%Y-%m-%dT%H%M%S}Z.json"


def remove_of(job_ids: Sequence[UUID]) -> None:
    """Remove what these jobs wrote to their targets; what is gone already stays gone."""
    for firing in Firing.objects.filter(job__in=job_ids).select_related("job"):
        objects.store_of(firing.job.tenant_id).remove(target_of(firing))


def _to_object_store(fence: Fence, job: HeldJob, output: Mapping[str, Any]) -> None:
    """Raises StaleMove, and writes nothing, for an attempt that holds its job no more."""
    if not attempts.holds(fence):
        raise StaleMove(f"Attempt {fence.attempt} no longer holds job {fence.job_id}.")
    firing = Firing.objects.filter(job_id=job.id).first()
    if firing is not None:
        content = orjson.dumps({"job": str(job.id), "output": dict(output)})
        objects.store_of(job.tenant_id).write_whole(target_of(firing), content)


_WRITERS: Mapping[Delivery, Writer | None] = MappingProxyType(
    {Delivery.STREAM: None, Delivery.RESULT_STORE: None, Delivery.TARGET: _to_object_store, Delivery.DATASET: None}
)
