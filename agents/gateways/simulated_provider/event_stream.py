"""AWS's binary framing of events: lengths, headers and payload, under two checksums."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from zlib import crc32

_STRING = 7
_PRELUDE = 12
_CHECKSUM = 4


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Write one event. Source: AWS's "vnd.amazon.eventstream" encoding, whose clients check both checksums."""
    head = b"".join(_header(name.encode(), value.encode()) for name, value in headers.items())
    lengths = struct.pack("!II", _PRELUDE + len(head) + len(payload) + _CHECKSUM, len(head))
    whole = lengths + struct.pack("!I", crc32(lengths)) + head + payload
    return whole + struct.pack("!I", crc32(whole))


def _header(name: bytes, value: bytes) -> bytes:
    return struct.pack("!B", len(name)) + name + struct.pack("!BH", _STRING, len(value)) + value
