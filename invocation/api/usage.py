"""The call on what a tenant used: a page of groups and the totals, or all of it as a table."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, time, timedelta
from typing import Any
from uuid import UUID

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from invocation.api import bodies
from invocation.api.calls import Call, caller_of
from invocation.api.cursors import Place
from invocation.api.describing import described
from invocation.api.shapes.usage import USUAL, UsageQuery, UsageShape
from invocation.domain.errors import BadCursor, InputInvalid
from invocation.gateways.database import off_loop
from quota.domain import tables
from quota.domain.usage import Figures, Grouping, Selection, Used
from quota.selectors import usage

TAG = "account"
CSV = "text/csv"
USUAL_SPAN = timedelta(days=30)
LONGEST_SPAN = timedelta(days=366)
FILTERS = (Grouping.ENDPOINT, Grouping.MODE, Grouping.CLASS, Grouping.PROVIDER, Grouping.MODEL)
FIGURES = ("calls", "input_tokens", "output_tokens", "cached_tokens", "cost_usd", "estimated_calls", "estimated_usd")


class Table(BaseRenderer):
    """Says that there are tables; they are streamed by the view itself, so that what is left to render is a refusal."""

    media_type = CSV
    format = "csv"

    def render(self, data: Any, *_: Any, **__: Any) -> bytes:
        return JSONRenderer().render(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which usage, by what, and from which group on."""

    selection: Selection
    by: Sequence[Grouping]
    now: datetime

    def page(self, *, after: Sequence[str], most: int) -> tuple[list[Used], bool]:
        """Return the groups behind `after`, at most `most`, and whether there are more."""
        found = usage.used(self.selection, self.by, now=self.now, after=after, most=most + 1)
        return found[:most], len(found) > most

    async def table(self, *, most: int) -> AsyncIterator[str]:
        """Yield all groups as CSV, a page at a time."""
        yield tables.lines([[*self.by, *FIGURES]])
        pages = usage.pages(self.selection, self.by, now=self.now, most=most)
        while found := await off_loop(next, pages, None):
            yield tables.lines([*each.group, *_shown(each.figures).values()] for each in found)


class UsageOf(Call):
    renderer_classes = (JSONRenderer, Table)

    @described(
        "read_usage",
        "Read what was used, by day, endpoint, mode and model",
        tag=TAG,
        answers={200: UsageShape, (200, CSV): OpenApiResponse(OpenApiTypes.STR, "A head, then a line for each group.")},
        refuses=(400, 422),
        parameters=[UsageQuery],
    )
    def get(self, request: Request) -> HttpResponseBase:
        """Sum the tenant's model calls by any of day, endpoint, mode, priority class, provider and model.

        A call counts from the moment its line stands in the ledger. Days are days in UTC. As CSV the
        whole selection comes as one stream; texts that a spreadsheet would run as formulas begin with an apostrophe.
        """
        given = bodies.query(request, UsageQuery)
        asked = _asked(given, tenant_id=caller_of(request).tenant_id, now=timezone.now())
        is_table = given.get("format", request.accepted_renderer.format) == "csv"
        return _table(asked, most=given["limit"]) if is_table else _page(request, given, asked)


def _asked(given: Mapping[str, Any], *, tenant_id: UUID, now: datetime) -> Asked:
    until = given.get("until") or now
    since = given.get("since") or datetime.combine((until - USUAL_SPAN).date(), time(), tzinfo=until.tzinfo)
    if not timedelta() < until - since <= LONGEST_SPAN:
        raise InputInvalid("/since: lies before `until`, by at most 366 days.", field="/since", found=since.isoformat())
    only = {each: given[each] for each in FILTERS if each in given}
    selection = Selection(since=since, until=until, tenant_id=tenant_id, only=only)
    return Asked(selection=selection, by=given.get("group_by", USUAL), now=now)


def _page(request: Request, given: Mapping[str, Any], asked: Asked) -> Response:
    filters = {name: value for name, value in given.items() if name not in {"cursor", "limit", "format"}}
    place = Place(caller_of(request).tenant_id, request.path, filters)
    found, is_more = asked.page(after=_after(place, given.get("cursor"), asked.by), most=given["limit"])
    totals = usage.total(asked.selection, now=asked.now)
    told = {
        "since": asked.selection.since,
        "until": asked.selection.until,
        "group_by": asked.by,
        "cost_usd": totals.cost_usd,
        "totals": _shown(totals),
        "items": [{**dict(zip(asked.by, each.group, strict=True)), **_shown(each.figures)} for each in found],
        "next": place.cursor(json.dumps(found[-1].group)) if is_more else None,
    }
    return Response(UsageShape(told).data)


def _table(asked: Asked, *, most: int) -> StreamingHttpResponse:
    answer = StreamingHttpResponse(asked.table(most=most), content_type=f"{CSV}; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="usage-{asked.selection.since:%Y-%m-%d}.csv"'
    answer["Cache-Control"] = "no-store"
    return answer


def _after(place: Place, cursor: str | None, by: Sequence[Grouping]) -> Sequence[str]:
    if cursor is None:
        return ()
    group = json.loads(place.after(cursor))
    if len(group) != len(by):
        raise BadCursor("This cursor belongs to other groups.", field="cursor")
    return tuple(group)


def _shown(figures: Figures) -> dict[str, Any]:
    told = asdict(figures)
    return {name: told[name] for name in FIGURES}
