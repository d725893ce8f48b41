"""Acts of a client process that opens a batch: its tenant, its model's quota, its manifest and the batch itself."""

# ruff: noqa: E402  (Django before what needs it)

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from invocation.gateways import declared
from invocation.services import batch_start, manifest_files
from invocation.services.batch_openings import BatchOpening
from quota.models import ModelQuota
from quota.services import keys


def opened(*, endpoint: str, rows: Sequence[Mapping[str, Any]], shards: int, provider: str, model: str) -> str:
    """Let a tenant of its own open a batch over these rows, a file that a worker plans; return the batch's id."""
    now = datetime.now(UTC)
    wide = {"tokens_per_minute": 10_000_000, "requests_per_minute": 1_000_000, "p0_reserved": 0.1, "p3_cap": 0.9}
    ModelQuota.objects.update_or_create(provider=provider, model=model, defaults=wide)
    tenant, _ = keys.create(tenant_name="soak", plan="house", now=now)
    manifest = manifest_files.stage(tenant.pk, rows)
    opening = BatchOpening(tenant_id=tenant.pk, endpoint=declared.book().find(endpoint), manifest=manifest, shards=shards)
    return str(batch_start.start_batch(opening, now=now).pk)


ACTS: Mapping[str, Callable[..., Any]] = {"open": opened}
