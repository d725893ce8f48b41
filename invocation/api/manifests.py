"""Calls on manifests: upload one to open batches over, look at it, take it away."""

from __future__ import annotations

from types import MappingProxyType
from typing import BinaryIO, cast

from drf_spectacular.types import OpenApiTypes
from rest_framework.request import Request
from rest_framework.response import Response

from invocation.api.calls import Call, caller_of
from invocation.api.describing import described
from invocation.api.shapes.manifests import ManifestShape, UploadShape
from invocation.services import manifest_files
from quota.domain.callers import Scope

TAG = "batches"
BYTES = "application/octet-stream"


class OneManifest(Call):
    scopes = MappingProxyType({"GET": Scope.READ, "PUT": Scope.INVOKE, "DELETE": Scope.INVOKE})

    @described("read_manifest", "Read an uploaded manifest's length", tag=TAG, answers={200: ManifestShape}, refuses=(404, 422))
    def get(self, request: Request, name: str) -> Response:
        return Response(ManifestShape(manifest_files.kept(caller_of(request).tenant_id, name)).data)

    @described(
        "upload_manifest",
        "Upload a manifest, or replace it",
        tag=TAG,
        answers={200: UploadShape},
        refuses=(409, 413, 422),
        request={BYTES: OpenApiTypes.BINARY},
    )
    def put(self, request: Request, name: str) -> Response:
        """The body is the file: JSON Lines, CSV or Parquet by the name's extension (`.jsonl`, `.csv`, `.parquet`; the first two
        also `.gz` or `.zst`). It is read when a batch is opened over its `path`, and not before.
        """
        kept = manifest_files.put(caller_of(request).tenant_id, name, cast("BinaryIO", request))
        return Response(UploadShape(kept).data)

    @described("delete_manifest", "Delete an uploaded manifest", tag=TAG, answers={204: None}, refuses=(404, 409, 422))
    def delete(self, request: Request, name: str) -> Response:
        manifest_files.remove(caller_of(request).tenant_id, name)
        return Response(status=204)
