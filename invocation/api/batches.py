"""Calls on batches: open one, watch it, read where its dataset is, cancel it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from invocation.api import bodies
from invocation.api.calls import READS_AND_INVOKES, Call, caller_of, must_have_room
from invocation.api.cursors import Place, page
from invocation.api.describing import TRACEPARENT, described
from invocation.api.shapes.batches import (
    BatchBody,
    BatchDetail,
    BatchPage,
    BatchQuery,
    BatchShape,
    DatasetShape,
    ShardList,
    ShardShape,
    links,
)
from invocation.api.shapes.fields import wish_of
from invocation.domain import traces
from invocation.domain.endpoints import check_size
from invocation.domain.modes import Transport
from invocation.models import Batch
from invocation.selectors import batches as seen
from invocation.selectors import endpoints
from invocation.services import batch_start, batches, datasets, manifests
from invocation.services.batches import BatchOpening
from quota.domain.callers import Caller

TAG = "batches"


class Batches(Call):
    scopes = READS_AND_INVOKES

    @described("list_batches", "List batches, newest first", tag=TAG, answers={200: BatchPage}, refuses=(400, 422), parameters=[BatchQuery])
    def get(self, request: Request) -> Response:
        asked = bodies.query(request, BatchQuery)
        limit, cursor = asked.pop("limit"), asked.pop("cursor", None)
        place = Place(caller_of(request).tenant_id, request.path, asked)
        found, following = page(seen.batches_of(place.tenant_id, asked), at=place, cursor=cursor, limit=limit)
        return Response({"items": BatchShape(found, many=True).data, "next": following})

    @described(
        "open_batch",
        "Open a batch",
        tag=TAG,
        answers={202: BatchDetail},
        refuses=(400, 404, 409, 410, 413, 415, 422),
        request=BatchBody,
        parameters=[TRACEPARENT],
    )
    def post(self, request: Request) -> Response:
        """Check every row before anything starts; a broken line is named by its number.

        A large manifest is a file in the tenant's folder of the object store.
        """
        told = bodies.body(request, BatchBody)
        start = batch_start.start_batch if isinstance(told["manifest"], str) else batch_start.start_from_rows
        batch = start(_opening(request, told), now=timezone.now())
        return Response(_detail(batch), status=202, headers={"Location": f"/v1/batches/{batch.pk}"})


class OneBatch(Call):
    @described("read_batch", "Read a batch and how far it is", tag=TAG, answers={200: BatchDetail}, refuses=(404,))
    def get(self, request: Request, batch_id: UUID) -> Response:
        return Response(_detail(_owned(request, batch_id)))


class BatchShards(Call):
    @described("list_shards", "Read a batch's shards", tag=TAG, answers={200: ShardList}, refuses=(404,))
    def get(self, request: Request, batch_id: UUID) -> Response:
        return Response({"items": ShardShape(seen.shards_of(_owned(request, batch_id)), many=True).data})


class BatchResults(Call):
    @described("read_dataset", "Read where a completed batch's dataset lies", tag=TAG, answers={200: DatasetShape}, refuses=(404, 410))
    def get(self, request: Request, batch_id: UUID) -> Response:
        batch = _owned(request, batch_id)
        seen.must_have_results(batch)
        return Response({"id": str(batch.pk), "location": f"batches/{batch.pk}", "manifest": datasets.manifest(batch.pk)})


class CancelBatch(Call):
    scopes = READS_AND_INVOKES

    @described("cancel_batch", "Cancel a batch", tag=TAG, answers={202: BatchDetail}, refuses=(404, 409), request=None)
    def post(self, request: Request, batch_id: UUID) -> Response:
        batches.cancel(_owned(request, batch_id).pk, now=timezone.now())
        return Response(_detail(_owned(request, batch_id)), status=202)


def _opening(request: Request, told: dict[str, Any]) -> BatchOpening:
    caller = caller_of(request)
    endpoint = endpoints.callable_as(told["endpoint"], Transport.BATCH)
    check_size(endpoint, len(request.body))
    caller.require_class(endpoint.policy.priority_class)
    must_have_room(caller)
    shards = {"shards": told["shards"]} if "shards" in told else {}
    return BatchOpening(
        tenant_id=caller.tenant_id,
        endpoint=endpoint,
        source=_source(caller, told["manifest"]),
        traceparent=traces.taken(request.headers.get("traceparent")),
        wish=wish_of(told),
        **shards,
    )


def _source(caller: Caller, manifest: Any) -> Path:
    if isinstance(manifest, str):
        return manifests.located(caller.tenant_id, manifest)
    return manifests.stage(caller.tenant_id, manifest["rows"])


def _owned(request: Request, batch_id: UUID) -> Batch:
    return seen.owned_batch(caller_of(request).tenant_id, batch_id)


def _detail(batch: Batch) -> dict[str, Any]:
    return dict(
        BatchDetail({"progress": seen.progress(batch, now=timezone.now()), "links": links(batch.pk), **BatchShape(batch).data}).data
    )
