"""Server-Sent Events, parsed from bytes as they come (WHATWG HTML, 9.2.6). No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gearbox_client.problems import UnreadableAnswer

MOST_BYTES = 8 * 1024 * 1024
"""The largest frame that is taken; a server that sends more is refused before memory is gone."""
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Frame:
    """One dispatched event: the last id that was said, its name and its data."""

    id: str
    event: str
    data: str


class Parser:
    """Takes bytes split anywhere and returns the frames that are whole. What is not whole at the end is forgotten."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._begins = True
        self._skips_newline = False
        self._id = ""
        self._event = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[Frame]:
        """Return the frames that the chunk completes. Raises UnreadableAnswer when one is larger than any of ours."""
        return [frame for line in self._lines(chunk) for frame in self._take(line)]

    def _lines(self, chunk: bytes) -> Iterator[bytes]:
        """Yield whole lines; CR, LF and CRLF end one, and a CRLF may be split between two chunks."""
        if self._skips_newline and chunk:
            self._skips_newline = False
            chunk = chunk.removeprefix(b"\n")
        if not chunk:
            return
        self._rest += chunk
        found = self._rest.splitlines(keepends=True)
        whole = [line for line in found if line.endswith((b"\r", b"\n"))]
        self._rest = bytearray() if len(whole) == len(found) else found[-1]
        self._skips_newline = bool(whole) and not self._rest and whole[-1].endswith(b"\r")
        if self._size + len(self._rest) > MOST_BYTES:
            raise UnreadableAnswer(f"An event of more than {MOST_BYTES} bytes came.")
        for line in whole:
            yield self._bare(bytes(line))

    def _bare(self, line: bytes) -> bytes:
        first, self._begins = self._begins, False
        return line.rstrip(b"\r\n").removeprefix(BOM if first else b"")

    def _take(self, line: bytes) -> Iterator[Frame]:
        if not line:
            yield from self._dispatch()
            return
        self._size += len(line)
        name, _, value = line.decode("utf-8", "replace").partition(":")
        self._field(name, value.removeprefix(" "))

    def _field(self, name: str, value: str) -> None:
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value

    def _dispatch(self) -> Iterator[Frame]:
        data, event = self._data, self._event
        self._data, self._event, self._size = [], "", 0
        if data:
            yield Frame(self._id, event or "message", "\n".join(data))
