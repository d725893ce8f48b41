"""Opening a batch as an operator: over a file of this machine, or over one in S3 that the tenant was granted."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from invocation.domain.errors import InputInvalid, NotFound
from invocation.domain.manifests import form_of
from invocation.domain.modes import Transport
from invocation.domain.windows import Window
from invocation.gateways import declared
from invocation.gateways.stores import S3_SCHEME
from invocation.services import batch_openings, batch_start, manifest_files
from invocation.services.manifests import Manifest
from invocation.services.outputs import OutputWish
from quota.selectors import tenant_id_of, tenant_names

MOST_NAMES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A manifest: a path of this machine or an `s3://` URI; `form` and `row_id` where its extension and `row_id` do not say it."""

    place: str
    form: str = ""
    row_id: str | None = None

    @property
    def is_in_s3(self) -> bool:
        return self.place.startswith(S3_SCHEME)


def open_batch(
    source: Source,
    *,
    endpoint: str,
    tenant: str,
    shards: int,
    output: OutputWish,
    window: Window | None = None,
    finish_by: datetime | None = None,
) -> UUID:
    """Open a batch of the tenant's; without a name, of the only one that there is.

    A file of this machine is copied to the tenant's part of the object store and read here; one in S3 a worker reads. Raises NotFound,
    InputInvalid where a tenant is to be named, and the refusals of start_here and start_batch; a copy is taken away again then.
    """
    tenant_id = _tenant(tenant)
    found = declared.book().find_for(endpoint, Transport.BATCH)
    open_, manifest_of = (batch_start.start_batch, _granted) if source.is_in_s3 else (batch_start.start_here, _copied)
    opening = batch_openings.BatchOpening(
        tenant_id=tenant_id,
        endpoint=found,
        manifest=manifest_of(tenant_id, source),
        shards=shards,
        output=output,
        window=window or found.window,
        finish_by=finish_by,
    )
    return open_(opening, now=datetime.now(UTC)).pk


def _tenant(name: str) -> UUID:
    if name:
        tenant_id = tenant_id_of(name)
        if tenant_id is None:
            raise NotFound(f"There is no tenant {name!r}: make one with manage.py keys create --tenant {name}.")
        return tenant_id
    names = tenant_names()
    if not names:
        raise NotFound("There is no tenant: make one with manage.py keys create --tenant NAME.")
    if len(names) > 1:
        some = ", ".join(sorted(names.values())[:MOST_NAMES]) + (" and others" if len(names) > MOST_NAMES else "")
        raise InputInvalid(f"tenant: say whose batch it is with --tenant: there are {some}.", field="tenant")
    return UUID(next(iter(names)))


def _granted(tenant_id: UUID, source: Source) -> Manifest:
    return manifest_files.located(tenant_id, source.place, form=source.form, row_id=source.row_id)


def _copied(tenant_id: UUID, source: Source) -> Manifest:
    path = Path(source.place)
    form = form_of(path.name, source.form)
    with path.open("rb") as file, manifest_files.copying(tenant_id, form, row_id=source.row_id) as (copy, into):
        shutil.copyfileobj(file, into)
    return copy
