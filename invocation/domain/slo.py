"""What each priority class is held to, and when an alert opens and closes; judged from the records of its last minutes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from invocation.domain.modes import POLICIES, FailurePolicy, ModePolicy, Transport


class AlertKind(StrEnum):
    """What can be wrong. Stored with every alert, and a label of its metric."""

    DEAD_LETTER_SHARE = "dead_letter_share"
    OLDEST_AGE = "oldest_age"
    UTILISATION_HIGH = "utilisation_high"
    UTILISATION_LOW = "utilisation_low"
    DISPATCHER_SILENT = "dispatcher_silent"
    POOL_EMPTY = "pool_empty"


class Standing(StrEnum):
    """How an objective stands: between breached and kept an alert stays as it is, so that it does not flap."""

    BREACHED = "breached"
    BETWEEN = "between"
    KEPT = "kept"


DEAD_LETTERS_A_DAY = 0.0005
"""Of a day's volume at most this share may end as dead letters."""
FULLEST = 0.75
EMPTIEST = 0.65
"""Slots are well used between the two."""
BAND_MARGIN = 0.02
KEPT_BELOW = 0.8
"""An alert about a bound closes below this part of it."""
WINDOW = 10
"""Records over which use is averaged, one a minute."""
WINDOW_LASTS = timedelta(minutes=15)
LONG_SILENCE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A class at one moment. `admitted` and `finished` count since the sample before, `dead` and `volume` the last 24 hours."""

    at: datetime
    depth: int
    oldest: timedelta
    slots: int
    busy: int
    admitted: int
    finished: int
    dead: int
    volume: int
    holds: int
    """Open holds of admission, of any scope."""
    is_led: bool
    """Whether some dispatcher leads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What a class is held to."""

    priority_class: str
    oldest: timedelta
    keeps_dead_letters: bool
    is_dispatched: bool

    @classmethod
    def of(cls, terms: ModePolicy) -> Objective:
        return cls(
            priority_class=str(terms.priority_class),
            oldest=terms.oldest_wait,
            keeps_dead_letters=terms.failure is FailurePolicy.DEAD_LETTER,
            is_dispatched=terms.transport in {Transport.JOB, Transport.SCHEDULE},
        )


OBJECTIVES: Mapping[str, Objective] = MappingProxyType({str(terms.priority_class): Objective.of(terms) for terms in POLICIES.values()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How one objective of one class stands, and the figures that say so: what was found, and the bound."""

    kind: AlertKind
    priority_class: str
    standing: Standing
    sentence: str
    found: float
    bound: float


def judge(objective: Objective, samples: Sequence[Sample]) -> list[Finding]:
    """Say how each objective of a class stands. `samples` are its records, the newest last; without one there is nothing to say."""
    return [_finding(kind, objective, samples) for kind in kinds_of(objective)] if samples else []


def kinds_of(objective: Objective) -> list[AlertKind]:
    """Return the alerts that the class can have."""
    never = {AlertKind.DEAD_LETTER_SHARE: objective.keeps_dead_letters, AlertKind.DISPATCHER_SILENT: objective.is_dispatched}
    return [kind for kind in AlertKind if never.get(kind, True)]


def utilisation(samples: Sequence[Sample]) -> float | None:
    """Return the mean use of the slots over a whole window, the newest sample last; None where there is no such window."""
    window = samples[-WINDOW:]
    slots = sum(sample.slots for sample in window)
    if len(window) < WINDOW or window[-1].at - window[0].at > WINDOW_LASTS or not slots:
        return None
    return sum(sample.busy for sample in window) / slots


def dead_letter_share(sample: Sample) -> float:
    return sample.dead / sample.volume if sample.volume else 0.0


def eta(samples: Sequence[Sample], *, depth: int) -> timedelta | None:
    """Return when `depth` would be done at the pace of the last samples, the newest last; None where nothing was finished."""
    window = samples[-WINDOW:]
    finished = sum(sample.finished for sample in window[1:])
    return (window[-1].at - window[0].at) * depth / finished if finished else None


def _finding(kind: AlertKind, objective: Objective, samples: Sequence[Sample]) -> Finding:
    standing, found, bound = _RULES[kind](objective, samples)
    name = objective.priority_class
    return Finding(
        kind=kind,
        priority_class=name,
        standing=standing,
        sentence=_SENTENCES[kind].format(name=name, found=found, bound=bound),
        found=found,
        bound=bound,
    )


Ruling = tuple[Standing, float, float]
"""How it stands, what was found, and the bound."""


