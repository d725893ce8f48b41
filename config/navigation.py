"""The admin's sidebar: every page in its group, each shown to those who may see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse

from config.env import env


@dataclass(frozen=True, slots=True)
class Entry:
    """A page: an admin's list by its `app_model`, or another admin view with the permission that it asks for."""

    title: str
    icon: str
    name: str
    permission: str = ""


GROUPS: Sequence[tuple[str, Sequence[Entry]]] = (
    (
        "Work",
        (
            Entry("Jobs", "work", "invocation_job"),
            Entry("Dead letters", "mark_email_unread", "invocation_deadletter"),
            Entry("Redrives", "replay", "invocation_redrive"),
            Entry("Sessions", "forum", "invocation_session"),
            Entry("Turns", "chat", "invocation_turn"),
            Entry("Batches", "grid_view", "invocation_batch"),
            Entry("Datasets", "table_view", "invocation_catalogtable"),
            Entry("Registrations", "playlist_add_check", "invocation_registration"),
            Entry("Schedules", "schedule", "invocation_schedule"),
            Entry("Webhooks", "webhook", "invocation_webhook"),
            Entry("Deliveries", "outgoing_mail", "invocation_delivery"),
            Entry("Runs", "directions_run", "invocation_runrecord"),
            Entry("Processes", "memory", "invocation_process"),
            Entry("Alerts", "notification_important", "invocation_alert"),
        ),
    ),
    (
        "Contract",
        (
            Entry("Endpoints", "hub", "invocation_endpoints", permission="invocation.view_hold"),
            Entry("Agents", "smart_toy", "invocation_agents", permission="invocation.view_hold"),
            Entry("Holds", "front_hand", "invocation_hold"),
            Entry("Canaries", "science", "invocation_canarychange"),
        ),
    ),
    (
        "Who",
        (
            Entry("Tenants", "groups", "quota_tenant"),
            Entry("Keys", "key", "quota_apikey"),
            Entry("Places in S3", "cloud", "invocation_storegrant"),
            Entry("Plans", "loyalty", "quota_plan"),
            Entry("People", "person", "auth_user"),
        ),
    ),
    (
        "Money",
        (
            Entry("Usage", "bar_chart", "quota_usage", permission="quota.view_ledgerentry"),
            Entry("Gauges", "speed", "quota_gauges", permission="quota.view_modelquota"),
            Entry("Model quota", "tune", "quota_modelquota"),
            Entry("Prices", "sell", "quota_modelprice"),
            Entry("Ledger", "receipt_long", "quota_ledgerentry"),
            Entry("Batch ledger", "receipt", "quota_batchledgerentry"),
            Entry("Reconciliation", "balance", "quota_reconciliation", permission="quota.view_usageimport"),
            Entry("Changes", "history", "quota_quotachange"),
        ),
    ),
    ("Quality", (Entry("Scores", "star", "evals_score"), Entry("Baselines", "straighten", "evals_baseline"))),
    (
        "Shop",
        (
            Entry("Titles", "menu_book", "agents_title"),
            Entry("Readers", "face", "agents_reader"),
            Entry("Purchases", "shopping_bag", "agents_purchase"),
            Entry("Refunds", "undo", "agents_refund"),
        ),
    ),
)


def stylesheet(_: HttpRequest) -> str:
    return static("invocation/admin.css")


def money_stylesheet(_: HttpRequest) -> str:
    return static("quota/money.css")


def mark(_: HttpRequest) -> str:
    return static("chat/mark.svg")


INNER = ("endpoints/", "agents/", "usage/", "gauges/", "reconciliation/")
"""Pages that stand below a list's address and are entries of their own."""


def groups(request: HttpRequest) -> list[dict[str, Any]]:
    """Return unfold's sidebar for who asks; a group without a page for them is left out."""
    first = {"title": "", "items": [_item(request, "Overview", "dashboard", reverse("admin:index"))]}
    shown = [{"title": title, "separator": True, "collapsible": False, "items": _items(request, entries)} for title, entries in GROUPS]
    return [first, *(group for group in shown if group["items"]), _outside(request)]


def _items(request: HttpRequest, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    permitted = _viewable(request)
    found = []
    for entry in entries:
        is_shown = request.user.has_perm(entry.permission) if entry.permission else entry.name in permitted
        if is_shown:
            found.append(_item(request, entry.title, entry.icon, _address(entry)))
    return found


def _viewable(request: HttpRequest) -> set[str]:
    pages = admin.site._registry.values()  # noqa: SLF001  (Django has no public way to list what is registered)
    return {f"{page.opts.app_label}_{page.opts.model_name}" for page in pages if page.has_view_permission(request)}


def _address(entry: Entry) -> str:
    try:
        return reverse(f"admin:{entry.name}_changelist")
    except NoReverseMatch:
        return reverse(f"admin:{entry.name}")


def _item(request: HttpRequest, title: str, icon: str, address: str) -> dict[str, Any]:
    deeper = ("", "add/")
    rest = request.path.removeprefix(address) if request.path.startswith(address) else None
    is_row = rest is not None and not rest.startswith(INNER) and address != reverse("admin:index")
    return {"title": title, "icon": icon, "link": address, "active": rest in deeper or is_row}


def _outside(request: HttpRequest) -> dict[str, Any]:
    host = request.get_host().rsplit(":", 1)[0]
    links = (
        ("Chat page", "open_in_new", "/"),
        ("API docs", "api", "/docs"),
        ("Flower", "local_florist", f"http://{host}:{env.flower_port}/"),
    )
    return {
        "title": "Elsewhere",
        "separator": True,
        "items": [{"title": title, "icon": icon, "link": link, "active": False} for title, icon, link in links],
    }
