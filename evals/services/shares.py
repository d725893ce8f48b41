"""Sampling shares: what an operator wants judged of each mode."""

from __future__ import annotations

from evals.models import SamplingShare
from invocation.domain.modes import Mode


def choose(mode: Mode, share: float) -> None:
    """Judge this share of the mode's runs from the next tick on, whatever the mode table says."""
    SamplingShare.objects.update_or_create(mode=mode, defaults={"share": share})


def follow_policy(mode: Mode) -> None:
    """Judge the mode table's share again."""
    SamplingShare.objects.filter(mode=mode).delete()
