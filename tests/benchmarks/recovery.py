"""How soon all that a worker ran is running again on another, after the worker was killed, and after it was frozen."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count

import psutil

from tests.benchmarks.figure import Figure, Row
from tests.benchmarks.staging import rounds
from tests.benchmarks.staging.noop import SLEEPER
from tests.benchmarks.staging.rounds import Tenants
from tests.benchmarks.staging.stage import Client, DidNotHappen, Stage, staged
from tests.benchmarks.staging.waits import Waits

IN_FLIGHT = 16
KILLS, FREEZES = 10, 2
FOR_S = 300
SETTLED_S = 2.0
LOOK_S = 0.005
TARGET_S = 2.0
BEYOND_THE_LEASE_S = 10.0
RUNNING = "SELECT count(*) FROM invocation_job WHERE tenant_id = %(tenant)s AND state = 'working'"
RUNNING_ELSEWHERE = f"{RUNNING} AND owner IS DISTINCT FROM %(lost)s"
ENDED = "SELECT NOT EXISTS (SELECT FROM invocation_job WHERE tenant_id = %(tenant)s AND finished_at IS NULL)"
KNOWN = "SELECT EXISTS (SELECT FROM invocation_process WHERE pid = %(pid)s)"
_numbers = count(1)


def run() -> Figure:
    """The worker that inherited is the next one to be lost. Running is what is claimed: the agent's code begins right after."""
    with staged(SLOTS=f"p1={IN_FLIGHT}") as stage:
        stage.start("dispatcher")
        line = _Line(stage, stage.client("submitting"))
        killed = [line.lose(signal.SIGKILL, patience=timedelta(seconds=60)) for _ in range(KILLS)]
        frozen = [line.lose(signal.SIGSTOP, patience=timedelta(seconds=60)) for _ in range(FREEZES)]
        lease_s = stage.env.lease_s
    return _figure(killed, frozen, lease_s=lease_s)


def _figure(killed: Sequence[float], frozen: Sequence[float], *, lease_s: float) -> Figure:
    waits, limit = Waits(killed), lease_s + BEYOND_THE_LEASE_S
    return Figure(
        name="recovery",
        unit="s",
        main=Row(what=f"kill -9 to {IN_FLIGHT} running again, p95 of {KILLS}", value=waits.at(0.95), target=TARGET_S),
        beside=(
            Row(what="kill -9, median", value=waits.at(0.5)),
            Row(what="kill -9, longest", value=max(killed)),
            Row(what=f"SIGSTOP, longest of {FREEZES} (lease {lease_s:g} s)", value=max(frozen), target=limit),
        ),
    )


@dataclass(slots=True)
class _Worker:
    name: str
    process: psutil.Popen


class _Line:
    """A line of workers: one holds all, the next is there to inherit."""

    def __init__(self, stage: Stage, client: Client) -> None:
        self._stage = stage
        self._client = client
        self._last = self._next()

    def lose(self, how: signal.Signals, *, patience: timedelta) -> float:
        """Lose the worker that runs all, and return the seconds until all run elsewhere. Raises DidNotHappen."""
        lost, tenants = self._last, Tenants.made(self._client, 1)
        rounds.submit(self._client, tenants, jobs=IN_FLIGHT, endpoint=SLEEPER, given={"for_s": FOR_S})
        self._stage.wait(f"SELECT ({RUNNING}) = {IN_FLIGHT}", tenant=tenants.ids[0])
        self._last = self._next()
        owner = self._stage.value("SELECT id FROM invocation_process WHERE pid = %(pid)s", pid=lost.process.pid)
        began = time.monotonic()
        lost.process.send_signal(how)
        took = self._until_running(tenants.ids[0], lost=owner, began=began, patience=patience)
        self._bury(lost, tenants)
        return took

    def _next(self) -> _Worker:
        name = f"worker-{next(_numbers)}"
        worker = _Worker(name, self._stage.start("worker-p1", called=name))
        self._stage.wait(KNOWN, pid=worker.process.pid)
        time.sleep(SETTLED_S)
        return worker

    def _until_running(self, tenant: str, *, lost: object, began: float, patience: timedelta) -> float:
        while self._stage.value(RUNNING_ELSEWHERE, tenant=tenant, lost=lost) < IN_FLIGHT:
            if time.monotonic() - began > patience.total_seconds():
                raise DidNotHappen(f"not all ran again within {patience}\n{self._stage.told(self._last.name)}")
            time.sleep(LOOK_S)
        return time.monotonic() - began

    def _bury(self, lost: _Worker, tenants: Tenants) -> None:
        self._stage.end_now(lost.name)
        self._client.do("cancel", tenant_id=tenants.ids[0])
        self._stage.wait(ENDED, tenant=tenants.ids[0])
