"""The local catalog in the admin, and what is still to be registered; nobody changes either here."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from invocation.admin import filters
from invocation.models import CatalogTable, Registration
from quota.admin.paging import BoundedPaginator


class Listed(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """Rows that services write."""

    paginator = BoundedPaginator
    show_full_result_count = False
    ordering = ("-pk",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(CatalogTable)
class CatalogTableAdmin(Listed):
    list_display = ("name", "endpoint", "tenant_id", "rows", "bytes", "location", "registered_at")
    list_filter = (filters.Endpoint, filters.Tenant)


@admin.register(Registration)
class RegistrationAdmin(Listed):
    list_display = ("batch_id", "catalog", "done_at", "tries", "due_at", "error")
    list_filter = (("done_at", admin.EmptyFieldListFilter),)
