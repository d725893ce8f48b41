"""Celery, by name: which message wakes which task. Nothing else sends one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError
from redis import RedisError

from invocation.gateways import envelopes

RUN_JOBS = "invocation.run_jobs"
RUN_ALONE = "invocation.run_alone"
RUN_TURNS = "invocation.run_turns"
RUN_SHARD = "invocation.run_shard"
AFTER_WAVE = "invocation.after_wave"
START_WAVE = "invocation.start_wave"
PLAN_BATCH = "invocation.plan_batch"

MESSAGE_LIFE_S = 60
"""A wake-up that nobody took within a minute is worthless: the sweep has sent another."""


class BrokerGone(ConnectionError):
    """The broker cannot be reached. Nothing was sent."""


def wake_jobs(priority_class: str, claims: Sequence[tuple[UUID, int]]) -> None:
    """Wake a worker of the class for these (job, attempt) pairs. Raises BrokerGone."""
    _send(RUN_JOBS, priority_class, _told(claims))


def wake_alone(priority_class: str, claims: Sequence[tuple[UUID, int]]) -> None:
    """Wake a worker of the class for these (job, attempt) pairs: each runs alone in a process of its own. Raises BrokerGone."""
    _send(RUN_ALONE, priority_class, _told(claims))


def wake_turns(turn_ids: Sequence[UUID], *, within_s: float) -> None:
    """Wake a p0 worker for these turns; nobody starts a turn that nobody waits for any more. Raises BrokerGone."""
    _send(RUN_TURNS, "p0", [str(turn_id) for turn_id in turn_ids], expires=within_s)


def plan_batch(batch_id: UUID) -> None:
    """Ask a p3 worker to read a batch's manifest. Raises BrokerGone."""
    _send(PLAN_BATCH, "p3", str(batch_id))


def start_wave(batch_id: UUID) -> None:
    """Ask for a batch's next wave. Raises BrokerGone."""
    _send(START_WAVE, "control", str(batch_id))


def send_wave(shard_ids: Sequence[UUID | int], *, batch_id: UUID, wave: int) -> None:
    """Send one wave as a chord on p3: a header a shard, and the body that asks for the next wave. Raises BrokerGone.

    Where one of its messages was not taken in time the body does not come either: the sweep sends both again.
    """
    from celery import chord, signature  # noqa: PLC0415  (canvas is heavy and only batches need it)

    app = _app()
    body = signature(AFTER_WAVE, app=app, args=[str(batch_id), wave], queue="p3", expires=MESSAGE_LIFE_S)
    terms: dict[str, Any] = {"app": app, "queue": "p3", "immutable": True, "expires": MESSAGE_LIFE_S}
    header = [signature(RUN_SHARD, args=[str(batch_id), str(shard), wave], **terms) for shard in shard_ids]
    try:
        chord(header, app=app)(body)
    except (OperationalError, RedisError, ConnectionError, OSError, RuntimeError) as gone:  # RuntimeError: the result store's own word
        raise BrokerGone(str(gone)) from gone


def send_wave_end(batch_id: UUID, *, wave: int) -> None:
    """Send the body of a wave whose callback was lost. Raises BrokerGone."""
    _send(AFTER_WAVE, "p3", [], str(batch_id), wave)


def _told(claims: Sequence[tuple[UUID, int]]) -> list[tuple[str, int]]:
    return [(str(job_id), attempt) for job_id, attempt in claims]


def _send(name: str, queue: str, *args: Any, expires: float = MESSAGE_LIFE_S) -> None:
    """A broker that is reached otherwise than by `redis://` (TLS, sentinels) is Celery's own business."""
    try:
        broker = _broker(settings.CELERY_APP)
        if broker.startswith("redis://"):
            envelopes.post(broker, name, queue, args, expires_s=expires)
        else:
            sent_by_celery(name, queue, args, expires_s=expires)
    except (OperationalError, RedisError, ConnectionError, OSError) as gone:
        raise BrokerGone(str(gone)) from gone


def sent_by_celery(name: str, queue: str, args: Sequence[Any], *, expires_s: float) -> None:
    """Send a message by Celery itself. Raises kombu's OperationalError, and what the transport raises."""
    told = {"argsrepr": envelopes.UNSHOWN, "kwargsrepr": envelopes.UNSHOWN}
    _app().send_task(name, args=args, queue=queue, expires=expires_s, retry=False, ignore_result=True, **told)


@cache
def _broker(app: str) -> str:
    return str(import_string(app).conf.broker_url)


def _app() -> Any:
    """Return the Celery application of the composition, imported at the first message."""
    return import_string(settings.CELERY_APP)
