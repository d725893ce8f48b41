"""PostgreSQL 18 under home: durable, small, reached by password on the loopback, never as root."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Self

import psycopg

from config.embedded import initdb
from config.embedded.account import Account, account_for
from config.embedded.errors import ServerName
from config.embedded.launch import Launch
from config.embedded.place import find_place
from config.embedded.ports import choose_port, kept_port
from config.embedded.server import Answer
from config.kept import secret
from config.listening import LOOPBACK
from config.supervisor.ending import Force

SETTINGS = (
    f"listen_addresses={LOOPBACK}",
    "unix_socket_directories=",
    "max_connections=200",
    "shared_buffers=256MB",
    "max_wal_size=2GB",
    "jit=off",
    "log_checkpoints=off",
    "log_line_prefix=%m [%p] ",
    "timezone=UTC",
    "log_timezone=UTC",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """The PostgreSQL of one home; `port` is 0 before the first start."""

    home: Path
    folder: Path
    programs: Path
    account: Account | None
    port: int
    password: str
    name: ServerName = ServerName.POSTGRES

    @classmethod
    def under(cls, home: Path) -> Self:
        """Read what is kept of it, and find a place for it. Raises ServerDidNotStart when there is none."""
        account = account_for(home / "postgres")
        place = find_place(home, account=account)
        return cls(
            home=home,
            folder=place.data,
            programs=place.programs,
            account=account,
            port=kept_port(home, ServerName.POSTGRES),
            password=secret(home, "postgres_password"),
        )

    @property
    def url(self) -> str:
        return f"postgresql://{initdb.OWNER}:{self.password}@{LOOPBACK}:{self.port}/{initdb.DATABASE}"

    @property
    def log(self) -> Path:
        return self.home / "postgres.log"

    def prepared(self) -> Self:
        """Make the cluster at the first start, and drop a pid file that a hard kill left.

        Only called when no process works in the folder, so that whoever has that pid now is another program.
        """
        initdb.make_cluster(self.folder, programs=self.programs, account=self.account, password=self.password)
        (self.folder / "postmaster.pid").unlink(missing_ok=True)
        return replace(self, port=choose_port(self.home, self.name))

    def readmit(self) -> None:
        initdb.set_password(self.folder, programs=self.programs, account=self.account, password=self.password)

    def launch(self) -> Launch:
        settings = [part for setting in (f"port={self.port}", *SETTINGS) for part in ("-c", setting)]
        return Launch(
            argv=(str(self.programs / "postgres"), "-D", str(self.folder), *settings),
            folder=self.folder,
            log=self.log,
            clean_stop=signal.SIGINT,
            account=self.account,
        )

    def answer(self) -> Answer:
        return answer(self.url) if self.port else Answer.NOT_YET

    def stopping(self, patience: timedelta) -> Sequence[Force]:
        """Disconnect everyone and checkpoint (SIGINT), else leave the rest to recovery (SIGQUIT)."""
        return (Force(signal.SIGINT, patience), Force(signal.SIGQUIT, timedelta(seconds=2)))


def answer(url: str) -> Answer:
    """Ask the server at this address whether it serves us, within two seconds."""
    try:
        with psycopg.connect(url, connect_timeout=2, sslmode="disable", gssencmode="disable") as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        return Answer.STRANGER if "password authentication failed" in str(error) else Answer.NOT_YET
    return Answer.YES
