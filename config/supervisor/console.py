"""Writes the programs' lines to one terminal, each behind its program's name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import TextIO

from config.supervisor.program import Color, Program

OWN_NAME = "up"


class Paint(StrEnum):
    """Whether names are coloured."""

    COLORED = "colored"
    PLAIN = "plain"

    @classmethod
    def suited(cls, out: TextIO, environment: Mapping[str, str]) -> Paint:
        """Color a terminal, unless NO_COLOR is set to anything."""
        return cls.COLORED if out.isatty() and not environment.get("NO_COLOR") else cls.PLAIN


class Console:
    """One stream for all programs. A terminal that went away loses lines, it stops nobody."""

    def __init__(self, out: TextIO, *, names: Iterable[str], paint: Paint) -> None:
        self._out = out
        self._width = max(map(len, (*names, OWN_NAME)))
        self._paint = paint

    def line(self, program: Program, text: str) -> None:
        """Write a line that the program wrote."""
        self._write(self._painted(program.name.ljust(self._width), program.color), text)

    def say(self, text: str) -> None:
        """Write a line of the supervisor's own."""
        self._write(OWN_NAME.ljust(self._width), text)

    def _painted(self, name: str, color: Color) -> str:
        return name if self._paint is Paint.PLAIN else f"\x1b[{color}m{name}\x1b[0m"

    def _write(self, name: str, text: str) -> None:
        with suppress(OSError, ValueError):
            self._out.write(f"{name} | {text}\n")
            self._out.flush()
