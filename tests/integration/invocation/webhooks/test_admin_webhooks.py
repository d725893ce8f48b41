"""Webhooks in the admin: their state and last answer, the log of deliveries, and the few acts; never a secret."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client

from invocation.domain.webhooks import Disabled
from invocation.models import Delivery, Webhook
from invocation.services import webhooks
from tests.integration.invocation.rows import NOW
from tests.integration.invocation.test_admin_acts import do, do_with_all
from tests.integration.invocation.test_admin_pages import clerk, permit, text_of, the_list, the_page
from tests.integration.invocation.webhooks.rows import URL, Kept, a_sent_delivery, a_webhook, disabled

__all__ = ["clerk"]


def pages_of(client: Client, delivery: Delivery) -> list[str]:
    found = [text_of(client, the_list("webhook")), text_of(client, the_page("webhook", delivery.webhook))]
    return [*found, text_of(client, the_list("delivery")), text_of(client, the_page("delivery", delivery))]


def test_a_webhook_shows_its_state_and_its_last_answer(admin_client: Client) -> None:
    delivery = a_sent_delivery()
    webhooks.disable([a_webhook(url=f"{URL}/off").row.pk], reason=Disabled.FAILING, now=NOW)
    page = text_of(admin_client, the_list("webhook"))

    assert all(word in page for word in (URL, "204", "live", "disabled: failing", "all jobs: cancelled, completed, failed, input required"))
    assert the_page("delivery", delivery) in text_of(admin_client, the_page("webhook", delivery.webhook))


def test_a_delivery_shows_each_try_and_the_bytes_that_were_sent(admin_client: Client) -> None:
    delivery = a_sent_delivery()
    page = text_of(admin_client, the_page("delivery", delivery))

    assert all(word in page for word in ("out of paper", "500", "204", "job.completed", str(delivery.job_id)))
    assert the_page("delivery", delivery) in text_of(admin_client, the_list("delivery"))


def test_no_page_shows_a_secret_not_even_sealed(admin_client: Client) -> None:
    delivery = a_sent_delivery()
    fresh = webhooks.rotate(delivery.webhook_id, now=NOW)
    row = Webhook.objects.get(pk=delivery.webhook_id)
    hidden = (fresh, row.secret, row.previous_secret, "whsec_")

    assert not [word for page in pages_of(admin_client, delivery) for word in hidden if word in page]


def test_a_deleted_webhook_is_on_no_page_nor_what_it_was_told(admin_client: Client) -> None:
    delivery = a_sent_delivery()
    webhooks.delete(delivery.webhook_id, now=NOW)

    lists = [text_of(admin_client, the_list(name)) for name in ("webhook", "delivery")]
    assert not [page for page in lists if str(delivery.webhook_id) in page or str(delivery.pk) in page]
    assert admin_client.get(the_page("delivery", delivery)).status_code == 302


def test_a_webhook_is_disabled_and_enabled_one_or_many(admin_client: Client) -> None:
    one, other = a_webhook(), a_webhook()
    assert "told nothing any more" in do(admin_client, "webhook", one.row, "disable")
    assert (one.now.is_enabled, one.now.disabled_reason) == (False, "asked")
    do(admin_client, "webhook", one.row, "enable")
    assert one.now.is_enabled

    do_with_all(admin_client, "webhook", "disable_selected", [one.row, other.row])
    assert [one.now.is_enabled, other.now.is_enabled] == [False, False]
    do_with_all(admin_client, "webhook", "enable_selected", [one.row, other.row])
    assert [one.now.is_enabled, other.now.is_enabled] == [True, True]


def test_a_delivery_is_replayed_one_or_many_and_a_refusal_is_told(admin_client: Client) -> None:
    one, other = a_sent_delivery(), a_sent_delivery()
    assert "sent again" in do(admin_client, "delivery", one, "replay")
    do_with_all(admin_client, "delivery", "replay_selected", [one, other])
    assert list(Delivery.objects.values_list("state", flat=True)) == ["pending", "pending"]

    disabled(Kept(one.webhook, ""))
    assert "The webhook is disabled" in do(admin_client, "delivery", one, "replay")


def test_lists_are_filtered_by_state_type_and_tenant(admin_client: Client) -> None:
    sent = a_sent_delivery()
    for query in ("state=delivered", "type=job.completed"):
        assert the_page("delivery", sent) in text_of(admin_client, f"{the_list('delivery')}?{query}")
    for query in ("state=failed", "type=job.failed"):
        assert the_page("delivery", sent) not in text_of(admin_client, f"{the_list('delivery')}?{query}")


@pytest.mark.parametrize("model", ["webhook", "delivery"])
def test_who_may_look_may_not_act(client: Client, clerk: User, model: str) -> None:
    delivery = a_sent_delivery(uuid4())
    row: Any = delivery if model == "delivery" else delivery.webhook
    permit(clerk, f"view_{model}")
    client.force_login(clerk)
    page = text_of(client, the_page(model, row))

    assert "Replay" not in page
    assert "Disable" not in page
    do(client, model, row, "replay" if model == "delivery" else "disable")
    assert (Webhook.objects.get().is_enabled, Delivery.objects.get().state) == (True, "delivered")
