"""Runs one benchmark by name, or all; ends with 1 if a target was missed."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import cast

from rich.console import Console

from tests.benchmarks.figure import Figure

NOT_BENCHMARKS = frozenset({"__init__", "__main__", "figure", "installed"})


def main(asked: list[str]) -> int:
    unknown = [name for name in asked if name not in names()]
    if unknown:
        print(f"no benchmark is named {', '.join(unknown)}; there are {', '.join(names())}", file=sys.stderr)
        return 2
    held = [_show(name) for name in asked or names()]
    return 0 if all(held) else 1


def names() -> list[str]:
    """Return the names of all benchmarks: each is a module with `run() -> Figure`."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NOT_BENCHMARKS)


def _show(name: str) -> bool:
    found = cast(Figure, import_module(f"tests.benchmarks.{name}").run())
    found.show(Console())
    return found.ok


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
