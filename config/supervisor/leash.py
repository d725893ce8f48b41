"""Becomes another program that dies with its parent: run as a script between fork and exec, imports little.

`leash.py '{"parent": 12, "signal": 9, ...}' PROGRAM ARGUMENTS...`; every key of the first argument is optional.
The death signal is asked for after the change of user, because the kernel forgets it there.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
from typing import Any

PR_SET_PDEATHSIG = 1
COULD_NOT_BECOME = 127


def become(
    argv: list[str], *, parent: int = 0, signal: int = 0, uid: int | None = None, gid: int | None = None, cwd: str = "", nice: int = 0
) -> None:
    """Replace this process by `argv`, or raise OSError. With `signal`, it is sent when the parent thread dies."""
    libc = ctypes.CDLL(None, use_errno=True)
    if nice:
        _give_way(nice)
    if cwd:
        os.chdir(cwd)
    if uid is not None and gid is not None:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if signal and sys.platform == "linux":
        libc.prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0)
        _leave_if_orphaned(parent)
    os.execv(argv[0], argv)  # noqa: S606


def _give_way(nice: int) -> None:
    """Be nice to other processes. Where the kernel weighs whole sessions against each other, a leader's has to be: sched(7), autogroup."""
    os.nice(nice)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as group:  # noqa: PTH123  (imports little)
            group.write(str(nice))


def _leave_if_orphaned(parent: int) -> None:
    """The parent may have died before the kernel was asked to tell."""
    if os.getppid() != parent:
        sys.exit(COULD_NOT_BECOME)


def main(terms: str, argv: list[str]) -> None:
    wanted: dict[str, Any] = json.loads(terms)
    try:
        become(argv, **wanted)
    except OSError as error:
        sys.stderr.write(f"cannot run {argv[0]}: {error}\n")
        sys.exit(COULD_NOT_BECOME)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
