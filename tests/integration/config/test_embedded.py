"""The embedded servers, with their real programs: their data survives whatever ends them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from config.embedded import binaries, postgres, servers, valkey
from config.embedded.errors import BinaryMissing, ServerDidNotStart, ServerName
from config.embedded.launch import working_in
from config.embedded.server import Answer
from config.embedded.servers import Servers
from config.supervisor.ending import until

ROOT = Path(__file__).resolve().parents[3]
SOON = timedelta(seconds=20)
NOBODY = 65_534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run PostgreSQL as somebody else")


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that every account can reach; nothing runs in it afterwards."""
    above = Path(tempfile.mkdtemp(prefix="gearbox-test-"))
    above.chmod(0o755)
    yield above / "home"
    servers.stop(above / "home")
    shutil.rmtree(above)


@pytest.fixture
def closed_home() -> Iterator[Path]:
    """A home below a folder that only its owner may enter."""
    above = Path(tempfile.mkdtemp(prefix="gearbox-test-"))
    home = above / "home"
    yield home
    servers.stop(home)
    elsewhere = (home / "postgres").resolve().parent
    shutil.rmtree(above)
    if elsewhere != home:
        shutil.rmtree(elsewhere)


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


def test_both_servers_answer_to_their_passwords_only(home: Path) -> None:
    found = servers.start(home)

    assert found.answering
    assert postgres.answer(found.database_url.replace("gearbox:", "gearbox:not-", 1)) is Answer.STRANGER
    assert valkey.answer(found.redis_url.replace("redis://:", "redis://:not-", 1)) is Answer.STRANGER


def test_a_database_server_is_durable_and_small(home: Path) -> None:
    with psycopg.connect(servers.start(home).database_url) as connection:
        shown = {name: connection.execute(f"SHOW {name}").fetchone() for name in ("fsync", "synchronous_commit", "jit", "max_connections")}
        collation = connection.execute("SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'gearbox'").fetchone()

    assert shown == {"fsync": ("on",), "synchronous_commit": ("on",), "jit": ("off",), "max_connections": ("200",)}
    assert collation == ("b", "C.UTF-8")


def test_a_cache_evicts_nothing_and_writes_what_it_holds(home: Path) -> None:
    with redis.Redis.from_url(servers.start(home).redis_url) as cache:
        assert cache.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert cache.config_get("appendonly") == {"appendonly": "yes"}
        assert cache.config_get("appendfsync") == {"appendfsync": "everysec"}


def test_nothing_listens_beyond_this_machine(home: Path) -> None:
    servers.start(home)

    listening = [taken for process in everything_that_runs(home) for taken in process.net_connections() if taken.status == "LISTEN"]

    assert {taken.laddr.ip for taken in listening} == {"127.0.0.1"}


def test_a_second_start_finds_what_runs(home: Path) -> None:
    first = servers.start(home)

    assert servers.start(home) == first
    assert servers.find(home) == first


def test_two_starts_at_once_start_each_server_once(home: Path) -> None:
    code = "import sys, pathlib; from config.embedded import servers; print(servers.start(pathlib.Path(sys.argv[1])))"

    said = [starter.communicate(timeout=60)[0] for starter in (python(code, home), python(code, home))]

    assert said[0] == said[1] != ""


def test_data_and_addresses_outlast_a_stop(home: Path) -> None:
    before = servers.start(home)
    write_something(before)

    servers.stop(home)
    assert servers.find(home) is None
    assert everything_that_runs(home) == []
    after = servers.start(home)

    assert something_is_there(after)
    assert (after.database_url, after.redis_url) == (before.database_url, before.redis_url)


def test_data_and_addresses_outlast_a_hard_kill_of_both_servers(home: Path) -> None:
    before = servers.start(home)
    write_something(before)
    with redis.Redis.from_url(before.redis_url) as cache:
        assert cache.waitaof(1, 0, 5_000) == [1, 0]

    kill_both(before)
    assert servers.find(home) is None
    after = servers.start(home)

    assert something_is_there(after)
    assert (after.database_url, after.redis_url) == (before.database_url, before.redis_url)


def test_a_server_that_lives_is_left_alone_when_the_other_died(home: Path) -> None:
    before = servers.start(home)
    os.kill(before.postgres.pid, signal.SIGKILL)
    assert until(lambda: before.postgres.find() is None, patience=SOON)

    after = servers.start(home)

    assert after.valkey == before.valkey
    assert after.postgres != before.postgres


def test_a_stale_pid_file_whose_pid_is_another_programs_now_does_not_hinder(home: Path) -> None:
    before = servers.start(home)
    write_something(before)
    kill_both(before)
    pid_file = Path(before.data) / "postmaster.pid"
    stale = pid_file.read_text().splitlines()
    account = pid_file.stat()
    other = subprocess.Popen(["sleep", "60"], user=account.st_uid if os.geteuid() == 0 else None)
    pid_file.write_text("\n".join([str(other.pid), *stale[1:], ""]))
    try:
        assert something_is_there(servers.start(home))
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_running_servers_are_found_again_when_the_state_file_is_broken(home: Path) -> None:
    before = servers.start(home)
    (home / "servers.json").write_text('{"database_url": "postg')

    assert servers.find(home) is None
    assert servers.start(home) == before


def test_stop_ends_servers_that_no_file_remembers(home: Path) -> None:
    servers.start(home)
    (home / "servers.json").unlink()

    servers.stop(home)

    assert everything_that_runs(home) == []


def test_data_stays_usable_when_the_passwords_are_lost(home: Path) -> None:
    before = servers.start(home)
    write_something(before)
    servers.stop(home)
    shutil.rmtree(home / "secrets")

    after = servers.start(home)

    assert something_is_there(after)
    assert after.database_url != before.database_url


