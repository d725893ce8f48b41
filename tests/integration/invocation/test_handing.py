"""Tasks that only hand over: run where their message is read, acknowledged before, late ones dropped, broken ones told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from logging import Logger
from typing import Any
from unittest.mock import MagicMock

import orjson
import pytest
from celery import Celery
from kombu.message import Message
from structlog.testing import capture_logs

from invocation.tasks.handing import HandsOver
from invocation.tasks.work import run_turns


class Post:
    """A task, what it was given, and what Celery would read of it."""

    def __init__(self) -> None:
        self.given: list[tuple[str, object]] = []
        self.app = Celery("post", set_as_current=False)
        self.consumer = MagicMock(connection_errors=(OSError,), hostname="here", event_dispatcher=None, disable_rate_limits=True)
        self.consumer.controller.state.revoked = set()
        task = self.app.task(base=HandsOver, name="post", shared=False)(self._run)
        self.read = task.start_strategy(self.app, self.consumer)

    def come(self, *args: Any, **headers: Any) -> None:
        """Let a message come, with the headers of Celery's protocol 2."""
        told = {"task": "post", "id": "one", "retries": 0, "timelimit": [None, None], "eta": None, **headers}
        body = orjson.dumps([args, {}, {}]).decode()
        message = Message(body, headers=told, content_type="application/json", content_encoding="utf-8", accept=["application/json"])
        self.read(message, None, self._acknowledge, MagicMock(), ())

    def _acknowledge(self, logger: Logger, errors: tuple[type[Exception], ...]) -> None:
        """Take what Celery's own acknowledgement takes: what it tells a broker that is gone to, and what that raises."""
        assert errors == self.consumer.connection_errors
        self.given.append(("acknowledged", None))

    def _run(self, what: str) -> None:
        if what == "broken":
            raise ValueError(what)
        self.given.append(("run", what))


@pytest.fixture
def post() -> Iterator[Post]:
    found = Post()
    yield found
    found.app.close()


def in_s(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_it_runs_where_the_message_is_read_and_is_acknowledged_before(post: Post) -> None:
    post.come("ids", expires=in_s(5))

    assert post.given == [("acknowledged", None), ("run", "ids")]
    post.consumer.on_task_request.assert_not_called()


def test_a_message_that_nobody_waits_for_any_more_is_dropped(post: Post) -> None:
    post.come("ids", expires=in_s(-1))

    assert post.given == [("acknowledged", None)]


def test_what_breaks_is_told_and_the_next_message_is_read(post: Post) -> None:
    with capture_logs() as told:
        post.come("broken")
    post.come("ids")

    assert [(each["event"], each["task"]) for each in told] == [("not_handed_over", "post")]
    assert post.given[-1] == ("run", "ids")


def test_a_message_for_later_goes_celerys_own_way(post: Post) -> None:
    post.come("ids", eta=in_s(5))

    assert post.given == []
    assert post.consumer.timer.call_at.called


def test_turns_are_handed_over_so() -> None:
    assert isinstance(run_turns, HandsOver)
