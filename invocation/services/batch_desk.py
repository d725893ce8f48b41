"""Opening a batch from a file of the operator's own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from invocation.domain.errors import NotFound
from invocation.domain.ids import new_id
from invocation.domain.modes import Transport
from invocation.gateways import declared, dispatch, objects
from invocation.services import batches
from quota.selectors import tenant_id_of


def open_local(manifest: Path, *, endpoint: str, tenant: str, shards: int) -> UUID:
    """Copy the manifest to the tenant's part of the object store and open a batch over it. Raises the refusals of open_batch."""
    tenant_id = tenant_id_of(tenant)
    if tenant_id is None:
        raise NotFound(f"There is no tenant {tenant!r}: make one with manage.py keys create --tenant {tenant}.")
    source = objects.inside(tenant_id, f"manifests/{new_id()}.jsonl")
    objects.write_whole(source, manifest.read_bytes())
    found = declared.book().find_for(endpoint, Transport.BATCH)
    opening = batches.BatchOpening(tenant_id=tenant_id, endpoint=found, source=source, shards=shards)
    batch = batches.open_batch(opening, now=datetime.now(UTC))
    dispatch.start_wave(batch.pk)
    return batch.pk
