"""Where bytes lie: a local folder or S3, behind one port. Files appear whole; no path leads out of its store."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import Any, BinaryIO, NamedTuple, Protocol
from uuid import uuid4

from invocation.domain.errors import StoreUnavailable

S3_SCHEME = "s3://"
FILE_SCHEME = "file://"
MOST_NAME_BYTES = 255
"""Of one step of a path: no file system here takes more."""
NO_FILE = frozenset({errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})
"""What the system says, beside ENOENT, of a path at which no file is or can be."""


class BadPath(ValueError):
    """A path leads out of its store, or has a name that no file can have."""


class BadLocation(ValueError):
    """A location is neither a local path nor an `s3://bucket/prefix`."""


class Stamp(NamedTuple):
    """What tells, without reading it, that a file is no longer what it was."""

    size: int
    mark: str


class Store(Protocol):
    """A folder of files, by paths relative to it with `/` between. Every method raises BadPath, and OSError where nobody answers."""

    @property
    def location(self) -> str:
        """Return the place of the whole store: `s3://bucket/prefix` or an absolute path."""

    def below(self, prefix: str) -> Store:
        """Return the store of what lies under `prefix`."""

    def at(self, path: str) -> str:
        """Return the location of one file: what `store_at` and other programs understand."""

    def open_input(self, path: str) -> BinaryIO:
        """Open a file for reading; it can seek. Raises FileNotFoundError."""

    def open_whole(self, path: str) -> AbstractContextManager[BinaryIO]:
        """Open a file for writing. It appears, whole, when the block ends; after an error in it nothing changed.

        Killed in between, a writer leaves what no reader sees and `remove_abandoned` takes away.
        """

    def write_whole(self, path: str, content: bytes) -> None:
        """Write a file at once; written again it replaces itself."""

    def read(self, path: str) -> bytes:
        """Return a file's bytes. Raises FileNotFoundError."""

    def size(self, path: str) -> int:
        """Return a file's length in bytes. Raises FileNotFoundError."""

    def stamp(self, path: str) -> Stamp:
        """Return a file's length and a mark that is another once it was written again. Raises FileNotFoundError."""

    def exists(self, path: str) -> bool:
        """Say whether there is a whole file at this path."""

    def can_hold(self, path: str) -> bool:
        """Say whether files may be written below this path: not where one stands in the way."""

    def list(self, prefix: str = "") -> Sequence[tuple[str, int]]:
        """Return each whole file in the folder `prefix` or in one below it, and its length in bytes, in order of paths."""

    def remove(self, path: str) -> None:
        """Remove a file. What is gone already stays gone."""

    def remove_tree(self, prefix: str) -> None:
        """Remove a folder and all that is in it. What is gone already stays gone. Raises OSError if anything of it is left."""

    def remove_abandoned(self, *, before: float) -> int:
        """Take away what writers left that began before the moment (seconds since 1970) and were killed; return how many there were."""

    @property
    def filesystem(self) -> Any:
        """Return pyarrow's file system, whose paths `full` gives."""

    def full(self, path: str = "") -> str:
        """Return a path as pyarrow's file system takes it."""


def store_at(location: str | Path) -> Store:
    """Return the store at `s3://bucket/prefix`, `file:///folder` or a local path. Raises BadLocation."""
    text = str(location)
    if text.startswith(S3_SCHEME):
        from invocation.gateways import s3  # noqa: PLC0415  (boto3 and pyarrow: only who uses S3 loads them)

        return s3.store(text)
    text = text.removeprefix(FILE_SCHEME)
    if "://" in text or not text:
        raise BadLocation(f"{location!s}: say a local folder or s3://bucket/prefix.")
    return LocalStore(Path(text).absolute())


def relative(path: str) -> str:
    """Return a path that stays in its folder, in its plain form. Raises BadPath."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise BadPath(f"{path!r} leads out of the folder: give a relative path below it.")
    if any(len(os.fsencode(part)) > MOST_NAME_BYTES for part in parts):
        raise BadPath(f"{path!r} has a name of more than {MOST_NAME_BYTES} bytes.")
    return "/".join(parts)


@contextmanager
def answering(field: str) -> Iterator[None]:
    """Turn what a store does not do into a refusal of what `field` named. Raises StoreUnavailable; FileNotFoundError is an answer."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as away:
        raise StoreUnavailable(f"{field}: the store does not answer.", field=field) from away


