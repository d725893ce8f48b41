"""Writes one turn's events under the session's seq, its deltas gathered into frames."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from agents.domain.storable import storable_facts
from invocation.domain.turns import SEQS_OF_A_CLAIM, EventType
from invocation.gateways.writing import StreamWriter

ENDS = 3
"""Seqs that are kept for an attempt's end: its last words, their retraction, its last event."""


class Pen:
    """One attempt's hand on a session's log. The first delta goes at once, later ones once a frame, and of progress the newest.

    `shown` is what a reader who heard all up to `seq` has before him; what was retracted is not. An attempt that has
    used up what its claim set aside says the rest of its words together with its end, and no more beside them.
    """

    def __init__(self, writer: StreamWriter, session_id: str, base: int) -> None:
        self._writer = writer
        self._session_id = session_id
        self._gathered: list[str] = []
        self._progress: Mapping[str, Any] | None = None
        self._shown: list[str] = []
        self._full_at = base + SEQS_OF_A_CLAIM - ENDS
        self.has_spoken = False
        self.seq = base

    @property
    def shown(self) -> str:
        return "".join(self._shown)

    @property
    def _is_full(self) -> bool:
        return self.seq >= self._full_at

    def write(self, kind: EventType, data: Mapping[str, Any]) -> None:
        """Write an event behind what was gathered."""
        self.flush()
        if kind == EventType.RETRACTED:
            self._gathered.clear()
            self._shown.clear()
        elif self._is_full:
            return
        elif kind == EventType.DELTA:
            self._shown.append(data["text"])
        self._write(kind, data)

    def delta(self, text: str) -> None:
        self._gathered.append(text)
        if self.has_spoken:
            self._writer.gather(self)
        else:
            self.has_spoken = True
            self.flush()

    def progress(self, data: Mapping[str, Any]) -> None:
        """Write how far it is with the frame's end; a later word of it takes its place."""
        self._progress = data
        self._writer.gather(self)

    def last(self, kind: EventType, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the last event, numbered behind all others, for PostgreSQL to keep before anybody reads it."""
        self.flush()
        self._say()
        event = self._event(kind, data)
        self.seq = event["seq"]
        return event

    def write_last(self, event: Mapping[str, Any]) -> None:
        self._send(event)

    def flush(self) -> None:
        """Write what was gathered, as one delta, and the newest progress."""
        if not self._is_full:
            self._say()
        progress, self._progress = self._progress, None
        if progress is not None and not self._is_full:
            self._write(EventType.PROGRESS, progress)

    def _say(self) -> None:
        if self._gathered:
            text = "".join(self._gathered)
            self._gathered.clear()
            self._shown.append(text)
            self._write(EventType.DELTA, {"text": text})

    def _write(self, kind: EventType, data: Mapping[str, Any]) -> None:
        """An event that cannot be written takes no seq: its readers would wait for it."""
        event = self._event(kind, data)
        self._send(event)
        self.seq = event["seq"]

    def _event(self, kind: EventType, data: Mapping[str, Any]) -> dict[str, Any]:
        return {"seq": self.seq + 1, "type": str(kind), "at": datetime.now(UTC).isoformat(), "data": data}

    def _send(self, event: Mapping[str, Any]) -> None:
        self._writer.write(self._session_id, event["seq"], _as_json(event))


def _as_json(event: Mapping[str, Any]) -> bytes:
    """Half a character in a plan's or a progress' words costs them that character, and not the run."""
    try:
        return orjson.dumps(event)
    except TypeError:
        return orjson.dumps(storable_facts(event))
