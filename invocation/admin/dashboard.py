"""The admin's first page: the four modes side by side, queues, slots and dead letters."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from invocation.admin import cells, charts
from invocation.domain.modes import policy
from invocation.domain.slo import DEAD_LETTERS_A_DAY, EMPTIEST, FULLEST, utilisation
from invocation.models import Alert
from invocation.selectors import alerts, dashboard, dead_letters

DAY = timedelta(hours=24)
PERMISSION = "invocation.view_runrecord"


def fill(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the figures of the last 24 hours, for those who may read runs."""
    if request.user.has_perm(PERMISSION):
        context.update(figures(now=timezone.now()))
    return context


def figures(*, now: datetime) -> dict[str, Any]:
    since = now - DAY
    by_hour = dashboard.hours(since=since, now=now)
    return {
        "is_shown": True,
        "modes": [_mode(found, by_hour.get(str(found.mode), {}), now=now) for found in dashboard.modes(since=since)],
        "classes": [_class(found, now=now) for found in dashboard.classes(now=now)],
        "band": charts.band(),
        "alerts": [_alert(found) for found in alerts.open_alerts()],
        "dead": _dead(*dead_letters.share(since=since)),
        "legend": charts.legend(now=now),
    }


def _mode(found: dashboard.ModeFigures, hours: Mapping[datetime, dashboard.HourFigures], *, now: datetime) -> dict[str, Any]:
    terms = policy(found.mode)
    first, whole = found.first_delta or (None, None), found.duration or (None, None)
    return {
        "name": str(found.mode),
        "label": cells.mode(str(found.mode)),
        "class": str(terms.priority_class),
        "runs": f"{found.runs:,}",
        "failures": f"{found.failures:,}",
        "has_failures": found.failures > 0,
        "cost": cells.money(found.cost_usd),
        "first_p50": cells.took(first[0]),
        "first_p95": cells.took(first[1]),
        "whole_p50": cells.took(whole[0]),
        "whole_p95": cells.took(whole[1]),
        "budget": cells.took(terms.whole.total_seconds() * 1000),
        "is_late": whole[1] is not None and whole[1] > terms.whole.total_seconds() * 1000,
        "chart": charts.by_hour(hours, now=now),
    }


def _class(found: dashboard.ClassFigures, *, now: datetime) -> dict[str, Any]:
    used = utilisation(found.lately)
    return {
        "name": str(found.priority_class),
        "depth": f"{found.depth:,}",
        "oldest": cells.ago(found.oldest_at),
        "used": found.used,
        "slots": found.slots,
        "share": min(100, 100 * found.used // found.slots) if found.slots else 0,
        "has_workers": found.slots > 0,
        "eta": cells.length(found.eta) if found.depth and found.eta is not None else cells.NONE,
        "mean": cells.NONE if used is None else f"{used:.0%}",
        "is_outside": used is not None and not EMPTIEST <= used <= FULLEST,
        "chart": charts.by_minute(found.lately, now=now),
    }


def _alert(found: Alert) -> dict[str, Any]:
    address = cells.address("alert", found.pk)
    return {"name": str(found), "sentence": found.sentence, "since": cells.ago(found.opened_at), "address": address}


def _dead(dead: int, volume: int) -> dict[str, Any]:
    share = dead / volume if volume else 0.0
    return {
        "count": f"{dead:,}",
        "volume": f"{volume:,}",
        "share": f"{share:.2%}",
        "slo": f"{DEAD_LETTERS_A_DAY:.2%}",
        "holds": share <= DEAD_LETTERS_A_DAY,
    }
