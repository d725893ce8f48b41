"""Makes a PostgreSQL cluster, whole or not at all, and changes it while no server runs on it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from config.embedded import diagnosis
from config.embedded.account import Account
from config.embedded.errors import ServerDidNotStart, ServerName
from config.embedded.launch import plain_environment
from config.kept import write_whole

OWNER = "gearbox"
DATABASE = "gearbox"
LOCALE = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")


def make_cluster(data: Path, *, programs: Path, account: Account | None, password: str) -> None:
    """Make `data` with our role and database, unless it exists. A crash on the way leaves no `data`."""
    if data.exists():
        return
    fresh = _fresh_folder(data, account)
    password_file = fresh.with_name(f"{fresh.name}-password")
    try:
        _give(password_file, password, account)
        access = ("--auth=scram-sha-256", f"--username={OWNER}", f"--pwfile={password_file}")
        _run([str(programs / "initdb"), "-D", str(fresh), *LOCALE, *access], account=account, cwd=data.parent)
        _alone(fresh, f"CREATE DATABASE {DATABASE}", programs=programs, account=account)
        fresh.rename(data)
    finally:
        password_file.unlink(missing_ok=True)


def set_password(data: Path, *, programs: Path, account: Account | None, password: str) -> None:
    """Make `password` the role's password."""
    _alone(data, f"ALTER ROLE {OWNER} PASSWORD '{password}'", programs=programs, account=account)


def _fresh_folder(data: Path, account: Account | None) -> Path:
    fresh = data.with_name(f"{data.name}-new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if account:
        account.owns(fresh)
    return fresh


def _give(path: Path, text: str, account: Account | None) -> None:
    write_whole(path, text)
    if account:
        account.owns(path)


def _alone(data: Path, statement: str, *, programs: Path, account: Account | None) -> None:
    """Run one statement without a server; the statement goes by standard input, out of the process table."""
    argv = [str(programs / "postgres"), "--single", "-D", str(data), "-c", "exit_on_error=on", "postgres"]
    _run(argv, account=account, cwd=data.parent, typed=statement)


def _run(argv: Sequence[str], *, account: Account | None, cwd: Path, typed: str = "") -> None:
    try:
        done = subprocess.run(
            argv,
            input=typed,
            cwd=cwd,
            env=plain_environment(),
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise _failure(argv, str(error), cwd) from error
    if done.returncode:
        raise _failure(argv, f"{done.stdout}\n{done.stderr}".strip(), cwd)


def _failure(argv: Sequence[str], said: str, home: Path) -> ServerDidNotStart:
    return ServerDidNotStart(
        ServerName.POSTGRES,
        reason=f"{Path(argv[0]).name} failed",
        remedy=diagnosis.remedy(said, home=home, log=home / "postgres.log"),
        log_tail="\n".join(said.splitlines()[-diagnosis.TAIL_LINES :]),
    )