def test_a_taken_port_is_given_up_for_a_new_one(home: Path) -> None:
    before = servers.start(home)
    write_something(before)
    servers.stop(home)
    port = psycopg.conninfo.conninfo_to_dict(before.database_url)["port"]
    squatter = python(
        "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); print('here', flush=True); input()", port
    )
    with squatter:
        assert squatter.stdout is not None
        assert squatter.stdout.readline() == "here\n"
        after = servers.start(home)
        squatter.kill()

    assert something_is_there(after)
    assert after.database_url != before.database_url
    assert after.redis_url == before.redis_url


def test_a_first_start_that_was_cut_short_is_begun_anew(home: Path) -> None:
    unfinished = home / "postgres-new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18")

    assert servers.start(home).answering
    assert not unfinished.exists()


def test_secrets_and_state_are_private(home: Path) -> None:
    servers.start(home)

    private = [
        home / "servers.json",
        home / "ports.json",
        *(home / "secrets").iterdir(),
        home / "valkey" / "valkey.conf",
        home / "postgres.log",
    ]

    assert {oct(path.stat().st_mode & 0o777) for path in private} == {"0o600"}
    assert (home / "secrets").stat().st_mode & 0o077 == 0
    assert home.stat().st_mode & 0o067 == 0


def test_no_password_shows_in_the_process_table(home: Path) -> None:
    servers.start(home)
    passwords = [path.read_text() for path in (home / "secrets").iterdir()]

    lines = [" ".join(process.cmdline()) for process in everything_that_runs(home)]

    assert len(passwords) == 2
    assert not any(password in line for password in passwords for line in lines)


def test_a_server_that_cannot_start_says_why_and_what_to_do(home: Path) -> None:
    servers.start(home)
    servers.stop(home)
    (home / "postgres" / "PG_VERSION").write_text("17\n")

    with pytest.raises(ServerDidNotStart) as refused:
        servers.start(home)

    assert refused.value.server is ServerName.POSTGRES
    assert "incompatible" in refused.value.log_tail
    assert "move" in refused.value.remedy
    assert everything_that_runs(home) == []


def test_a_missing_package_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "VALKEY_MODULE", "a_package_that_is_not_there")

    with pytest.raises(BinaryMissing, match="a_package_that_is_not_there"):
        servers.start(home)


@as_root
def test_a_full_disk_is_named(home: Path) -> None:
    home.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", home], check=False).returncode:
        pytest.skip("this root may not mount")
    try:
        with pytest.raises(ServerDidNotStart, match="free space on the disk"):
            servers.start(home)
    finally:
        subprocess.run(["umount", home], check=True)


def test_servers_of_a_killed_starter_end_with_it(home: Path) -> None:
    code = (
        "import sys, pathlib; from config.embedded import servers; from config.embedded.launch import Life;"
        "servers.start(pathlib.Path(sys.argv[1]), life=Life.CALLERS); print('up', flush=True); input()"
    )
    with python(code, home) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "up\n"
        assert len(everything_that_runs(home)) > 2
        starter.kill()

    assert until(lambda: everything_that_runs(home) == [], patience=SOON)


def test_stopping_what_never_ran_changes_nothing(home: Path) -> None:
    servers.stop(home)

    assert not home.exists()


@as_root
def test_root_runs_postgres_as_somebody_without_rights(home: Path) -> None:
    found = servers.start(home)

    assert psutil.Process(found.postgres.pid).uids().effective != 0
    assert (home / "postgres").stat().st_uid == psutil.Process(found.postgres.pid).uids().effective


@as_root
def test_a_home_closed_to_others_links_to_data_elsewhere(closed_home: Path) -> None:
    before = servers.start(closed_home)
    write_something(before)
    kill_both(before)

    after = servers.start(closed_home)

    assert something_is_there(after)
    assert (closed_home / "postgres").is_symlink()
    assert json.loads((closed_home / "servers.json").read_text())["data"] == str((closed_home / "postgres").resolve())


@as_root
def test_programs_closed_to_others_run_from_a_copy(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = Path(tempfile.mkdtemp(prefix="gearbox-test-"))
    package = binaries.postgres_package()
    for folder in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(folder, closed / folder.name, ignore=shutil.ignore_patterns("pginstall", "*.a"))
    monkeypatch.syspath_prepend(str(closed))
    try:
        found = servers.start(home)
        assert str(home) in psutil.Process(found.postgres.pid).cmdline()[0]
        assert found.answering
    finally:
        shutil.rmtree(closed)


@as_root
def test_a_user_without_rights_runs_everything_itself(home: Path) -> None:
    interpreter = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if interpreter is None or not (Path(interpreter).stat().st_mode & 0o001):
        pytest.skip("no interpreter that a user without rights may run")
    os.chown(home.parent, NOBODY, NOBODY)
    code = (
        "import sys, pathlib; from config.embedded import servers; home = pathlib.Path(sys.argv[1]);"
        "first = servers.start(home); servers.stop(home); second = servers.start(home);"
        "print(first.database_url == second.database_url and second.answering); servers.stop(home)"
    )
    paths = os.pathsep.join([str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))])

    done = subprocess.run(
        [interpreter, "-c", code, home],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        env={"PYTHONPATH": paths, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    if "ImportError" in done.stderr or "ModuleNotFoundError" in done.stderr:
        pytest.skip("that interpreter cannot load this environment's packages")

    assert (done.stdout, done.stderr) == ("True\n", "")
    assert (home / "postgres").stat().st_uid == NOBODY
