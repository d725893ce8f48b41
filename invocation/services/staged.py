"""What was staged for one batch alone goes when that has ended for as long as its rows may run again."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.conf import settings

from invocation.domain.ids import id_at
from invocation.gateways import objects
from invocation.models import Batch
from invocation.services.manifest_files import STAGED
from quota.selectors import tenant_names

log = structlog.get_logger()


def sweep(*, now: datetime) -> int:
    """Let go of staged manifests, those that no batch was opened over among them, and return how many.

    A store that is away is left for later.
    """
    before = now - timedelta(days=settings.RETAIN_JOURNAL_DAYS)
    return sum(_let_go(UUID(tenant_id), before=before) for tenant_id in tenant_names())


def _let_go(tenant_id: UUID, *, before: datetime) -> int:
    store = objects.store_of(tenant_id)
    try:
        old = {store.at(path): path for path, _ in store.list(STAGED) if _is_older(path, id_at(before))}
        unneeded = old.keys() - _needed(tenant_id, old, before=before)
        for location in unneeded:
            store.remove(old[location])
    except OSError as away:
        log.warning("staged_manifests_are_kept", location=store.location, error=str(away))
        return 0
    return len(unneeded)


def _is_older(path: str, bound: UUID) -> bool:
    """Say it of a file that is named by an id; whatever else lies there was not staged."""
    try:
        return UUID(path.removeprefix(f"{STAGED}/").partition(".")[0]) < bound
    except ValueError:
        return False


def _needed(tenant_id: UUID, locations: Collection[str], *, before: datetime) -> set[str]:
    """Return those of batches that have not ended, or ended since."""
    read = Batch.objects.filter(tenant_id=tenant_id, manifest__in=locations).exclude(finished_at__lt=before)
    return set(read.values_list("manifest", flat=True))
