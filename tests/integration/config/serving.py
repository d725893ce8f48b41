"""What the tests of the embedded servers share: something to keep, a hard kill, and who runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import psutil
import psycopg
import redis

from config.embedded.launch import working_in
from config.embedded.servers import Servers
from config.supervisor.ending import until

ROOT = Path(__file__).resolve().parents[3]
SOON = timedelta(seconds=60)


def write_something(found: Servers) -> None:
    with psycopg.connect(found.database_url) as connection:
        connection.execute("CREATE TABLE kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('safe')")
    with redis.Redis.from_url(found.redis_url) as cache:
        cache.set("word", "safe")


def something_is_there(found: Servers) -> bool:
    with psycopg.connect(found.database_url) as connection, redis.Redis.from_url(found.redis_url) as cache:
        return connection.execute("SELECT word FROM kept").fetchone() == ("safe",) and cache.get("word") == b"safe"


def kill_both(found: Servers) -> None:
    for identity in (found.postgres, found.valkey):
        os.kill(identity.pid, signal.SIGKILL)
    assert until(lambda: not found.postgres.find() and not found.valkey.find(), patience=SOON)


def everything_that_runs(home: Path) -> list[psutil.Process]:
    data = (home / "postgres").resolve()
    return working_in(data, named="postgres") + working_in(home / "valkey", named="valkey")


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
