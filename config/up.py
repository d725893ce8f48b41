"""One `up`: claims the home, has servers, runs the setup commands, then supervises until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from config import listening, processes
from config.embedded import servers
from config.embedded.keeper import Keeper
from config.env import ROOT, Env
from config.kept import Held, is_held, lock
from config.supervisor.console import Console, Paint
from config.supervisor.leashed import leashed
from config.supervisor.leftovers import MARK, end_leftovers
from config.supervisor.program import Program
from config.supervisor.roster import Roster, forget
from config.supervisor.supervisor import Supervisor

STAGGER = timedelta(seconds=0.1)


class UpRefused(RuntimeError):
    """`up` cannot start; the sentence says what to do. What it had started is stopped again."""


def run(env: Env, *, only: Sequence[str], out: TextIO) -> None:
    """Run until a stop signal. Raises UpRefused or EmbeddedError; leaves no process behind either way."""
    names = chosen(env, only)
    env.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    console = Console(out, names=names, paint=Paint.suited(out, os.environ))
    try:
        with lock(lock_file(env.home)):
            _run_alone(env, names, console)
    except Held as error:
        raise UpRefused(already_up(env.home)) from error


def chosen(env: Env, only: Sequence[str]) -> list[str]:
    """Return the names to run, in starting order; all when `only` is empty. Raises UpRefused for an unknown one."""
    known = list(processes.commands(env))
    unknown = [name for name in only if name not in known]
    if unknown:
        raise UpRefused(f"no program is named {', '.join(unknown)}; there are {', '.join(known)}")
    return [name for name in known if name in only or not only]


def lock_file(home: Path) -> Path:
    """Return the file that a living `up` holds locked."""
    return home / "up.lock"


def running(home: Path) -> Roster | None:
    """Return the roster of the `up` that runs under this home, None when none does."""
    return Roster.read(home) if is_held(lock_file(home)) else None


def already_up(home: Path) -> str:
    """Say that another `up` runs, and how to stop it."""
    roster = Roster.read(home)
    return f"already up as PID {roster.supervisor.pid if roster else 'unknown'}: stop it with `manage.py down`"


def _run_alone(env: Env, names: Sequence[str], console: Console) -> None:
    end_leftovers(env.home)
    _check_ports(env, names)
    Roster.ours().write(env.home)
    try:
        with _stoppable(), _addresses(env, console) as (database_url, redis_url):
            environment = processes.environment(env, database_url=database_url, redis_url=redis_url)
            _set_up(env.home, environment, console)
            wanted = [program for program in processes.programs(env, environment=environment) if program.name in names]
            _supervise(env, wanted, console)
    except KeyboardInterrupt:
        console.say("stopped before everything was up")
    finally:
        forget(env.home)


def _supervise(env: Env, programs: Sequence[Program], console: Console) -> None:
    async def main() -> None:
        await Supervisor(programs, home=env.home, console=console, stagger=STAGGER).run()

    console.say(f"starting {', '.join(program.name for program in programs)}")
    asyncio.run(main())


def _check_ports(env: Env, names: Sequence[str]) -> None:
    wanted = {"web": ("WEB_PORT", env.web_host, env.web_port), "flower": ("FLOWER_PORT", listening.LOOPBACK, env.flower_port)}
    for name, (variable, host, port) in wanted.items():
        if name in names and not listening.is_free(port, host=host):
            raise UpRefused(_taken(variable, host, port))


def _taken(variable: str, host: str, port: int) -> str:
    holder = listening.listener(port)
    who = f"PID {holder.pid} ({' '.join(holder.cmdline())[:80]})" if holder else "another program"
    return f"port {port} is taken by {who}: stop it, or set {variable}={listening.next_free(port, host=host)}"


@contextmanager
def _addresses(env: Env, console: Console) -> Iterator[tuple[str, str]]:
    """Yield the addresses of PostgreSQL and Redis: those given, else those of embedded servers that live as long."""
    remembered = servers.recorded(env.home)
    database_url = _given("DATABASE_URL", env.database_url, remembered.database_url if remembered else None)
    redis_url = _given("REDIS_URL", env.redis_url, remembered.redis_url if remembered else None)
    if database_url and redis_url:
        yield database_url, redis_url
        return
    console.say("starting the embedded PostgreSQL and Valkey")
    with Keeper(env.home, say=console.say, moved=_stop_for_a_new_address(console)) as keeper:
        found = keeper.servers()
        yield database_url or found.database_url, redis_url or found.redis_url


def _given(variable: str, url: str | None, remembered: str | None) -> str | None:
    """Return the URL if it comes from outside, not from our own servers. Raises UpRefused when nobody is there."""
    if url is None or url == remembered:
        return None
    if not listening.accepts(url):
        raise UpRefused(f"nobody answers at the address in {variable}: start that server, or unset {variable} to use the embedded one")
    return url


def _stop_for_a_new_address(console: Console) -> Callable[[], None]:
    def moved() -> None:
        console.say("another program took an embedded server's port; stopping, `manage.py up` goes on at the new one")
        os.kill(os.getpid(), signal.SIGTERM)

    return moved


def _set_up(home: Path, environment: Mapping[str, str], console: Console) -> None:
    for words in processes.SETUP:
        console.say(f"manage.py {' '.join(words)}")
        code = _run_to_the_end([*processes.MANAGE, *words], {**environment, MARK: str(home)}, console)
        if code:
            raise UpRefused(f"`manage.py {' '.join(words)}` ended with code {code}: its lines above say why")


def _run_to_the_end(argv: Sequence[str], environment: Mapping[str, str], console: Console) -> int:
    command = leashed(argv, death_signal=signal.SIGKILL, cwd=str(ROOT))
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:  # noqa: S603
        try:
            for line in child.stdout or ():
                console.say(line.rstrip())
            return child.wait()
        finally:
            child.kill()


@contextmanager
def _stoppable() -> Iterator[None]:
    """Until the supervisor listens itself, take SIGTERM and SIGHUP like Ctrl-C."""
    before = {signum: signal.signal(signum, _interrupt) for signum in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _interrupt(_signum: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
