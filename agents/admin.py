"""The shop's rows in the admin: titles and readers to change, purchases and refunds to read."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from agents.models import Purchase, Reader, Refund, Title


@admin.register(Title)
class TitleAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    list_display = ["title", "author", "year", "demographic", "volumes", "status"]
    list_filter = ["demographic", "status"]
    search_fields = ["title", "author", "slug"]
    readonly_fields = ["search"]


@admin.register(Reader)
class ReaderAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    list_display = ["reader", "name", "locale", "joined"]
    search_fields = ["reader", "name"]


class OnRecord(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """Rows that are evidence: nobody adds, changes or deletes them here."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False


@admin.register(Purchase)
class PurchaseAdmin(OnRecord):
    list_display = ["order", "reader", "title", "volume", "at", "price_usd"]
    list_select_related = ["reader", "title"]
    search_fields = ["order", "reader__reader", "title__title"]


@admin.register(Refund)
class RefundAdmin(OnRecord):
    list_display = ["order_id", "reader", "amount_usd", "decision", "decided_at"]
    list_filter = ["decision"]
    list_select_related = ["reader"]
    search_fields = ["order__order", "reader__reader"]
