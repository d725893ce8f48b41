"""Live gauges of each model's quota by class: a page, and the numbers that keep it fresh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.generic import TemplateView
from unfold.views import UnfoldModelAdminViewMixin

from quota.admin import cells
from quota.domain.classes import PriorityClass
from quota.domain.errors import QuotaStoreUnavailable
from quota.domain.gauges import Gauge
from quota.services.gauges import gauges

BREAKERS = {"closed": ("in service", "good"), "half_open": ("probing", "wary"), "open": ("out of service", "bad")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One gauge to be drawn; places and widths are percent of the configured limit."""

    name: str
    words: str
    bands: Sequence[tuple[str, str, str]]
    """Class, width, and what it says on hover."""
    reserve_at: str
    cap_at: str
    ceiling_at: str
    is_lowered: bool
    told: str
    free: str
    lowered: str


class GaugesView(UnfoldModelAdminViewMixin, TemplateView):  # type: ignore[misc]  # unfold has no types
    title = "Gauges"
    permission_required = ("quota.view_modelquota",)
    template_name = "admin/quota/gauges.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        kwargs.pop("model_admin", None)
        return dict(super().get_context_data(**kwargs, **_read(now=timezone.now())))


class GaugesNow(GaugesView):
    """The part of the page that changes, for who may see the page."""

    template_name = "admin/quota/gauges_now.html"

    def get(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        answer = JsonResponse({"html": render_to_string(self.template_name, _read(now=timezone.now()))})
        answer["Cache-Control"] = "no-store"
        return answer


def _read(*, now: datetime) -> dict[str, Any]:
    try:
        found = gauges()
    except QuotaStoreUnavailable as away:
        return {"away": str(away), "models": (), "at": now}
    names = dict.fromkeys((each.provider, each.model) for each in found)
    return {"models": [_model(name, [each for each in found if (each.provider, each.model) == name], now=now) for name in names], "at": now}


def _model(name: tuple[str, str], found: Sequence[Gauge], *, now: datetime) -> dict[str, Any]:
    word, tone = BREAKERS.get(found[0].breaker, (found[0].breaker, "calm"))
    return {"name": "/".join(name), "breaker": cells.badge(word, tone=tone), "gauges": [_shown(each, now=now) for each in found]}


def _shown(gauge: Gauge, *, now: datetime) -> Shown:
    whole = max(gauge.limit, 1)
    used = {str(word): gauge.used_by_class.get(word, 0) for word in PriorityClass}
    free = max(gauge.ceiling - gauge.used, 0)
    lowered = gauge.lowered_until
    until = f"until {cells.exact(lowered)}" if lowered and lowered > now else ""
    words = f"{gauge.unit} a {gauge.window}"
    parts = ", ".join(f"{band} {count:,}" for band, count in used.items())
    return Shown(
        name=f"{gauge.unit}-{gauge.window}",
        words=words,
        bands=[(band, _percent(count, whole), f"{band}: {count:,} {words}") for band, count in used.items()],
        reserve_at=_percent(gauge.limit - gauge.p0_reserved, whole),
        cap_at=_percent(gauge.p3_cap, whole),
        ceiling_at=_percent(gauge.ceiling, whole),
        is_lowered=gauge.ceiling < gauge.limit,
        told=f"{gauge.provider}/{gauge.model}, {words}: {parts}, free {free:,} of {gauge.limit:,}",
        free=f"{free:,} free of {gauge.ceiling:,}",
        lowered=f"lowered from {gauge.limit:,} by the provider {until}".strip() if gauge.ceiling < gauge.limit else "",
    )


def _percent(part: int, whole: int) -> str:
    return f"{min(100.0, max(0.0, 100 * part / whole)):.2f}"
