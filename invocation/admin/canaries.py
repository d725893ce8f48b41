"""Canaries in the admin: deciding what part of an endpoint's runs another version of its agent takes, and the record of all decisions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from invocation.admin import cells
from invocation.admin.on_record import OnRecord
from invocation.domain.endpoints import Canary
from invocation.models import CanaryChange
from invocation.selectors import canaries as decided
from invocation.selectors import endpoints
from invocation.services import canaries, contracts

DAY = timedelta(hours=24)


class CanaryForm(forms.ModelForm[CanaryChange]):
    """Which version takes which part, and why. What could not run is refused before it is decided."""

    class Meta:
        model = CanaryChange
        fields = ("endpoint", "agent_version", "percent", "reason")
        widgets = {
            "endpoint": UnfoldAdminSelectWidget(),
            "agent_version": UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric"}),
            "percent": UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
            "reason": UnfoldAdminTextInputWidget(),
        }
        help_texts = {"percent": "Of the endpoint's runs, from 0 (no canary) to 99.99. Sessions and batches keep one version each."}

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        labels = [endpoint.label for endpoint in endpoints.every() if not endpoint.successor]
        self.fields["endpoint"] = forms.ChoiceField(
            choices=[(label, label) for label in labels], widget=UnfoldAdminSelectWidget(choices=[(label, label) for label in labels])
        )

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        label, version, percent = (given.get(name) for name in ("endpoint", "agent_version", "percent"))
        if label and version is not None and percent and 0 < percent < 100:
            faults = contracts.canary_faults(endpoints.named(label), Canary(version, float(percent)))
            if faults:
                raise ValidationError({"agent_version": faults})
        return given


@admin.register(CanaryChange)
class CanaryAdmin(OnRecord):
    form = CanaryForm
    page_template = "admin/invocation/canary.html"
    list_display = ("endpoint", "standing", "agent_version", "share", "reason", "changed_by", "changed")
    list_filter = ("endpoint",)
    list_select_related = ("changed_by",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("invocation.add_canarychange"))

    def save_model(self, request: HttpRequest, obj: CanaryChange, form: Any, change: bool) -> None:  # noqa: FBT001
        """Decide through the service; the page's own row only learns the key that it got."""
        obj.pk = canaries.decide(
            obj.endpoint,
            agent_version=obj.agent_version,
            percent=obj.percent,
            reason=obj.reason,
            by=request.user,
            now=timezone.now(),
        ).pk
        messages.info(request, f"In every process within {decided.FRESH_S:g} s; what was accepted before keeps its version.")

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return [(None, {"fields": ["endpoint", "agent_version", "percent", "reason"]})]

    @admin.display(description="state")
    def standing(self, row: CanaryChange) -> SafeString:
        holds = row.pk in {each.pk for each in decided.decisions()}
        return cells.badge("holds", tone="busy") if holds else cells.badge("superseded")

    @admin.display(description="share", ordering="percent")
    def share(self, row: CanaryChange) -> str:
        return f"{row.percent} %"

    @admin.display(description="decided", ordering="changed_at")
    def changed(self, row: CanaryChange) -> SafeString | str:
        return cells.ago(row.changed_at)

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return {
            "standing": self.standing(row),
            "figures": [
                ("Agent version", row.agent_version),
                ("Share", self.share(row)),
                ("Reason", row.reason),
                ("Decided by", row.changed_by or "a command"),
                ("Decided", cells.exact(row.changed_at)),
            ],
            "versions": [_version(found) for found in decided.compared(row.endpoint, since=timezone.now() - DAY)],
        }


def _version(found: decided.VersionFigures) -> tuple[str, ...]:
    share = f"{found.failures / found.runs:.1%}"
    return found.agent, f"{found.runs:,}", f"{found.failures:,} ({share})", cells.took(found.duration_ms), cells.money(found.cost_usd)
