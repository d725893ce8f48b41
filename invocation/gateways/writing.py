"""Writing sessions' logs: one connection a process, a frame for all, and a fence by seq."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog
from django.conf import settings

from invocation.gateways.link import REST_S, Link, LinkDown, Word, pack
from invocation.gateways.streams import KEPT_EVENTS, KEPT_S, key

FRAME_S, LONGEST_FRAME_S = 0.04, 0.06
FEW = 32
"""Pens up to which a frame is short; with twice as many and more it is as long as it gets."""
PARTED_S = 5.0
RENEWED_S = 60
"""How much of its life a log has lost at most when something was written to it just now."""

# Fence and word in one: an event whose seq lies behind its log's newest comes from a writer that was fenced out, and is
# neither kept nor told. A log's life is begun anew once a minute at most: with each event it would be a second command, and two
# more around both, for the server's own log. KEYS: the logs. ARGV: most events, seconds, seconds below which a life is begun
# anew, then for each log how many events, and of each its seq and itself.
WRITE = b"""
local place = 4
for _, log in ipairs(KEYS) do
  local last = place + 2 * ARGV[place]
  for at = place + 1, last, 2 do
    local kept = redis.pcall('XADD', log, 'MAXLEN', '~', ARGV[1], ARGV[at], 'e', ARGV[at + 1])
    if type(kept) ~= 'table' or not kept.err then
      redis.call('PUBLISH', log, ARGV[at + 1])
    end
  end
  if redis.call('TTL', log) < tonumber(ARGV[3]) then
    redis.call('EXPIRE', log, ARGV[2])
  end
  place = last + 1
end
"""
SHA = hashlib.sha1(WRITE, usedforsecurity=False).hexdigest()

log = structlog.get_logger()


class Gathering(Protocol):
    """A pen with a frame begun."""

    def flush(self) -> None: ...


class StreamWriter:
    """The one writer of a p0 process, over one connection: what pens write within one step of the loop goes out together.

    A frame is the process's: all pens that gathered something flush at the same moment. It lasts longer the more
    pens the one before it had, so that a process has time for first words when many speak. A Redis
    that is gone loses no answer: text and last event are in PostgreSQL.
    """

    def __init__(self) -> None:
        self._link = Link(settings.REDIS_URL, greeting=[pack("SCRIPT", "LOAD", WRITE)])
        self._dirty: dict[str, list[bytes | int]] = {}
        self._gathering: dict[Gathering, None] = {}
        self._frame_s = FRAME_S
        self._frame: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Handle | None = None
        self._coming_up: asyncio.Task[None] | None = None

    def write(self, session_id: str, seq: int, event: bytes) -> None:
        """Send an event, with whatever else is written in this step of the loop."""
        self._dirty.setdefault(session_id, []).extend((seq, event))
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_soon(self._flush)

    def gather(self, pen: Gathering) -> None:
        """Let the pen flush at the frame's end."""
        self._gathering[pen] = None
        if self._frame is None:
            self._frame = asyncio.get_running_loop().call_later(self._frame_s, self._end_frame)

    async def drain(self) -> None:
        """Return when all that was written is out, or lost with Redis."""
        self._end_frame()
        self._flush()
        if self._coming_up is not None:
            await asyncio.wait([self._coming_up])
        try:
            async with asyncio.timeout(PARTED_S):
                await self._link.ask("PING")
        except (LinkDown, TimeoutError) as gone:
            log.warning("stream_write_lost", error=str(gone))

    async def aclose(self) -> None:
        """Write no more; what was not drained is lost."""
        for handle in (self._frame, self._flushing):
            if handle is not None:
                handle.cancel()
        if self._coming_up is not None:
            self._coming_up.cancel()
            await asyncio.wait([self._coming_up])
        await self._link.aclose()

    def _end_frame(self) -> None:
        self._frame = None
        gathered, self._gathering = self._gathering, {}
        self._frame_s = frame_s(len(gathered))
        for pen in gathered:
            try:
                pen.flush()
            except Exception:  # what one cannot write keeps no other from writing
                log.exception("frame_not_written")

    def _flush(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        if not self._dirty:
            return
        if self._link.is_up:
            taken, self._dirty = self._dirty, {}
            self._link.tell(_packed(taken), [None])
        elif self._coming_up is None:
            self._coming_up = asyncio.create_task(self._come_up())

    async def _come_up(self) -> None:
        """What was written waits for the connection, and is lost when there is none to be had."""
        try:
            await self._link.up()
        except LinkDown as gone:
            await asyncio.sleep(REST_S)
            log.warning("stream_write_lost", error=str(gone), sessions=len(self._dirty))
            self._dirty = {}
        finally:
            self._coming_up = None
        self._flush()


def _packed(told: Mapping[str, Sequence[bytes | int]]) -> bytes:
    """Return the one command that writes all this: of each session seq and event in turn."""
    words: list[Word] = ["EVALSHA", SHA, len(told), *map(key, told), KEPT_EVENTS, KEPT_S, KEPT_S - RENEWED_S]
    for events in told.values():
        words.append(len(events) // 2)
        words += events
    return pack(*words)


def frame_s(pens: int) -> float:
    """Return how long a frame lasts after one in which so many pens gathered something."""
    crowd = min(max(pens - FEW, 0) / FEW, 1.0)
    return FRAME_S + crowd * (LONGEST_FRAME_S - FRAME_S)
