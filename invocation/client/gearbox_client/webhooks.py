"""Calls on webhooks. To verify one that came in, see `verify_webhook`."""

from __future__ import annotations

from collections.abc import Sequence

from gearbox_client.calls import MOST_OF_A_PAGE, Call, Method, Page, get, given, page_of, place, post
from gearbox_client.groups import Group, W, exchange, pages
from gearbox_client.reading import nothing, reader
from gearbox_client.values.webhooks import Delivery, NewSecret, NewWebhook, Webhook


class Webhooks(Group[W]):
    """Keep, change, rotate, forget; their deliveries."""

    @exchange
    def create(
        self, url: str, *, events: Sequence[str] | None = None, takes_all_jobs: bool | None = None, description: str | None = None
    ) -> Call[NewWebhook]:
        """Keep a webhook; its secret is told in this answer alone. Without `events` it is told of all."""
        body = given(url=url, events=events, takes_all_jobs=takes_all_jobs, description=description)
        return post(place("webhooks"), reader(NewWebhook), body)

    @exchange
    def get(self, webhook_id: str) -> Call[Webhook]:
        return get(place("webhooks", webhook_id), reader(Webhook))

    @pages
    def list(self) -> Call[Page[Webhook]]:
        """Yield webhooks, newest first."""
        return page_of(Webhook, place("webhooks"), limit=MOST_OF_A_PAGE)

    @exchange
    def change(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        takes_all_jobs: bool | None = None,
        description: str | None = None,
        is_enabled: bool | None = None,
    ) -> Call[Webhook]:
        """Change the fields that are given; the others stay."""
        body = given(url=url, events=events, takes_all_jobs=takes_all_jobs, description=description, is_enabled=is_enabled)
        return Call(method=Method.PATCH, path=place("webhooks", webhook_id), read=reader(Webhook), body=body)

    @exchange
    def delete(self, webhook_id: str) -> Call[None]:
        return Call(method=Method.DELETE, path=place("webhooks", webhook_id), read=nothing, is_repeatable=True)

    @exchange
    def rotate(self, webhook_id: str) -> Call[NewSecret]:
        """Return a new secret; the one before signs beside it for a while."""
        return post(place("webhooks", webhook_id, "rotate"), reader(NewSecret))

    @pages
    def deliveries(self, webhook_id: str, *, state: str | None = None) -> Call[Page[Delivery]]:
        """Yield the webhook's deliveries with their tries, newest first."""
        return page_of(Delivery, place("webhooks", webhook_id, "deliveries"), state=state, limit=MOST_OF_A_PAGE)

    @exchange
    def replay(self, webhook_id: str, delivery_id: str) -> Call[Delivery]:
        """Send a delivery again, under its old id."""
        return post(place("webhooks", webhook_id, "deliveries", delivery_id, "replay"), reader(Delivery))
