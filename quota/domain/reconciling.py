"""The ledger against what a provider reports: what differs, by how much, and whether our own estimates explain it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from quota.domain.usage import Figures


class Key(NamedTuple):
    """What both sides are summed by. Days are days in UTC."""

    day: date
    provider: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What a provider says of one day and model; no requests and no cost where it names none."""

    requests: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cost_usd: Decimal | None = None


class Verdict(StrEnum):
    """What is to be thought of a day and model."""

    AGREES = "agrees"
    EXPLAINED = "explained"
    """It differs by no more than what was estimated: streams that broke off before the provider said what they used."""
    BEYOND = "beyond tolerance"
    UNBOOKED = "not in the ledger"
    UNREPORTED = "not reported"


FLAGGED = frozenset({Verdict.BEYOND, Verdict.UNBOOKED, Verdict.UNREPORTED})


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far the sides may be apart: a part of what is reported, and so many tokens where that is little."""

    share: Decimal = Decimal("0.01")
    tokens: int = 100

    def allows(self, difference: Decimal | int, *, of: Decimal | int, slack: Decimal | int) -> bool:
        return abs(Decimal(difference)) <= max(self.share * Decimal(of), Decimal(slack))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Both sides of a day and model; what is missing from one is None."""

    key: Key
    ours: Figures | None
    theirs: Reported | None
    verdict: Verdict

    @property
    def is_flagged(self) -> bool:
        return self.verdict in FLAGGED

    @property
    def tokens(self) -> int:
        """What the provider reports above the ledger; below zero what it lacks."""
        theirs = self.theirs.input_tokens + self.theirs.output_tokens if self.theirs else 0
        return theirs - (self.ours.tokens if self.ours else 0)

    @property
    def cost_usd(self) -> Decimal | None:
        """As tokens, in money; None where the provider names no cost."""
        if self.theirs is not None and self.theirs.cost_usd is None:
            return None
        theirs = self.theirs.cost_usd if self.theirs else None
        return (theirs or Decimal(0)) - (self.ours.cost_usd if self.ours else Decimal(0))


def compare(ours: Mapping[Key, Figures], theirs: Mapping[Key, Reported], *, tolerance: Tolerance) -> list[Difference]:
    """Return every day and model of both sides, the newest first.

    Of the ledger only those count that a report should have: of a provider that reported, from its first day to its last.
    """
    keys = {*theirs, *_reportable(ours, theirs)}
    return [_difference(key, ours.get(key), theirs.get(key), tolerance) for key in sorted(keys, key=_newest_first)]


def _reportable(ours: Mapping[Key, Figures], theirs: Mapping[Key, Reported]) -> list[Key]:
    days: dict[str, list[date]] = {}
    for key in theirs:
        days.setdefault(key.provider, []).append(key.day)
    return [key for key in ours if key.provider in days and min(days[key.provider]) <= key.day <= max(days[key.provider])]


def _newest_first(key: Key) -> tuple[int, str, str]:
    return -key.day.toordinal(), key.provider, key.model


def _difference(key: Key, ours: Figures | None, theirs: Reported | None, tolerance: Tolerance) -> Difference:
    return Difference(key=key, ours=ours, theirs=theirs, verdict=_verdict(ours, theirs, tolerance))


def _verdict(ours: Figures | None, theirs: Reported | None, tolerance: Tolerance) -> Verdict:
    if theirs is None:
        return Verdict.UNREPORTED
    if ours is None:
        within = tolerance.allows(theirs.input_tokens + theirs.output_tokens, of=0, slack=tolerance.tokens)
        return Verdict.AGREES if within else Verdict.UNBOOKED
    if _is_within(ours, theirs, tolerance, tokens=0, usd=Decimal(0)):
        return Verdict.AGREES
    explained = _is_within(ours, theirs, tolerance, tokens=ours.estimated_tokens, usd=ours.estimated_usd)
    return Verdict.EXPLAINED if explained else Verdict.BEYOND


def _is_within(ours: Figures, theirs: Reported, tolerance: Tolerance, *, tokens: int, usd: Decimal) -> bool:
    """Say whether calls, tokens in and out and money agree, when so much of the latter is not known for sure.

    No estimate explains a call that only one side knows.
    """
    if theirs.requests and not tolerance.allows(theirs.requests - ours.calls, of=theirs.requests, slack=0):
        return False
    slack = tolerance.tokens
    pairs = ((ours.input_tokens, theirs.input_tokens), (ours.output_tokens, theirs.output_tokens))
    agree = all(tolerance.allows(max(0, abs(there - here) - tokens), of=there, slack=slack) for here, there in pairs)
    if theirs.cost_usd is None:
        return agree
    return agree and tolerance.allows(max(Decimal(0), abs(theirs.cost_usd - ours.cost_usd) - usd), of=theirs.cost_usd, slack=0)
