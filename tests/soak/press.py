"""An installation that runs one batch while it is hurt, on a model whose calls are counted where they arrive."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from config.processes import PYTHON
from tests.benchmarks.staging.stage import Client, staged
from tests.soak.copyist import PAGE
from tests.soak.counted import KEY, Provider, counting
from tests.soak.ground import Site, until

MODEL = "gearbox-offline-standard"
ROWS_IN_FLIGHT = 64
SLOTS = 4
TORN = 50
"""One row in so many ends as an error."""
SETTINGS = {
    "ENDPOINT_MODULES": "config.endpoints,tests.soak.copyist",
    "SLOTS": f"p3={SLOTS}",
    "ROWS_IN_FLIGHT": str(ROWS_IN_FLIGHT),
    "LEASE_S": "60",  # who is killed is known to be dead by the session that went; who is slow on a busy machine is not dead
    "DRAIN_S": "1",
    "MODEL_PROVIDER": "openai",
    "MODEL_API_KEY": KEY,
    "MODEL_TIERS": f"standard={MODEL},economy={MODEL}",
}
PROGRAMS = {
    "worker-p3": "worker-p3",
    "worker-p3-b": "worker-p3",
    "worker-control": "worker-control",
    "dispatcher": "dispatcher",
    "beat": "beat",
}
WORKERS = ("worker-p3", "worker-p3-b")
LIVE = "SELECT count(*) FROM invocation_process WHERE priority_class = 'p3' AND slots > 0 AND lease_until > now() AND NOT is_draining"
BUSY = "SELECT count(*) FROM invocation_shard WHERE owner IN (SELECT id FROM invocation_process WHERE pid = %(pid)s)"
HELD = (
    "SELECT first_line, rows, position, ahead FROM invocation_shard WHERE owner IN (SELECT id FROM invocation_process WHERE pid = %(pid)s)"
)
GATHERS = """
SELECT session.application_name FROM pg_locks AS held JOIN pg_stat_activity AS session ON session.pid = held.pid
WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 1 AND (held.classid::bigint << 32) | held.objid::bigint = %(number)s
"""


@dataclass(slots=True, kw_only=True)
class Press(Site):
    """The site of one batch, and what was lost by kills until now: how often each row was under way in a process that died."""

    programs: Mapping[str, str] = field(default_factory=lambda: PROGRAMS)
    provider: Provider
    rows_wanted: int
    batch_id: str = ""
    lost: Counter[str] = field(default_factory=Counter)

    def start(self, name: str) -> None:
        """Each is known to the database by its name, so that who holds a lock can be told."""
        url = f"{self.stage.servers.database_url}?application_name={name}"
        self.stage.start(self.programs[name], called=name, DATABASE_URL=url, MODEL_BASE_URL=self.provider.url)

    def kill(self, name: str, *, by: signal.Signals = signal.SIGKILL) -> None:
        """Kill a program, note which rows were under way in it, and start it again."""
        process = self.stage.processes[name]
        process.send_signal(by)
        process.wait(timeout=30)
        uncommitted = [row for held in self.rows(HELD, pid=process.pid) for row in _uncommitted(*held)]
        asked = self.provider.settled()
        self.lost.update(row for row in uncommitted if asked[row] > self.lost[row])
        self.start(name)

    def begin(self, *, shards: int) -> None:
        """Open the batch."""
        rows = [{"row_id": name(line), "name": name(line), "is_torn": is_torn(line)} for line in range(1, self.rows_wanted + 1)]
        argv = (*PYTHON, "tests.benchmarks.staging.client", "tests.soak.opening")
        with self.stage.spawn("opening", argv, {}, piped=True) as process:
            client = Client("opening", process, self.stage)
            client.answer()
            self.batch_id = client.do("open", endpoint=PAGE, rows=rows, shards=shards, provider="openai", model=MODEL)
            process.stdin.close()
        self.stage.processes.pop("opening")

    @property
    def state(self) -> str:
        return str(self.value("SELECT state FROM invocation_batch WHERE id = %(id)s", id=self.batch_id))

    @property
    def output(self) -> Path:
        """Where the dataset lies."""
        return Path(self.value("SELECT output FROM invocation_batch WHERE id = %(id)s", id=self.batch_id))

    def is_busy(self, worker: str) -> bool:
        """Say whether it holds shards."""
        return bool(self.value(BUSY, pid=self.stage.processes[worker].pid))

    def gathers(self) -> str:
        """Return which program gathers the batch; nothing while none does."""
        found = self.rows(GATHERS, number=UUID(self.batch_id).int >> 65)
        return str(found[0][0]) if found else ""

    def stands(self) -> str:
        """Tell how the batch stands: for whoever reads that it went wrong."""
        batch = self.rows("SELECT state, pause, fault, wave, wave_at FROM invocation_batch")
        shards = self.rows("SELECT index, state, owner, position, rows, failures, sent_at, due_at FROM invocation_shard ORDER BY index")
        return "\n".join(str(row) for row in (*batch, *shards))


def name(line: int) -> str:
    return f"page-{line:06d}"


def is_torn(line: int) -> bool:
    return line % TORN == 0


def _uncommitted(first: int, rows: int, position: int, ahead: Collection[tuple[int, int]]) -> list[str]:
    """Return the shard's rows that no checkpoint says are finished."""
    finished = {place for start, end in ahead for place in range(start, end)}
    return [name(first + place) for place in range(position, rows) if place not in finished]


@contextmanager
def press(*, rows: int, call: timedelta) -> Iterator[Press]:
    """Yield an installation with two workers, up and ready; a model call takes about as long as `call`."""
    with counting(call=call) as provider, staged(**SETTINGS, MODEL_BASE_URL=provider.url) as stage:
        here = Press(stage=stage, provider=provider, rows_wanted=rows)
        for program in PROGRAMS:
            here.start(program)
        until(lambda: here.value(LIVE), lambda live: live == len(WORKERS), within=180)
        try:
            yield here
        except BaseException:
            sys.stdout.write(f"{here.told()}\n{here.stands()}\n")
            raise
