"""Quota in the admin: plans, tenants, keys, model quotas and the ledger."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from quota.domain.callers import Scope
from quota.models import ApiKey, LedgerEntry, ModelQuota, Plan, Tenant
from quota.services import keys


@admin.register(Plan)
class PlanAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    list_display = (
        "name",
        "in_flight_p0",
        "in_flight_p1",
        "in_flight_p2",
        "in_flight_p3",
        "requests_per_minute",
        "daily_tokens",
        "daily_usd",
        "weight",
    )


@admin.register(Tenant)
class TenantAdmin(ModelAdmin):  # type: ignore[misc]
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
class ApiKeyAdmin(ModelAdmin):  # type: ignore[misc]
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


@admin.register(ModelQuota)
class ModelQuotaAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ("__str__", "tokens_per_minute", "requests_per_minute", "p0_reserved", "p3_cap")
    list_filter = ("provider",)
    search_fields = ("provider", "model")


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ModelAdmin):  # type: ignore[misc]
    """To be read only."""

    list_display = ("at", "tenant_id", "endpoint", "mode", "model", "input_tokens", "output_tokens", "cost_usd", "estimated")
    list_filter = ("mode", "priority_class", "model")
    search_fields = ("tenant_id", "run_id", "parent_id")
    date_hierarchy = "at"
    ordering = ("-pk",)
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: LedgerEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: LedgerEntry | None = None) -> bool:
        return False
