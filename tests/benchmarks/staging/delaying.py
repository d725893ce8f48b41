"""A client of bare Celery: one process that calls `.delay()` in a loop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import redis

from tests.benchmarks.staging import bare
from tests.benchmarks.staging.pacing import moments

PATIENCE_S = 120
_told = redis.Redis.from_url(bare.BROKER, socket_timeout=None)


def delayed(*, round_id: str, count: int) -> dict[str, float]:
    """Send no-op tasks flat out."""
    began = time.time()
    for _ in range(count):
        bare.noop.delay(round_id, count)
    return {"began": began, "ended": time.time()}


def stamped(*, round_id: str, count: int, mean_gap_s: float, least_gap_s: float = 0.0, seed: int) -> None:
    for _ in moments(count, mean_gap_s=mean_gap_s, least_gap_s=least_gap_s, seed=seed):
        bare.stamped.delay(round_id, count, time.time())


def slept(*, count: int, for_s: float) -> None:
    for _ in range(count):
        bare.sleeper.delay(for_s)


def ended(*, round_id: str) -> Any:
    """Return what the last task of the round told."""
    found = _told.blpop([round_id], timeout=PATIENCE_S)
    if found is None:
        raise TimeoutError(f"round {round_id} of bare Celery did not end in {PATIENCE_S} s")
    return json.loads(found[1])


def consuming(*, is_on: bool) -> int:
    """Let the worker take messages, or not; tell how many workers said that they do so."""
    act = bare.app.control.add_consumer if is_on else bare.app.control.cancel_consumer
    return len(act(bare.QUEUE, reply=True, timeout=2.0) or ())


ACTS: Mapping[str, Callable[..., Any]] = {"delay": delayed, "stamp": stamped, "sleep": slept, "ended": ended, "consume": consuming}
