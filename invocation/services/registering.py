"""Registering published datasets in catalogs: asked for with the batch's end, done at once or tried again, never in the dataset's way."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.db import transaction

from invocation.domain.catalogs import ENDINGS, CatalogAway, name_of, tables_of
from invocation.gateways import catalogs, parquet
from invocation.gateways.database import BATCH
from invocation.models import Batch, Registration
from invocation.services import datasets

log = structlog.get_logger()
FIRST_WAIT = timedelta(seconds=10)
LONGEST_WAIT = timedelta(hours=1)
UNDER_WAY = timedelta(minutes=2)
"""For so long nobody else tries what one has begun."""
AT_ONCE = 10
MOST_OF_AN_ERROR = 1_000


def ask(batch: Batch, *, now: datetime) -> None:
    """Put on record that the batch's dataset is to be in the catalogs, as it is now. Joins the caller's transaction."""
    rows = [Registration(batch_id=batch.pk, catalog=name, due_at=now) for name in catalogs.names_for(batch.output)]
    anew = ["due_at", "tries", "done_at", "error"]
    Registration.objects.bulk_create(rows, update_conflicts=True, unique_fields=["batch_id", "catalog"], update_fields=anew)


def ask_again(batch: Batch, *, now: datetime) -> None:
    """Put on record that the catalogs which a round before was for are to be told of the dataset as it is now."""
    Registration.objects.filter(batch_id=batch.pk).update(due_at=now, tries=0, done_at=None, error="")


def register(batch_id: UUID, *, now: datetime) -> int:
    """Register the batch's dataset wherever it is due and return how many catalogs took it; what fails is due again later."""
    return sum(_try(row, now=now) for row in _taken(now=now, batch_id=batch_id))


def sweep(*, now: datetime) -> int:
    """Try again what failed or was left, a few at a time; return how many catalogs took their dataset."""
    return sum(_try(row, now=now) for row in _taken(now=now))


def _taken(*, now: datetime, **of: UUID) -> list[Registration]:
    with transaction.atomic(using=BATCH):
        due = Registration.objects.filter(done_at__isnull=True, due_at__lte=now, **of).order_by("due_at")
        rows = list(due.select_for_update(skip_locked=True, no_key=True)[:AT_ONCE])
        Registration.objects.filter(pk__in=[row.pk for row in rows]).update(due_at=now + UNDER_WAY)
    return rows


def _try(row: Registration, *, now: datetime) -> int:
    try:
        _register(row)
    except (CatalogAway, OSError) as away:
        wait = min(FIRST_WAIT * 2 ** min(row.tries, 20), LONGEST_WAIT)
        told = {"tries": row.tries + 1, "due_at": now + wait, "error": str(away)[:MOST_OF_AN_ERROR]}
        Registration.objects.filter(pk=row.pk, done_at__isnull=True).update(**told)
        log.warning("dataset_not_registered", batch_id=str(row.batch_id), catalog=row.catalog, error=str(away))
        return 0
    return Registration.objects.filter(pk=row.pk, done_at__isnull=True).update(tries=row.tries + 1, done_at=now, error="")


def _register(row: Registration) -> None:
    """Tell the catalog what the manifest says; a table that the dataset has no more, as when its errors were mended, is forgotten."""
    batch = Batch.objects.get(pk=row.batch_id)
    catalog = catalogs.catalog(row.catalog)
    manifest = parquet.written_manifest(datasets.store_of(batch))
    tables = list(tables_of(manifest, tenant_id=batch.tenant_id, location=batch.output))
    for table in tables:
        catalog.register(table)
    for name in {name_of(batch.endpoint, batch.pk, kind) for kind in ENDINGS} - {table.name for table in tables}:
        catalog.forget(name)
