"""The files that manifests are, wherever they lie: a location is an absolute path or an `s3://` URI."""

from __future__ import annotations

from typing import BinaryIO

from invocation.gateways.stores import Stamp, Store, store_at


def open_file(location: str) -> BinaryIO:
    """Raises FileNotFoundError."""
    store, name = _at(location)
    return store.open_input(name)


def stamp(location: str) -> Stamp:
    """Raises FileNotFoundError, also for a folder."""
    store, name = _at(location)
    return store.stamp(name)


def _at(location: str) -> tuple[Store, str]:
    folder, _, name = location.rpartition("/")
    return store_at(folder or "/"), name
