"""Opening a batch from a file of the operator's own."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from invocation.domain.errors import NotFound
from invocation.domain.manifests import form_of
from invocation.domain.modes import Transport
from invocation.domain.windows import Window
from invocation.gateways import declared
from invocation.services import batch_openings, batch_start, manifest_files
from invocation.services.outputs import OutputWish
from quota.selectors import tenant_id_of


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """A manifest of the operator's own; `form` and `row_id` where its extension and `row_id` do not say it."""

    path: Path
    form: str = ""
    row_id: str | None = None


def open_local(
    manifest: LocalFile,
    *,
    endpoint: str,
    tenant: str,
    shards: int,
    output: OutputWish,
    window: Window | None = None,
    finish_by: datetime | None = None,
) -> UUID:
    """Copy the manifest to the tenant's part of the object store, read it here, and open a batch over it.

    Raises the refusals of open_batch; then the copy is taken away again.
    """
    tenant_id = tenant_id_of(tenant)
    if tenant_id is None:
        raise NotFound(f"There is no tenant {tenant!r}: make one with manage.py keys create --tenant {tenant}.")
    found = declared.book().find_for(endpoint, Transport.BATCH)
    form = form_of(manifest.path.name, manifest.form)
    with manifest.path.open("rb") as file, manifest_files.copying(tenant_id, form, row_id=manifest.row_id) as (copy, into):
        shutil.copyfileobj(file, into)
    opening = batch_openings.BatchOpening(
        tenant_id=tenant_id,
        endpoint=found,
        manifest=copy,
        shards=shards,
        output=output,
        window=window or found.window,
        finish_by=finish_by,
    )
    return batch_start.start_here(opening, now=datetime.now(UTC)).pk
