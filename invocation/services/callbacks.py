"""Callbacks: opened by a run, called once from outside, found by the hash of their token."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from invocation.domain.errors import NotFound
from invocation.domain.jobs import Fence, Move
from invocation.domain.waits import for_callback
from invocation.gateways import hints, sealing
from invocation.models import Callback
from invocation.services import journals, lifecycle

TOKEN_BYTES = 32
AWAITS_IT = "job.awaiting = given.awaiting"


def open_callback(fence: Fence, key: str) -> str:
    """Return the address of the job's callback of this key, made at the first need. Raises StaleMove."""
    with transaction.atomic():
        journals.must_hold(fence)
        found = Callback.objects.filter(job_id=fence.job_id, key=key).first()
        return sealing.unseal(found.sealed_url) if found else _made(fence, key)


def _made(fence: Fence, key: str) -> str:
    token = secrets.token_urlsafe(TOKEN_BYTES)
    url = f"{settings.PUBLIC_URL}/v1/callbacks/{token}"
    Callback.objects.create(job_id=fence.job_id, key=key, token_sha256=_digest(token), sealed_url=sealing.seal(url))
    return url


def called(job_id: UUID, key: str) -> tuple[bool, Any]:
    """Return whether the callback was called, and with what."""
    found = Callback.objects.filter(job_id=job_id, key=key, came_at__isnull=False).first()
    return found is not None, found and found.value


def receive(token: str, value: Any, *, now: datetime) -> None:
    """Keep what a callback brought and wake the job that waits for it. Called again it changes nothing: the first value stands.

    Raises NotFound, with the same words for every token that is none.
    """
    with transaction.atomic():
        # The callback before the job, as in parking: whoever comes second sees what the first did.
        callback = Callback.objects.select_for_update(of=["self"], no_key=True).filter(token_sha256=_digest(token)).first()
        if callback is None:
            raise NotFound("There is no such callback.")
        if callback.came_at is not None:
            return
        Callback.objects.filter(pk=callback.pk).update(value=value, came_at=now)
        waiting = lifecycle.of(callback.job_id, awaiting=for_callback(callback.key))
        woken = lifecycle.take(Move.WAKE, [waiting], now=now, right=AWAITS_IT)
    for job in woken:
        hints.wake(job.priority_class, job.tenant_id)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
