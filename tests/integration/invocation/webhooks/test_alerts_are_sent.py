"""An alert reaches the operator's own receiver, also inside a private network where no tenant's webhook may go."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from invocation.domain.webhooks import OPERATORS
from invocation.gateways.database import off_loop
from invocation.models import Delivery, DeliveryTry
from invocation.services import sending, slo
from tests.integration.invocation.conftest import OnLoop
from tests.integration.invocation.rows import a_job
from tests.integration.invocation.webhooks.receivers import Heard, receiving, verify
from tests.integration.invocation.webhooks.rows import a_webhook
from tests.integration.invocation.webhooks.sent import end_jobs, utc

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "whsec_" + base64.b64encode(b"operators" * 4).decode()


@pytest.fixture
def own_sender(settings: Any) -> Iterator[None]:
    """The sender that a control worker makes, with public addresses for tenants."""
    settings.WEBHOOK_ALLOW_PRIVATE = False
    sending.sender.cache_clear()
    yield
    sending.sender.cache_clear()


@pytest.mark.usefixtures("own_sender")
def test_an_alert_is_heard_and_verifies_where_no_tenant_may_call(on_loop: OnLoop[Any], settings: Any) -> None:
    async def story() -> list[Heard]:
        async with receiving() as receiver:
            settings.ALERT_WEBHOOK_URL, settings.ALERT_WEBHOOK_SECRET = receiver.url, SECRET
            settings.WEBHOOK_ALLOW_PRIVATE = True
            tenants = await off_loop(a_webhook, url=receiver.url, now=utc())
            settings.WEBHOOK_ALLOW_PRIVATE = False
            await off_loop(end_jobs, tenants)
            await off_loop(a_job, queued_at=datetime.now(UTC) - timedelta(minutes=5))
            await off_loop(slo.keep, now=datetime.now(UTC))
            sending.wake()
            await sending.sender().rest()
            return list(receiver.heard)

    (heard,) = on_loop(story())

    assert verify(heard, SECRET) == heard.told
    assert (heard.told["type"], heard.told["data"]["kind"]) == ("alert.opened", "oldest_age")
    assert Delivery.objects.get(webhook_id=OPERATORS).state == "delivered"
    assert {each.fault for each in DeliveryTry.objects.exclude(delivery__webhook_id=OPERATORS)} <= {"url_refused", "address_refused"}
    assert DeliveryTry.objects.exclude(delivery__webhook_id=OPERATORS).count() == 1
