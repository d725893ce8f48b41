"""Calls on what a tenant may use, and ran."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from invocation.api import bodies
from invocation.api.calls import Call, caller_of
from invocation.api.cursors import Place, page
from invocation.api.describing import described
from invocation.api.shapes.account import QuotaShape, RunPage, RunQuery, RunShape
from invocation.selectors import outstanding
from invocation.selectors.admission import in_flight_of
from invocation.selectors.jobs import runs_of
from invocation.services import tallies
from quota import selectors as quota
from quota.domain.callers import Caller
from quota.domain.days import day_of, ends_in
from quota.services import days

TAG = "account"


class QuotaOf(Call):
    @described("read_quota", "Read the plan and what of it is in use", tag=TAG, answers={200: QuotaShape})
    def get(self, request: Request) -> Response:
        caller = caller_of(request)
        used = in_flight_of(caller.tenant_id)
        told = {
            "tenant": caller.tenant_name,
            "plan": caller.plan.name,
            "weight": caller.plan.weight,
            "requests_per_minute": caller.plan.requests_per_minute,
            "requests_left": self.rate.remaining if self.rate else caller.plan.requests_per_minute,
            "scopes": sorted(str(scope) for scope in caller.scopes),
            "highest_class": str(caller.highest_class),
            "day": _day(caller),
            "streams": {"limit": caller.plan.connections, "open": tallies.streams_of(caller.tenant_id)},
            "classes": [{"priority_class": str(name), "in_flight": used[name], "cap": cap} for name, cap in caller.plan.in_flight.items()],
        }
        return Response(QuotaShape(told).data)


def _day(caller: Caller) -> dict[str, Any]:
    """Return what is used today, set aside included, and what the plan allows; null is no limit."""
    now = timezone.now()
    found = days.standing(caller, now=now, under_way=outstanding.under_way)
    used = found.used if found else quota.used_on(caller.tenant_id, day_of(now))
    limits = caller.plan.day
    return {
        "date": day_of(now),
        "ends_at": now + ends_in(now),
        "usd": {"limit": limits.usd, "used": used.usd},
        "tokens": {"limit": limits.tokens, "used": used.tokens},
    }


class Runs(Call):
    @described("list_runs", "List runs, newest first", tag=TAG, answers={200: RunPage}, refuses=(400, 422), parameters=[RunQuery])
    def get(self, request: Request) -> Response:
        asked = bodies.query(request, RunQuery)
        limit, cursor = asked.pop("limit"), asked.pop("cursor", None)
        place = Place(caller_of(request).tenant_id, request.path, asked)
        found, following = page(runs_of(place.tenant_id, asked), at=place, cursor=cursor, limit=limit)
        return Response({"items": RunShape(found, many=True).data, "next": following})