def _dead_letters(_: Objective, samples: Sequence[Sample]) -> Ruling:
    share = dead_letter_share(samples[-1])
    return _below(DEAD_LETTERS_A_DAY, [share]), share, DEAD_LETTERS_A_DAY


def _oldest_age(objective: Objective, samples: Sequence[Sample]) -> Ruling:
    bound = objective.oldest.total_seconds()
    ages = [sample.oldest.total_seconds() for sample in samples[-2:]]
    return _below(bound, ages), ages[-1], bound


def _below(bound: float, found: Sequence[float]) -> Standing:
    """Breached as soon as the last is above the bound; kept when all are well below it again."""
    if found[-1] > bound:
        return Standing.BREACHED
    return Standing.KEPT if max(found) <= KEPT_BELOW * bound else Standing.BETWEEN


def _too_full(_: Objective, samples: Sequence[Sample]) -> Ruling:
    used = utilisation(samples)
    if used is None:
        return _unmeasured(samples), 0.0, FULLEST
    if used > FULLEST:
        return Standing.BREACHED, used, FULLEST
    return Standing.KEPT if used <= FULLEST - BAND_MARGIN else Standing.BETWEEN, used, FULLEST


def _too_empty(_: Objective, samples: Sequence[Sample]) -> Ruling:
    """An idle class is no alert: one that works is, when it has more slots than its work needs."""
    used = utilisation(samples)
    if used is None:
        return _unmeasured(samples), 0.0, EMPTIEST
    is_idle = not any(sample.admitted or sample.busy for sample in samples[-WINDOW:])
    if is_idle or used >= EMPTIEST + BAND_MARGIN:
        return Standing.KEPT, used, EMPTIEST
    return Standing.BREACHED if used < EMPTIEST else Standing.BETWEEN, used, EMPTIEST


def _unmeasured(samples: Sequence[Sample]) -> Standing:
    """Without slots there is no use to speak of; after a gap in the records nothing is known."""
    return Standing.BETWEEN if samples[-1].slots else Standing.KEPT


def _silent(_: Objective, samples: Sequence[Sample]) -> Ruling:
    """Nobody leads, or somebody does and lets ready work stand before slots that are all free."""
    last = [_is_silent(sample) for sample in samples[-2:]]
    standing = Standing.BREACHED if all(last) and len(last) == 2 else Standing.BETWEEN if last[-1] else Standing.KEPT
    return standing, samples[-1].oldest.total_seconds(), LONG_SILENCE.total_seconds()


def _is_silent(sample: Sample) -> bool:
    stands_still = sample.slots and not (sample.busy or sample.admitted or sample.holds) and sample.oldest > LONG_SILENCE
    return not sample.is_led or bool(stands_still)


def _empty(_: Objective, samples: Sequence[Sample]) -> Ruling:
    """Workers that restart are no alert: the pool was empty at two looks in a row."""
    last = [not sample.slots and sample.depth > 0 for sample in samples[-2:]]
    standing = Standing.BREACHED if all(last) and len(last) == 2 else Standing.BETWEEN if last[-1] else Standing.KEPT
    return standing, float(samples[-1].depth), 0.0


_RULES: Mapping[AlertKind, Callable[[Objective, Sequence[Sample]], Ruling]] = MappingProxyType(
    {
        AlertKind.DEAD_LETTER_SHARE: _dead_letters,
        AlertKind.OLDEST_AGE: _oldest_age,
        AlertKind.UTILISATION_HIGH: _too_full,
        AlertKind.UTILISATION_LOW: _too_empty,
        AlertKind.DISPATCHER_SILENT: _silent,
        AlertKind.POOL_EMPTY: _empty,
    }
)
_SENTENCES: Mapping[AlertKind, str] = MappingProxyType(
    {
        AlertKind.DEAD_LETTER_SHARE: "Of the day's jobs of {name}, {found:.3%} are dead letters; the objective is {bound:.3%}.",
        AlertKind.OLDEST_AGE: "The oldest that waits in {name} has waited {found:,.0f} s; the objective is {bound:,.0f} s.",
        AlertKind.UTILISATION_HIGH: "The slots of {name} were used to {found:.0%} over ten minutes; above {bound:.0%} a surge waits.",
        AlertKind.UTILISATION_LOW: "The slots of {name} were used to {found:.0%} over ten minutes; below {bound:.0%} workers are to spare.",
        AlertKind.DISPATCHER_SILENT: "Nothing is admitted to {name}: no dispatcher leads, or the one that does stands still.",
        AlertKind.POOL_EMPTY: "{found:,.0f} wait in {name}, and no worker of that class lives.",
    }
)
