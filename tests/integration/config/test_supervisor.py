"""The supervisor over real programs: it heals them, and nothing outlives it."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from config import kept, listening
from config.supervisor.console import Console, Paint
from config.supervisor.ending import AT_ONCE, until
from config.supervisor.identity import Identity
from config.supervisor.leftovers import end_leftovers, find_leftovers
from config.supervisor.program import Color, Program, pause_before_restart
from config.supervisor.roster import Roster

ROOT = Path(__file__).resolve().parents[3]
SOON = timedelta(seconds=20)
STEADY = "import time; print('ready'); time.sleep(600)"
STUBBORN = (
    "import signal, subprocess, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "subprocess.Popen(['sleep', '600']); print('ready'); time.sleep(600)"
)
AWAY = "import subprocess, time; subprocess.Popen(['sleep', '600'], start_new_session=True); print('ready'); time.sleep(600)"

Supervise = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    end_leftovers(tmp_path, by=AT_ONCE)


@pytest.fixture
def supervise(home: Path) -> Iterator[Supervise]:
    """Start a supervisor over programs; its output goes to `home/out`."""
    started: list[subprocess.Popen[str]] = []

    def start(**programs: dict[str, object]) -> subprocess.Popen[str]:
        with (home / "out").open("w") as out:
            argv = [sys.executable, "-m", "tests.integration.config.supervised", str(home), json.dumps(programs)]
            started.append(subprocess.Popen(argv, cwd=ROOT, stdout=out, stderr=out, text=True))
        return started[-1]

    yield start
    for supervisor in started:
        supervisor.kill()
        supervisor.wait()


def said(home: Path) -> str:
    return (home / "out").read_text()


def wait_for(home: Path, text: str, *, times: int = 1) -> None:
    assert until(lambda: said(home).count(text) >= times, patience=SOON), said(home)


def pid_of(home: Path, name: str) -> int:
    roster = Roster.read(home)
    entry = roster.of(name) if roster else None
    assert entry is not None
    return entry.process.pid


def test_each_line_stands_behind_its_programs_name(home: Path, supervise: Supervise) -> None:
    supervise(web={"code": STEADY}, worker={"code": "import sys, time; sys.stderr.write('late\\n'); time.sleep(600)"})

    wait_for(home, "web    | ready\n")
    wait_for(home, "worker | late\n")


def test_names_are_coloured_on_a_terminal_only() -> None:
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb", buffering=0), os.fdopen(follower, "w") as terminal:
        assert Paint.suited(terminal, {}) is Paint.COLORED
        assert Paint.suited(terminal, {"NO_COLOR": "1"}) is Paint.PLAIN
    assert Paint.suited(io.StringIO(), {}) is Paint.PLAIN


def test_a_coloured_name_ends_its_color_before_the_line() -> None:
    out = io.StringIO()
    web = Program(name="web", argv=("/bin/true",), cwd=ROOT, env={}, color=Color.GREEN)

    Console(out, names=["web"], paint=Paint.COLORED).line(web, "text")

    assert out.getvalue() == "\x1b[32mweb\x1b[0m | text\n"


def test_a_killed_program_runs_again(home: Path, supervise: Supervise) -> None:
    supervise(web={"code": STEADY}, worker={"code": STEADY})
    wait_for(home, "| ready", times=2)
    killed, other = pid_of(home, "web"), pid_of(home, "worker")

    os.kill(killed, signal.SIGKILL)
    wait_for(home, "web    | ready", times=2)

    roster = Roster.read(home)
    assert roster is not None
    assert [(entry.name, entry.restarts) for entry in sorted(roster.entries, key=lambda entry: entry.name)] == [("web", 1), ("worker", 0)]
    assert pid_of(home, "web") != killed
    assert pid_of(home, "worker") == other


def test_a_program_gives_way_to_others_as_it_is_told(home: Path, supervise: Supervise) -> None:
    supervise(batch={"code": STEADY, "niceness": 10}, chat={"code": STEADY})
    wait_for(home, "ready", times=2)

    assert [psutil.Process(pid_of(home, name)).nice() for name in ("batch", "chat")] == [10, 0]
    sessions = [Path(f"/proc/{pid_of(home, name)}/autogroup") for name in ("batch", "chat")]
    assert [path.read_text().split()[-1] for path in sessions if path.exists()] in (["10", "0"], [])


def test_what_a_dead_program_left_in_its_group_dies_before_the_restart(home: Path, supervise: Supervise) -> None:
    supervise(web={"code": STUBBORN})
    wait_for(home, "| ready")
    (child,) = psutil.Process(pid_of(home, "web")).children()

    os.kill(pid_of(home, "web"), signal.SIGKILL)
    wait_for(home, "| ready", times=2)

    assert Identity(pid=child.pid, created=child.create_time()).find() is None


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_stops_all_and_forgets_them(home: Path, supervise: Supervise, signum: signal.Signals) -> None:
    supervisor = supervise(web={"code": STEADY}, worker={"code": STEADY})
    wait_for(home, "| ready", times=2)

    supervisor.send_signal(signum)

    assert supervisor.wait(timeout=15) == 0
    assert find_leftovers(home) == []
    assert Roster.read(home) is None


def test_a_program_that_ignores_the_order_is_killed_with_its_children_after_its_grace(home: Path, supervise: Supervise) -> None:
    supervisor = supervise(web={"code": STUBBORN, "grace_s": 0.5})
    wait_for(home, "| ready")

    supervisor.terminate()

    assert supervisor.wait(timeout=15) == 0
    assert find_leftovers(home) == []


def test_a_second_stop_signal_does_not_wait_for_grace(home: Path, supervise: Supervise) -> None:
    supervisor = supervise(web={"code": STUBBORN, "grace_s": 600})
    wait_for(home, "| ready")

    supervisor.terminate()
    wait_for(home, "stopping")
    supervisor.terminate()

    assert supervisor.wait(timeout=15) == 0
    assert find_leftovers(home) == []


def test_a_child_that_left_its_group_is_ended_as_well(home: Path, supervise: Supervise) -> None:
    supervisor = supervise(web={"code": AWAY})
    wait_for(home, "| ready")

    supervisor.terminate()

    assert supervisor.wait(timeout=15) == 0
    assert find_leftovers(home) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_no_program_outlives_a_supervisor_that_is_killed(home: Path, supervise: Supervise) -> None:
    supervisor = supervise(web={"code": STEADY}, worker={"code": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + STEADY})
    wait_for(home, "| ready", times=2)
    assert len(find_leftovers(home)) == 2

    supervisor.kill()

    assert until(lambda: find_leftovers(home) == [], patience=SOON)


def test_grandchildren_of_a_killed_supervisor_are_ended_by_the_next(home: Path, supervise: Supervise) -> None:
    supervisor = supervise(web={"code": AWAY})
    wait_for(home, "| ready")
    supervisor.kill()
    supervisor.wait()

    assert until(lambda: [left.name() for left in find_leftovers(home)] == ["sleep"], patience=SOON)
    end_leftovers(home)

    assert find_leftovers(home) == []


def test_a_listed_pid_that_is_another_programs_now_is_no_leftover(home: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as other:
        before = Identity(pid=other.pid, created=psutil.Process(other.pid).create_time() - 3600)
        written = {
            "supervisor": {"pid": 1, "created": 0},
            "entries": [{"name": "web", "process": {"pid": before.pid, "created": before.created}, "restarts": 0}],
        }
        (home / "processes.json").write_text(json.dumps(written))

        assert end_leftovers(home) == []
        assert other.poll() is None
        other.kill()


def test_a_program_that_cannot_run_is_named_and_tried_again(home: Path, supervise: Supervise) -> None:
    supervisor = supervise(web={"path": "/no/such/program"})

    wait_for(home, "cannot run /no/such/program", times=2)
    wait_for(home, "web ended with code 127; again in 0.5 s")

    supervisor.terminate()
    assert supervisor.wait(timeout=15) == 0


def test_a_line_without_end_is_shown_in_pieces(home: Path, supervise: Supervise) -> None:
    supervise(web={"code": "import sys, time; sys.stdout.write('x' * 300_000); sys.stdout.flush(); print('end'); time.sleep(600)"})

    wait_for(home, "end")
    assert said(home).count("x") == 300_000


def test_bytes_that_are_no_text_do_not_stop_the_output(home: Path, supervise: Supervise) -> None:
    supervise(web={"code": "import os, time; os.write(1, b'\\xff\\xfe\\n'); print('after'); time.sleep(600)"})

    wait_for(home, "after")


def test_pauses_grow_from_none_to_ten_seconds_and_end_after_a_steady_run() -> None:
    pauses: list[timedelta] = []
    last: timedelta | None = None
    for _death in range(8):
        last = pause_before_restart(last, ran=timedelta(seconds=1))
        pauses.append(last)

    assert [pause.total_seconds() for pause in pauses] == [0, 0.5, 1, 2, 4, 8, 10, 10]
    assert pause_before_restart(last, ran=timedelta(seconds=30)) == timedelta()


def test_a_taken_port_names_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]

        assert not listening.is_free(port)
        found = listening.listener(port)
        assert found is not None
        assert found.pid == os.getpid()
        assert listening.next_free(port) != port
    assert listening.is_free(port)


def test_a_lock_is_let_go_when_its_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = "import sys, pathlib; from config.kept import lock\nwith lock(pathlib.Path(sys.argv[1])):\n print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code, path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert kept.is_held(path)
        with pytest.raises(kept.Held), kept.lock(path):
            pass
        holder.kill()
    assert not kept.is_held(path)


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    first = kept.secret(tmp_path, "word")

    assert len(first) >= 32
    assert kept.secret(tmp_path, "word") == first
    (tmp_path / "secrets" / "word").write_text("")
    assert len(kept.secret(tmp_path, "word")) >= 32
