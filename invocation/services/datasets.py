"""Reading a batch's finished dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from invocation.gateways import parquet
from invocation.models import Batch


def rows(batch_id: UUID) -> Iterator[Mapping[str, Any]]:
    """Yield the result rows of a completed batch. Columns: see gateways/parquet.py; `input`, `facts`, `output` are JSON."""
    return parquet.rows(Path(Batch.objects.get(pk=batch_id).output))


def manifest(batch_id: UUID) -> Mapping[str, Any]:
    """Return what the dataset's manifest says. Raises FileNotFoundError while the dataset is not whole."""
    return parquet.read_manifest(Path(Batch.objects.get(pk=batch_id).output))
