"""A store, a quota and a broker's queue for every test of batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Queue

from config.celery import app
from quota.models import ModelQuota
from tests.integration.invocation.batches.planned import Workers
from tests.integration.invocation.conftest import OnLoop


@pytest.fixture(autouse=True)
def store(settings: Any, tmp_path: Path) -> Path:
    settings.OBJECT_STORE = str(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def quota(transactional_db: None) -> None:
    """The offline models have the quota of a new installation."""
    for model in ("gearbox-offline-standard", "gearbox-offline-economy"):
        terms = {"tokens_per_minute": 2_000_000, "requests_per_minute": 20_000}
        ModelQuota.objects.get_or_create(provider="offline", model=model, defaults=terms)


@pytest.fixture(autouse=True)
def p3() -> Iterator[Queue]:
    """The broker's own queue of class p3, empty."""
    with app.connection_for_write() as broker:
        queue = app.amqp.queues["p3"](broker.default_channel)
        queue.declare()
        queue.purge()
        yield queue
        queue.purge()


@pytest.fixture
def workers(on_loop: OnLoop[Any]) -> Workers:
    return Workers(on_loop)
