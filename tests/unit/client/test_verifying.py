from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gearbox_client import BadSignature, verify_webhook

# The example of the specification's own libraries.
SPEC_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SPEC_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
SPEC_AT = 1614265330
SPEC_PAYLOAD = b'{"test": 2432232314}'
SPEC_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

OTHER_SECRET = "whsec_" + base64.b64encode(b"another secret of 24 byt").decode()
AT = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
BODY: Mapping[str, Any] = {
    "type": "job.completed",
    "timestamp": "2026-11-20T12:00:00Z",
    "data": {"job_id": "j-1", "state": "completed", "result_url": "/v1/jobs/j-1/result"},
}
PAYLOAD = json.dumps(BODY).encode()


def signature(secret: str, content: bytes, *, webhook_id: str = "w-1", at: datetime = AT) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{webhook_id}.{int(at.timestamp())}.".encode() + content, hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()


def headers(*signatures: str, webhook_id: str = "w-1", at: datetime = AT) -> dict[str, str]:
    return {"Webhook-Id": webhook_id, "Webhook-Timestamp": str(int(at.timestamp())), "Webhook-Signature": " ".join(signatures)}


def test_the_vector_of_the_specification_is_signed_right() -> None:
    told = {"webhook-id": SPEC_ID, "webhook-timestamp": str(SPEC_AT), "webhook-signature": SPEC_SIGNATURE}
    now = datetime.fromtimestamp(SPEC_AT, UTC)

    with pytest.raises(BadSignature, match="not an event"):  # it is signed right, and is not one of our events
        verify_webhook(SPEC_PAYLOAD, told, SPEC_SECRET, now=now)
    with pytest.raises(BadSignature, match="No signature"):
        verify_webhook(SPEC_PAYLOAD + b" ", told, SPEC_SECRET, now=now)


@pytest.mark.parametrize("secret", [SPEC_SECRET, SPEC_SECRET.removeprefix("whsec_")])
def test_a_signed_event_is_told_with_its_types(secret: str) -> None:
    event = verify_webhook(PAYLOAD, headers(signature(SPEC_SECRET, PAYLOAD)), secret, now=AT)

    assert (event.id, event.type, event.at) == ("w-1", "job.completed", AT)
    assert (event.job_id, event.state, event.result_url) == ("j-1", "completed", "/v1/jobs/j-1/result")


def test_one_signature_of_several_is_enough() -> None:
    told = headers(signature(OTHER_SECRET, PAYLOAD), "v1a,c2lnbmVk", signature(SPEC_SECRET, PAYLOAD))

    assert verify_webhook(PAYLOAD, told, SPEC_SECRET, now=AT).id == "w-1"


def test_one_secret_of_several_is_enough() -> None:
    told = headers(signature(SPEC_SECRET, PAYLOAD))

    assert verify_webhook(PAYLOAD, told, [OTHER_SECRET, SPEC_SECRET], now=AT).id == "w-1"


@pytest.mark.parametrize("away", [timedelta(minutes=5), -timedelta(minutes=5)])
def test_a_webhook_within_the_tolerance_is_taken(away: timedelta) -> None:
    assert verify_webhook(PAYLOAD, headers(signature(SPEC_SECRET, PAYLOAD)), SPEC_SECRET, now=AT + away)


@pytest.mark.parametrize("away", [timedelta(minutes=5, seconds=1), -timedelta(minutes=5, seconds=1)])
def test_an_old_webhook_and_one_of_the_future_are_refused(away: timedelta) -> None:
    with pytest.raises(BadSignature, match="webhook-timestamp"):
        verify_webhook(PAYLOAD, headers(signature(SPEC_SECRET, PAYLOAD)), SPEC_SECRET, now=AT + away)


@pytest.mark.parametrize(
    "changed",
    [
        {"Webhook-Id": "w-2"},
        {"Webhook-Timestamp": str(int(AT.timestamp()) + 1)},
        {"Webhook-Signature": signature(OTHER_SECRET, PAYLOAD)},
        {"Webhook-Signature": signature(SPEC_SECRET, PAYLOAD).removeprefix("v1,")},
        {"Webhook-Signature": "v2," + signature(SPEC_SECRET, PAYLOAD).removeprefix("v1,")},
        {"Webhook-Signature": "v1,"},
        {"Webhook-Signature": "v1,ünsigned"},
    ],
)
def test_what_was_changed_is_refused(changed: Mapping[str, str]) -> None:
    with pytest.raises(BadSignature, match="No signature"):
        verify_webhook(PAYLOAD, {**headers(signature(SPEC_SECRET, PAYLOAD)), **changed}, SPEC_SECRET, now=AT)


@pytest.mark.parametrize("name", ["Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"])
def test_a_header_that_is_missing_is_named(name: str) -> None:
    told = headers(signature(SPEC_SECRET, PAYLOAD))
    del told[name]

    with pytest.raises(BadSignature, match=name.lower()):
        verify_webhook(PAYLOAD, told, SPEC_SECRET, now=AT)


@pytest.mark.parametrize("timestamp", ["", "now", "1e9", "-5", "1 ", "٣", "9" * 400])
def test_a_timestamp_that_is_no_number_is_refused(timestamp: str) -> None:
    with pytest.raises(BadSignature):
        verify_webhook(PAYLOAD, headers(signature(SPEC_SECRET, PAYLOAD)) | {"Webhook-Timestamp": timestamp}, SPEC_SECRET, now=AT)


@pytest.mark.parametrize("payload", [b"", b"[]", b"\xff", b'{"type": "x"}', b'{"type": "x", "timestamp": 3, "data": {}}'])
def test_a_body_that_is_signed_and_no_event_is_refused(payload: bytes) -> None:
    with pytest.raises(BadSignature):
        verify_webhook(payload, headers(signature(SPEC_SECRET, payload)), SPEC_SECRET, now=AT)


@pytest.mark.parametrize("secrets", ["", "whsec_", "whsec_not base64!", "whsec_MfKQ 9r8G", []])
def test_a_secret_that_is_none_is_the_callers_own_mistake(secrets: str | list[str]) -> None:
    with pytest.raises(ValueError, match="secret"):
        verify_webhook(PAYLOAD, headers(signature(SPEC_SECRET, PAYLOAD)), secrets, now=AT)
