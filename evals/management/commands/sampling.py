"""`manage.py sampling`: shows or sets what share of each mode's runs is judged."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

POLICY = "policy"


class Command(BaseCommand):
    help = "Show the share of runs that is judged by mode, or set it for every mode: a number from 0 to 1, or `policy`."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("share", nargs="?", type=_share, help="0 to 1, or `policy` for the mode table's own")

    def handle(self, *_: Any, share: float | str | None, **__: Any) -> None:
        from evals import selectors
        from evals.services import shares
        from invocation.domain.modes import Mode

        for mode in Mode:
            if isinstance(share, float):
                shares.choose(mode, share)
            elif share == POLICY:
                shares.follow_policy(mode)
        for mode, judged in selectors.shares().items():
            self.stdout.write(f"{mode}: {judged:.0%}")


def _share(text: str) -> float | str:
    if text == POLICY:
        return text
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number from 0 to 1 nor `policy`")
    return found
