"""Packed text, frame by frame: gzip members and zstd frames begin anew, so that a reader can begin at any of them."""

from __future__ import annotations

import io
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from invocation.domain.errors import ManifestInvalid
from invocation.domain.manifests import Packing

CHUNK = 1 << 18
MOST_OF_A_FRAME = 64 << 20
"""Bytes, unpacked: what a shard may have to unpack before its first row."""
MOST_FRAMES = 1_000_000
"""Of one file: where each begins is remembered."""
ZSTD_MAGIC = 0xFD2FB528
SKIPPABLE = range(0x184D2A50, 0x184D2A60)
REMEDY = {
    Packing.GZIP: "pack it with bgzip, or pack pieces of some 10 MB each and put the .gz files one behind the other (cat does)",
    Packing.ZSTD: "pack it with pzstd, or pack pieces of some 10 MB each and put the .zst files one behind the other (cat does)",
}


class Unpacked(io.RawIOBase):
    """The text of a packed file from a frame on, forwards only. It remembers where frames begin, for `frame_of`."""

    def __init__(self, file: BinaryIO, packing: Packing, *, start: int = 0, beat: Callable[[], None]) -> None:
        """`beat` is called now and then, however few bytes the text is made of: what it raises ends the reading."""
        super().__init__()
        file.seek(start)
        self._beat = beat
        self._pieces = _PIECES[packing](file, self._begin, start)
        self._packing = packing
        self._left = memoryview(b"")
        self._at = 0
        self._packed_at = array("Q")
        self._starts = array("Q")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Raises ManifestInvalid for bytes that are not what the extension says, and for a frame that is too long to begin behind it."""
        self._beat()
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        self._at += count
        if self._at - self._starts[-1] > MOST_OF_A_FRAME:
            raise self._too_long()
        return count

    def frame_of(self, at: int) -> tuple[int, int]:
        """Return the frame that holds the text's byte `at`: where in the packed file it begins, and how far behind that the byte is."""
        index = max(0, bisect_right(self._starts, at) - 1)
        return self._packed_at[index], at - self._starts[index]

    def _begin(self, packed_at: int) -> None:
        """A frame begins. Called when all that came before it was read."""
        self._beat()
        if len(self._starts) == MOST_FRAMES:
            raise self._too_many()
        self._packed_at.append(packed_at)
        self._starts.append(self._at)

    def _too_long(self) -> ManifestInvalid:
        return ManifestInvalid(
            f"manifest: a {self._packing} frame of it holds more than {MOST_OF_A_FRAME >> 20} MiB, and a shard would have to unpack all"
            f" that lies before its rows: {REMEDY[self._packing]}; or leave it unpacked, or give Parquet.",
            field="manifest",
            reason="not_seekable",
        )

    def _too_many(self) -> ManifestInvalid:
        return ManifestInvalid(
            f"manifest: it has more than {MOST_FRAMES} {self._packing} frames: pack larger pieces, of some 10 MB each.", field="manifest"
        )


def _gzip(file: BinaryIO, begin: Any, at: int) -> Iterator[bytes]:
    packed = file.read(CHUNK)
    while packed:
        begin(at)
        unpacker = zlib.decompressobj(wbits=31)
        while not unpacker.eof:
            try:
                piece = unpacker.decompress(packed, CHUNK)
            except zlib.error as broken:
                raise _broken(Packing.GZIP, str(broken)) from None
            if not packed and not piece and not unpacker.eof:
                raise _broken(Packing.GZIP, "it ends in the middle")
            at += len(packed) - len(unpacker.unconsumed_tail) - len(unpacker.unused_data)
            packed = unpacker.unconsumed_tail or (b"" if unpacker.eof else file.read(CHUNK))
            if piece:
                yield piece
        packed = unpacker.unused_data or file.read(CHUNK)
        if packed and not packed.strip(b"\0"):
            return  # padding, as tapes have it


def _zstd(file: BinaryIO, begin: Any, at: int) -> Iterator[bytes]:
    """Find each frame by its blocks' lengths (RFC 8878, section 3.1), and let pyarrow unpack it."""
    import pyarrow as pa  # noqa: PLC0415  (only readers of zstd load it)

    while head := file.read(4):
        magic = int.from_bytes(head, "little")
        if magic in SKIPPABLE:
            size = int.from_bytes(_exactly(file, 4), "little")
            at += 8 + size
            while size:
                size -= len(_exactly(file, min(size, CHUNK)))
            continue
        if magic != ZSTD_MAGIC:
            raise _broken(Packing.ZSTD, f"no frame begins at byte {at}")
        frame = head + b"".join(_blocks(file))
        begin(at)
        try:
            with pa.CompressedInputStream(pa.BufferReader(frame), "zstd") as unpacked:
                while piece := unpacked.read(CHUNK):
                    yield piece
        except OSError as broken:
            raise _broken(Packing.ZSTD, str(broken)) from None
        at += len(frame)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the rest of a frame behind its magic number."""
    descriptor = _exactly(file, 1)
    flags = descriptor[0]
    is_single, has_checksum = bool(flags & 0x20), bool(flags & 0x04)
    size_bytes = (1 if is_single else 0, 2, 4, 8)[flags >> 6]
    yield descriptor + _exactly(file, (0 if is_single else 1) + (0, 1, 2, 4)[flags & 3] + size_bytes)
    is_last, length = False, 0
    while not is_last:
        header = _exactly(file, 3)
        word = int.from_bytes(header, "little")
        is_last, kind, size = bool(word & 1), word >> 1 & 3, word >> 3
        length += 3 + size
        if length > MOST_OF_A_FRAME:
            raise _broken(Packing.ZSTD, f"a frame has more than {MOST_OF_A_FRAME >> 20} MiB packed: {REMEDY[Packing.ZSTD]}")
        yield header + _exactly(file, 1 if kind == 1 else size)
    if has_checksum:
        yield _exactly(file, 4)


def _exactly(file: BinaryIO, count: int) -> bytes:
    found = file.read(count)
    if len(found) != count:
        raise _broken(Packing.ZSTD, "it ends in the middle")
    return found


def _broken(packing: Packing, why: str) -> ManifestInvalid:
    return ManifestInvalid(f"manifest: it cannot be unpacked as {packing}: {why}.", field="manifest")


_PIECES = {Packing.GZIP: _gzip, Packing.ZSTD: _zstd}
