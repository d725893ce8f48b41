"""Who runs now, written to `home/processes.json` at each change, so that another program can tell."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from config.kept import write_whole
from config.supervisor.identity import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One program's process, and how often it was restarted under this supervisor."""

    name: str
    process: Identity
    restarts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """A supervisor and its programs."""

    supervisor: Identity
    entries: tuple[Entry, ...] = ()

    @classmethod
    def ours(cls) -> Self:
        """Begin the roster of this very process."""
        identity = Identity.of(os.getpid())
        if identity is None:
            raise RuntimeError("this process cannot see itself in the process table")
        return cls(supervisor=identity)

    @classmethod
    def read(cls, home: Path) -> Self | None:
        """Return what the last supervisor wrote, whether or not it lives; None when it cannot be read."""
        try:
            return cls._taken_back(json.loads(_file(home).read_text()))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    @classmethod
    def _taken_back(cls, written: dict[str, Any]) -> Self:
        entries = (Entry(**{**entry, "process": Identity(**entry["process"])}) for entry in written["entries"])
        return cls(supervisor=Identity(**written["supervisor"]), entries=tuple(entries))

    def of(self, name: str) -> Entry | None:
        """Return the entry of this program."""
        return next((entry for entry in self.entries if entry.name == name), None)

    def with_started(self, name: str, pid: int) -> Self:
        """Return a roster in which this program has this process, one restart more if it had one before."""
        before = self.of(name)
        identity = Identity.of(pid) or Identity(pid=pid, created=0)
        fresh = Entry(name=name, process=identity, restarts=before.restarts + 1 if before else 0)
        others = tuple(entry for entry in self.entries if entry.name != name)
        return type(self)(supervisor=self.supervisor, entries=(*others, fresh))

    def write(self, home: Path) -> None:
        """Make it the roster that others read."""
        write_whole(_file(home), json.dumps(asdict(self), indent=1))


def forget(home: Path) -> None:
    """Nobody runs any more."""
    _file(home).unlink(missing_ok=True)


def _file(home: Path) -> Path:
    return home / "processes.json"
