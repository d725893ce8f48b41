"""A loaded catalog, and an event loop for what the agents do with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from io import StringIO
from typing import Any, TypeVar

import pytest
from django.core.management import call_command

from agents.gateways import postgres

T = TypeVar("T")
OnLoop = Callable[[Coroutine[Any, Any, T]], T]


@pytest.fixture
def shop(transactional_db: None) -> None:
    """Load the catalog that comes with Gearbox; committed, because the loop has connections of its own."""
    call_command("load_catalog", stdout=StringIO())


@pytest.fixture
def on_loop() -> OnLoop[Any]:
    """Return a function that runs a coroutine on a fresh loop and closes its pool of connections."""

    async def closing(work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        finally:
            await postgres.aclose()

    return lambda work: asyncio.run(closing(work))
