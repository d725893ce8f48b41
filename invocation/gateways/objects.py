"""The object store: a folder that every process sees. Files appear whole."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from django.conf import settings


class BadPath(ValueError):
    """A path leads out of its tenant's part of the store."""


def root() -> Path:
    return Path(settings.OBJECT_STORE)


def inside(tenant_id: object, path: str) -> Path:
    """Return the tenant's path in the store. Raises BadPath if it would lead outside."""
    base = (root() / str(tenant_id)).resolve()
    found = (base / path).resolve()
    if base not in found.parents:
        raise BadPath(f"{path!r} leads out of the tenant's folder: give a relative path below it.")
    return found


def beside_of(path: Path) -> Path:
    """Return where a file is written before it is renamed: no two writers share it, not even two threads."""
    return path.with_name(f".{path.name}.{uuid4().hex}")


def write_whole(path: Path, content: bytes) -> None:
    """Write beside, then rename: a reader sees the whole file or none; writing it again replaces it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = beside_of(path)
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)


def remove(path: Path) -> None:
    """Remove a file, and its folder if nothing else is in it. What is gone already stays gone."""
    path.unlink(missing_ok=True)
    with suppress(OSError):
        path.parent.rmdir()
