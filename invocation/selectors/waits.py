"""What a parked job waits for, as its owner is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from invocation.domain.waits import callback_of
from invocation.gateways import sealing
from invocation.models import Callback, Job


def awaiting_of(job: Job) -> Mapping[str, Any] | None:
    """Return what the job waits for; a callback with its address, which is the owner's to hand on."""
    key = callback_of(job.awaiting)
    if key is None:
        return job.awaiting
    found = Callback.objects.filter(job=job, key=key).first()
    return {"callback": key, "url": found and _opened(found)}


def _opened(callback: Callback) -> str | None:
    """Return the address, None if it was sealed by a key that this installation has no more."""
    try:
        return sealing.unseal(callback.sealed_url)
    except sealing.SealBroken:
        return None
