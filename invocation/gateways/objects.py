"""The object store: a folder that every process sees, or a prefix in S3; each tenant has a part of its own."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from invocation.gateways.stores import LocalStore, Store, store_at


def root() -> Store:
    """Return the store of everything that this installation keeps."""
    return store_at(settings.OBJECT_STORE)


def store_of(tenant_id: object) -> Store:
    """Return the tenant's part of the store; no path leads out of it."""
    return root().below(str(tenant_id))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file of this machine whole; written again it replaces itself."""
    LocalStore(path.parent).write_whole(path.name, content)
