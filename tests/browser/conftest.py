"""The pages' installation."""

from __future__ import annotations

import pytest

from tests.installation import Installation


@pytest.fixture
def live(up: Installation) -> Installation:
    return up
