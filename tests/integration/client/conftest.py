"""What the client's tests share: clients of the running installation, also over a network that a test disturbs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gearbox_client import Gearbox
from tests.installation import Installation
from tests.proxy import Proxy, proxied


@pytest.fixture
def gearbox(up: Installation) -> Iterator[Gearbox]:
    with Gearbox(up.base_url, up.key) as client:
        yield client


@pytest.fixture
def network(up: Installation) -> Iterator[Proxy]:
    with proxied(int(up.base_url.rpartition(":")[2])) as proxy:
        yield proxy


@pytest.fixture
def far(up: Installation, network: Proxy) -> Iterator[Gearbox]:
    """A client that sees the installation only over the network."""
    with Gearbox(network.url, up.key) as client:
        yield client
