"""Webhooks, their secrets and their deliveries."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    id: str
    url: str
    events: tuple[str, ...]
    created_at: datetime
    takes_all_jobs: bool = True
    description: str = ""
    is_enabled: bool = True
    disabled_at: datetime | None = None
    disabled_reason: str = ""
    failing_since: datetime | None = None
    previous_secret_signs_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook(Webhook):
    """A webhook with its secret, which is told this once. Its repr keeps it."""

    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecret:
    """The secret after a rotation, told this once; the one before signs beside it for a while."""

    secret: str = field(repr=False)
    previous_secret_signs_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryTry:
    number: int
    at: datetime
    duration_ms: int
    status: int | None = None
    fault: str = ""
    answer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one webhook; `id` is the `webhook-id` of every try."""

    id: str
    type: str
    job: str
    state: str
    created_at: datetime
    body: str = ""
    tries: tuple[DeliveryTry, ...] = ()
    due_at: datetime | None = None
    ended_at: datetime | None = None
