"""Bare Celery, as a user would have it who fires and forgets: default settings, results ignored, one queue, no-op tasks.

The last task of a round tells so in Redis; up to there a round costs the worker one count a task.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from itertools import count

import redis
from celery import Celery

QUEUE = "bare"
BROKER = os.environ["BARE_BROKER_URL"]

app = Celery("bare", broker=BROKER)
app.conf.update(task_ignore_result=True, task_default_queue=QUEUE, broker_connection_retry_on_startup=True)

_told = redis.Redis.from_url(BROKER, socket_timeout=None)
_done: defaultdict[str, count[int]] = defaultdict(lambda: count(1))
_began: defaultdict[str, list[float]] = defaultdict(list)
_waits: defaultdict[str, list[float]] = defaultdict(list)


@app.task
def noop(round_id: str, of: int) -> None:
    number = next(_done[round_id])
    if number == 1:
        _began[round_id].append(time.time())
    if number == of:
        _told.rpush(round_id, json.dumps({"began": _began[round_id][0], "ended": time.time()}))


@app.task
def stamped(round_id: str, of: int, sent: float) -> None:
    """Keep how long it took from `.delay()` to here; the last task of the round tells all."""
    _waits[round_id].append(time.time() - sent)
    if next(_done[round_id]) == of:
        _told.rpush(round_id, json.dumps(_waits.pop(round_id)))


@app.task
def sleeper(for_s: float) -> None:
    time.sleep(for_s)
