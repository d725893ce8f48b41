"""Files under home that appear whole and stay private: state, secrets and locks. Knows nothing of what is in them."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Held(RuntimeError):
    """Another living program holds this lock; nothing was changed."""


def write_whole(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Write beside and rename, so that a reader sees the old text or the new one, never a part."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=mode)
    try:
        fresh.write_text(text)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def secret(home: Path, name: str) -> str:
    """Return the secret of this name, made at first need; two programs that race keep the same one."""
    folder = home / "secrets"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / name
    if not path.exists() or not path.read_text():
        _keep_first(path, secrets.token_urlsafe(32))
    return path.read_text()


def _keep_first(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    write_whole(fresh, text)
    if path.exists() and not path.read_text():
        path.unlink()
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


@contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Hold `path` alone, after waiting for whoever holds it. The kernel lets go when the holder dies."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold `path` alone. Raises Held at once when a living program has it."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Held(str(path)) from error
        yield


def is_held(path: Path) -> bool:
    """Tell whether a living program holds this lock now."""
    if not path.exists():
        return False
    try:
        with lock(path):
            return False
    except Held:
        return True
