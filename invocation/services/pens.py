"""Writes one turn's events under the session's seq, its deltas gathered into frames."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from invocation.domain.turns import EventType
from invocation.gateways.streams import FRAME_S, Event, StreamWriter


class Pen:
    """One attempt's hand on a session's log. The first delta goes at once, later ones once a frame."""

    def __init__(self, writer: StreamWriter, session_id: str, base: int) -> None:
        self._writer = writer
        self._session_id = session_id
        self._seq = base
        self._gathered: list[str] = []
        self._frame: asyncio.TimerHandle | None = None
        self._has_spoken = False

    def write(self, kind: EventType, data: Mapping[str, Any]) -> None:
        """Write an event behind what was gathered."""
        self._flush()
        self._send(self._event(kind, data), urgent=True)

    def delta(self, text: str) -> None:
        self._gathered.append(text)
        if not self._has_spoken:
            self._has_spoken = True
            self._flush()
        elif self._frame is None:
            self._frame = asyncio.get_running_loop().call_later(FRAME_S, self._flush)

    def last(self, kind: EventType, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the last event, numbered behind all others, for PostgreSQL to keep before anybody reads it."""
        self._flush()
        event = self._event(kind, data)
        return {"seq": event.seq, "type": event.type, "at": event.at, "data": event.data}

    def write_last(self, event: Mapping[str, Any]) -> None:
        self._send(Event(**event), urgent=True)

    def _flush(self) -> None:
        if self._frame is not None:
            self._frame.cancel()
            self._frame = None
        if self._gathered:
            text, self._gathered = "".join(self._gathered), []
            self._send(self._event(EventType.DELTA, {"text": text}), urgent=True)

    def _event(self, kind: EventType, data: Mapping[str, Any]) -> Event:
        self._seq += 1
        return Event(self._seq, str(kind), datetime.now(UTC).isoformat(), dict(data))

    def _send(self, event: Event, *, urgent: bool) -> None:
        self._writer.write(self._session_id, event, urgent=urgent)
