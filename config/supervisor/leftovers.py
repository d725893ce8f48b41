"""Finds and ends what an earlier supervisor of the same home left running, whoever its parent is now."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import psutil

from config.supervisor.ending import GENTLY, Force, end
from config.supervisor.roster import Roster

# Every program and all it starts inherits this; no pid that was reused by another program has it.
MARK = "GEARBOX_SUPERVISED_UNDER"


def end_leftovers(home: Path, *, by: Sequence[Force] = GENTLY) -> list[int]:
    """End them and return their pids. Only to be called while no supervisor of this home lives."""
    found = find_leftovers(home)
    end(found, by=by)
    return [process.pid for process in found]


def find_leftovers(home: Path) -> list[psutil.Process]:
    """Find living processes that carry this home's mark or stand in its roster, none of them above us."""
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    listed = {process.pid: process for process in _listed(home)}
    marked = {process.pid: process for process in psutil.process_iter() if _is_marked(process, str(home))}
    return [process for pid, process in (listed | marked).items() if pid not in ours]


def _listed(home: Path) -> list[psutil.Process]:
    roster = Roster.read(home)
    found = [entry.process.find() for entry in roster.entries] if roster else []
    return [process for process in found if process]


def _is_marked(process: psutil.Process, home: str) -> bool:
    try:
        return process.environ().get(MARK) == home
    except (psutil.Error, OSError):
        return False
