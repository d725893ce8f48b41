"""What the supervisor runs, and the rule by which it waits before it runs it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

FIRST_PAUSE = timedelta(seconds=0.5)
LONGEST_PAUSE = timedelta(seconds=10)
STEADY = timedelta(seconds=30)


class Color(StrEnum):
    """The terminal's code for a program's name."""

    CYAN = "36"
    GREEN = "32"
    YELLOW = "33"
    MAGENTA = "35"
    BLUE = "34"
    RED = "31"
    BRIGHT_CYAN = "96"
    BRIGHT_GREEN = "92"
    BRIGHT_YELLOW = "93"
    BRIGHT_MAGENTA = "95"
    BRIGHT_BLUE = "94"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A command that should always run: `argv[0]` is an absolute path, `env` the whole environment.

    When it is to stop it has `grace` to do so by itself. It gives way to others on a busy machine by its `niceness` (nice(2)).
    """

    name: str
    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(repr=False)
    color: Color = Color.CYAN
    grace: timedelta = timedelta(seconds=10)
    niceness: int = 0


def pause_before_restart(last: timedelta | None, *, ran: timedelta) -> timedelta:
    """Restart at once first, then after a pause that doubles, until it once ran steadily."""
    if last is None or ran >= STEADY:
        return timedelta()
    return min(max(2 * last, FIRST_PAUSE), LONGEST_PAUSE)
