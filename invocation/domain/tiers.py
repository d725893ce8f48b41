"""Which of an agent's model tiers answers a call: the best that the budget pays and the time allows. Pure; nothing is reserved here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from quota.domain.budgets import Spending
from quota.domain.resources import Resource


class Why(StrEnum):
    """Why a call was stepped down from the best tier that was asked for."""

    COST = "cost"
    LATENCY = "latency"
    QUOTA = "quota"


class Option(NamedTuple):
    """A tier that may answer: the most that its call can take, and how long it usually takes."""

    tier: str
    model: str
    most: Spending
    takes: timedelta


class Choice(NamedTuple):
    """The tier that answers, and why it is not the best that was asked for, if it is not."""

    option: Option
    why: Why | None = None


@dataclass(frozen=True, slots=True)
class TooDear:
    """No tier can be paid; `what` runs out with the cheapest of them."""

    option: Option
    what: Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Downshift:
    """One call that a cheaper tier answered."""

    wanted: str
    used: str
    why: str

    def as_json(self) -> dict[str, str]:
        return {"from": self.wanted, "to": self.used, "reason": self.why}


def choose(options: Sequence[Option], *, left: Spending, time: timedelta) -> Choice | TooDear:
    """Return the first option, best first, that fits what is left of the budget and of the time.

    Time alone refuses nothing: where no option fits it, the quickest that can be paid answers, and
    the run's own deadline decides what becomes of it.
    """
    best = options[0]
    if best.takes <= time and best.most.fits(left):
        return Choice(best)
    payable = [option for option in options if option.most.fits(left)]
    if not payable:
        cheapest = min(options, key=lambda option: option.most.usd)
        return TooDear(cheapest, cheapest.most.lacking(left) or Resource.MONEY)
    in_time = [option for option in payable if option.takes <= time]
    chosen = in_time[0] if in_time else min(payable, key=lambda option: option.takes)
    if chosen is best:
        return Choice(chosen)
    return Choice(chosen, Why.LATENCY if best in payable or chosen is not payable[0] else Why.COST)


def below(options: Sequence[Option], option: Option) -> Sequence[Option]:
    """Return the options that come after this one."""
    return options[options.index(option) + 1 :]


def patience(option: Option, *, time: timedelta, is_last: bool) -> timedelta:
    """Return how long the option's quota may be waited for: what remains beside the call itself, and where there is another
    tier at most a quarter of the time, which would be spent before that one is asked.
    """
    if is_last:
        return max(timedelta(0), time)
    return max(timedelta(0), min(time - option.takes, time / 4))
