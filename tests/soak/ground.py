"""An installation that is hurt: servers and processes that can be killed, frozen, wiped and started again one by one."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
import psycopg
import redis

from config.embedded import servers
from config.embedded.launch import Life
from tests.benchmarks.staging.stage import Stage, staged
from tests.soak.effects import Effects, serving

ERRAND = "tests.soak.errand"
LEASE_S = 4
SETTINGS = {
    "ENDPOINT_MODULES": f"config.endpoints,{ERRAND}",
    "SLOTS": "p1=8",
    "LEASE_S": str(LEASE_S),
    "HEARTBEAT_S": "1",
    "DRAIN_S": "1",
}
PROGRAMS = {
    "worker-p1": "worker-p1",
    "worker-p1-b": "worker-p1",
    "dispatcher": "dispatcher",
    "dispatcher-b": "dispatcher",
    "beat": "beat",
    "beat-b": "beat",
    "worker-control": "worker-control",
    "web": "web",
}
WORKERS = ("worker-p1", "worker-p1-b")
LIVE = "SELECT count(*) FROM invocation_process WHERE priority_class = 'p1' AND slots > 0 AND lease_until > now() AND NOT is_draining"


@dataclass(slots=True)
class Site:
    """A stage, and by name the programs that run on it."""

    stage: Stage
    programs: Mapping[str, str]

    def start(self, name: str) -> None:
        self.stage.start(self.programs[name], called=name)

    def kill(self, name: str, *, by: signal.Signals = signal.SIGKILL) -> None:
        """Signal a program, wait until it is gone, and start another in its place."""
        process = self.stage.processes[name]
        process.send_signal(by)
        process.wait(timeout=30)
        self.start(name)

    def tend(self) -> None:
        """Start again what ended by itself, as any supervisor of processes does, and say with what code it had ended."""
        for name, process in list(self.stage.processes.items()):
            if process.poll() is not None:
                sys.stdout.write(f"{name} had ended with {process.returncode}\n")
                self.start(name)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        process = psutil.Process(self.stage.processes[name].pid)
        process.suspend()
        try:
            yield
        finally:
            process.resume()

    def freeze(self, name: str, *, for_s: float) -> None:
        with self.frozen(name):
            time.sleep(for_s)

    def flush(self) -> None:
        with redis.Redis.from_url(self.stage.servers.redis_url) as store:
            store.flushall()

    def restart_redis(self) -> None:
        self._restart("valkey", signal.SIGKILL)

    def restart_postgres(self) -> None:
        """Stop it as a crash does (an immediate shutdown) and start it again."""
        self._restart("postgres", signal.SIGQUIT)

    def _restart(self, server: str, by: signal.Signals) -> None:
        found = getattr(self.stage.servers, server).find()
        assert found is not None
        found.send_signal(by)
        psutil.wait_procs([found], timeout=30)
        self.stage.servers = servers.start(self.stage.home, life=Life.CALLERS)

    def rows(self, statement: str, **given: Any) -> list[Any]:
        """Ask over a session of the moment: the one before may have died with the server."""
        with psycopg.connect(self.stage.servers.database_url, autocommit=True) as session:
            return session.execute(statement.encode(), given).fetchall()

    def value(self, statement: str, **given: Any) -> Any:
        return self.rows(statement, **given)[0][0]

    def told(self) -> str:
        return "\n".join(self.stage.told(name) for name in self.stage.processes)


@dataclass(slots=True, kw_only=True)
class Ground(Site):
    """The site of jobs, the effects service outside, and a key."""

    programs: Mapping[str, str] = field(default_factory=lambda: PROGRAMS)
    effects: Effects
    key: str = ""

    def live_workers(self) -> int:
        """How many workers the dispatcher may count on; those that ended by themselves are started again."""
        self.tend()
        return int(self.value(LIVE))

    def submit(self, given: dict[str, Any], *, key: str) -> str | None:
        """Submit an errand with an idempotency key; None while nobody answers."""
        body = {"endpoint": "errand@1", "input": {"at": self.effects.url, **given}}
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": key}
        try:
            answer = httpx.post(f"http://127.0.0.1:{self.stage.port}/v1/jobs", json=body, headers=headers, timeout=10)
        except httpx.TransportError:
            return None
        return str(answer.json()["id"]) if answer.status_code == httpx.codes.ACCEPTED else None

    def must_submit(self, given: dict[str, Any], *, key: str, within: float = 60) -> str:
        return str(until(lambda: self.submit(given, key=key), lambda job_id: job_id is not None, within=within))

    def state(self, job_id: str) -> str:
        return str(self.value("SELECT state FROM invocation_job WHERE id = %(id)s", id=job_id))


def until(ask: Callable[[], Any], good: Callable[[Any], bool], *, within: float) -> Any:
    """Ask until the answer is good and return it. A database that is away meanwhile is asked again."""
    end, found = time.monotonic() + within, None
    while time.monotonic() < end:
        try:
            found = ask()
        except psycopg.OperationalError:
            found = None
        else:
            if good(found):
                return found
        time.sleep(0.1)
    raise AssertionError(f"not within {within} s: {found!r}")


@contextmanager
def ground() -> Iterator[Ground]:
    """Yield an installation with two of each of what matters, up and ready."""
    with serving() as effects, staged(**SETTINGS) as stage:
        here = Ground(stage=stage, effects=effects)
        for name in PROGRAMS:
            here.start(name)
        with stage.client("submitting").process as client:
            here.key = _key(client)
        stage.processes.pop("submitting")
        until(lambda: here.value(LIVE), lambda live: live == len(WORKERS), within=90)
        until(lambda: here.submit({}, key="ready"), lambda job_id: job_id is not None, within=60)
        yield here


def _key(client: Any) -> str:
    client.stdin.write(json.dumps({"act": "tenants", "names": ["soak"], "plan": "house"}) + "\n")
    client.stdin.flush()
    made = json.loads(client.stdout.readline())
    client.stdin.close()
    return str(made[0]["key"])
