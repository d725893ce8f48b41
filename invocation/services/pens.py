"""Writes one turn's events under the session's seq, its deltas gathered into frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from invocation.domain.turns import EventType
from invocation.gateways.writing import StreamWriter

Put = Callable[[str, int, bytes], None]

CAN_WAIT = frozenset({EventType.TURN_STARTED, EventType.PLAN_READY, EventType.PROGRESS})
"""What is no word of the answer and ends nothing: alone, each would cost a write, a wake-up and a send as a first word does."""


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
        """Write an event behind what was gathered, at once unless it can wait for the frame's end."""
        put = self._writer.write_in_time if kind in CAN_WAIT else self._writer.write
        self._put_gathered(put)
        if kind == EventType.DELTA:
            self._shown.append(data["text"])
        elif kind == EventType.RETRACTED:
            self._shown.clear()
        self._put(self._event(kind, data), put)

    def delta(self, text: str) -> None:
        self._gathered.append(text)
        if self.has_spoken:
            self._writer.gather(self)
        else:
            self.has_spoken = True
            self.flush()

    def last(self, kind: EventType, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the last event, numbered behind all others, for PostgreSQL to keep before anybody reads it."""
        self._put_gathered(self._writer.write_in_time)
        return self._event(kind, data)

    def write_last(self, event: Mapping[str, Any]) -> None:
        self._put(event, self._writer.write)

    def flush(self) -> None:
        """Write what was gathered, as one delta."""
        self._put_gathered(self._writer.write)

    def _put_gathered(self, put: Put) -> None:
        if self._gathered:
            text = "".join(self._gathered)
            self._gathered.clear()
            self._shown.append(text)
            self._put(self._event(EventType.DELTA, {"text": text}), put)

    def _event(self, kind: EventType, data: Mapping[str, Any]) -> dict[str, Any]:
        self.seq += 1
        return {"seq": self.seq, "type": str(kind), "at": datetime.now(UTC).isoformat(), "data": data}

    def _put(self, event: Mapping[str, Any], put: Put) -> None:
        put(self._session_id, event["seq"], orjson.dumps(event))
