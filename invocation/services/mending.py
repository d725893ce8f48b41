"""Mending: what the leader makes true again, on a thread of its own, so that no admission waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

import structlog
from django.db import InterfaceError, OperationalError, connections

from invocation.gateways import dispatch
from invocation.services import children, jobs, overdue, processes, rescue, turns

log = structlog.get_logger()

LOOK_S = 0.2
"""How often it is asked who died: two looks make a death, and what the dead held is rescued at once."""
ENDED_WITHIN_S = 5.0
SWEEP_S = 0.5
PAGES_OF_A_SWEEP = 10
"""More than this would keep the other mends from their turn."""
AWAY = (OperationalError, InterfaceError)


class Mender:
    """Looks for the dead and sweeps, in turn; `mended` is called on its thread when there was something to mend."""

    def __init__(self, *, mended: Callable[[], None]) -> None:
        self._mended = mended
        self._ending = threading.Event()
        self._deaths = processes.DeathWatch()
        self._swept = float("-inf")
        self._thread = threading.Thread(target=self._live, name="mender", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Whoever leads no more must stand by again: it does not wait for ever for a mend that hangs, which ends by itself."""
        self._ending.set()
        self._thread.join(timeout=ENDED_WITHIN_S)

    def mend(self) -> int:
        """Rescue what the dead held; every half second, or when somebody died, mend all that is due. Return how much there was."""
        dead = self._deaths.look(now=datetime.now(UTC))
        for process_id in dead:
            log.warning("worker_died", process=str(process_id))
        if not dead and time.monotonic() - self._swept < SWEEP_S:
            return 0
        self._swept = time.monotonic()
        return sweep()

    def _live(self) -> None:
        """A database that goes away is waited for: whoever leads has lost it, too."""
        while not self._ending.wait(LOOK_S):
            try:
                if self.mend():
                    self._mended()
            except AWAY as gone:
                log.warning("mender_waits_for_the_database", error=str(gone))
            except Exception:
                log.exception("mender_failed")
            finally:
                connections.close_all()


def sweep() -> int:
    """Do every mend once and return how much was mended; one that fails keeps no other from being done."""
    found = sum(_tried(mend) for mend in _MENDS)
    _resend(turns.requeue_orphans(now=datetime.now(UTC)))
    return found


def _tried(mend: Callable[[datetime], int]) -> int:
    """Do one mend; what is wrong with it keeps no other from being done. Raises what says that the database is away."""
    try:
        done = mend(datetime.now(UTC))
    except AWAY:
        raise
    except Exception:
        log.exception("mend_failed", what=mend.__name__)
        return 0
    if done:
        log.info("mended", what=mend.__name__, count=done)
    return done


def _resend(turn_ids: list[UUID]) -> None:
    if turn_ids:
        try:
            dispatch.wake_turns(turn_ids, within_s=6.0)
        except dispatch.BrokerGone as gone:
            log.warning("broker_gone", error=str(gone), turns=len(turn_ids))


def rescue_jobs(now: datetime) -> int:
    return rescue.rescue_jobs(now=now)


def recall_lost_messages(now: datetime) -> int:
    return rescue.recall_lost_messages(now=now)


def wake_waiting(now: datetime) -> int:
    return jobs.wake_due(now=now)


def expire_queued(now: datetime) -> int:
    """Go on while whole pages expire: what nobody wants must not stand before what somebody does."""
    ended = 0
    for _ in range(PAGES_OF_A_SWEEP):
        page = jobs.expire_due(now=now, most=jobs.EXPIRED_AT_ONCE)
        ended += page
        if page < jobs.EXPIRED_AT_ONCE:
            break
    return ended


def wake_forgotten_parents(now: datetime) -> int:
    return children.wake_forgotten(now=now)


def end_overdue_turns(now: datetime) -> int:
    return overdue.end_overdue_turns(now=now)


_MENDS: tuple[Callable[[datetime], int], ...] = (
    rescue_jobs,
    recall_lost_messages,
    wake_waiting,
    wake_forgotten_parents,
    expire_queued,
    end_overdue_turns,
)
