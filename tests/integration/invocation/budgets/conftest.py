"""What the tests of budgets share: the spender's endpoints, and a process that has believed and counted nothing yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from invocation.gateways import declared
from invocation.services import paces
from quota.services import plans


@pytest.fixture(autouse=True)
def spends(settings: Any) -> Iterator[None]:
    settings.OFFLINE_FIRST_TOKEN_MS, settings.OFFLINE_TOKEN_MS = 0, 0
    settings.ENDPOINT_MODULES = ("config.endpoints", "tests.integration.invocation.budgets.spender")
    declared.book.cache_clear()
    plans.forget()
    paces.forget()
    yield
    declared.book.cache_clear()
    plans.forget()
    paces.forget()
