"""What quota's tests share: connections that close with the loop, and rows that every test may count on."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from quota.gateways import connection
from quota.models import Plan
from quota.services import limits
from tests.proxy import Proxy, proxied

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
async def store() -> AsyncIterator[None]:
    """The real store, on this test's loop."""
    limits.forget()
    yield
    await connection.aclose()
    limits.forget()


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The URL of a port that refuses every connection: bound, so that nobody else listens there."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{bound.getsockname()[1]}/0"


@pytest.fixture
def plan(db: None) -> Plan:
    terms = {"in_flight_p0": 20, "in_flight_p1": 20, "requests_per_minute": 3, "weight": 4}
    return Plan.objects.create(name="trial", **terms)


@pytest.fixture
def way(settings: Any) -> Iterator[Proxy]:
    """The way to the store, which a test may cut or freeze."""
    connection.in_threads()  # threads keep the straight way
    real = urlsplit(settings.REDIS_URL)
    with proxied(real.port or 6379) as proxy:
        host = f"{real.netloc.rpartition('@')[0]}@" if "@" in real.netloc else ""
        settings.REDIS_URL = real._replace(netloc=f"{host}127.0.0.1:{proxy.port}").geturl()
        yield proxy
        proxy.thaw()
