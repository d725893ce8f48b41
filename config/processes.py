"""What `manage.py up` runs: the programs, their environment, and the commands that go before them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from itertools import cycle
from types import MappingProxyType

from config.env import ROOT, Env
from config.supervisor.program import Color, Program

MANAGE = (sys.executable, str(ROOT / "manage.py"))
PYTHON = (sys.executable, "-m")
CELERY = (*PYTHON, "celery", "--quiet", "-A", "config.celery")
NO_ROOT_WARNING = "ignore:You're running the worker with superuser privileges"  # said once a worker, eight lines each

# Each runs once, in this order, before the programs: `manage.py <words>`.
SETUP: tuple[tuple[str, ...], ...] = (
    ("migrate", "--noinput", "--verbosity", "0"),
    ("load_catalog",),
    ("admin_account",),
)

QUEUES = ("p0", "p1", "p2", "p3", "control")
WORKER_FLAGS = ("-E", "--without-gossip", "--without-mingle", "--loglevel", "WARNING")
NICENESS: Mapping[str, int] = MappingProxyType({"worker-p2": 5, "worker-p3": 10})
"""What nobody waits for gives way on a machine that it shares with chat; containers have shares of the processor instead."""
MARGIN_AFTER_DRAIN = timedelta(seconds=2)


def environment(env: Env, *, database_url: str, redis_url: str) -> dict[str, str]:
    """Return the whole environment of every program: ours, with the servers' addresses settled."""
    broker = {"BROKER_URL": env.broker_url} if env.broker_url else {}
    return {
        **os.environ,
        "GEARBOX_HOME": str(env.home),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        **broker,
        "PYTHONUNBUFFERED": "1",
        "CELERY_SKIP_CHECKS": "1",  # run before by `manage.py migrate`; each worker would load the web's addresses for them
        "PYTHONWARNINGS": ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), NO_ROOT_WARNING))),
        "FLOWER_BASIC_AUTH": f"{env.flower_user}:{env.flower_password}",
    }


def commands(env: Env) -> dict[str, tuple[str, ...]]:
    """Return the command of every program by its name, in the order in which they start."""
    workers = {f"worker-{queue}": _worker(env, queue) for queue in QUEUES}
    return {
        "web": (*PYTHON, "config.serving", "-b", env.web_host, "-p", str(env.web_port)),
        **workers,
        "dispatcher": (*MANAGE, "dispatcher"),
        "beat": (*CELERY, "beat", "-s", str(env.home / "beat-schedule"), "--pidfile=", "--loglevel", "WARNING"),
        "flower": (*CELERY, "flower", "--address=127.0.0.1", f"--port={env.flower_port}", "--logging=warning"),
    }


def programs(env: Env, *, environment: Mapping[str, str]) -> tuple[Program, ...]:
    """Return every program, each with its own colour."""
    grace = timedelta(seconds=env.drain_s) + MARGIN_AFTER_DRAIN
    return tuple(
        Program(name=name, argv=argv, cwd=ROOT, env=environment, color=color, grace=grace, niceness=NICENESS.get(name, 0))
        for (name, argv), color in zip(commands(env).items(), cycle(Color), strict=False)
    )


def _worker(env: Env, queue: str) -> tuple[str, ...]:
    return (*CELERY, "worker", "-c", str(env.worker_threads), "-Q", queue, "-n", f"{queue}@%h", *WORKER_FLAGS)
