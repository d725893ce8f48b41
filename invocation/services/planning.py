"""Planning: a worker reads the manifest of a batch; by a lease that it renews while it reads, so that another can take over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from django.db import DatabaseError
from django.db.models import F, Q, QuerySet

from agents.domain.storable import storable, storable_facts
from invocation.domain.batches import BatchState
from invocation.domain.errors import InvocationError, StaleMove
from invocation.gateways import declared
from invocation.gateways.database import is_away
from invocation.models import Batch
from invocation.services import batch_start, batches, cutting, manifests
from invocation.services.cutting import Beat, Terms
from quota.services import plans

log = structlog.get_logger()

LEASE = timedelta(seconds=20)
"""Who reads a manifest and was not heard of for so long is gone: another begins anew."""
BEAT_S = 1.0
MOST_TRIES = 5
"""A manifest that so many workers began and none finished fails its batch: it may be what ended them."""
AT_ONCE = 100
REMEDY = "Mend the manifest; then open the batch again."


class LetGo(Exception):
    """This process ends: the manifest is left to another."""


class Planner:
    """Plans one batch at a time in this process, whose other threads are for shards. `take` may be called from any thread."""

    def __init__(self) -> None:
        self._one = threading.Lock()
        self._is_ending = threading.Event()

    def end(self) -> None:
        """Leave what is being read to another process, at the next beat."""
        self._is_ending.set()

    def take(self, batch_id: UUID) -> None:
        """Plan a batch, and then what else waits. Where another is being planned here, the batch is one of those."""
        wanted: UUID | None = batch_id
        while wanted and not self._is_ending.is_set() and self._one.acquire(blocking=False):
            try:
                plan(wanted, is_ending=self._is_ending.is_set)
            finally:
                self._one.release()
            wanted = _next(behind=wanted, now=datetime.now(UTC))


def plan(batch_id: UUID, *, is_ending: Callable[[], bool] = bool) -> None:
    """Read a batch's manifest and cut it into shards, or fail the batch by what is wrong with it; nothing, if another does that.

    Killed in the middle it leaves a lease that ends: whoever comes next begins anew.
    """
    batch = _claim(batch_id, now=datetime.now(UTC))
    if batch is None:
        return
    try:
        _plan(batch, _Beat(batch, is_ending))
    except StaleMove as stale:
        log.info("planning_fenced_out", batch=str(batch_id), detail=stale.detail)
    except LetGo:
        _hand_back(batch)
    except Exception as broken:
        log.exception("planning_broke", batch=str(batch_id))
        _held(batch).update(planning={"broke": storable(f"{type(broken).__name__}: {broken}"[:300])})


def sweep(*, now: datetime) -> int:
    """Send again the batches whose manifest nobody reads; return how many there are."""
    due = list(_due(now=now).order_by("planning_at", "id").values_list("pk", flat=True)[:AT_ONCE])
    for batch_id in due:
        batch_start.ask_for_plan(batch_id)
    return len(due)


def _plan(batch: Batch, beat: Beat) -> None:
    """Raises StaleMove if the batch was cancelled or another has taken it over, LetGo if this process ends."""
    if batch.planning_tries > MOST_TRIES:
        last = (batch.planning or {}).get("broke", "they were not heard of again")
        _refuse(batch, "manifest_unreadable", f"{MOST_TRIES} workers began to read the manifest and none came to its end.", broke=last)
        return
    terms = Terms(endpoint=declared.book().by_label[batch.endpoint], day=plans.day_limits_now(batch.tenant_id), shards=batch.shards_wanted)
    try:
        planned = cutting.cut(manifests.of_batch(batch), terms, beat=beat)
    except FileNotFoundError:
        _refuse(batch, "manifest_unreadable", "The manifest is gone.")
    except StaleMove:
        raise
    except InvocationError as wrong:
        _refuse(batch, wrong.code, wrong.detail, **wrong.facts)
    else:
        batches.plan(batch, planned)
        batch_start.ask_for_wave(batch.pk)


def _refuse(batch: Batch, code: str, sentence: str, **facts: Any) -> None:
    batches.refuse(batch, storable_facts({"code": code, "sentence": sentence, "remedy": REMEDY, **facts}), now=datetime.now(UTC))


class _Beat:
    """Renews the lease and tells how far the reading is, once a second."""

    def __init__(self, batch: Batch, is_ending: Callable[[], bool]) -> None:
        self._batch, self._is_ending = batch, is_ending
        self._next = time.monotonic() + BEAT_S

    def __call__(self, rows: int, of: int | None, read: int) -> None:
        """Raises LetGo or StaleMove. While the database is away nothing is told; the lease may end."""
        if self._is_ending():
            raise LetGo
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + BEAT_S
        length = self._batch.manifest_bytes or 0
        told = {"rows_read": rows, "rows": of, "bytes_read": read if of is None else length, "bytes": length}
        try:
            is_held = _held(self._batch).update(planning_at=datetime.now(UTC), planning=told)
        except DatabaseError as error:
            if is_away(error):
                return
            raise
        if not is_held:
            raise StaleMove(f"Batch {self._batch.pk} is no longer planned here.")


def _due(*, now: datetime) -> QuerySet[Batch]:
    return Batch.objects.filter(Q(planning_at__isnull=True) | Q(planning_at__lt=now - LEASE), state=BatchState.PLANNING)


def _next(*, behind: UUID, now: datetime) -> UUID | None:
    """Return the oldest batch of the tenant that comes behind this batch's, round and round: nobody waits for all of another's."""
    due = _due(now=now).order_by("tenant_id", "id").values_list("pk", flat=True)
    return due.filter(tenant_id__gt=Batch.objects.filter(pk=behind).values("tenant_id")).first() or due.first()


def _claim(batch_id: UUID, *, now: datetime) -> Batch | None:
    me = uuid4()
    _due(now=now).filter(pk=batch_id).update(planner=me, planning_at=now, planning_tries=F("planning_tries") + 1)
    return Batch.objects.filter(pk=batch_id, planner=me).first()


def _held(batch: Batch) -> QuerySet[Batch]:
    return Batch.objects.filter(pk=batch.pk, planner=batch.planner, state=BatchState.PLANNING)


def _hand_back(batch: Batch) -> None:
    if _held(batch).update(planner=None, planning_at=None, planning=None, planning_tries=F("planning_tries") - 1):
        batch_start.ask_for_plan(batch.pk)