@dataclass(frozen=True, slots=True)
class LocalStore:
    """A folder that every process sees. It is made when the first file is."""

    folder: Path

    @property
    def location(self) -> str:
        return str(self.folder)

    def below(self, prefix: str) -> LocalStore:
        return LocalStore(self._inside(prefix))

    def at(self, path: str) -> str:
        return str(self._inside(path))

    def open_input(self, path: str) -> BinaryIO:
        with _looking_for(path):
            return self._inside(path).open("rb")

    def open_whole(self, path: str) -> AbstractContextManager[BinaryIO]:
        return _whole(self._inside(path))

    def write_whole(self, path: str, content: bytes) -> None:
        with self.open_whole(path) as file:
            file.write(content)

    def read(self, path: str) -> bytes:
        with _looking_for(path):
            return self._inside(path).read_bytes()

    def size(self, path: str) -> int:
        return self.stamp(path).size

    def stamp(self, path: str) -> Stamp:
        with _looking_for(path):
            found = self._inside(path).stat()
        if not S_ISREG(found.st_mode):
            raise FileNotFoundError(f"{path} is no file.")
        return Stamp(found.st_size, str(found.st_mtime_ns))

    def exists(self, path: str) -> bool:
        with suppress(FileNotFoundError):
            return self.size(path) >= 0
        return False

    def can_hold(self, path: str) -> bool:
        place = self._inside(path)
        return next(each for each in (place, *place.parents) if each.exists()).is_dir()

    def list(self, prefix: str = "") -> Sequence[tuple[str, int]]:
        root = self.folder.resolve()
        found = ((path, _length(path)) for path in _whole_files(self._folder_of(prefix)))
        return sorted((path.relative_to(root).as_posix(), length) for path, length in found if length is not None)

    def remove(self, path: str) -> None:
        """Remove a file, and its folder if nothing else is in it."""
        file = self._inside(path)
        with suppress(FileNotFoundError), _looking_for(path):
            file.unlink()
        with suppress(OSError):
            file.parent.rmdir()

    def remove_tree(self, prefix: str) -> None:
        shutil.rmtree(self._inside(prefix), onerror=_unless_gone)

    def remove_abandoned(self, *, before: float) -> int:
        old = [path for path in self.folder.rglob(f".*{BESIDE}*") if _is_beside(path.name) and _changed(path) < before]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    @property
    def filesystem(self) -> Any:
        from pyarrow.fs import LocalFileSystem  # noqa: PLC0415  (only readers and writers of datasets load it)

        return LocalFileSystem()

    def full(self, path: str = "") -> str:
        return str(self._folder_of(path))

    def _folder_of(self, prefix: str) -> Path:
        return self._inside(prefix) if prefix else self.folder.resolve()

    def _inside(self, path: str) -> Path:
        """Follow links as well: none leads out."""
        base = self.folder.resolve()
        found = (base / relative(path)).resolve()
        if base not in found.parents:
            raise BadPath(f"{path!r} leads out of the folder: give a relative path below it.")
        return found


def _unless_gone(_act: object, _path: str, raised: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(raised[1], FileNotFoundError):
        raise raised[1]


BESIDE = "-beside-"
"""Stands in the name of a file that is being written: `.name-beside-<32 hex digits>`."""


def _is_beside(name: str) -> bool:
    return name.startswith(".") and BESIDE in name


def _whole_files(folder: Path) -> Iterator[Path]:
    """What goes while it is looked at is passed over: whoever removes a file takes its empty folder along."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names if not _is_beside(name))


def _length(path: Path) -> int | None:
    """Return a file's length; None of what is no file, or went meanwhile."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_size if S_ISREG(found.st_mode) else None


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")  # it was finished meanwhile


@contextmanager
def _looking_for(path: str) -> Iterator[None]:
    """Say as S3 does that there is no such file: also where a step on the way is none, or the path is a folder or too long."""
    try:
        yield
    except OSError as found:
        if found.errno not in NO_FILE:
            raise
        raise FileNotFoundError(f"{path}: there is no such file.") from found


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """Write beside, then rename; durable before it is seen: its folders, the file's bytes, then its name in the folder."""
    _make(path.parent)
    beside = path.with_name(f".{path.name}{BESIDE}{uuid4().hex}")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _make(folder: Path) -> None:
    """Make a folder and what is missing above it, each durable by its name in the folder around it."""
    missing = list(takewhile(lambda each: not each.exists(), (folder, *folder.parents)))
    folder.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        _sync(each.parent)


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
