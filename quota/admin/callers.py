"""Who may invoke, and how much: plans, tenants, keys and model quotas. Keys apart, every change is on record."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from quota.admin.audited import Audited
from quota.admin.gauges import GaugesNow, GaugesView
from quota.domain.callers import Scope
from quota.models import ApiKey, ModelQuota, Plan, Tenant
from quota.services import keys

WHOLE = 1.000001


@admin.register(Plan)
class PlanAdmin(Audited):
    effective = "A tenant's requests follow within 5 s, what waits with the next round."
    list_display = (
        "name",
        "in_flight_p0",
        "in_flight_p1",
        "in_flight_p2",
        "in_flight_p3",
        "connections",
        "requests_per_minute",
        "daily_tokens",
        "daily_usd",
        "weight",
    )


@admin.register(Tenant)
class TenantAdmin(Audited):
    list_display = ("name", "plan", "is_active", "created_at")
    list_filter = ("plan", "is_active")
    list_select_related = ("plan",)
    search_fields = ("name",)
    readonly_fields = ("created_at",)


class ApiKeyForm(forms.ModelForm[ApiKey]):
    scopes = forms.MultipleChoiceField(
        choices=[(word.value, word.value) for word in Scope],
        initial=[word.value for word in Scope],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )

    class Meta:
        model = ApiKey
        fields = ("tenant", "name", "scopes", "highest_class", "expires_at")


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """A key is shown once, when it is added; its digest never. Keys are revoked, not deleted."""

    form = ApiKeyForm
    list_display = ("__str__", "tenant", "name", "highest_class", "created_at", "last_used_at", "expires_at", "revoked_at")
    list_filter = ("tenant", "highest_class")
    list_select_related = ("tenant",)
    search_fields = ("prefix", "name", "tenant__name")
    readonly_fields = ("prefix", "created_at", "last_used_at", "revoked_at")
    autocomplete_fields = ("tenant",)
    actions = ("revoke",)

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:  # noqa: FBT001
        if change:
            super().save_model(request, obj, form, change)
            return
        text = keys.seal(obj, now=timezone.now())
        messages.warning(request, f"Copy the key now, it is not shown again: {text}")

    @admin.action(description="Revoke the selected keys", permissions=("change",))
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset:
            keys.revoke(key.prefix, now=timezone.now())
        messages.success(request, f"Revoked {len(queryset)} keys; they are refused everywhere within 5 s.")


class ModelQuotaForm(forms.ModelForm[ModelQuota]):
    """Each refusal stands at its field, with what was found and what would do."""

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        reserved, cap = given.get("p0_reserved"), given.get("p3_cap")
        if reserved is not None and cap is not None and reserved + cap > WHOLE:
            left = f"{1 - reserved:.2f}"
            self.add_error(
                "p3_cap", f"p3's cap and p0's reserve together must not exceed 1: beside a reserve of {reserved:g} at most {left}."
            )
        return given


@admin.register(ModelQuota)
class ModelQuotaAdmin(Audited):
    form = ModelQuotaForm
    effective = "In every process within 5 s, without a restart."
    list_display = ("__str__", "tokens_per_minute", "requests_per_minute", "p0_reserved", "p3_cap")
    list_filter = ("provider",)
    search_fields = ("provider", "model")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.custom_urls = (
            ("gauges/", "quota_gauges", GaugesView.as_view(model_admin=self)),
            ("gauges/now/", "quota_gauges_now", GaugesNow.as_view(model_admin=self)),
        )
