"""The live gauges: what each class has used of each model's windows."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async

from quota.domain.asks import Ask
from quota.domain.classes import PriorityClass
from quota.domain.errors import QuotaStoreUnavailable
from quota.domain.gauges import Gauge
from quota.gateways import connection
from quota.models import ModelQuota
from quota.services import admission
from quota.services.gauges import gauges

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def model() -> str:
    name = uuid4().hex
    ModelQuota.objects.create(provider="test", model=name, tokens_per_minute=4000, requests_per_minute=400, p0_reserved=0.3, p3_cap=0.4)
    return name


def found(model: str, window: str, unit: str) -> Gauge:
    return next(gauge for gauge in gauges() if (gauge.model, gauge.window, gauge.unit) == (model, window, unit))


async def reserve(model: str, priority_class: PriorityClass, tokens: int) -> None:
    ask = Ask(provider="test", model=model, priority_class=priority_class, tokens=tokens, tenant=UUID(int=0))
    await admission.reserve(ask, patience=timedelta(0))


async def test_a_gauge_tells_what_each_class_has_used(store: None, model: str) -> None:
    await reserve(model, PriorityClass.P0, 100)
    await reserve(model, PriorityClass.P1, 60)
    await reserve(model, PriorityClass.P2, 40)
    await reserve(model, PriorityClass.P3, 30)

    tokens = await sync_to_async(found)(model, "minute", "tokens")
    requests = await sync_to_async(found)(model, "minute", "requests")

    assert {word.value: count for word, count in tokens.used_by_class.items() if count} == {"p0": 100, "p1": 60, "p2": 40, "p3": 30}
    assert (tokens.limit, tokens.ceiling, tokens.p0_reserved, tokens.p3_cap) == (4000, 4000, 1200, 1600)
    assert (requests.used, requests.limit, requests.breaker, requests.lowered_until) == (4, 400, "closed", None)


def test_without_the_store_there_are_no_gauges(model: str, monkeypatch: pytest.MonkeyPatch, nowhere: str) -> None:
    monkeypatch.setattr("django.conf.settings.REDIS_URL", nowhere)
    connection.in_threads.cache_clear()
    try:
        with pytest.raises(QuotaStoreUnavailable):
            gauges()
    finally:
        connection.in_threads.cache_clear()
