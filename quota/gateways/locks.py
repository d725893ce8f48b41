"""Locks in the quota store: one process at a time does an act for a model, for as long as the act takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

import redis

from quota.gateways import connection

RENEWALS = 3
"""How often a lock is renewed within its life."""
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
_FREE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


@contextmanager
def alone(name: str, *, for_s: float) -> Iterator[bool]:
    """Hold the lock until the block ends, however long that is; False if another holds it. Raises QuotaStoreUnavailable.

    A process that dies in the block keeps the others out for `for_s` more. A store that is wiped forgets the lock.
    """
    place, token, life_ms = f"{{quota}}:{name}", uuid4().hex, round(for_s * 1000)
    with connection.answering():
        is_ours = bool(connection.in_threads().set(place, token, nx=True, px=life_ms))
    if not is_ours:
        yield False
        return
    ended = threading.Event()
    keeper = threading.Thread(target=_keep, args=(place, token, life_ms, ended), name="lock-keeper", daemon=True)
    keeper.start()
    try:
        yield True
    finally:
        ended.set()
        keeper.join()
        _say(_FREE, place, token)


def _keep(place: str, token: str, life_ms: int, ended: threading.Event) -> None:
    while not ended.wait(life_ms / 1000 / RENEWALS):
        _say(_RENEW, place, token, life_ms)


def _say(script: str, place: str, *args: str | int) -> None:
    """A store that does not answer lets the lock lapse by itself."""
    with suppress(redis.RedisError):
        connection.in_threads().eval(script, 1, place, *args)
