"""Reads a server's log for why it did not start, and says what to do."""

from __future__ import annotations

from pathlib import Path

TAIL_LINES = 12

REMEDIES = (
    ("No space left on device", "free space on the disk that holds {home}, then start again"),
    ("could not bind", "another program took the port at this moment; start again"),
    ("Address already in use", "another program took the port at this moment; start again"),
    ("database files are incompatible", "the data was made by another PostgreSQL; start that one, or move {home}/postgres away"),
    ("invalid permissions", "give {home}/postgres back to the user that made it, with mode 0700"),
    ("wrong ownership", "give {home}/postgres back to the user that made it, with mode 0700"),
    ("Permission denied", "start as the user that made {home}, or move that folder away"),
    ("could not map anonymous shared memory", "give the machine more memory, or stop what uses it"),
    ("could not create shared memory", "raise the machine's shared memory limit (kernel.shmmax)"),
    ("Exec format error", "the package is made for another machine: install requirements.txt again on this one"),
    ("error while loading shared libraries", "install the library that the log names"),
    ("Bad file format reading the append only file", "restore {home}/valkey, or move it away: Gearbox loses no work by that"),
)
ELSE = "read {log}"


def tail(log: Path) -> str:
    """Return the log's last lines, empty when there is none."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-TAIL_LINES:])


def remedy(said: str, *, home: Path, log: Path) -> str:
    """Return what to do about what a server said last."""
    found = next((remedy for symptom, remedy in REMEDIES if symptom in said), ELSE)
    return found.format(home=home, log=log)
