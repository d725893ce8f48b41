"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.installation import Installation, start


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation for all tests of the session that do it no lasting harm."""
    installation = start(tmp_path_factory.mktemp("up"), OFFLINE_FAULT_MARKERS="1")
    yield installation
    installation.manage("down")
