"""What the tests of the API share: accounts that call it, and endpoints beside those of the installation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from pytest_django import Settings

from invocation.gateways import declared, streams
from invocation.selectors import estimates
from invocation.services import connections as open_streams
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
    """Close what a test opened on its loop, and on the thread to which Django hands the views that block."""
    yield
    await sync_to_async(connections.close_all)()
    await streams.aclose()
    await open_streams.aclose()
    await connection.aclose()


@pytest.fixture
def broker_gone(settings: Settings) -> None:
    settings.CELERY_APP = "tests.integration.invocation.api.cut_off.app"
