"""Announcements for Flower: a broker that is away costs some of them, and never the thread that sends them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import redis
from celery.events.state import State
from django.conf import settings
from structlog.testing import capture_logs

from config.celery import app
from invocation.gateways.announcing import MOST_WAITING, Announcer

LIMIT_S = 20.0


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.01)


@pytest.fixture
def muted(monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    """The broker, where our user may do everything but publish."""
    app.set_default()
    broker = redis.Redis.from_url(settings.BROKER_URL)
    broker.acl_setuser("muted", enabled=True, nopass=True, reset=True, keys=["*"], channels=["*"], commands=["+@all", "-publish"])
    parts = urlsplit(settings.BROKER_URL)
    monkeypatch.setattr(app.conf, "broker_write_url", parts._replace(netloc=f"muted:any@{parts.hostname}:{parts.port}").geturl())
    yield broker
    broker.acl_deluser("muted")
    broker.close()


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A broker that takes connections and never says a word."""
    app.set_default()
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(app.conf, "broker_write_url", f"redis://127.0.0.1:{server.getsockname()[1]}/1")
        yield server


def test_an_error_that_the_brokers_client_raises_as_it_is_ends_nothing(muted: redis.Redis) -> None:
    announcer = Announcer("the-announcer")
    heard = muted.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    heard.psubscribe("*celeryev*")
    with capture_logs() as logged:
        announcer.started(uuid4(), "agent", "lost@1")
        wait_until(lambda: "announcements_lost" in [line["event"] for line in logged])
    muted.acl_setuser("muted", enabled=True, commands=["+publish"])
    announcer.started(uuid4(), "agent", "heard@1")

    wait_until(lambda: b"the-announcer" in ((heard.get_message(timeout=0.1) or {}).get("data") or b""))
    heard.close()


def test_what_waits_for_a_broker_that_does_not_answer_is_bounded_and_counted(silent: socket.socket) -> None:
    announcer = Announcer("the-announcer")
    announcer.started(uuid4(), "agent", "first@1")
    taken, _ = silent.accept()
    for _ in range(MOST_WAITING + 10):
        announcer.started(uuid4(), "agent", "later@1")
    assert len(announcer._waiting) == MOST_WAITING

    silent.close()
    with capture_logs() as logged:
        taken.close()
        announcer.flush()
        wait_until(lambda: {line["event"] for line in logged} >= {"announcements_dropped", "announcements_lost"})
    assert [line["count"] for line in logged if line["event"] == "announcements_dropped"] == [10]


@pytest.mark.parametrize(("outcome", "state"), [("completed", "SUCCESS"), ("failed", "FAILURE")])
def test_celerys_own_receiver_sees_the_whole_run(outcome: str, state: str) -> None:
    app.set_default()
    seen: Any = State()
    run_id = uuid4()
    with listening(seen):
        announcer = Announcer("the-announcer")
        announcer.started(run_id, "librarian@1", "find@1")
        announcer.ended(run_id, outcome)
        wait_until(lambda: str(run_id) in seen.tasks and seen.tasks[str(run_id)].state == state)

    task = seen.tasks[str(run_id)]
    assert (task.name, task.args, task.worker.hostname) == ("librarian@1", "('find@1',)", "the-announcer")
    assert task.received <= task.started <= (task.succeeded or task.failed)


@contextmanager
def listening(seen: Any) -> Iterator[None]:
    """Let Celery's own receiver, as Flower has it, write what it hears into `seen`."""
    with app.connection_for_read() as connection, redis.Redis.from_url(settings.BROKER_URL) as broker:
        others = broker.pubsub_numpat()
        receiver = app.events.Receiver(connection, handlers={"*": seen.event})
        thread = threading.Thread(target=lambda: receiver.capture(limit=None, timeout=None, wakeup=False))
        thread.start()
        wait_until(lambda: broker.pubsub_numpat() > others)
        try:
            yield
        finally:
            receiver.should_stop = True
            thread.join()
