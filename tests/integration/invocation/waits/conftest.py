"""What the tests of waits share: the family's endpoints, and a worker with a dispatcher beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from invocation.gateways import declared
from tests.integration.invocation.waits import family


@pytest.fixture(autouse=True)
def gathered(settings: Any) -> Iterator[None]:
    """The family's endpoints are declared beside the installation's, nothing was done yet, and the offline model is instant."""
    settings.OFFLINE_FIRST_TOKEN_MS, settings.OFFLINE_TOKEN_MS = 0, 0
    settings.ENDPOINT_MODULES = ("config.endpoints", "tests.integration.invocation.waits.family")
    settings.AGENT_MODULES = (*settings.AGENT_MODULES, "tests.integration.invocation.waits.family")
    declared.book.cache_clear()
    family.forget()
    yield
    declared.book.cache_clear()
