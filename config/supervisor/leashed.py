"""Builds the command line that puts a program on the leash."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

LEASH = Path(__file__).with_name("leash.py")


def leashed(argv: Sequence[str], *, death_signal: signal.Signals | None = None, **terms: str | int) -> list[str]:
    """Return the command that becomes `argv` (an absolute program first).

    With `death_signal`, the thread that runs the command must live as long as the program is wanted: the kernel
    sends the signal when that thread ends. `terms` are `uid`, `gid`, `cwd` and `nice`, taken on before the program starts.
    """
    wanted: Mapping[str, str | int] = terms
    if death_signal is not None:
        wanted = {**terms, "signal": int(death_signal), "parent": os.getpid()}
    return [sys.executable, "-I", "-S", str(LEASH), json.dumps(wanted), *argv]
