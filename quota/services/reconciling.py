"""Keeps what providers report of their own counting."""

from __future__ import annotations

import hashlib
from datetime import datetime

from django.db import transaction

from quota.domain.reconciling import Key, Reported
from quota.gateways import usage_reports
from quota.models import ProviderUsage, UsageImport


def take(content: bytes, *, name: str, by: str, now: datetime, provider: str = "") -> tuple[UsageImport, bool]:
    """Import a report whole, or not at all, and return it with whether it is new; the same bytes change nothing.

    Of a day and model the latest import's word counts. Raises ReportInvalid, naming line and field.
    """
    reported = usage_reports.read(content, provider=provider)
    digest = hashlib.sha256(provider.encode() + b"\0" + content).hexdigest()
    with transaction.atomic():
        kept, is_new = UsageImport.objects.get_or_create(
            sha256=digest, defaults={"name": name[:200], "lines": len(reported), "imported_at": now, "imported_by": by}
        )
        if is_new:
            _replace(kept, reported)
    return kept, is_new


def _replace(source: UsageImport, reported: dict[Key, Reported]) -> None:
    rows = [_row(source, key, each) for key, each in sorted(reported.items())]
    fields = ["requests", "input_tokens", "output_tokens", "cached_tokens", "cost_usd", "source"]
    ProviderUsage.objects.bulk_create(rows, update_conflicts=True, unique_fields=["day", "provider", "model"], update_fields=fields)


def _row(source: UsageImport, key: Key, reported: Reported) -> ProviderUsage:
    return ProviderUsage(
        day=key.day,
        provider=key.provider,
        model=key.model,
        requests=reported.requests,
        input_tokens=reported.input_tokens,
        output_tokens=reported.output_tokens,
        cached_tokens=reported.cached_tokens,
        cost_usd=reported.cost_usd,
        source=source,
    )
