"""Verification of webhooks by Standard Webhooks (standardwebhooks.com, symmetric signatures)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from gearbox_client.problems import BadSignature

PREFIX = "whsec_"
VERSION = "v1,"
TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEvent:
    """A verified webhook. `id` is the same on every try: act once per id."""

    id: str
    type: str
    at: datetime
    data: Mapping[str, Any]

    @property
    def job_id(self) -> str | None:
        return self.data.get("job_id")

    @property
    def state(self) -> str | None:
        return self.data.get("state")

    @property
    def result_url(self) -> str | None:
        return self.data.get("result_url")


def verify_webhook(
    payload: bytes,
    headers: Mapping[str, str],
    secrets: str | Iterable[str],
    *,
    tolerance: timedelta = TOLERANCE,
    now: datetime | None = None,
) -> WebhookEvent:
    """Return the event that the payload tells. Raises BadSignature, also for one sent too long ago or from the future.

    `payload` is the body as it came, byte for byte. While a secret is being changed give
    both: one signature by one of them is enough. Raises ValueError for what is no secret.
    """
    keys = [_key(secret) for secret in ([secrets] if isinstance(secrets, str) else secrets)]
    if not keys:
        raise ValueError("There is no secret to verify with.")
    told = {name.lower(): value for name, value in headers.items()}
    webhook_id, timestamp = _header(told, "webhook-id"), _header(told, "webhook-timestamp")
    _must_be_recent(timestamp, now=now or datetime.now(UTC), tolerance=tolerance)
    _must_be_signed(_header(told, "webhook-signature"), f"{webhook_id}.{timestamp}.".encode() + payload, keys)
    return _event(webhook_id, payload)


def _header(told: Mapping[str, str], name: str) -> str:
    value = told.get(name, "")
    if not value:
        raise BadSignature(f"The header {name} is missing.")
    return value


def _must_be_recent(timestamp: str, *, now: datetime, tolerance: timedelta) -> None:
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        raise BadSignature("webhook-timestamp is not a number of seconds.")
    age = now.timestamp() - int(timestamp)
    if abs(age) > tolerance.total_seconds():
        raise BadSignature(f"webhook-timestamp is {abs(age):.0f} s {'old' if age > 0 else 'ahead'}; {tolerance} is tolerated.")


def _must_be_signed(header: str, content: bytes, keys: Iterable[bytes]) -> None:
    """Every pair is compared, in constant time each."""
    wanted = [base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()) for key in keys]
    given = [each.removeprefix(VERSION).encode() for each in header.split(" ") if each.startswith(VERSION)]
    if not any([hmac.compare_digest(one, other) for one in wanted for other in given]):  # noqa: C419  (all are compared)
        raise BadSignature("No signature is by this secret.")


def _event(webhook_id: str, payload: bytes) -> WebhookEvent:
    """Read a body that is the sender's beyond doubt."""
    try:
        told = json.loads(payload)
        return WebhookEvent(id=webhook_id, type=str(told["type"]), at=datetime.fromisoformat(told["timestamp"]), data=dict(told["data"]))
    except (ValueError, KeyError, TypeError):
        raise BadSignature("The signature is right, but the body is not an event.") from None


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True) or _refused()
    except binascii.Error:
        return _refused()


def _refused() -> bytes:
    raise ValueError(f"A webhook's secret is {PREFIX} and base64.")
