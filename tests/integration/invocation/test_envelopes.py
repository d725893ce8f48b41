"""The messages that wake workers: what is put into a queue straight away is what Celery would have put there."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
from django.conf import settings

from invocation.gateways import dispatch, envelopes

OF_ONE_MESSAGE = ("id", "root_id", "correlation_id", "delivery_tag", "expires", "reply_to")
"""What differs from message to message, and the queue of an answer that nobody waits for."""
UNREAD = ("argsrepr", "kwargsrepr")
"""What Celery repeats among the properties, where no worker reads it."""
QUEUE = "p2"


@pytest.fixture
def queue() -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.BROKER_URL) as broker:
        broker.delete(QUEUE)
        yield broker
        broker.delete(QUEUE)


def put(broker: redis.Redis) -> dict[str, Any]:
    raw: Any = broker.rpop(QUEUE)
    found: dict[str, Any] = json.loads(raw)
    return found


def compared(message: dict[str, Any]) -> dict[str, Any]:
    body = json.loads(base64.b64decode(message["body"]))
    properties = {name: value for name, value in message["properties"].items() if name not in (*OF_ONE_MESSAGE, *UNREAD)}
    headers = {name: value for name, value in message["headers"].items() if name not in OF_ONE_MESSAGE}
    return {**message, "body": body, "headers": headers, "properties": properties}


@pytest.mark.parametrize("args", [([(str(uuid4()), 3), (str(uuid4()), 0)],), (str(uuid4()),), ([], str(uuid4()), 7)])
def test_it_is_the_message_that_celery_sends(queue: redis.Redis, args: tuple[Any, ...]) -> None:
    dispatch.sent_by_celery(dispatch.RUN_JOBS, QUEUE, args, expires_s=60)
    theirs = put(queue)
    envelopes.post(settings.BROKER_URL, dispatch.RUN_JOBS, QUEUE, args, expires_s=60)
    ours = put(queue)

    assert compared(ours) == compared(theirs)
    assert set(ours["headers"]) == set(theirs["headers"])
    assert ours["headers"]["id"] == ours["headers"]["root_id"] == ours["properties"]["correlation_id"]
    assert len(ours["headers"]["expires"]) == len(theirs["headers"]["expires"])


def test_a_broker_that_is_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "CELERY_APP", "tests.integration.invocation.api.cut_off.app")

    with pytest.raises(dispatch.BrokerGone):
        dispatch.wake_jobs("p1", [(uuid4(), 0)])
