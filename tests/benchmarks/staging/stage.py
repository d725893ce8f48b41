"""An installation that a benchmark sets up part by part: own servers, own tables, and the processes that `up` would run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg

from config import processes
from config.embedded import servers
from config.embedded.launch import Life
from config.embedded.servers import Servers
from config.env import Env, read
from config.supervisor.ending import end
from config.supervisor.leashed import leashed
from tests.installation import ROOT, free_port

ENDPOINTS = "tests.benchmarks.staging.noop"
STAGING = "tests.benchmarks.staging"
SERVERS_OF_OTHERS = frozenset({"DATABASE_URL", "REDIS_URL", "BROKER_URL", "GEARBOX_HOME"})
READY_WITHIN = timedelta(seconds=60)
LOOK_S = 0.05
TAIL = 4000


class DidNotHappen(RuntimeError):
    """What the benchmark waited for did not come; the text says what the processes wrote."""


@dataclass(slots=True)
class Client:
    """A process that submits: acts go in, answers come out."""

    name: str
    process: psutil.Popen
    stage: Stage

    def do(self, act: str, **given: Any) -> Any:
        """Let it act and return its answer. Raises DidNotHappen when it ended instead."""
        if self.process.stdin is None or self.process.stdout is None:
            raise AssertionError("a client is piped")
        self.process.stdin.write(json.dumps({"act": act, **given}) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise DidNotHappen(self.stage.told(self.name))
        return json.loads(line)


@dataclass(slots=True, kw_only=True)
class Stage:
    """What stands: servers, a session of the benchmark's own, and processes by name."""

    home: Path
    port: int
    env: Env
    environment: Mapping[str, str] = field(repr=False)
    servers: Servers = field(repr=False)
    session: psycopg.Connection[Any] = field(repr=False)
    processes: dict[str, psutil.Popen] = field(default_factory=dict)

    def start(self, program: str, *, called: str = "", **settings: str) -> psutil.Popen:
        """Start a program of `up` by its own command line; a second one of the same kind is `called` otherwise."""
        argv = processes.commands(self.env)[program]
        if called:
            argv = tuple(word.replace("@%h", f"-{called}@%h").replace("beat-schedule", f"{called}-schedule") for word in argv)
        return self.spawn(called or program, argv, settings)

    def start_bare(self, *, concurrency: int, called: str = "bare") -> psutil.Popen:
        """Start bare Celery's worker with threads, as many as ours has where that is what is compared."""
        words = ("-A", f"{STAGING}.bare", "worker", "-P", "threads", "-c", str(concurrency), "-Q", "bare", "-n", f"{called}@%h")
        return self.spawn(called, (*processes.PYTHON, "celery", "--quiet", *words, "--loglevel", "WARNING"), {})

    def client(self, module: str, *, called: str = "") -> Client:
        """Start a client process of the acts of `staging/MODULE.py`; a second one of the same module is `called` otherwise."""
        name = called or module
        argv = (*processes.PYTHON, f"{STAGING}.client", f"{STAGING}.{module}")
        client = Client(name, self.spawn(name, argv, {}, piped=True), self)
        client.answer()
        return client

    def manage(self, *words: str) -> None:
        """Run a command to its end. Raises DidNotHappen with what it said when it fails."""
        done = subprocess.run(
            [*processes.MANAGE, *words], cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode:
            raise DidNotHappen(f"manage.py {' '.join(words)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")

    def spawn(self, name: str, argv: Sequence[str], settings: Mapping[str, str], *, piped: bool = False) -> psutil.Popen:
        """Start a process that ends with this one at the latest."""
        pipe = subprocess.PIPE if piped else None
        with self._log(name).open("ab") as log:
            process: psutil.Popen = psutil.Popen(
                leashed(argv, death_signal=signal.SIGKILL, cwd=str(ROOT)),
                env={**self.environment, **settings},
                stdin=pipe or subprocess.DEVNULL,
                stdout=pipe or log,
                stderr=log,
                text=piped or None,
            )
        self.processes[name] = process
        return process

    def end(self, *names: str) -> None:
        """End these processes, gently first."""
        end([self.processes.pop(name) for name in names])

    def end_now(self, *names: str) -> None:
        """Kill these processes."""
        for name in names:
            process = self.processes.pop(name)
            process.kill()
            process.wait()

    def end_all(self) -> None:
        """Kill what is left."""
        self.end_now(*self.processes)

    def rows(self, statement: str, **given: Any) -> list[Any]:
        found = self.session.execute(statement.encode(), given)
        return found.fetchall() if found.description else []

    def value(self, statement: str, **given: Any) -> Any:
        return self.rows(statement, **given)[0][0]

    def wait(self, statement: str, *, patience: timedelta = READY_WITHIN, **given: Any) -> None:
        """Wait until the statement's first value is true. Raises DidNotHappen with what the processes wrote."""
        limit = time.monotonic() + patience.total_seconds()
        while not self.value(statement, **given):
            if time.monotonic() < limit:
                time.sleep(LOOK_S)
                continue
            raise DidNotHappen("\n".join([f"not within {patience}: {statement}", *(self.told(name) for name in self.processes)]))

    def wait_for_port(self, port: int, *, patience: timedelta = READY_WITHIN) -> None:
        """Wait until a process listens there. Raises DidNotHappen with what the processes wrote."""
        limit = time.monotonic() + patience.total_seconds()
        while time.monotonic() < limit:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(LOOK_S)
        raise DidNotHappen("\n".join([f"nobody listens on port {port}", *(self.told(name) for name in self.processes)]))

    def cpu_s(self) -> dict[str, float]:
        """Return the seconds of processor time that each process has used until now, its children included."""
        found = {name: _cpu_s(process) for name, process in self.processes.items() if process.is_running()}
        named = {"postgres": self.servers.postgres, "redis": self.servers.valkey}
        return found | {name: _cpu_s(process) for name, identity in named.items() if (process := identity.find())}

    def told(self, name: str) -> str:
        """Return the end of what a process wrote."""
        log = self._log(name)
        return f"--- {name}\n{log.read_text(errors='replace')[-TAIL:]}" if log.exists() else ""

    def _log(self, name: str) -> Path:
        return self.home / f"{name}.log"


@contextmanager
def staged(**settings: str) -> Iterator[Stage]:
    """Yield a stage with servers and tables, and nothing else running; nothing of it is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="gearbox-bench-") as folder:
        home = Path(folder)
        found = servers.start(home, life=Life.CALLERS)
        try:
            with psycopg.connect(found.database_url, autocommit=True) as session:
                session.execute("SET enable_seqscan = off")  # what we ask meanwhile should cost little
                stage = _stage(home, found, session, settings)
                stage.manage("migrate", "--noinput", "--verbosity", "0")
                try:
                    yield stage
                finally:
                    stage.end_all()
        finally:
            servers.stop(home)


def _stage(home: Path, found: Servers, session: psycopg.Connection[Any], settings: Mapping[str, str]) -> Stage:
    port = free_port()
    own = {"GEARBOX_HOME": str(home), "WEB_PORT": str(port), "ENDPOINT_MODULES": f"config.endpoints,{ENDPOINTS}", **settings}
    inherited = {name: value for name, value in os.environ.items() if name not in SERVERS_OF_OTHERS}
    env = read({**inherited, **own})
    bare = {"BARE_BROKER_URL": urlsplit(found.redis_url)._replace(path="/3").geturl()}
    told = processes.environment(env, database_url=found.database_url, redis_url=found.redis_url)
    told.pop("BROKER_URL", None)
    return Stage(home=home, port=port, env=env, environment={**told, **own, **bare}, servers=found, session=session)


def _cpu_s(process: psutil.Process) -> float:
    """Sum the process, its living children and those that it has buried."""
    family = [process, *process.children(recursive=True)]
    return sum(sum(each.cpu_times()[:4]) for each in family)
