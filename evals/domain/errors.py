"""Why an answer has no score and why a baseline stays as it is."""

from __future__ import annotations


class EvalsError(Exception):
    """The base of all refusals here. Nothing was changed."""

    code = "evals_error"


class Unjudgeable(EvalsError):
    """A rubric without weight, or a criterion that answered with something other than 0 to 1."""

    code = "unjudgeable"


class TooFewScores(EvalsError):
    """A baseline is proposed from real runs, and there are not enough of them yet."""

    code = "too_few_scores"


class NothingProposed(EvalsError):
    """Only a proposed baseline can be accepted."""

    code = "nothing_proposed"
