"""The ledger beside what providers reported, day by day."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from django.db.models import QuerySet

from quota.domain.reconciling import Difference, Key, Reported, Tolerance, compare
from quota.domain.usage import Figures, Grouping, Selection
from quota.models import ProviderUsage, UsageImport
from quota.selectors import usage

BY = (Grouping.DAY, Grouping.PROVIDER, Grouping.MODEL)


def differences(*, first: date, last: date, now: datetime, provider: str = "", tolerance: Tolerance | None = None) -> list[Difference]:
    """Compare the days from `first` to `last`, both inside, the newest first."""
    theirs = {Key(row.day, row.provider, row.model): _reported(row) for row in _rows(first, last, provider)}
    return compare(_ours(first, last, provider, now=now), theirs, tolerance=tolerance or Tolerance())


def days_of(found: UsageImport) -> tuple[date, date] | None:
    """Return the first and the last day whose word is this import's; None if later ones replaced it all."""
    days = list(found.days.order_by("day").values_list("day", flat=True))
    return (days[0], days[-1]) if days else None


def imports() -> QuerySet[UsageImport]:
    return UsageImport.objects.all()[:20]


def providers() -> list[str]:
    """Return every provider that reported."""
    return list(ProviderUsage.objects.order_by("provider").values_list("provider", flat=True).distinct())


def last_day() -> date | None:
    return ProviderUsage.objects.order_by("-day").values_list("day", flat=True).first()


def _rows(first: date, last: date, provider: str) -> QuerySet[ProviderUsage]:
    rows = ProviderUsage.objects.filter(day__gte=first, day__lte=last)
    return rows.filter(provider=provider) if provider else rows


def _reported(row: ProviderUsage) -> Reported:
    return Reported(
        requests=row.requests,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cached_tokens=row.cached_tokens,
        cost_usd=row.cost_usd,
    )


def _ours(first: date, last: date, provider: str, *, now: datetime) -> dict[Key, Figures]:
    since, until = (datetime.combine(day, time(), tzinfo=UTC) for day in (first, last + timedelta(days=1)))
    selection = Selection(since=since, until=until, only={Grouping.PROVIDER: provider} if provider else {})
    found = usage.used(selection, BY, now=now)
    return {Key(date.fromisoformat(each.group[0]), each.group[1], each.group[2]): each.figures for each in found}
