"""Whoever has no thread left reads no message; the loop that reads them is told when one is free again."""

from __future__ import annotations

import socket
import threading
from collections import deque
from contextlib import suppress
from typing import Any

from kombu.asynchronous import Hub

from config.celery import app
from config.pool import Threads

PATIENCE_S = 20.0


class Sleeper(Hub):
    """A loop that looks by itself only when the test is long over."""

    def fire_timers(self, *_: Any, **__: Any) -> float:
        return 10 * PATIENCE_S


class Seen(Exception):
    """Ends the loop."""


def test_workers_run_on_this_pool() -> None:
    assert app.conf.worker_pool == f"{Threads.__module__}:{Threads.__qualname__}"


def test_the_loop_goes_round_when_a_thread_is_free_again() -> None:
    hub: Any = Sleeper()
    pool, may_end, rounds = Threads(limit=1), threading.Event(), list[bool]()
    hub.call_later(10 * PATIENCE_S, print)
    broker, other_end = socket.socketpair()
    hub.add_reader(broker, print)
    pool.register_with_event_loop(hub)
    applied = _applied(pool, may_end.wait, PATIENCE_S)

    def tick() -> None:
        rounds.append(applied.f.done())
        may_end.set()
        if len(rounds) > 1:
            raise Seen

    def go_round() -> None:
        with suppress(Seen):
            deque(hub.create_loop(), maxlen=0)

    hub.on_tick.add(tick)
    looping = threading.Thread(target=go_round, daemon=True)
    looping.start()
    looping.join(PATIENCE_S)
    assert rounds == [False, True]
    pool.on_stop()
    hub.close()
    for end in (broker, other_end):
        end.close()


def test_a_pool_without_a_loop_runs_its_tasks() -> None:
    pool, found = Threads(limit=1), list[int]()
    _applied(pool, found.append, 1).wait(PATIENCE_S)
    assert found == [1]
    pool.on_stop()


def _applied(pool: Threads, target: Any, *args: Any) -> Any:
    return pool.on_apply(target, args, {}, callback=lambda _: None, accept_callback=lambda *_: None)
