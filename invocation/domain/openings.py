"""Which of the turns that are asked for at one moment may begin, each decided by itself and all by one count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from invocation.domain.errors import AdmissionHeld, InvocationError, NotFound, Saturated, SessionBusy, TooManyTurns

RETRY_SATURATED = timedelta(seconds=2)
RETRY_HELD = timedelta(seconds=30)
RETRY_BUSY = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A turn that is asked for: by whom, of what, in which session (None begins one), and how many its plan has open at once."""

    tenant_id: UUID
    endpoint: str
    agent: str
    priority_class: str
    session_id: UUID | None
    at_once: int | None


@dataclass(frozen=True, slots=True)
class Standing:
    """A session as it is found: whose, behind which seq its events go on, the number of its last turn, and whether that is open."""

    tenant_id: UUID
    after: int
    number: int
    is_busy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is there: live slots by class, open turns in all and of the tenants that have a limit, holds as (scope, value, reason)."""

    slots: Mapping[str, int]
    open_turns: int
    open_of: Mapping[UUID, int]
    holds: Sequence[tuple[str, str, str]]
    sessions: Mapping[UUID, Standing]


@dataclass(frozen=True, slots=True)
class Seat:
    """A turn that may begin: its number in its session, and the seq behind which its events come."""

    number: int
    after: int


@dataclass(slots=True)
class _Count:
    """What those before have taken."""

    turns: int
    of: Counter[UUID] = field(default_factory=Counter)
    sessions: set[UUID] = field(default_factory=set)


def seat(wanted: Sequence[Wanted], room: Room) -> list[Seat | InvocationError]:
    """Answer each, in order: its seat, or the refusal that it is told. What is refused takes nothing from those behind it."""
    count = _Count(room.open_turns, Counter(room.open_of))
    return [_seat(each, room, count) for each in wanted]


def _seat(wanted: Wanted, room: Room, count: _Count) -> Seat | InvocationError:
    refusal = _held(wanted, room) or _saturated(wanted, room, count) or _over_plan(wanted, count) or _of_session(wanted, room, count)
    if refusal is not None:
        return refusal
    count.turns += 1
    count.of[wanted.tenant_id] += 1
    if wanted.session_id is None:
        return Seat(1, 0)
    count.sessions.add(wanted.session_id)
    standing = room.sessions[wanted.session_id]
    return Seat(standing.number + 1, standing.after)


def _held(wanted: Wanted, room: Room) -> AdmissionHeld | None:
    named = {"endpoint": wanted.endpoint, "agent": wanted.agent, "tenant": str(wanted.tenant_id), "class": wanted.priority_class}
    found = next(((scope, value, reason) for scope, value, reason in room.holds if named.get(scope) == value), None)
    if found is None:
        return None
    scope, value, reason = found
    return AdmissionHeld(f"Admission is held for {scope} {value}: {reason}", retry_after=RETRY_HELD)


def _saturated(wanted: Wanted, room: Room, count: _Count) -> Saturated | None:
    slots = room.slots.get(wanted.priority_class, 0)
    if count.turns < slots:
        return None
    return Saturated(f"All {slots} chat slots are taken: try again shortly.", retry_after=RETRY_SATURATED)


def _over_plan(wanted: Wanted, count: _Count) -> TooManyTurns | None:
    found = count.of[wanted.tenant_id]
    if wanted.at_once is None or found < wanted.at_once:
        return None
    return TooManyTurns(
        f"{found} turns of this tenant are open; its plan allows {wanted.at_once} at once.",
        retry_after=RETRY_SATURATED,
        limit=wanted.at_once,
        used=found,
    )


def _of_session(wanted: Wanted, room: Room, count: _Count) -> NotFound | SessionBusy | None:
    if wanted.session_id is None:
        return None
    standing = room.sessions.get(wanted.session_id)
    if standing is None or standing.tenant_id != wanted.tenant_id:
        return NotFound(f"There is no session {wanted.session_id}: leave it out to begin a new one.", field="session")
    if standing.is_busy or wanted.session_id in count.sessions:
        return busy(wanted.session_id)
    return None


def busy(session_id: UUID | None) -> SessionBusy:
    return SessionBusy(f"Session {session_id} still answers: wait for its last turn.", retry_after=RETRY_BUSY)
