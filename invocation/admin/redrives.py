"""Redrives in the admin: the form that opens one, how far each is, live, and its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from invocation.admin import cells, filters, redriving
from invocation.admin.on_record import TenantsRecord
from invocation.domain.errors import InvocationError
from invocation.domain.masking import masked_text
from invocation.domain.redrives import LEAST_RATE, MOST_RATE, MOST_REASON, USUAL_RATE, AgentChoice, Edit, Match, RedriveState
from invocation.models import Redrive
from invocation.selectors import redrives as seen
from invocation.services import redrives
from invocation.services.redrives import Opening

MOST_SHOWN = 50
TONES = {"collecting": "busy", "aborted": "wary"}
AGENTS = {
    AgentChoice.ORIGINAL: "the version that each job pinned",
    AgentChoice.CURRENT: "the endpoint's own of today",
}


class RedriveForm(forms.Form):
    """How fast, why, and with what input. A whole input is only offered for one job."""

    reason = forms.CharField(max_length=MOST_REASON, label="Why?", widget=forms.TextInput(attrs={"class": "gx-input"}))
    rate = forms.FloatField(
        min_value=LEAST_RATE,
        max_value=MOST_RATE,
        initial=USUAL_RATE,
        label="Jobs a second",
        widget=forms.NumberInput(attrs={"class": "gx-input", "step": "any"}),
    )
    agent = forms.ChoiceField(
        choices=[(str(choice), told) for choice, told in AGENTS.items()],
        label="Agent version",
        widget=forms.Select(attrs={"class": "gx-input"}),
    )
    patch = forms.JSONField(
        required=False,
        label="Patch of the input",
        help_text='A JSON merge patch (RFC 7396), such as {"locale": "en", "draft": null}. Empty: the input stays as it was.',
        widget=forms.Textarea(attrs={"class": "gx-input gx-area", "rows": 4}),
    )
    input = forms.JSONField(
        required=False,
        label="Whole new input",
        help_text="Instead of a patch, one JSON object.",
        widget=forms.Textarea(attrs={"class": "gx-input gx-area", "rows": 8}),
    )

    def __init__(self, *args: Any, count: int) -> None:
        super().__init__(*args)
        if count != 1:
            del self.fields["input"]

    def clean_patch(self) -> Any:
        return self._one_object("patch")

    def clean_input(self) -> Any:
        return self._one_object("input")

    def _one_object(self, name: str) -> Any:
        value = self.cleaned_data[name]
        if value is not None and not isinstance(value, dict):
            raise forms.ValidationError("One JSON object is wanted.")
        return value


def abort(request: HttpRequest, row: Redrive) -> None:
    redrives.abort(row.pk, by=redriving.who(request), now=timezone.now())
    messages.success(request, "Aborted: what was started goes on, the rest stays an open dead letter.")


@admin.register(Redrive)
class RedriveAdmin(TenantsRecord):
    page_template = "admin/invocation/redrives/page.html"
    payloads = ("input", "patch")
    list_display = ("key", "state_now", "meant", "progress", "at_rate", "owner", "by", "reason", "opened", "finished")
    list_filter = (filters.choice("state", lambda: filters.words(RedriveState)),)
    search_fields = ("id",)
    search_help_text = "An id, or its beginning"

    class Media:
        js = ("invocation/live.js",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.acts = {"abort": abort}

    def has_add_permission(self, request: HttpRequest) -> bool:
        """The form is reached from the dead letters: here is no button."""
        return False

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the form for what the address names, or open the redrive that it was filled in for."""
        if not request.user.has_perm("invocation.add_redrive"):
            raise PermissionDenied
        try:
            job_ids, match = redriving.target(request)
        except InvocationError as refused:
            messages.error(request, str(refused))
            return HttpResponseRedirect(reverse("admin:invocation_deadletter_changelist"))
        count = len(job_ids) if match is None else redrives.count_matching(match)
        form = RedriveForm(request.POST or None, count=len(job_ids))
        opened = _opened(request, form, job_ids, match) if form.is_bound and form.is_valid() else None
        if opened is not None:
            return HttpResponseRedirect(cells.address("redrive", opened.pk))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Redrive dead letters",
            "form": form,
            "count": count,
            "meant": _told(match),
        }
        return TemplateResponse(request, "admin/invocation/redrives/form.html", context)

    @admin.display(description="state")
    def state_now(self, row: Redrive) -> SafeString:
        return _live(row, "state", _state(row))

    @admin.display(description="which")
    def meant(self, row: Redrive) -> str:
        return _meant(row)

    @admin.display(description="progress")
    def progress(self, row: Redrive) -> SafeString:
        return _live(row, "bar", _bar(row))

    @admin.display(description="rate")
    def at_rate(self, row: Redrive) -> str:
        return f"{row.rate:g}/s"

    @admin.display(description="whose")
    def owner(self, row: Any) -> str:
        return "operators" if row.tenant_id is None else self.tenant(row)

    @admin.display(description="opened")
    def opened(self, row: Redrive) -> SafeString | str:
        return cells.ago(row.opened_at)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Redrive]:
        found: QuerySet[Redrive] = super().get_queryset(request)
        return found

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        refused = seen.refused_members(row, most=MOST_SHOWN)
        started = seen.started_members(row, most=MOST_SHOWN)
        return {
            "state": _state(row),
            "bar": _bar(row),
            "is_open": seen.is_open(row),
            "meant": _meant(row),
            "figures": _figures(row),
            "panels": [(name, cells.pretty(value)) for name, value in (("Patch", row.patch), ("Input", row.input)) if value is not None],
            "refusals": [(each.count, each.code, masked_text(each.sentence)) for each in seen.refusals(row)],
            "refused": [(cells.link_to("deadletter", each.job_id), each.code, masked_text(each.sentence)) for each in refused],
            "started": [(cells.link_to("deadletter", each.job_id), cells.link_to("job", each.successor_id)) for each in started],
            "abort_address": self.act_address(row, "abort") if seen.is_open(row) else "",
        }


