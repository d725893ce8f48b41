"""The files that manifests are: opened, and told apart from what they were."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, NamedTuple


class Stamp(NamedTuple):
    """A file's length in bytes, and what changes when it is written."""

    size: int
    mark: object


def open_file(location: str) -> BinaryIO:
    return Path(location).open("rb")


def stamp(location: str) -> Stamp:
    found = Path(location).stat()
    return Stamp(found.st_size, found.st_mtime_ns)
