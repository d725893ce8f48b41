"""What the platform signs, the client verifies."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from gearbox_client import BadSignature, verify_webhook
from invocation.domain import webhooks

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
BODY = b'{"type":"job.completed","timestamp":"2026-11-20T12:00:00+00:00","data":{"job_id":"j","state":"completed"}}'


def test_a_webhook_of_the_platform_is_verified_with_its_secret() -> None:
    delivery, secret = uuid4(), webhooks.new_secret()
    event = verify_webhook(BODY, webhooks.headers(delivery, BODY, secrets=[secret], now=NOW), secret, now=NOW)

    assert (event.id, event.type, event.job_id) == (str(delivery), "job.completed", "j")


def test_while_a_secret_is_changed_either_one_verifies() -> None:
    old, new = webhooks.new_secret(), webhooks.new_secret()
    headers = webhooks.headers(uuid4(), BODY, secrets=[new, old], now=NOW)

    assert verify_webhook(BODY, headers, old, now=NOW) == verify_webhook(BODY, headers, new, now=NOW)
    with pytest.raises(BadSignature):
        verify_webhook(BODY, headers, webhooks.new_secret(), now=NOW)
