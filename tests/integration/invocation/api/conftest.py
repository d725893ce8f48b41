"""What the tests of the API share: accounts that call it, and endpoints beside those of the installation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pytest_django import Settings

from config.celery import app
from invocation.gateways import declared, streams
from invocation.selectors import estimates
from quota.gateways import connection
from tests.integration.invocation.api.calling import Account, open_account


@pytest.fixture
def account(db: None) -> Account:
    return open_account()


@pytest.fixture
def stranger(db: None) -> Account:
    return open_account()


@pytest.fixture(autouse=True)
def measured_anew() -> Iterator[None]:
    estimates.forget()
    yield
    estimates.forget()


@pytest.fixture
def more_endpoints(settings: Settings) -> Iterator[None]:
    """Declare a retired version and a small endpoint beside the installation's own."""
    settings.ENDPOINT_MODULES = (*settings.ENDPOINT_MODULES, "tests.integration.invocation.api.more_endpoints")
    declared.book.cache_clear()
    yield
    declared.book.cache_clear()


@pytest.fixture
async def on_this_loop() -> AsyncIterator[None]:
    """Close what the streams opened on this test's loop."""
    yield
    await streams.aclose()
    await connection.aclose()


@pytest.fixture
def broker_gone() -> Iterator[None]:
    """Name a broker to Celery that nobody can reach."""
    celery: Any = app
    kept = celery.conf.broker_url, celery.conf.broker_write_url
    _point(celery, "redis://127.0.0.1:1/1", "redis://127.0.0.1:1/1")
    yield
    _point(celery, *kept)


def _point(celery: Any, broker_url: str, broker_write_url: str) -> None:
    celery.conf.update(broker_url=broker_url, broker_write_url=broker_write_url)
    celery.set_default()
    celery.pool.force_close_all()
    celery.amqp._producer_pool = None
