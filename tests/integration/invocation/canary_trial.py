"""More versions of the trial: one that could be its canary, and two that could not."""

from __future__ import annotations

from agents.domain.contract import Criterion, Rubric, agent
from tests.integration.invocation.trial import RUBRIC, Trial, no_curses

OTHER = Rubric(name="other", version=1, criteria=(Criterion(name="there", question="Is it?", weight=1.0, measure=lambda _: 1.0),))


@agent("trial", version=2, rubric=RUBRIC, verifiers=(no_curses,))
class Second(Trial):
    """A version beside the first."""


@agent("trial", version=3, rubric=OTHER, verifiers=(no_curses,))
class Third(Trial):
    """A version that is judged by something else."""


ENDPOINTS = ()
