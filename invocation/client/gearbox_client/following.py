"""How far one reader of a stream has read: what is new to it, where it resumes, when it gives up. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

from gearbox_client.calls import Call, Method, Streaming
from gearbox_client.problems import Problem, Unreachable, UnreadableAnswer
from gearbox_client.reading import nothing, reader
from gearbox_client.retrying import Reconnects, Trouble, pause_before_reopening
from gearbox_client.sse import Frame, Parser
from gearbox_client.values.events import GAP, HEARTBEAT, Event

EVENT_STREAM: Mapping[str, str] = MappingProxyType({"Accept": "text/event-stream", "Accept-Encoding": "identity"})
_read_event = reader(Event)


class Follower:
    """Gives each event of a stream once, over as many connections as it takes."""

    def __init__(self, stream: Streaming, rules: Reconnects) -> None:
        self._stream = stream
        self._rules = rules
        self._last = stream.after
        self._gap_at: int | None = None
        self._has_begun = False
        self._headers: Mapping[str, str] | None = None
        self._parser = Parser()
        self._failed = 0
        self._has_heard = False
        self.has_ended = False

    def connection(self) -> Call[None]:
        """Return what opens the next connection: the first as the stream says, each later one behind the last event."""
        call = self._stream.opening
        if self._headers is not None:
            call = Call(method=Method.GET, path=self._stream.resumed_at(self._headers), read=nothing, is_repeatable=True)
        place = {"Last-Event-ID": str(self._last)} if call.method is Method.GET else {}
        return replace(call, headers={**EVENT_STREAM, **place})

    def opened(self, headers: Mapping[str, str]) -> None:
        """Note that a connection stands."""
        if not headers.get("content-type", "").startswith("text/event-stream"):
            raise UnreadableAnswer("The answer is no event stream.")
        self._headers = headers if self._headers is None else self._headers
        self._parser = Parser()
        self._has_heard = False

    def take(self, chunk: bytes) -> list[Event]:
        """Return the events that are new with these bytes; heartbeats and repeats are heard and not told."""
        new = []
        for frame in self._parser.feed(chunk):
            event = _event(frame)
            self._has_heard, self._failed = True, 0
            if not self.has_ended and self._is_new(event):
                self._note(event)
                new += [event] if self._has_begun else []
        return new

    def asks(self) -> Call[bool] | None:
        """Return what to ask after a connection ended without the last event: only a stream that is over says nothing at all."""
        return None if self._has_heard or self._headers is None else self._stream.is_over(self._headers, self._last)

    def pause(self, cause: Exception, trouble: Trouble, *, luck: float) -> timedelta:
        """Return the pause before the next connection. Raises Unreachable, or the problem, when it is not to be opened again."""
        self._failed += 1
        may_be_opened = self.connection().is_repeatable or trouble is Trouble.NOT_SENT
        asked = cause.retry_after if isinstance(cause, Problem) else None
        pause = pause_before_reopening(failed=self._failed, retry_after=asked, rules=self._rules, luck=luck) if may_be_opened else None
        if pause is None:
            raise cause if isinstance(cause, Problem) else Unreachable(f"The stream broke off: {cause or type(cause).__name__}") from cause
        return pause

    def _is_new(self, event: Event) -> bool:
        if event.type == GAP:
            return event.seq != self._gap_at
        return event.type != HEARTBEAT and event.seq > self._last

    def _note(self, event: Event) -> None:
        self._last = max(self._last, event.seq)
        self._gap_at = event.seq if event.type == GAP else self._gap_at
        told = self._headers or {}
        self._has_begun = self._has_begun or self._stream.is_first(event, told)
        self.has_ended = self._stream.is_last(event, told)


def _event(frame: Frame) -> Event:
    try:
        return _read_event(json.loads(frame.data))
    except ValueError:
        raise UnreadableAnswer(f"An event is not JSON: {frame.data[:80]!r}.") from None
