"""Writes one turn's events under the session's seq, its deltas gathered into frames."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from invocation.domain.turns import EventType
from invocation.gateways.writing import StreamWriter


class Pen:
    """One attempt's hand on a session's log. The first delta goes at once, later ones once a frame.

    `shown` is what a reader who heard all up to `seq` has before him; what was retracted is not.
    """

    def __init__(self, writer: StreamWriter, session_id: str, base: int) -> None:
        self._writer = writer
        self._session_id = session_id
        self._gathered: list[str] = []
        self._shown: list[str] = []
        self.has_spoken = False
        self.seq = base

    @property
    def shown(self) -> str:
        return "".join(self._shown)

    def write(self, kind: EventType, data: Mapping[str, Any]) -> None:
        """Write an event behind what was gathered."""
        self.flush()
        if kind == EventType.DELTA:
            self._shown.append(data["text"])
        elif kind == EventType.RETRACTED:
            self._shown.clear()
        self._send(self._event(kind, data))

    def delta(self, text: str) -> None:
        self._gathered.append(text)
        if self.has_spoken:
            self._writer.gather(self)
        else:
            self.has_spoken = True
            self.flush()

    def last(self, kind: EventType, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the last event, numbered behind all others, for PostgreSQL to keep before anybody reads it."""
        self.flush()
        return self._event(kind, data)

    def write_last(self, event: Mapping[str, Any]) -> None:
        self._send(event)

    def flush(self) -> None:
        """Write what was gathered, as one delta."""
        if self._gathered:
            text = "".join(self._gathered)
            self._gathered.clear()
            self._shown.append(text)
            self._send(self._event(EventType.DELTA, {"text": text}))

    def _event(self, kind: EventType, data: Mapping[str, Any]) -> dict[str, Any]:
        self.seq += 1
        return {"seq": self.seq, "type": str(kind), "at": datetime.now(UTC).isoformat(), "data": data}

    def _send(self, event: Mapping[str, Any]) -> None:
        self._writer.write(self._session_id, event["seq"], orjson.dumps(event))
