"""Calls on batches: open one, watch it, read where its dataset is, cancel it."""

from __future__ import annotations

from collections.abc import Mapping
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
    BatchResumption,
    BatchShape,
    DatasetShape,
    ShardList,
    ShardShape,
    TablePage,
    TableQuery,
    TableShape,
    links,
)
from invocation.api.shapes.fields import wish_of
from invocation.domain import traces
from invocation.domain.endpoints import check_size
from invocation.domain.failing import Tolerance
from invocation.domain.modes import Transport
from invocation.models import Batch
from invocation.selectors import batches as seen
from invocation.selectors import endpoints
from invocation.selectors.progress import progress
from invocation.services import batch_control, batch_start, datasets, manifest_files
from invocation.services.batch_openings import BatchOpening
from invocation.services.manifests import Manifest
from invocation.services.outputs import OutputWish
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

        Rows that come with the call are checked at once, and the batch is `planned`. A file, which may have millions of rows, is read by a
        worker: the batch is `planning` and then `planned`, or `failed` with a fault that names the line.
        """
        told = bodies.body(request, BatchBody)
        start = batch_start.start_here if "rows" in told["manifest"] else batch_start.start_batch
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
        """A batch that was cancelled, or failed, tells what was finished of it."""
        batch = _owned(request, batch_id)
        return Response({"id": str(batch.pk), "location": datasets.place_of(batch), "manifest": datasets.published(batch)})


class Datasets(Call):
    @described(
        "list_datasets",
        "List the catalog's tables, newest first",
        tag=TAG,
        answers={200: TablePage},
        refuses=(400, 422),
        parameters=[TableQuery],
    )
    def get(self, request: Request) -> Response:
        """Each published dataset has a table for its results and, if rows failed, one for its errors."""
        asked = bodies.query(request, TableQuery)
        limit, cursor = asked.pop("limit"), asked.pop("cursor", None)
        place = Place(caller_of(request).tenant_id, request.path, asked)
        found, following = page(seen.tables_of(place.tenant_id, asked), at=place, cursor=cursor, limit=limit)
        return Response({"items": TableShape(found, many=True).data, "next": following})


class CancelBatch(Call):
    scopes = READS_AND_INVOKES

    @described("cancel_batch", "Cancel a batch", tag=TAG, answers={202: BatchDetail}, refuses=(404, 409), request=None)
    def post(self, request: Request, batch_id: UUID) -> Response:
        """What it has finished is published as a part of a dataset, marked `partial`."""
        batch_control.cancel(_owned(request, batch_id).pk, now=timezone.now())
        return _accepted(request, batch_id)


class PauseBatch(Call):
    scopes = READS_AND_INVOKES

    @described("pause_batch", "Pause a batch", tag=TAG, answers={202: BatchDetail}, refuses=(404, 409), request=None)
    def post(self, request: Request, batch_id: UUID) -> Response:
        """Rows that run come to their end, within seconds; no other begins until it is resumed."""
        batch_control.pause(_owned(request, batch_id).pk, now=timezone.now())
        return _accepted(request, batch_id)


class ResumeBatch(Call):
    scopes = READS_AND_INVOKES

    @described(
        "resume_batch", "Resume a paused batch", tag=TAG, answers={202: BatchDetail}, refuses=(400, 404, 409, 422), request=BatchResumption
    )
    def post(self, request: Request, batch_id: UUID) -> Response:
        """One that was paused at its ceiling may be given a larger budget, up to its endpoint's.

        One that failed with `dataset_unwritten` has its dataset tried again: no row runs for that.
        """
        told = bodies.body(request, BatchResumption) if request.body else {}
        batch_control.resume(_owned(request, batch_id).pk, now=timezone.now(), wish=wish_of(told))
        return _accepted(request, batch_id)


class RetryFailedRows(Call):
    scopes = READS_AND_INVOKES

    @described(
        "retry_failed_rows", "Run a batch's failed rows again", tag=TAG, answers={202: BatchDetail}, refuses=(404, 409), request=None
    )
    def post(self, request: Request, batch_id: UUID) -> Response:
        """Of a completed or a paused batch; good rows are neither run nor paid for again."""
        batch_control.retry_failed(_owned(request, batch_id).pk, now=timezone.now())
        return _accepted(request, batch_id)


def _accepted(request: Request, batch_id: UUID) -> Response:
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
        manifest=_manifest(caller, told["manifest"]),
        traceparent=traces.taken(request.headers.get("traceparent")),
        wish=wish_of(told),
        window=told.get("window", endpoint.window),
        finish_by=told.get("finish_by"),
        tolerance=Tolerance(**told["failures"]) if "failures" in told else None,
        output=OutputWish(**told.get("output", {})),
        **shards,
    )


def _manifest(caller: Caller, told: Mapping[str, Any]) -> Manifest:
    row_id = told.get("row_id")
    if "rows" in told:
        return manifest_files.stage(caller.tenant_id, told["rows"], row_id=row_id)
    return manifest_files.located(caller.tenant_id, told["path"], form=told.get("format", ""), row_id=row_id)


def _owned(request: Request, batch_id: UUID) -> Batch:
    return seen.owned_batch(caller_of(request).tenant_id, batch_id)


def _detail(batch: Batch) -> dict[str, Any]:
    return dict(BatchDetail({"progress": progress(batch, now=timezone.now()), "links": links(batch.pk), **BatchShape(batch).data}).data)
