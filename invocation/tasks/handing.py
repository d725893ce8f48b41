"""How Celery runs a task that only hands ids over: at once, where its message is read.

For any other task Celery makes a request of the message, gives that to a thread of its pool and traces what it does there. For
one that is done as soon as it is begun all that is many times the task, and on the way of every chat.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from celery import Task
from celery.utils.log import get_logger
from celery.worker.strategy import default

log = structlog.get_logger()
logger = get_logger(__name__)


class HandsOver(Task[Any, Any]):
    """The base of such a task."""

    abstract = True
    Strategy = "invocation.tasks.handing:at_once"


def at_once(task: Any, app: Any, consumer: Any) -> Callable[..., Any]:
    """Return what Celery calls with each message of the task. A message that is not plain goes Celery's own way."""
    usual = default(task, app, consumer)

    def hand_over(message: Any, payload: Any, ack: Callable[..., Any], reject: Callable[..., Any], callbacks: Any) -> Any:
        if payload is not None or message.headers.get("eta"):
            return usual(message, payload, ack, reject, callbacks)
        args, named, _ = message.decode()
        ack(logger, consumer.connection_errors)
        if not _is_late(message.headers.get("expires")):
            _run(task, args, named)
        return None

    return hand_over


def _is_late(expires: str | None) -> bool:
    return expires is not None and datetime.fromisoformat(expires) <= datetime.now(UTC)


def _run(task: Any, args: Any, named: Any) -> None:
    """What breaks is this message's own: the next one is read all the same, and the sweep sends what was in it again."""
    try:
        task.run(*args, **named)
    except Exception:
        log.exception("not_handed_over", task=task.name)
