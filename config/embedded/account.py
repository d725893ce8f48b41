"""As whom PostgreSQL runs: it refuses root, so root hands it to an account without rights."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from config.embedded.errors import ServerDidNotStart, ServerName

CANDIDATES = ("postgres", "nobody", "daemon")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user and its first group."""

    uid: int
    gid: int

    def owns(self, path: Path) -> None:
        """Make `path` this account's. Needs root."""
        os.chown(path, self.uid, self.gid)

    def reaches(self, path: Path) -> bool:
        """Tell whether the account may pass through every folder down to `path` and enter or run it."""
        real = path.resolve()
        return all(self._may_pass(folder) for folder in (real, *real.parents))

    def _may_pass(self, path: Path) -> bool:
        found = path.stat()
        if found.st_uid == self.uid:
            return bool(found.st_mode & stat.S_IXUSR)
        if found.st_gid == self.gid:
            return bool(found.st_mode & stat.S_IXGRP)
        return bool(found.st_mode & stat.S_IXOTH)


def account_for(data: Path) -> Account | None:
    """Return whom to run as: nobody else unless we are root, then the data's owner or an account without rights.

    Raises ServerDidNotStart when root has no such account.
    """
    if os.geteuid() != 0:
        return None
    return _owner(data) or _without_rights()


def _owner(data: Path) -> Account | None:
    if not data.exists():
        return None
    found = data.stat()
    return Account(uid=found.st_uid, gid=found.st_gid) if found.st_uid else None


def _without_rights() -> Account:
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in CANDIDATES:
        if name in known:
            return Account(uid=known[name].pw_uid, gid=known[name].pw_gid)
    raise ServerDidNotStart(
        ServerName.POSTGRES,
        reason="it may not run as root, and this system has no account without rights to run it as",
        remedy=f"add one named {' or '.join(CANDIDATES)} (useradd --system postgres), or start as another user",
    )
