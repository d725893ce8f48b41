"""Whether a program of `up` does its work: what a container asks of itself. Each check is cheap and changes nothing."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import MappingProxyType

from django.utils import timezone

from config.env import env
from config.listening import LOOPBACK

PATIENCE = timedelta(seconds=5)
BEAT_WRITES = timedelta(minutes=10)
"""Beat writes its schedule every three minutes; three times missed it stands still."""


def is_alive(name: str) -> bool:
    """Tell whether the program of this name on this machine does its work. Raises KeyError for a name that `up` has not."""
    return CHECKS[name]()


def _answers(port: int, path: str) -> bool:
    told = http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE.total_seconds())
    try:
        told.request("GET", path, headers={"Host": _own_host()})
        return told.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        told.close()


def _own_host() -> str:
    """A name that Django answers to, whatever the operator allowed."""
    first = env.allowed_hosts[0] if env.allowed_hosts else LOOPBACK
    return LOOPBACK if first == "*" else first.removeprefix(".")


def _keeps_its_lease(priority_class: str) -> bool:
    from invocation.selectors import presence  # noqa: PLC0415  (needs the tables; most checks do not)

    return presence.lives(priority_class, host=socket.gethostname(), now=timezone.now())


def _is_led() -> bool:
    from invocation.selectors import presence  # noqa: PLC0415
    from invocation.services.dispatching import LEADER  # noqa: PLC0415

    return presence.is_locked(LEADER)


def _answers_a_ping(queue: str) -> bool:
    """The control worker serves no class and so keeps no lease; Celery itself is asked."""
    from celery.utils.nodenames import host_format  # noqa: PLC0415
    from kombu.exceptions import OperationalError  # noqa: PLC0415

    from config.celery import app  # noqa: PLC0415

    node = host_format(f"{queue}@%h")
    try:
        return bool(app.control.inspect(destination=[node], timeout=PATIENCE.total_seconds(), limit=1).ping())
    except OperationalError:
        return False


def _wrote_lately(schedule: Path) -> bool:
    """Whether any file of the schedule (the database's format decides how many) was written of late."""
    written = [file.stat().st_mtime for file in schedule.parent.glob(f"{schedule.name}*")]
    return time.time() - max(written, default=0) < BEAT_WRITES.total_seconds()


CHECKS: Mapping[str, Callable[[], bool]] = MappingProxyType(
    {
        "web": partial(_answers, env.web_port, "/readyz"),
        **{f"worker-{queue}": partial(_keeps_its_lease, queue) for queue in ("p0", "p1", "p2", "p3")},
        "worker-control": partial(_answers_a_ping, "control"),
        "dispatcher": _is_led,
        "beat": partial(_wrote_lately, env.home / "beat-schedule"),
        "flower": partial(_answers, env.flower_port, "/healthcheck"),
    }
)
