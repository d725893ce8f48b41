"""A manifest's bytes as they come from its file: counted, hashed if asked to, and heard of at every buffer."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any, BinaryIO

BUFFER = 1 << 20


def _unheard(read: int) -> None:
    """Nobody listens."""


class Tap(io.RawIOBase):
    """Counts, and hashes if asked to, what is read of a file from its beginning to its end. Closing it closes the file.

    `heard` is told at each read how many bytes were read until then: what it raises ends the reading.
    """

    def __init__(self, file: BinaryIO, *, is_hashed: bool = False, heard: Callable[[int], None] = _unheard) -> None:
        super().__init__()
        self._file, self._heard = file, heard
        self._sha256 = hashlib.sha256() if is_hashed else None
        self.bytes_read = 0
        self.broke: Exception | None = None
        """What ended the reading that is no fault of the bytes: the store's error, or what `heard` raised."""

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest() if self._sha256 else ""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def beat(self) -> None:
        """Be heard of where much is done with few bytes."""
        self._heard(self.bytes_read)

    def readinto(self, buffer: Any) -> int:
        try:
            found = self._file.readinto(buffer) if hasattr(self._file, "readinto") else _copied(self._file, buffer)
            self.bytes_read += found
            self.beat()
        except Exception as broke:
            self.broke = broke
            raise
        if self._sha256 is not None:
            self._sha256.update(memoryview(buffer)[:found])
        return found

    def read_to_end(self) -> None:
        """Read what is left, for the hash."""
        buffer = bytearray(BUFFER)
        while self.readinto(buffer):
            pass

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _copied(file: BinaryIO, buffer: Any) -> int:
    piece = file.read(len(buffer))
    buffer[: len(piece)] = piece
    return len(piece)
