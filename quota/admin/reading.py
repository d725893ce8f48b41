"""Rows that are only read here."""

from __future__ import annotations

from django.contrib.admin import ShowFacets
from django.db.models import Model
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from quota.admin.paging import BoundedPaginator


class ReadOnly(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """Nobody adds, changes or deletes these rows by hand; a table may be too long to be counted."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 0
    list_fullwidth = True
    ordering: tuple[str, ...] = ("-pk",)
    sortable_by: tuple[str, ...] = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
