"""Grants of places in S3: which tenant may read, or write, below which prefix."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from invocation.admin import filters
from invocation.domain.locations import plain
from invocation.models import StoreGrant
from invocation.selectors import grants, tenants
from quota.admin.paging import BoundedPaginator


class GrantForm(forms.ModelForm[StoreGrant]):
    """A tenant and a prefix; the object store itself is refused, since it holds everybody's."""

    tenant_id = forms.TypedChoiceField(label="Tenant", choices=tenants.choices, coerce=UUID, widget=UnfoldAdminSelectWidget)

    class Meta:
        model = StoreGrant
        fields = ("tenant_id", "prefix", "may_write")
        widgets = {"prefix": UnfoldAdminTextInputWidget(), "may_write": UnfoldBooleanSwitchWidget()}
        help_texts = {"prefix": "s3://bucket/prefix: everything below it, and nothing beside it."}

    def clean_prefix(self) -> str:
        found = plain(self.cleaned_data["prefix"])
        if found is None:
            raise ValidationError("Say s3://bucket/prefix, without steps such as `..`.")
        if grants.touches_object_store(found):
            raise ValidationError("This is where all tenants' files lie, or above it: say another place.")
        return found


@admin.register(StoreGrant)
class StoreGrantAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    form = GrantForm
    paginator = BoundedPaginator
    show_full_result_count = False
    list_display = ("prefix", "whose", "may_write", "granted_at")
    list_filter = (filters.Tenant,)
    ordering = ("prefix",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[StoreGrant]:
        found: QuerySet[StoreGrant] = super().get_queryset(request).annotate(tenant_name=tenants.name_of())
        return found

    @admin.display(description="tenant")
    def whose(self, row: Any) -> str:
        return row.tenant_name or str(row.tenant_id)
