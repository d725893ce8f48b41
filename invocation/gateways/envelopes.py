"""Celery's messages as kombu's Redis transport writes them, put straight into a queue's list.

Celery builds a client, copies a queue's declaration and routes anew for each message: 0.6 ms on a warm processor and 2 on one that has
rested, on the way of every chat and every job. What a worker reads is the same; a test holds the two against each other.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import orjson
import redis
from celery.utils.nodenames import anon_nodename
from redis.backoff import NoBackoff
from redis.retry import Retry

from quota.domain import silences

UNSHOWN = "..."
"""Celery would write all arguments out once more for its logs, which takes as long as the rest of sending."""
NO_CANVAS: Mapping[str, None] = MappingProxyType({"callbacks": None, "errbacks": None, "chain": None, "chord": None})
BOUNDS: Mapping[str, float] = MappingProxyType({"socket_connect_timeout": 1.0, "socket_timeout": 1.0, "health_check_interval": 15})
"""All questions of a web process go to the broker in turn: behind one that hangs, those of others would wait as long."""
ONCE_MORE = 1
"""At once: a broker that was restarted leaves dead connections. A message that comes twice finds nothing to claim the second time."""


def post(broker: str, task: str, queue: str, args: Sequence[Any], *, expires_s: float) -> None:
    """Put a message into a queue of the broker at a `redis://` URL. Raises redis.RedisError; at once while the broker is silent."""
    silence, since = silences.of(broker), time.monotonic()
    if not silence.lets_ask(at=since):
        raise redis.ConnectionError("The broker answers nothing.")
    try:
        _client(broker).lpush(queue, written(task, queue, args, expires_s=expires_s, now=datetime.now(UTC)))
    except redis.TimeoutError:
        silence.unanswered(since=since, at=time.monotonic())
        raise
    silence.heard(at=time.monotonic())


def written(task: str, queue: str, args: Sequence[Any], *, expires_s: float, now: datetime) -> bytes:
    """Return the message: Celery's protocol 2 in the envelope of kombu's virtual transports (both in their documentation of messages)."""
    task_id = str(uuid4())
    own = {"task": task, "id": task_id, "root_id": task_id, "expires": (now + timedelta(seconds=expires_s)).isoformat()}
    return orjson.dumps(
        {
            "body": b64encode(orjson.dumps([args, {}, dict(NO_CANVAS)])).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {**_headers(), **own},
            "properties": {
                "correlation_id": task_id,
                "reply_to": "",
                "delivery_mode": 2,
                "expiration": str(int(expires_s * 1000)),
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid4()),
            },
        }
    )


@cache
def _headers() -> dict[str, Any]:
    """Return what is the same in every message of this process."""
    nothing = ("shadow", "eta", "group", "group_index", "parent_id", "stamped_headers")
    return {
        "lang": "py",
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": UNSHOWN,
        "kwargsrepr": UNSHOWN,
        "origin": anon_nodename(),
        "ignore_result": True,
        "replaced_task_nesting": 0,
        "stamps": {},
        **dict.fromkeys(nothing),
    }


@cache
def _client(broker: str) -> redis.Redis:
    retry = Retry(NoBackoff(), ONCE_MORE, supported_errors=(redis.ConnectionError,))
    return redis.Redis.from_url(broker, retry=retry, **BOUNDS)
