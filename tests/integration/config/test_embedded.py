"""The embedded servers, with their real programs: their data survives whatever ends them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest
import redis

from config.embedded import binaries, postgres, servers, valkey
from config.embedded.errors import BinaryMissing, ServerDidNotStart, ServerName
from config.embedded.server import Answer
from config.supervisor.ending import until
from tests.integration.config.serving import SOON, everything_that_runs, kill_both, python, something_is_there, write_something


def test_both_servers_answer_to_their_passwords_only(open_home: Path) -> None:
    found = servers.start(open_home)

    assert found.answering
    assert postgres.answer(found.database_url.replace("gearbox:", "gearbox:not-", 1)) is Answer.STRANGER
    assert valkey.answer(found.redis_url.replace("redis://:", "redis://:not-", 1)) is Answer.STRANGER


def test_a_database_server_is_durable_and_small(open_home: Path) -> None:
    with psycopg.connect(servers.start(open_home).database_url) as connection:
        shown = {name: connection.execute(f"SHOW {name}").fetchone() for name in ("fsync", "synchronous_commit", "jit", "max_connections")}
        collation = connection.execute("SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'gearbox'").fetchone()

    assert shown == {"fsync": ("on",), "synchronous_commit": ("on",), "jit": ("off",), "max_connections": ("200",)}
    assert collation == ("b", "C.UTF-8")


def test_a_cache_evicts_nothing_and_writes_what_it_holds(open_home: Path) -> None:
    with redis.Redis.from_url(servers.start(open_home).redis_url) as cache:
        assert cache.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert cache.config_get("appendonly") == {"appendonly": "yes"}
        assert cache.config_get("appendfsync") == {"appendfsync": "everysec"}


def test_nothing_listens_beyond_this_machine(open_home: Path) -> None:
    servers.start(open_home)

    listening = [taken for process in everything_that_runs(open_home) for taken in process.net_connections() if taken.status == "LISTEN"]

    assert {taken.laddr.ip for taken in listening} == {"127.0.0.1"}


def test_a_second_start_finds_what_runs(open_home: Path) -> None:
    first = servers.start(open_home)

    assert servers.start(open_home) == first
    assert servers.find(open_home) == first


def test_two_starts_at_once_start_each_server_once(open_home: Path) -> None:
    code = "import sys, pathlib; from config.embedded import servers; print(servers.start(pathlib.Path(sys.argv[1])))"

    said = [starter.communicate(timeout=60)[0] for starter in (python(code, open_home), python(code, open_home))]

    assert said[0] == said[1] != ""


def test_data_and_addresses_outlast_a_stop(open_home: Path) -> None:
    before = servers.start(open_home)
    write_something(before)

    servers.stop(open_home)
    assert servers.find(open_home) is None
    assert everything_that_runs(open_home) == []
    after = servers.start(open_home)

    assert something_is_there(after)
    assert (after.database_url, after.redis_url) == (before.database_url, before.redis_url)


def test_data_and_addresses_outlast_a_hard_kill_of_both_servers(open_home: Path) -> None:
    before = servers.start(open_home)
    write_something(before)
    with redis.Redis.from_url(before.redis_url) as cache:
        assert cache.waitaof(1, 0, 5_000) == [1, 0]

    kill_both(before)
    assert servers.find(open_home) is None
    after = servers.start(open_home)

    assert something_is_there(after)
    assert (after.database_url, after.redis_url) == (before.database_url, before.redis_url)


def test_a_server_that_lives_is_left_alone_when_the_other_died(open_home: Path) -> None:
    before = servers.start(open_home)
    os.kill(before.postgres.pid, signal.SIGKILL)
    assert until(lambda: before.postgres.find() is None, patience=SOON)

    after = servers.start(open_home)

    assert after.valkey == before.valkey
    assert after.postgres != before.postgres


def test_a_stale_pid_file_whose_pid_is_another_programs_now_does_not_hinder(open_home: Path) -> None:
    before = servers.start(open_home)
    write_something(before)
    kill_both(before)
    pid_file = Path(before.data) / "postmaster.pid"
    stale = pid_file.read_text().splitlines()
    account = pid_file.stat()
    other = subprocess.Popen(["sleep", "60"], user=account.st_uid if os.geteuid() == 0 else None)
    pid_file.write_text("\n".join([str(other.pid), *stale[1:], ""]))
    try:
        assert something_is_there(servers.start(open_home))
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_running_servers_are_found_again_when_the_state_file_is_broken(open_home: Path) -> None:
    before = servers.start(open_home)
    (open_home / "servers.json").write_text('{"database_url": "postg')

    assert servers.find(open_home) is None
    assert servers.start(open_home) == before


def test_stop_ends_servers_that_no_file_remembers(open_home: Path) -> None:
    servers.start(open_home)
    (open_home / "servers.json").unlink()

    servers.stop(open_home)

    assert everything_that_runs(open_home) == []


def test_data_stays_usable_when_the_passwords_are_lost(open_home: Path) -> None:
    before = servers.start(open_home)
    write_something(before)
    servers.stop(open_home)
    shutil.rmtree(open_home / "secrets")

    after = servers.start(open_home)

    assert something_is_there(after)
    assert after.database_url != before.database_url


def test_a_taken_port_is_given_up_for_a_new_one(open_home: Path) -> None:
    before = servers.start(open_home)
    write_something(before)
    servers.stop(open_home)
    port = psycopg.conninfo.conninfo_to_dict(before.database_url)["port"]
    squatter = python(
        "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); print('here', flush=True); input()", port
    )
    with squatter:
        assert squatter.stdout is not None
        assert squatter.stdout.readline() == "here\n"
        after = servers.start(open_home)
        squatter.kill()

    assert something_is_there(after)
    assert after.database_url != before.database_url
    assert after.redis_url == before.redis_url


def test_a_first_start_that_was_cut_short_is_begun_anew(open_home: Path) -> None:
    unfinished = open_home / "postgres-new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18")

    assert servers.start(open_home).answering
    assert not unfinished.exists()


def test_secrets_and_state_are_private(open_home: Path) -> None:
    servers.start(open_home)

    private = [
        open_home / "servers.json",
        open_home / "ports.json",
        *(open_home / "secrets").iterdir(),
        open_home / "valkey" / "valkey.conf",
        open_home / "postgres.log",
    ]

    assert {oct(path.stat().st_mode & 0o777) for path in private} == {"0o600"}
    assert (open_home / "secrets").stat().st_mode & 0o077 == 0
    assert open_home.stat().st_mode & 0o067 == 0


def test_no_password_shows_in_the_process_table(open_home: Path) -> None:
    servers.start(open_home)
    passwords = [path.read_text() for path in (open_home / "secrets").iterdir()]

    lines = [" ".join(process.cmdline()) for process in everything_that_runs(open_home)]

    assert len(passwords) == 2
    assert not any(password in line for password in passwords for line in lines)


def test_a_server_that_cannot_start_says_why_and_what_to_do(open_home: Path) -> None:
    servers.start(open_home)
    servers.stop(open_home)
    (open_home / "postgres" / "PG_VERSION").write_text("17\n")

    with pytest.raises(ServerDidNotStart) as refused:
        servers.start(open_home)

    assert refused.value.server is ServerName.POSTGRES
    assert "incompatible" in refused.value.log_tail
    assert "move" in refused.value.remedy
    assert everything_that_runs(open_home) == []


def test_a_missing_package_is_named(open_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "VALKEY_MODULE", "a_package_that_is_not_there")

    with pytest.raises(BinaryMissing, match="a_package_that_is_not_there"):
        servers.start(open_home)


def test_servers_of_a_killed_starter_end_with_it(open_home: Path) -> None:
    code = (
        "import sys, pathlib; from config.embedded import servers; from config.embedded.launch import Life;"
        "servers.start(pathlib.Path(sys.argv[1]), life=Life.CALLERS); print('up', flush=True); input()"
    )
    with python(code, open_home) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "up\n"
        assert len(everything_that_runs(open_home)) > 2
        starter.kill()

    assert until(lambda: everything_that_runs(open_home) == [], patience=SOON)


def test_stopping_what_never_ran_changes_nothing(open_home: Path) -> None:
    servers.stop(open_home)

    assert not open_home.exists()
