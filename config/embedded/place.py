"""Where PostgreSQL's data and programs lie when the account it runs as cannot reach ours."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from config.embedded.account import Account
from config.embedded.binaries import POSTGRES_INSTALL, postgres_package, postgres_release
from config.embedded.errors import ServerDidNotStart, ServerName

SYSTEM_FOLDERS = (Path("/var/lib"), Path("/var/tmp"), Path(tempfile.gettempdir()))  # noqa: S108 - the last resorts


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The data folder (absolute, without links) and the folder of programs."""

    data: Path
    programs: Path


def find_place(home: Path, *, account: Account | None) -> Place:
    """Return a place that the account can reach. Raises ServerDidNotStart when there is none.

    The data is `home/postgres`, or a folder of the system to which `home/postgres` then links.
    """
    data = _data(home, account)
    return Place(data=data, programs=_programs(data.parent, account) / POSTGRES_INSTALL / "bin")


def _data(home: Path, account: Account | None) -> Path:
    kept = home / "postgres"
    if kept.is_symlink() and kept.resolve().parent.exists():
        return kept.resolve()
    if kept.is_symlink():
        kept.unlink()
    if account is None or _opened(home, account):
        return kept
    return _elsewhere(kept, account)


def _opened(home: Path, account: Account) -> bool:
    """Let the account's group pass through home, unless a folder above is closed to it anyway."""
    if not account.reaches(home.parent):
        return False
    os.chown(home, -1, account.gid)
    home.chmod(0o710)
    return True


def _elsewhere(kept: Path, account: Account) -> Path:
    if kept.exists():
        raise _unreachable(kept)
    folder = _system_folder(kept, account)
    account.owns(folder)
    kept.symlink_to(folder / "postgres")
    return folder / "postgres"


def _system_folder(kept: Path, account: Account) -> Path:
    for parent in SYSTEM_FOLDERS:
        if parent.is_dir() and os.access(parent, os.W_OK) and account.reaches(parent):
            return Path(tempfile.mkdtemp(prefix="gearbox-", dir=parent)).resolve()
    raise _unreachable(kept)


def _unreachable(path: Path) -> ServerDidNotStart:
    return ServerDidNotStart(
        ServerName.POSTGRES,
        reason=f"it may not run as root, and the account it runs as cannot reach {path}",
        remedy="set GEARBOX_HOME to a folder below which others may pass (chmod o+x on each folder above), or start as another user",
    )


def _programs(beside: Path, account: Account | None) -> Path:
    """Return the package's folder, or a whole copy of what runs when the account cannot reach the package."""
    package = postgres_package()
    if account is None or account.reaches(package / POSTGRES_INSTALL / "bin" / "postgres"):
        return package
    copy = beside / f"programs-{postgres_release()}" / package.name
    if not copy.exists():
        _copy(package, copy)
    return copy


def _copy(package: Path, target: Path) -> None:
    """Copy programs and the libraries beside the package, which they look up by relative path; all or nothing."""
    fresh = Path(tempfile.mkdtemp(prefix=".programs-", dir=target.parent.parent))
    fresh.chmod(0o755)
    shutil.copytree(package / POSTGRES_INSTALL, fresh / package.name / POSTGRES_INSTALL, ignore=shutil.ignore_patterns("*.a", "include"))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, fresh / libraries.name)
    fresh.replace(target.parent)
