"""The rules of webhooks (Standard Webhooks 1.0): what is told, how it is signed, when it is tried again, when that ends."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from types import MappingProxyType
from uuid import UUID

from invocation.domain.jobs import JobState


class WebhookEvent(StrEnum):
    """What can be told. The name is the `type` of the body."""

    COMPLETED = "job.completed"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"
    INPUT_REQUIRED = "job.input_required"


EVENTS: Mapping[JobState, WebhookEvent] = MappingProxyType(
    {
        JobState.COMPLETED: WebhookEvent.COMPLETED,
        JobState.FAILED: WebhookEvent.FAILED,
        JobState.CANCELLED: WebhookEvent.CANCELLED,
        JobState.INPUT_REQUIRED: WebhookEvent.INPUT_REQUIRED,
    }
)

BODY = (
    '{"type":"job.%1$s","timestamp":"%2$s",'  # 1: the state, 2: the moment, 3: the job, 4: where the API is
    '"data":{"job_id":"%3$s","state":"%1$s","result_url":"%4$s/v1/jobs/%3$s/result"}}'
)
"""The body in the notation of PostgreSQL's format(): it is written only where somebody listens."""


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Disabled(StrEnum):
    """Why a webhook is told nothing."""

    ASKED = "asked"
    GONE = "gone"
    FAILING = "failing"


class CallFault(StrEnum):
    """Why there was no answer. Stored with the try."""

    URL_REFUSED = "url_refused"
    ADDRESS_REFUSED = "address_refused"
    UNKNOWN_HOST = "unknown_host"
    UNREACHABLE = "unreachable"
    TLS_FAILED = "tls_failed"
    TIMED_OUT = "timed_out"
    BROKE_OFF = "broke_off"
    SEALED = "secret_sealed"
    DEFECT = "defect"


HOUSE = UUID(int=0)
"""Whose webhook the operator's is: no tenant's, so that no tenant sees it."""
OPERATORS = UUID("0192f0e0-0000-7000-8000-000000000001")
"""The id of the operator's webhook, which hears of alerts. Its address is the installation's own setting: it may be a private one."""
MOST_WEBHOOKS = 20
"""A tenant keeps at most this many."""
MOST_OF_A_WEBHOOK = 4
MOST_OF_A_TENANT = 16
MOST_AT_ONCE = 64
"""Calls under way at the same moment, in the whole installation."""
LONGEST_EXCERPT = 500
WAITS = tuple(timedelta(minutes=minutes) for minutes in (0, 1, 5, 30, 4 * 60, 10 * 60, 10 * 60))
"""Before each try; their number is the number of tries."""
JITTER = 0.1
BUSY = frozenset({429, 502, 503, 504})
"""Who answers one of these may say when to come back."""
LONGEST_RETRY_AFTER = timedelta(hours=10)
GONE = 410
GIVES_UP_AFTER = timedelta(days=5)
SIGNS_ON_FOR = timedelta(hours=24)
"""An old secret signs beside the new one for this long."""
KEPT = timedelta(days=30)
"""Deliveries that ended are on record this long."""
SECRET_PREFIX = "whsec_"  # noqa: S105  (what every secret begins with)
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one call: a status, or the fault because of which there is none."""

    status: int | None = None
    fault: CallFault | None = None
    excerpt: str = ""
    retry_after: timedelta | None = None
    took: timedelta = timedelta()

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a delivery after a try, and when it is due again if it is still pending."""

    state: DeliveryState
    due_at: datetime | None = None


def judge(answer: Answer, *, tries: int, now: datetime, luck: float) -> Verdict:
    """Try again until a status says success or gone, or no tries remain; `tries` counts this one, `luck` is uniform in [0, 1).

    The wait is never shorter than the schedule's, nor than a busy receiver's own word within bounds.
    """
    if answer.is_success:
        return Verdict(DeliveryState.DELIVERED)
    if answer.status == GONE or tries >= len(WAITS):
        return Verdict(DeliveryState.FAILED)
    asked = answer.retry_after if answer.status in BUSY else None
    wait = max(WAITS[tries] * (1 + JITTER * luck), min(asked or timedelta(), LONGEST_RETRY_AFTER))
    return Verdict(DeliveryState.PENDING, now + wait)


def read_retry_after(raw: str | None, *, now: datetime) -> timedelta | None:
    """Return what a Retry-After header asks for, seconds or a date (RFC 9110, 10.2.3); None if it cannot be read."""
    if not raw:
        return None
    if raw.isdecimal() and raw.isascii():
        return timedelta(seconds=int(raw[:9]))
    try:
        moment = parsedate_to_datetime(raw)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(aware - now, timedelta())


def new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def headers(delivery_id: UUID, body: bytes, *, secrets: Sequence[str], now: datetime) -> dict[str, str]:
    """Return the three headers of one try: the id is the same on every try, the moment is this one's, each secret signs."""
    at = int(now.timestamp())
    signed = f"{delivery_id}.{at}.".encode() + body
    return {
        "webhook-id": str(delivery_id),
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{_signature(secret, signed)}" for secret in secrets),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
