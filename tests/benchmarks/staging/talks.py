"""A stage on which people chat: one web process, one p0 worker, and beside them the same model in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from config import processes
from tests.benchmarks.figure import Row
from tests.benchmarks.staging import talking, waits
from tests.benchmarks.staging.rounds import Tenants
from tests.benchmarks.staging.stage import STAGING, Client, Stage, staged
from tests.benchmarks.staging.waits import Waits
from tests.installation import free_port

SLOTS = 512
TENANTS = 10
OURS = ("web", "worker-p0", "postgres", "redis")
BARE = ("inprocess",)
KNOWN = "SELECT EXISTS (SELECT FROM invocation_process WHERE priority_class = 'p0')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """What came of many chats: waits in milliseconds, failures, and the processor time of each process, in seconds."""

    first: Waits
    failures: Sequence[str]
    took_s: float
    cpu_s: Mapping[str, float]

    @property
    def turns(self) -> int:
        return len(self.first.each)

    def cpu_ms(self, *names: str) -> float:
        """Return the milliseconds that these processes took for each turn."""
        return 1000 * sum(self.cpu_s.get(name, 0.0) for name in names) / max(1, self.turns)

    def cpu_rows(self, what: str, *names: str) -> list[Row]:
        return [Row(what=f"{what}, CPU a turn, {name}", value=self.cpu_ms(name), unit="ms") for name in names]


@dataclass(frozen=True, slots=True, kw_only=True)
class Talks:
    """What stands, warm."""

    stage: Stage
    client: Client
    keys: Sequence[str]
    bare_port: int

    def staggered(self, port: int, *, people: int, for_s: float) -> Talk:
        return self._talk("staggered", port, people=people, for_s=for_s)

    def at_once(self, port: int, *, people: int, times: int) -> Talk:
        return self._talk("at_once", port, people=people, times=times)

    def _talk(self, act: str, port: int, **given: Any) -> Talk:
        before = self.stage.cpu_s()
        seen = self.client.do(act, port=port, keys=list(self.keys), **given)
        after = self.stage.cpu_s()
        used = {name: after[name] - before.get(name, 0.0) for name in after}
        return Talk(first=waits.of_seconds(seen["first"]), failures=seen["failures"], took_s=seen["took_s"], cpu_s=used)


@contextmanager
def talks(module: str = "asking", **settings: str) -> Iterator[Talks]:
    """Yield the stage, with a client of the acts of `staging/MODULE.py`."""
    modules = f"config.endpoints,{STAGING}.talking"
    with staged(SLOTS=f"p0={SLOTS}", OFFLINE_CAPACITY=str(talking.CAPACITY), ENDPOINT_MODULES=modules, **settings) as stage:
        bare_port = free_port()
        stage.start("web")
        stage.start("worker-p0")
        words = ("daphne", "-v", "0", "-p", str(bare_port), f"{STAGING}.inprocess:application")
        stage.spawn("inprocess", (*processes.PYTHON, *words), {})
        keys = Tenants.made(stage.client("submitting"), TENANTS).keys
        stage.end("submitting")
        stage.wait(KNOWN)
        stage.wait_for_port(stage.port)
        stage.wait_for_port(bare_port)
        warm = Talks(stage=stage, client=stage.client("asking", called="warming"), keys=keys, bare_port=bare_port)
        for port in (stage.port, bare_port):
            warm.staggered(port, people=4, for_s=4.0)
        stage.end("warming")
        yield Talks(stage=stage, client=stage.client(module), keys=keys, bare_port=bare_port)
