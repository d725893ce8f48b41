"""JSON Lines: one object a line; blank lines are none."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson

from invocation.domain.errors import ManifestInvalid
from invocation.domain.manifests import MOST_BLANK_LINES, MOST_RECORD_BYTES, Record, too_blank


class Lines:
    """Reads records from where `text` stands, which is the byte `at`."""

    def __init__(self, text: BinaryIO, *, line: int = 1, at: int = 0) -> None:
        self._text, self._line, self._at = text, line, at

    def records(self) -> Iterator[Record]:
        """Raises ManifestInvalid for a line that is too long, and for too many blank ones."""
        line, at, readline = self._line, self._at, self._text.readline
        last = line
        while raw := readline(MOST_RECORD_BYTES + 1):
            if len(raw) > MOST_RECORD_BYTES:
                raise ManifestInvalid(f"Line {line} has more than {MOST_RECORD_BYTES} bytes.", line=line)
            text = raw.removeprefix(BOM_UTF8) if line == 1 else raw
            if text and not text.isspace():
                yield Record(line, at, text)
                last = line
            elif line - last > MOST_BLANK_LINES:
                raise too_blank(line)
            at += len(raw)
            line += 1

    def value(self, record: Record) -> dict[str, Any]:
        """Return the object on a record. Raises ManifestInvalid."""
        try:
            value = orjson.loads(record.raw)
        except orjson.JSONDecodeError as broken:
            raise ManifestInvalid(f"Line {record.line} is not JSON: {broken}.", line=record.line) from None
        if not isinstance(value, dict):
            found = type(value).__name__
            raise ManifestInvalid(f"Line {record.line} is a {found}: each line is one JSON object.", line=record.line)
        return value
