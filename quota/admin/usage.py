"""What was spent, at a glance: by day and mode, by tenant, model and endpoint; filtered, and as a table to take away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from asgiref.sync import sync_to_async
from django import forms
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils import timezone
from django.views.generic import TemplateView
from unfold.views import UnfoldModelAdminViewMixin

from quota import selectors
from quota.admin import cells, charts
from quota.domain import tables
from quota.domain.classes import PriorityClass
from quota.domain.usage import FIGURES, Figures, Grouping, Selection, Used
from quota.selectors import usage

DAY = timedelta(days=1)
USUAL_DAYS = 30
LONGEST_DAYS = 400
PERIODS = (("7 days", 7), ("30 days", 30), ("90 days", 90))
FILTERS = (Grouping.ENDPOINT, Grouping.MODE, Grouping.CLASS, Grouping.PROVIDER, Grouping.MODEL)
TOP = 7
LINES = 100
AT_ONCE = 1_000
WORDS: Mapping[Grouping, str] = MappingProxyType({Grouping.CLASS: "class"})


class UsageForm(forms.Form):
    """Which days and whose usage. Empty fields leave everything in."""

    first = forms.DateField(required=False)
    last = forms.DateField(required=False)
    tenant = forms.CharField(required=False, max_length=80)
    by = forms.ChoiceField(required=False, choices=[(str(each), WORDS.get(each, str(each))) for each in Grouping])
    endpoint = forms.CharField(required=False, max_length=80)
    mode = forms.CharField(required=False, max_length=20)
    priority_class = forms.ChoiceField(required=False, choices=[("", ""), *((str(each), str(each)) for each in PriorityClass)])
    provider = forms.CharField(required=False, max_length=40)
    model = forms.CharField(required=False, max_length=120)

    def clean_tenant(self) -> UUID | None:
        name = self.cleaned_data["tenant"]
        if not name:
            return None
        found = selectors.tenant_id_of(name)
        if found is None:
            raise forms.ValidationError(f"There is no tenant called {name}.")
        return found

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        first, last = given.get("first"), given.get("last")
        if first and last and first > last:
            self.add_error("first", "The first day lies behind the last.")
        elif first and last and (last - first).days > LONGEST_DAYS:
            self.add_error("first", f"At most {LONGEST_DAYS} days at once.")
        return given


@dataclass(frozen=True, slots=True)
class Wanted:
    """The days, inclusive, the selection that they make, and what the table is grouped by."""

    first: date
    last: date
    selection: Selection
    by: Grouping


class UsageView(UnfoldModelAdminViewMixin, TemplateView):  # type: ignore[misc]  # unfold has no types
    """`?format=csv` is the selection as a table, by day and the chosen grouping."""

    title = "Usage"
    permission_required = ("quota.view_ledgerentry",)
    template_name = "admin/quota/usage.html"

    def get(self, request: HttpRequest, *args: Any, **named: Any) -> HttpResponseBase:  # type: ignore[override]  # a table is streamed
        if request.GET.get("format") == "csv" and (form := UsageForm(request.GET)).is_valid():
            return _table(_wanted(form.cleaned_data, now=timezone.now()))
        return super().get(request, *args, **named)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        kwargs.pop("model_admin", None)  # unfold hands it over twice, by as_view and by the path
        now = timezone.now()
        form = UsageForm(self.request.GET)
        wanted = _wanted(form.cleaned_data if form.is_valid() else {}, now=now)
        asked = {name: value for name, value in self.request.GET.items() if isinstance(value, str) and value and name in form.fields}
        return dict(super().get_context_data(**kwargs, form=form, **_shown(wanted, asked, now=now)))


def _wanted(given: Mapping[str, Any], *, now: datetime) -> Wanted:
    last = given.get("last") or now.date()
    first = given.get("first") or last - (USUAL_DAYS - 1) * DAY
    only = {each: given[each] for each in FILTERS if given.get(each)}
    selection = Selection(since=_midnight(first), until=_midnight(last + DAY), tenant_id=given.get("tenant"), only=only)
    return Wanted(first, last, selection, Grouping(given.get("by") or Grouping.ENDPOINT))


def _shown(wanted: Wanted, asked: Mapping[str, str], *, now: datetime) -> dict[str, Any]:
    def by(*groupings: Grouping) -> list[Used]:
        return usage.used(wanted.selection, groupings, now=now)

    days = by(Grouping.DAY, Grouping.MODE)
    total = sum((each.figures for each in days), Figures())
    names = selectors.tenant_names()
    return {
        "figures": _figures(total),
        "chart": _chart(days, wanted),
        "tops": [
            ("Tenants", charts.ranked(_spent(by(Grouping.TENANT), names), most=TOP)),
            ("Models", charts.ranked(_spent(by(Grouping.PROVIDER, Grouping.MODEL)), most=TOP)),
            ("Endpoints", charts.ranked(_spent(by(Grouping.ENDPOINT)), most=TOP)),
        ],
        "by": WORDS.get(wanted.by, str(wanted.by)),
        "lines": [_line(each, names) for each in _greatest(by(wanted.by))],
        "options": _options(wanted, now=now),
        "tenants": sorted(names.values())[:LINES],
        "groupings": [(str(each), WORDS.get(each, str(each)), each is wanted.by) for each in Grouping],
        "asked": {"first": wanted.first.isoformat(), "last": wanted.last.isoformat(), **asked},
        "periods": [(word, _period(asked, days, now), wanted.first == now.date() - (days - 1) * DAY) for word, days in PERIODS],
        "export": "?" + urlencode({**asked, "format": "csv"}),
        "is_filtered": bool(set(asked) - {"first", "last", "by"}),
    }


def _figures(total: Figures) -> list[tuple[str, str]]:
    return [
        ("Spent", cells.money(total.cost_usd)),
        ("Calls", f"{total.calls:,}"),
        ("Input tokens", f"{total.input_tokens:,}"),
        ("Output tokens", f"{total.output_tokens:,}"),
        ("Cached share of input", f"{total.cached_share:.1%}"),
        ("Estimated share of cost", f"{total.estimated_share:.1%}"),
    ]


def _chart(days: Sequence[Used], wanted: Wanted) -> charts.Stacked:
    spent = {(date.fromisoformat(each.group[0]), each.group[1]): each.figures.cost_usd for each in days}
    return charts.by_day(spent, sorted({mode for _, mode in spent}), first=wanted.first, last=wanted.last)


def _spent(found: Sequence[Used], names: Mapping[str, str] = MappingProxyType({})) -> list[tuple[str, Decimal]]:
    return [(" / ".join(names.get(word, word) for word in each.group), each.figures.cost_usd) for each in found]


def _greatest(found: Sequence[Used]) -> list[Used]:
    return sorted(found, key=lambda each: (-each.figures.cost_usd, each.group))[:LINES]


def _line(found: Used, names: Mapping[str, str]) -> dict[str, Any]:
    figures = found.figures
    return {
        "name": names.get(found.group[0], found.group[0]),
        "calls": f"{figures.calls:,}",
        "input": f"{figures.input_tokens:,}",
        "output": f"{figures.output_tokens:,}",
        "cached": f"{figures.cached_share:.1%}",
        "estimated": f"{figures.estimated_share:.1%}",
        "cost": cells.money(figures.cost_usd),
    }


def _options(wanted: Wanted, *, now: datetime) -> list[tuple[str, str, list[str]]]:
    """Return what each filter can be set to in these days, whatever the others are set to."""
    every = Selection(since=wanted.selection.since, until=wanted.selection.until)
    found = usage.used(every, FILTERS, now=now)
    return [(str(each), WORDS.get(each, str(each)), sorted({used.group[index] for used in found})) for index, each in enumerate(FILTERS)]


def _period(asked: Mapping[str, str], days: int, now: datetime) -> str:
    kept = {name: value for name, value in asked.items() if name not in {"first", "last"}}
    return "?" + urlencode({**kept, "first": (now.date() - (days - 1) * DAY).isoformat(), "last": now.date().isoformat()})


def _table(wanted: Wanted) -> StreamingHttpResponse:
    answer = StreamingHttpResponse(_rows(wanted, now=timezone.now()), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="usage-{wanted.first}-{wanted.last}.csv"'
    return answer


async def _rows(wanted: Wanted, *, now: datetime) -> AsyncIterator[str]:
    by = list(dict.fromkeys([Grouping.DAY, wanted.by]))
    names = await sync_to_async(selectors.tenant_names)()
    yield tables.lines([[*by, *FIGURES]])
    pages = usage.pages(wanted.selection, by, now=now, most=AT_ONCE)
    following = sync_to_async(lambda: next(pages, None))
    while found := await following():
        yield tables.lines([*(names.get(word, word) for word in each.group), *asdict(each.figures).values()] for each in found)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
