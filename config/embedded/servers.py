"""Both embedded servers of a home: start, find, stop. What runs is written to `home/servers.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from config.embedded import diagnosis, postgres, valkey
from config.embedded.errors import ServerDidNotStart, ServerName
from config.embedded.launch import Life
from config.embedded.postgres import Postgres
from config.embedded.server import SETTLING, Answer, ensure
from config.embedded.server import stop as stop_server
from config.embedded.valkey import Valkey
from config.kept import waiting_lock, write_whole
from config.supervisor.identity import Identity

KINDS: Mapping[ServerName, type[Valkey | Postgres]] = MappingProxyType({ServerName.VALKEY: Valkey, ServerName.POSTGRES: Postgres})


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """The servers as they were started: addresses with passwords, main processes, the folder of PostgreSQL's data."""

    database_url: str
    redis_url: str
    postgres: Identity
    valkey: Identity
    data: str

    @classmethod
    def read(cls, written: dict[str, Any]) -> Self:
        """Take back what was written. Raises TypeError, KeyError or AttributeError when it is something else."""
        return cls(**{**written, "postgres": Identity(**written["postgres"]), "valkey": Identity(**written["valkey"])})

    @property
    def alive(self) -> bool:
        """Whether both processes run; cheap, and no promise that they answer."""
        return bool(self.postgres.find() and self.valkey.find())

    @property
    def answering(self) -> bool:
        """Whether both serve a client that has our passwords."""
        return valkey.answer(self.redis_url) is Answer.YES and postgres.answer(self.database_url) is Answer.YES


def start(home: Path, *, life: Life = Life.LASTING) -> Servers:
    """Start what does not run and return both; running ones are left as they are. Data and ports are kept.

    Raises ServerDidNotStart. With Life.CALLERS what is started here ends with the calling thread.
    """
    home = home.resolve()
    with _named(ServerName.POSTGRES, home):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with waiting_lock(home / "servers.lock"):
            return find(home) or _started(home, life)


def stop(home: Path, *, patience: timedelta = SETTLING) -> None:
    """Stop both, also when nobody remembers having started them. Raises ServerDidNotStop; the data stays."""
    home = home.resolve()
    if not home.is_dir():
        return
    with waiting_lock(home / "servers.lock"):
        _stop(home, patience)


def find(home: Path) -> Servers | None:
    """Return both servers when they run and answer, else None. Cheap; changes nothing."""
    found = recorded(home)
    return found if found and found.alive and found.answering else None


def recorded(home: Path) -> Servers | None:
    """Return what the last start wrote, whether or not it still runs; None when it cannot be read."""
    try:
        return Servers.read(json.loads(_file(home).read_text()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _started(home: Path, life: Life) -> Servers:
    if not (home / "postgres").exists():
        home.chmod(0o700)
    try:
        found = _start(home, life)
    except ServerDidNotStart:
        if recorded(home) is None:
            _stop(home, SETTLING)
        raise
    write_whole(_file(home), json.dumps(asdict(found), indent=1))
    return found


def _start(home: Path, life: Life) -> Servers:
    with _named(ServerName.VALKEY, home):
        cache, cache_process = ensure(Valkey.under(home), life=life)
    with _named(ServerName.POSTGRES, home):
        database, database_process = ensure(Postgres.under(home), life=life)
    return Servers(
        database_url=database.url,
        redis_url=cache.url,
        postgres=database_process,
        valkey=cache_process,
        data=str(database.folder),
    )


def _stop(home: Path, patience: timedelta) -> None:
    for name, kind in KINDS.items():
        if (home / name).exists():
            stop_server(kind.under(home), patience=patience)
    _file(home).unlink(missing_ok=True)


@contextmanager
def _named(name: ServerName, home: Path) -> Iterator[None]:
    """Tell for which server a file could not be written: a full disk, another user's folder."""
    try:
        yield
    except OSError as error:
        remedy = diagnosis.remedy(str(error), home=home, log=home / f"{name}.log")
        raise ServerDidNotStart(name, reason=str(error), remedy=remedy) from error


def _file(home: Path) -> Path:
    return home / "servers.json"
