"""What is read of the ledgers' lines themselves: what a model's calls used since a moment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db.models import Count, F, QuerySet, Sum

from quota.domain.classes import PriorityClass
from quota.gateways.ledgers import LEDGERS
from quota.models.ledger import Line


def booked_by_class(provider: str, model: str, *, since: datetime) -> Mapping[PriorityClass, tuple[int, int]]:
    """Sum the tokens and requests of a model's calls since a moment, over all ledgers."""
    found: dict[PriorityClass, tuple[int, int]] = {}
    for ledger in LEDGERS:
        calls: QuerySet[Line] = QuerySet(ledger.lines).filter(provider=provider, model=model, at__gte=since)
        sums = calls.values("priority_class").annotate(calls=Count("pk"), tokens=Sum(F("input_tokens") + F("output_tokens")))
        for row in sums.order_by("priority_class"):
            word = PriorityClass(row["priority_class"])
            tokens, requests = found.get(word, (0, 0))
            found[word] = (tokens + row["tokens"], requests + row["calls"])
    return found
