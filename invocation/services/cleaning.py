"""Taking away what killed writers left in the stores: halves of files, and uploads to S3 that nobody will end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import structlog
from django.db.models import Q

from invocation.domain.batches import BATCH_ENDED
from invocation.domain.locations import is_within
from invocation.gateways import objects
from invocation.gateways.stores import S3_SCHEME, Store, store_at
from invocation.models import Batch

log = structlog.get_logger()
ABANDONED = timedelta(days=1)
"""No file takes so long to write."""
LOOKED_AFTER = timedelta(days=3)
"""For so long after a batch's end its output is looked at, where that lies outside of the object store."""


def sweep(*, now: datetime) -> int:
    """Remove what was begun more than a day ago and never finished; return how many there were. A store that is away is left for later."""
    before = (now - ABANDONED).timestamp()
    return sum(_clean(store, before=before) for store in _stores(now=now))


def _stores(*, now: datetime) -> Iterator[Store]:
    own = objects.root()
    yield own
    recent = Batch.objects.filter(~Q(state__in=BATCH_ENDED) | Q(finished_at__gt=now - LOOKED_AFTER))
    for location in recent.filter(output__startswith=S3_SCHEME).values_list("output", flat=True):
        if not is_within(location, own.location):
            yield store_at(location)


def _clean(store: Store, *, before: float) -> int:
    try:
        return store.remove_abandoned(before=before)
    except OSError as away:
        log.warning("store_not_cleaned", location=store.location, error=str(away))
        return 0
