"""Writing an output directly to its durable target, where the mode's delivery says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import orjson

from invocation.domain.modes import Delivery
from invocation.gateways import declared, objects
from invocation.models import Firing, Job


def write(job: Job, output: Mapping[str, Any]) -> None:
    """Deliver the output before the job is completed; a second attempt writes the same file again."""
    delivery = declared.book().by_label[job.endpoint].policy.delivery
    _WRITERS[delivery](job, output)


def target_of(firing: Firing) -> str:
    """Return where a firing's output is, relative to the tenant's part of the object store."""
    return f"schedules/{firing.schedule_id}/{firing.due_at:%Y-%m-%dT%H%M%S}Z.json"


def _to_object_store(job: Job, output: Mapping[str, Any]) -> None:
    firing = Firing.objects.filter(job=job).first()
    if firing is not None:
        path = objects.inside(job.tenant_id, target_of(firing))
        objects.write_whole(path, orjson.dumps({"job": str(job.id), "output": dict(output)}))


def _result_store_is_enough(job: Job, output: Mapping[str, Any]) -> None:
    return


_WRITERS: Mapping[Delivery, Callable[[Job, Mapping[str, Any]], None]] = MappingProxyType(
    {
        Delivery.STREAM: _result_store_is_enough,
        Delivery.RESULT_STORE: _result_store_is_enough,
        Delivery.TARGET: _to_object_store,
        Delivery.DATASET: _result_store_is_enough,
    }
)
