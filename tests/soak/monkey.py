"""A monkey that hurts an installation at random, for as long as it is let."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from tests.soak.ground import LEASE_S, WORKERS, Ground

REST_S = (0.5, 3.0)


@dataclass(slots=True)
class Client:
    """Submits errands without pause until it is told to end, each under a key that it repeats until somebody answers."""

    here: Ground
    rate: float
    job_ids: list[str] = field(default_factory=list)
    _ending: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    @contextmanager
    def submitting(self, hands: int = 3) -> Iterator[Self]:
        """Submit meanwhile; whatever happens, nothing of it outlives the block."""
        self._threads = [threading.Thread(target=self._submit, args=(hand, hands), daemon=True) for hand in range(hands)]
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._ending.set()
            for thread in self._threads:
                thread.join(timeout=90)

    def _submit(self, hand: int, hands: int) -> None:
        luck, number = random.Random(hand), 0  # noqa: S311  (a seeded monkey)
        while not self._ending.is_set():
            number += 1
            self.job_ids.append(self.here.must_submit({"for_s": luck.random() * 0.5}, key=f"{hand}-{number}", within=90))
            time.sleep(luck.expovariate(self.rate / hands))


def torment(here: Ground, *, for_s: float, seed: int) -> list[str]:
    """Hurt the installation at random and return what was done, in order."""
    luck, done, end = random.Random(seed), [], time.monotonic() + for_s  # noqa: S311  (a seeded monkey)
    while time.monotonic() < end:
        name, act = luck.choice(list(_acts(here, luck).items()))
        done.append(name)
        act()
        time.sleep(luck.uniform(*REST_S))
    return done


def _acts(here: Ground, luck: random.Random) -> dict[str, Callable[[], None]]:
    worker = luck.choice(WORKERS)
    return {
        "kill a worker": lambda: here.kill(worker),
        "kill another worker": lambda: here.kill(luck.choice(WORKERS)),
        "end a worker": lambda: here.kill(worker, by=signal.SIGTERM),
        "freeze a worker": lambda: here.freeze(worker, for_s=LEASE_S + 2),
        "kill a dispatcher": lambda: here.kill(luck.choice(["dispatcher", "dispatcher-b"])),
        "freeze a dispatcher": lambda: here.freeze(luck.choice(["dispatcher", "dispatcher-b"]), for_s=LEASE_S + 2),
        "kill a beat": lambda: here.kill(luck.choice(["beat", "beat-b"])),
        "kill web": lambda: here.kill("web"),
        "wipe Redis": here.flush,
        "restart Redis": here.restart_redis,
        "restart PostgreSQL": here.restart_postgres,
    }
