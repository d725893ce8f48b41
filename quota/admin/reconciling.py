"""The ledger against what providers report: differences by day and model, flagged beyond tolerance; and importing a report."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.generic import TemplateView
from unfold.views import UnfoldModelAdminViewMixin

from quota.admin import cells
from quota.admin.reading import ReadOnly
from quota.domain.errors import ReportInvalid
from quota.domain.reconciling import Difference, Tolerance, Verdict
from quota.models import UsageImport
from quota.selectors import reconciling as read
from quota.services import reconciling

USUAL_DAYS = 30
LARGEST = 5 * 1024 * 1024
TONES = {Verdict.AGREES: "good", Verdict.EXPLAINED: "busy"}


class CompareForm(forms.Form):
    """Which days, whose report, and what is let pass."""

    first = forms.DateField(required=False)
    last = forms.DateField(required=False)
    provider = forms.CharField(required=False, max_length=40)
    tolerance = forms.DecimalField(required=False, min_value=0, max_value=100, decimal_places=3)
    slack = forms.IntegerField(required=False, min_value=0)

    def tolerated(self) -> Tolerance:
        usual, given = Tolerance(), self.cleaned_data
        share = given.get("tolerance")
        slack = given.get("slack")
        return Tolerance(share=usual.share if share is None else share / 100, tokens=usual.tokens if slack is None else slack)


class ReportForm(forms.Form):
    report = forms.FileField(max_length=200)
    provider = forms.CharField(required=False, max_length=40)

    def clean_report(self) -> Any:
        report = self.cleaned_data["report"]
        if report.size > LARGEST:
            raise forms.ValidationError(f"{report.size:,} bytes are more than {LARGEST:,}: use `manage.py reconcile`.")
        return report


class ReconciliationView(UnfoldModelAdminViewMixin, TemplateView):  # type: ignore[misc]  # unfold has no types
    title = "Reconciliation"
    permission_required = ("quota.view_usageimport",)
    template_name = "admin/quota/reconciliation.html"

    def post(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        """Import a report, and show the page again."""
        if not request.user.has_perm("quota.add_usageimport"):
            raise PermissionDenied
        form = ReportForm(request.POST, request.FILES)
        if form.is_valid():
            _take(request, form.cleaned_data)
        for name, errors in form.errors.items():
            messages.error(request, f"{name}: {' '.join(map(str, errors))}")
        return HttpResponseRedirect(request.path)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        kwargs.pop("model_admin", None)  # unfold hands it over twice, by as_view and by the path
        form = CompareForm(self.request.GET)
        form.is_valid()
        may_add = self.request.user.has_perm("quota.add_usageimport")
        return dict(super().get_context_data(**kwargs, form=form, may_add=may_add, imports=read.imports(), **_shown(form)))


def _take(request: HttpRequest, given: dict[str, Any]) -> None:
    report = given["report"]
    by, now = request.user.get_username(), timezone.now()
    try:
        kept, is_new = reconciling.take(report.read(), name=report.name, by=by, now=now, provider=given["provider"])
    except ReportInvalid as refused:
        messages.error(request, f"{report.name}: {refused.sentence} Nothing was imported.")
        return
    word = "was imported" if is_new else "had been imported already: nothing was changed"
    messages.success(request, f"{kept.name}, {kept.lines} days and models, {word}.")


def _shown(form: CompareForm) -> dict[str, Any]:
    given, tolerance, now = form.cleaned_data, form.tolerated(), timezone.now()
    last: date = given.get("last") or read.last_day() or now.date()
    first: date = given.get("first") or last - timedelta(days=USUAL_DAYS - 1)
    found = read.differences(first=first, last=last, provider=given.get("provider") or "", tolerance=tolerance, now=now)
    return {
        "lines": [_line(each) for each in found],
        "figures": _figures(found),
        "providers": read.providers(),
        "asked": {
            "first": first.isoformat(),
            "last": last.isoformat(),
            "provider": given.get("provider") or "",
            "tolerance": f"{(tolerance.share * 100).normalize():f}",
            "slack": tolerance.tokens,
        },
    }


def _figures(found: list[Difference]) -> list[tuple[str, str]]:
    flagged = sum(each.is_flagged for each in found)
    ours = sum((each.ours.cost_usd for each in found if each.ours), Decimal(0))
    costs = [each.theirs.cost_usd for each in found if each.theirs and each.theirs.cost_usd is not None]
    return [
        ("Days and models", f"{len(found):,}"),
        ("Beyond tolerance", f"{flagged:,}"),
        ("Explained by estimates", f"{sum(each.verdict is Verdict.EXPLAINED for each in found):,}"),
        ("Tokens that the ledger lacks", f"{sum(each.tokens for each in found):+,}"),
        ("In the ledger", cells.money(ours)),
        ("Reported", cells.money(sum(costs, Decimal(0))) if costs else cells.NONE),
    ]


def _line(found: Difference) -> dict[str, Any]:
    ours, theirs = found.ours, found.theirs
    return {
        "day": found.key.day.isoformat(),
        "model": f"{found.key.provider}/{found.key.model}",
        "calls": (f"{ours.calls:,}" if ours else cells.NONE, f"{theirs.requests:,}" if theirs else cells.NONE),
        "tokens": (f"{ours.tokens:,}" if ours else cells.NONE, f"{theirs.input_tokens + theirs.output_tokens:,}" if theirs else cells.NONE),
        "difference": f"{found.tokens:+,}" if found.tokens else "0",
        "estimated": f"{ours.estimated_tokens:,}" if ours else cells.NONE,
        "cost": (cells.money(ours.cost_usd if ours else None), cells.money(theirs.cost_usd if theirs else None)),
        "verdict": cells.badge(str(found.verdict), tone=TONES.get(found.verdict, "bad")),
        "is_flagged": found.is_flagged,
    }


@admin.register(UsageImport)
class UsageImportAdmin(ReadOnly):
    """The reports that were imported; the page of what they show stands below."""

    list_display = ("name", "lines", "imported_by", "imported", "sha256")
    list_display_links = None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.custom_urls = (("reconciliation/", "quota_reconciliation", ReconciliationView.as_view(model_admin=self)),)

    @admin.display(description="imported")
    def imported(self, row: UsageImport) -> SafeString | str:
        return cells.ago(row.imported_at)
