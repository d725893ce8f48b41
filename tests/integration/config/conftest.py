"""Homes for embedded servers, which leave nothing behind, and a web process that tells what it was told."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded import servers
from tests.integration.config.echoes import Served, serving


@pytest.fixture
def open_home() -> Iterator[Path]:
    """A home that every account can reach; nothing runs in it afterwards."""
    above = Path(tempfile.mkdtemp(prefix="gearbox-test-"))
    above.chmod(0o755)
    yield above / "home"
    servers.stop(above / "home")
    shutil.rmtree(above)


@pytest.fixture
def closed_home() -> Iterator[Path]:
    """A home below a folder that only its owner may enter."""
    above = Path(tempfile.mkdtemp(prefix="gearbox-test-"))
    home = above / "home"
    yield home
    servers.stop(home)
    elsewhere = (home / "postgres").resolve().parent
    shutil.rmtree(above)
    if elsewhere != home:
        shutil.rmtree(elsewhere)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as served:
        yield served