def _opened(request: HttpRequest, form: RedriveForm, job_ids: Sequence[UUID], match: Match | None) -> Redrive | None:
    """Open what was filled in; a refusal is told on the form."""
    told = form.cleaned_data
    edit = Edit(input=told.get("input"), patch=told["patch"], agent=AgentChoice(told["agent"]))
    opening = Opening(by=redriving.who(request), reason=told["reason"], job_ids=job_ids, match=match, rate=told["rate"], edit=edit)
    try:
        return redrives.open_redrive(opening, now=timezone.now())
    except InvocationError as refused:
        form.add_error(None, str(refused))
        return None


def _live(row: Redrive, part: str, shown: SafeString) -> SafeString:
    """Mark what static/invocation/live.js keeps as it stands."""
    is_open = " data-open" if seen.is_open(row) else ""
    return format_html('<span data-live="{}-{}"{}>{}</span>', part, row.pk, SafeString(is_open), shown)


def _state(row: Redrive) -> SafeString:
    return cells.badge(row.state, tone=TONES.get(row.state))


def _bar(row: Redrive) -> SafeString:
    return cells.bar(row.done + row.refused, row.total, failed=row.refused)


def _meant(row: Redrive) -> str:
    return "chosen ones" if row.match is None else _told(Match.of_json(row.match))


def _told(match: Match | None) -> str:
    if match is None:
        return "those that were selected"
    parts = [f"{name.replace('_', ' ').removesuffix(' id')} {value}" for name, value in match.as_json().items()]
    return ", ".join(parts) or "every open dead letter"


def _figures(row: Any) -> list[tuple[str, object]]:
    left = seen.eta_s(row)
    return [
        ("Members", f"{row.total:,}"),
        ("Started", f"{row.done:,}"),
        ("Refused", f"{row.refused:,}"),
        ("Rate", f"{row.rate:g} jobs/s"),
        ("Time left", cells.NONE if left is None else cells.took(left * 1000)),
        ("Agent version", AGENTS[AgentChoice(row.agent)]),
        ("Opened", f"{cells.exact(row.opened_at)} by {row.by}"),
        ("Ended", f"{cells.exact(row.finished_at)}{f' by {row.aborted_by}' if row.aborted_by else ''}" if row.finished_at else cells.NONE),
    ]
