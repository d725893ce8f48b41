"""What the torrent pours, piece by piece."""

from __future__ import annotations

BYTES = 4_096


def piece(number: int) -> bytes:
    """Return a piece that is told from every other."""
    return b"%08d" % number * (BYTES // 8)
