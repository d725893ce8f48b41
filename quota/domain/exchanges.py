"""What a process and the quota store say to one another about one model: words out, answers back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum

from quota.domain.classes import PriorityClass

ORDER = tuple(PriorityClass)
Arg = str | int


def number_of(priority_class: PriorityClass) -> int:
    return ORDER.index(priority_class)


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """Ask for at least and at most so much. A block is charged `ahead` slots later: at its expiry, the last moment of its use."""

    priority_class: PriorityClass
    tokens: int
    least_tokens: int
    requests: int = 1
    least_requests: int = 1
    ahead: int = 0

    @property
    def args(self) -> tuple[Arg, ...]:
        return (
            "want",
            number_of(self.priority_class),
            self.tokens,
            self.requests,
            self.least_tokens,
            self.least_requests,
            self.ahead,
        )


NOW = -1
"""The slot of the exchange itself."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was charged: the slot, the slot of the moment at which it was granted, and under which generation."""

    slot: int
    granted: int
    generation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Charge more (now) or give back (to where it was charged)."""

    priority_class: PriorityClass
    place: Place
    tokens: int
    requests: int

    @property
    def args(self) -> tuple[Arg, ...]:
        return ("change", number_of(self.priority_class), self.place.slot, self.place.granted, self.tokens, self.requests)

    @property
    def gives_back(self) -> bool:
        return self.tokens < 0 or self.requests < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """A block ends: what it held leaves its slot, what was used of it stands from now on."""

    priority_class: PriorityClass
    place: Place
    tokens: int
    requests: int
    used_tokens: int
    used_requests: int

    @property
    def args(self) -> tuple[Arg, ...]:
        place = self.place
        used = (self.used_tokens, self.used_requests)
        return ("close", number_of(self.priority_class), place.slot, place.granted, self.tokens, self.requests, *used)


@dataclass(frozen=True, slots=True)
class Leave:
    """Nobody of the class waits here any more."""

    priority_class: PriorityClass

    @property
    def args(self) -> tuple[Arg, ...]:
        return ("leave", number_of(self.priority_class))


@dataclass(frozen=True, slots=True)
class Answered:
    """The provider answered a call."""

    is_probe: bool = False

    @property
    def args(self) -> tuple[Arg, ...]:
        return ("answered", int(self.is_probe))


@dataclass(frozen=True, slots=True)
class Failed:
    """The provider failed a call: unreachable, 5xx, silent or cut."""

    is_probe: bool = False
    retry_after: timedelta = timedelta(0)

    @property
    def args(self) -> tuple[Arg, ...]:
        return ("failed", int(self.is_probe), milliseconds(self.retry_after))


@dataclass(frozen=True, slots=True)
class Slow:
    """The provider answered 429."""

    retry_after: timedelta

    @property
    def args(self) -> tuple[Arg, ...]:
        return ("slow", milliseconds(self.retry_after))


@dataclass(frozen=True, slots=True)
class Silent:
    """A probe ended without a word of the provider: let another one go."""

    @property
    def args(self) -> tuple[Arg, ...]:
        return ("silent",)


Word = Want | Change | Close | Leave | Answered | Failed | Slow | Silent


class Status(IntEnum):
    """What became of a want."""

    FULL = 0
    GRANTED = 1
    PROBE = 2
    OPEN = 3
    SHUT = 4


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one want: what was granted and where, or how long to wait."""

    status: Status
    figure: int
    tokens: int
    requests: int

    @property
    def is_granted(self) -> bool:
        return self.status in {Status.GRANTED, Status.PROBE}

    @property
    def wait(self) -> timedelta:
        return timedelta(0) if self.is_granted else timedelta(milliseconds=self.figure)


@dataclass(frozen=True, slots=True)
class Answer:
    """The store's answer to one exchange. `failures` is how many calls in a row the provider has failed."""

    generation: str
    slot: int
    failures: int
    verdicts: tuple[Verdict, ...]


def milliseconds(length: timedelta) -> int:
    return round(length.total_seconds() * 1000)
