"""Webhooks and the log of their deliveries in the admin: no secret is shown; disabling, enabling and replaying."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from invocation.admin import cells, filters
from invocation.admin.on_record import TenantsRecord, attempt
from invocation.domain.webhooks import DeliveryState, Disabled, WebhookEvent
from invocation.models import Delivery, Webhook
from invocation.selectors import webhooks as seen
from invocation.services import deliveries, webhooks

MOST_DELIVERIES = 50
SECRETS = ("secret", "previous_secret")
TONES = {DeliveryState.DELIVERED: "good", DeliveryState.FAILED: "bad", DeliveryState.PENDING: "busy"}


def disable(request: HttpRequest, row: Webhook) -> None:
    webhooks.disable([row.pk], reason=Disabled.ASKED, now=timezone.now())
    messages.success(request, f"{row} is told nothing any more.")


def enable(request: HttpRequest, row: Webhook) -> None:
    webhooks.enable(row.pk)
    messages.success(request, f"{row} is told again what happens from now on.")


def replay(request: HttpRequest, row: Delivery) -> None:
    deliveries.replay(row.pk, now=timezone.now())
    messages.success(request, f"{row} is sent again, under the same id.")


@admin.register(Webhook)
class WebhookAdmin(TenantsRecord):
    page_template = "admin/invocation/webhook.html"
    payloads = SECRETS
    list_display = ("url", "standing", "tenant", "hears", "last_answer", "last_tried", "failing")
    list_filter = ("is_enabled", ("failing_since", admin.EmptyFieldListFilter), filters.Tenant)
    search_fields = ("id",)
    search_help_text = "An id, or its beginning"
    actions = ("disable_selected", "enable_selected")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.acts = {"disable": disable, "enable": enable}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The secrets are never read here, not even sealed."""
        return seen.with_last_answer(seen.on_record(super().get_queryset(request))).defer(*SECRETS)

    @admin.display(description="state")
    def standing(self, row: Webhook) -> SafeString:
        return cells.badge("live") if row.is_enabled else cells.badge(f"disabled: {row.disabled_reason}", tone="bad")

    @admin.display(description="hears")
    def hears(self, row: Webhook) -> str:
        words = [event.removeprefix("job.").replace("_", " ") for event in row.events]
        return f"{'all jobs' if row.takes_all_jobs else 'jobs that name it'}: {', '.join(words)}"

    @admin.display(description="last answer")
    def last_answer(self, row: Any) -> SafeString | str:
        return answer(row.last_status, row.last_fault)

    @admin.display(description="last tried")
    def last_tried(self, row: Any) -> SafeString | str:
        return cells.ago(row.last_at)

    @admin.display(description="failing since")
    def failing(self, row: Webhook) -> SafeString | str:
        return cells.ago(row.failing_since)

    @admin.action(description="Disable", permissions=("act",))
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[Webhook]) -> None:
        _each(request, queryset, disable)

    @admin.action(description="Enable", permissions=("act",))
    def enable_selected(self, request: HttpRequest, queryset: QuerySet[Webhook]) -> None:
        _each(request, queryset, enable)

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        newest = seen.with_last_try(seen.deliveries_of(row, {})).order_by("-pk")[:MOST_DELIVERIES]
        return {
            "standing": self.standing(row),
            "hears": self.hears(row),
            "figures": [
                ("Last answer", self.last_answer(row)),
                ("Last tried", self.last_tried(row)),
                ("Failing since", self.failing(row)),
                ("Old secret signs until", cells.exact(row.previous_until) if row.previous_until else cells.NONE),
            ],
            "deliveries": [_told(delivery) for delivery in newest],
            "addresses": {act: self.act_address(row, act) for act in self.acts},
        }


@admin.register(Delivery)
class DeliveryAdmin(TenantsRecord):
    page_template = "admin/invocation/delivery.html"
    payloads = ("body",)
    list_display = ("key", "state_badge", "type", "to", "tenant", "job", "last_answer", "tries", "next_try", "created", "again")
    list_filter = (
        filters.choice("state", lambda: filters.words(DeliveryState)),
        filters.choice("type", lambda: [(str(event), str(event)) for event in WebhookEvent]),
        filters.Tenant,
    )
    search_fields = ("id",)
    search_help_text = "A webhook-id, or its beginning"
    actions = ("replay_selected",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.acts = {"replay": replay}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return seen.with_last_try(super().get_queryset(request).exclude(webhook__url=seen.DELETED_URL))

    @admin.display(description="state")
    def state_badge(self, row: Any) -> SafeString:
        return cells.badge(row.state, tone=TONES[DeliveryState(row.state)])

    @admin.display(description="to")
    def to(self, row: Any) -> SafeString:
        return cells.link_to("webhook", row.webhook_id, text=cells.excerpt(row.url, most=50))

    @admin.display(description="job")
    def job(self, row: Delivery) -> SafeString:
        return cells.link_to("job", row.job_id)

    @admin.display(description="last answer")
    def last_answer(self, row: Any) -> SafeString | str:
        return answer(row.last_status, row.last_fault)

    @admin.display(description="next try")
    def next_try(self, row: Delivery) -> SafeString | str:
        return cells.ago(row.due_at) if row.state == DeliveryState.PENDING else cells.NONE

    @admin.display(description="happened")
    def created(self, row: Delivery) -> SafeString | str:
        return cells.ago(row.created_at)

    @admin.display(description="replay")
    def again(self, row: Delivery) -> SafeString | str:
        return self.act_button(row, "replay", text="Replay")

    @admin.action(description="Replay the selected deliveries", permissions=("act",))
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        _each(request, queryset, replay)

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return {
            "badge": self.state_badge(row),
            "to": self.to(row),
            "job": self.job(row),
            "figures": [
                ("Happened", cells.exact(row.created_at)),
                ("Next try", self.next_try(row)),
                ("Ended", cells.exact(row.ended_at) if row.ended_at else cells.NONE),
            ],
            "tries": [_tried(each) for each in seen.tries_of(row)],
            "replay_address": self.act_address(row, "replay"),
        }


def answer(status: int | None, fault: str | None) -> SafeString | str:
    """Return a badge of a status, or of why there was none."""
    if status is not None:
        return cells.badge(str(status), tone="good" if 200 <= status < 300 else "bad")
    return cells.badge(fault, tone="bad") if fault else cells.NONE


def _each(request: HttpRequest, rows: QuerySet[Any], act: Any) -> None:
    for row in rows:
        attempt(request, act, row)


def _told(row: Any) -> dict[str, Any]:
    return {
        "link": cells.link_to("delivery", row.pk),
        "badge": cells.badge(row.state, tone=TONES[DeliveryState(row.state)]),
        "type": row.type,
        "job": cells.link_to("job", row.job_id),
        "answer": answer(row.last_status, row.last_fault),
        "tries": row.tries,
        "created": cells.ago(row.created_at),
    }


def _tried(row: Any) -> dict[str, Any]:
    return {
        "number": row.number,
        "at": cells.exact(row.at),
        "answer": answer(row.status, row.fault),
        "took": cells.took(row.duration_ms),
        "said": row.answer,
    }
