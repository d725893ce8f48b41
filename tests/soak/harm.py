"""What is done to a batch while it runs: at points of its progress, in an order, and to whom a seed says."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.soak.ground import until
from tests.soak.press import WORKERS, Press

PATIENCE_S = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Harms:
    """How often each thing is done. All but `gather` are kills or faults while rows run; `gather` kills who gathers."""

    worker: int
    gather: int
    flush: int
    beat: int = 0
    control: int = 0
    postgres: int = 0

    @property
    def kills(self) -> int:
        return self.worker + self.gather + self.beat + self.control


def hurt(here: Press, harms: Harms, *, seed: int) -> Sequence[str]:
    """Do it all while the batch runs, and return what was done, in order."""
    luck = random.Random(seed)  # noqa: S311  (a seeded monkey)
    done = []
    for share, act in _drawn(harms, luck):
        _wait_for(here, rows=round(share * here.rows_wanted))
        done.append(f"{act} at {share:.0%}: {_ACTS[act](here, luck)}")
        sys.stdout.write(f"{done[-1]}; {sum(here.lost.values())} rows lost until now, {here.provider.calls} calls\n")
    _wait_for(here, rows=here.rows_wanted)
    for _ in range(harms.gather):
        done.append(f"gather: {_kill_who_gathers(here, luck)}")
        sys.stdout.write(f"{done[-1]}\n")
    return done


def _wait_for(here: Press, *, rows: int) -> None:
    """Wait until the model was asked about so many rows."""
    until(lambda: _progress(here), lambda asked: asked >= rows, within=PATIENCE_S)


def _progress(here: Press) -> int:
    here.tend()
    return here.provider.rows


def _drawn(harms: Harms, luck: random.Random) -> list[tuple[float, str]]:
    wanted = {"worker": harms.worker, "flush": harms.flush, "beat": harms.beat, "control": harms.control, "postgres": harms.postgres}
    acts = [act for act, count in wanted.items() for _ in range(count)]
    return sorted((luck.uniform(0.05, 0.95), act) for act in acts)


def _kill_a_worker(here: Press, luck: random.Random) -> str:
    """Kill a worker that holds shards."""
    victim = luck.choice(_who_is_busy(here))
    here.kill(victim)
    return victim


def _flush(here: Press, luck: random.Random) -> str:
    """Wipe Redis while shards run, whose wave then has no end."""
    _who_is_busy(here)
    here.flush()
    return "wiped"


def _who_is_busy(here: Press) -> Sequence[str]:
    """Wait until a worker holds shards, and return which do: one may hold all that is left, beside another that just starts."""

    def holders() -> Sequence[str]:
        here.tend()
        return [worker for worker in WORKERS if here.is_busy(worker)]

    found: Sequence[str] = until(holders, bool, within=PATIENCE_S)
    return found


def _kill_beat(here: Press, luck: random.Random) -> str:
    here.kill("beat")
    return "beat"


def _kill_control(here: Press, luck: random.Random) -> str:
    here.kill("worker-control")
    return "worker-control"


def _restart_postgres(here: Press, luck: random.Random) -> str:
    here.restart_postgres()
    return "restarted"


_ACTS: Mapping[str, Callable[[Press, random.Random], str]] = {
    "worker": _kill_a_worker,
    "flush": _flush,
    "beat": _kill_beat,
    "control": _kill_control,
    "postgres": _restart_postgres,
}


def _kill_who_gathers(here: Press, luck: random.Random) -> str:
    """Kill the process that gathers once it has written so many of the files."""
    since, folder = time.time_ns(), here.output / "data"
    shards = here.value("SELECT count(*) FROM invocation_shard WHERE batch_id = %(id)s", id=here.batch_id)
    wanted = luck.randint(1, max(1, shards // 2))

    def written() -> int:
        here.tend()
        return sum(path.stat().st_mtime_ns > since for path in folder.glob("part-*.parquet")) if folder.is_dir() else 0

    until_soon(written, wanted, within=PATIENCE_S)
    who = here.gathers()
    assert who in WORKERS, f"{who!r} gathers; the batch is {here.state}"
    here.kill(who)
    assert here.state == "gathering"
    return f"{who}, behind {wanted} files"


def until_soon(count: Callable[[], int], wanted: int, *, within: float) -> None:
    """Wait for a number without resting long: what is waited for passes quickly."""
    end = time.monotonic() + within
    while count() < wanted:
        assert time.monotonic() < end, f"not within {within} s"
        time.sleep(0.002)
