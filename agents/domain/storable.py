"""Text that can be kept: whole Unicode without U+0000, as PostgreSQL and JSON want it. What models and agents say may be neither."""

from __future__ import annotations

import math
from collections.abc import Mapping

from agents.domain.values import Json

UNKNOWN = "\ufffd"
FIRST_HALF, LAST_HALF = "\ud800", "\udbff"
"""The first halves of surrogate pairs: a server that cuts its text between UTF-16 units ends a piece with one."""


def storable(text: str) -> str:
    """Return the text as it can be kept: two halves of a character are joined, and what is none has the replacement character's place."""
    if text.isascii():
        return text.replace("\0", UNKNOWN) if "\0" in text else text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", UNKNOWN)


def storable_facts(found: Json) -> Json:
    """Return facts as they can be kept: as JSON that has only storable text, and only numbers that JSON can say."""
    if isinstance(found, str):
        return storable(found)
    if isinstance(found, float) and not math.isfinite(found):
        return str(found)
    if isinstance(found, Mapping):
        return {storable(name): storable_facts(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [storable_facts(value) for value in found]
    return found


class Whole:
    """A text that comes in pieces, each made storable: half a character at the end of one waits for the next, and is lost with the last."""

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def take(self, piece: str) -> str:
        """Return what can be shown of the text with this piece: it may be nothing yet."""
        if not self._half and piece.isascii() and "\0" not in piece:
            return piece
        text = self._half + piece
        self._half = text[-1:] if FIRST_HALF <= text[-1:] <= LAST_HALF else ""
        return storable(text[:-1] if self._half else text)
