"""How much memory processes hold, in megabytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psutil

MEGABYTE = 1_000_000


def tree(process: psutil.Process) -> list[psutil.Process]:
    """Return the process with its descendants."""
    return [process, *process.children(recursive=True)]


def resident_mb(processes: Sequence[psutil.Process]) -> float:
    """Sum RSS, which counts shared pages once for each process."""
    return float(sum(process.memory_info().rss for process in processes)) / MEGABYTE


def proportional_mb(processes: Sequence[psutil.Process]) -> float:
    """Sum PSS, which divides shared pages among those that share; RSS where the system does not tell it."""
    return sum(_proportional(process) for process in processes) / MEGABYTE


def _proportional(process: psutil.Process) -> int:
    rollup = Path(f"/proc/{process.pid}/smaps_rollup")
    if not rollup.exists():
        return int(process.memory_info().rss)
    line = next(line for line in rollup.read_text().splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) * 1024
