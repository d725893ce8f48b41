"""Ends processes by rising force, and waits until they are really gone."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import psutil

from config.supervisor.identity import is_alive

POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Force:
    """One signal, and how long to wait for it to work."""

    signal: signal.Signals
    patience: timedelta


GENTLY = (Force(signal.SIGTERM, timedelta(seconds=10)), Force(signal.SIGKILL, timedelta(seconds=2)))
AT_ONCE = (Force(signal.SIGKILL, timedelta(seconds=2)),)


def end(processes: Iterable[psutil.Process], *, by: Sequence[Force] = GENTLY) -> list[psutil.Process]:
    """Signal all that live, wait, go on with the next force. Returns those that survived even the last."""
    left = [process for process in processes if is_alive(process)]
    for force in by:
        for process in left:
            send(process, force.signal)
        left = wait_gone(left, patience=force.patience)
    return left


def send(process: psutil.Process, signum: signal.Signals) -> None:
    """Signal this very process; one that is gone, or whose pid means another by now, is left alone."""
    with suppress(psutil.Error):
        process.send_signal(signum)


def wait_gone(processes: Sequence[psutil.Process], *, patience: timedelta) -> list[psutil.Process]:
    """Return those that still live when all ended or patience ran out."""
    left = list(processes)

    def all_gone() -> bool:
        left[:] = [process for process in left if is_alive(process)]
        return not left

    until(all_gone, patience=patience)
    return left


def until(holds: Callable[[], bool], *, patience: timedelta) -> bool:
    """Poll a condition; False when patience ran out first."""
    limit = time.monotonic() + patience.total_seconds()
    while not holds():
        if time.monotonic() >= limit:
            return False
        time.sleep(POLL_S)
    return True
