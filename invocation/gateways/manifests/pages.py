"""What Parquet's pages will hold once they are unpacked, by their headers alone (parquet.thrift, in Thrift's compact protocol).

A footer may tell any lengths. Those in the pages' headers are what the reader of Parquet unpacks by.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Any, BinaryIO

MOST_OF_A_HEADER = 1 << 16
DICTIONARY_PAGE = 2
OWN = {0: (5, 2), DICTIONARY_PAGE: (7, 2), 3: (8, 4)}
"""By a page's type, the field of the header that is its type's own, and the field of the encoding in that. Other pages hold no values."""
DELTA_BYTE_ARRAY = 7
LENGTH = Struct("<I")
CODECS = frozenset({"UNCOMPRESSED", "SNAPPY", "GZIP", "BROTLI", "ZSTD"})
"""Those that Arrow unpacks as it packs them; of LZ4 Parquet has two."""
LOOKED_AT = (64 << 10, 16 << 20)
"""From how many bytes on, to how many, a dictionary's values are looked at: one that is shorter can repeat little."""


class BrokenPages(ValueError):
    """The bytes are no pages."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page by its header: where it begins behind that, its bytes as they are packed and unpacked, its values and their encoding."""

    begin: int
    packed: int
    length: int
    values: int
    encoding: int
    is_dictionary: bool


@dataclass(frozen=True, slots=True)
class Weight:
    """What reading a column of a row group takes, in bytes."""

    page: int
    """The longest page: it is unpacked whole."""
    repeated: int
    """What one value may be that others only point to: a few bytes can say that it stands in every row."""
    row: int
    """What one row brings with it, where rows are longest on average of a page."""


def weight(file: BinaryIO, column: Any, *, rows: int) -> Weight:
    """Weigh a column chunk of so many rows (pyarrow's ColumnChunkMetaData). Raises BrokenPages."""
    longest = repeated = row = whole = 0
    for page in _pages(file, column):
        longest = max(longest, page.length, page.packed)
        if page.is_dictionary:
            repeated = max(repeated, _longest_value(file, column, page))
        else:
            repeated = max(repeated, page.length if page.encoding == DELTA_BYTE_ARRAY else 0)
            row = max(row, page.length // max(1, page.values))
            whole += page.length
    return Weight(longest, repeated, max(row, whole // max(1, rows)))


def _longest_value(file: BinaryIO, column: Any, page: Page) -> int:
    """Return how long a dictionary's longest value is, at most: only in one of middling length values are looked at."""
    if column.physical_type != "BYTE_ARRAY":
        return page.length // max(1, page.values)
    if column.compression not in CODECS or not LOOKED_AT[0] < page.length <= LOOKED_AT[1]:
        return page.length
    file.seek(page.begin)
    lengths = _lengths(_unpacked(file.read(page.packed), column.compression, page.length))
    return min(max(lengths, default=0), page.length)


def _lengths(content: bytes) -> Iterator[int]:
    """Yield how long the values of a dictionary are: each stands behind its length."""
    at, end = 0, len(content) - LENGTH.size
    while at <= end:
        (length,) = LENGTH.unpack_from(content, at)
        yield length
        at += LENGTH.size + length


def _unpacked(packed: bytes, codec: str, length: int) -> bytes:
    import pyarrow as pa  # noqa: PLC0415  (only readers of Parquet load it)

    if codec == "UNCOMPRESSED":
        return packed
    return bytes(pa.Codec(codec.lower()).decompress(packed, length, asbytes=True))


def _pages(file: BinaryIO, column: Any) -> Iterator[Page]:
    """Yield the pages that a reader will read: those up to the last value."""
    begin, left = _begin(column), int(column.num_values)
    end = begin + int(column.total_compressed_size)
    while left > 0 and begin < end:
        file.seek(begin)
        page = Header(file.read(MOST_OF_A_HEADER)).page(begin)
        yield page
        begin = page.begin + page.packed
        left -= 0 if page.is_dictionary else page.values


def _begin(column: Any) -> int:
    """Return where the first page is: writers may leave out the dictionary's place, or say 0."""
    first = int(column.data_page_offset)
    dictionary = int(column.dictionary_page_offset or 0)
    return dictionary if 0 < dictionary < first else first


class Header:
    """A page's header, at the beginning of some bytes."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self.length = raw, 0

    def page(self, begin: int) -> Page:
        """Return the page of a header that begins at a byte of its file. Raises BrokenPages."""
        try:
            told = self._struct()
            kind, length, packed = told[1], told[2], told[3]
            field, encoding = OWN.get(kind, (0, 0))
            own = told[field] if field else {1: 0, encoding: 0}
            page = Page(begin + self.length, packed, length, own[1], own[encoding], kind == DICTIONARY_PAGE)
            is_possible = min(length, packed, page.values) >= 0
        except (IndexError, KeyError, TypeError, AttributeError, RecursionError):
            raise BrokenPages("a page has no header that can be read") from None
        if not is_possible:
            raise BrokenPages("a page's header tells lengths below 0")
        return page

    def _struct(self) -> dict[int, Any]:
        """Return the fields by their numbers."""
        found, number = {}, 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._whole()
            found[number] = self._value(head & 15)
        return found

    def _value(self, kind: int) -> Any:
        if kind in {1, 2}:
            return kind == 1
        if kind in {4, 5, 6}:
            return self._whole()
        if kind == 8:
            return self._skip(self._number())
        if kind == 12:
            return self._struct()
        return self._skip({3: 1, 7: 8}[kind])

    def _skip(self, count: int) -> None:
        self.length += count

    def _byte(self) -> int:
        self.length += 1
        return self._raw[self.length - 1]

    def _whole(self) -> int:
        number = self._number()
        return number >> 1 ^ -(number & 1)

    def _number(self) -> int:
        found = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            found |= (byte & 0x7F) << shift
            if byte < 0x80:
                return found
        raise BrokenPages("a page's header has a number that is too long")
