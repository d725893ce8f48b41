"""Plain calls are read and answered the short way, and nobody can tell by the answer; what is not plain goes Twisted's way."""

from __future__ import annotations

import signal
import socket
import sys
import time
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from config.serving import reactor
from config.supervisor.ending import until
from tests.integration.config.echoes import BODY, Connection, Served, call, serving
from tests.integration.config.serving import SOON


def test_both_ways_tell_the_application_the_same_and_answer_the_same(served: Served) -> None:
    with served.connected() as connection:
        short = connection.asked(call("X-Given:  a b \t"))
        long = connection.asked(call("X-Given:  a b \t").replace(b"POST /v1/jobs", b"POST /v1/jobs?"))

    assert (short.told["way"], long.told["way"]) == ("short", "long")
    own = {"raw_path"}
    assert {name: value for name, value in short.told["scope"].items() if name not in own} == {
        name: value for name, value in long.told["scope"].items() if name not in own
    }
    assert short.told["body"] == long.told["body"] == BODY.decode()
    assert short.status == long.status == 202
    assert short.headers["content-type"] == long.headers["content-type"]
    assert short.headers["server"] == long.headers["server"]


@pytest.mark.parametrize(
    "other",
    [
        call("Connection: close"),
        call("Expect: 100-continue"),
        call("Transfer-Encoding: identity"),
        call("X_Given: a"),
        call("X-Given: \xe9"),
        call("X-Given: a", " folded"),
        call(body=b"x" * 70_000),
        call().replace(b"/v1/jobs", b"/v1/jobs?a=b"),
        call().replace(b"/v1/jobs", b"/v1/batches"),
        call().replace(b"POST", b"PUT"),
        call().replace(b"HTTP/1.1", b"HTTP/1.0"),
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    ],
)
def test_what_is_not_plain_is_read_by_twisted(served: Served, other: bytes) -> None:
    with served.connected() as connection:
        connection.send(other)
        told = connection.answer()
        if told.status == 100:
            told = connection.answer()

    assert (told.status, told.told["way"]) == (202, "long")


@pytest.mark.parametrize(
    "other",
    [
        call("Content-Length: 19"),
        call("Content-Length: 3"),
        call("Transfer-Encoding: chunked"),
        call("X-Given : a"),
        call("X-Given"),
        call("X-Given: a\nX-Other: b"),
        call("X-Given: a\rb"),
        call("X-Given: a\0b"),
        call().replace(b"Content-Length: 19", b"Content-Length: +19"),
    ],
)
def test_what_two_readers_could_differ_over_reaches_no_application_by_the_short_way(served: Served, other: bytes) -> None:
    with served.connected() as connection:
        connection.send(other)
        said = connection.socket.recv(65_536)

    assert b'"short"' not in said


@pytest.mark.parametrize(("cuts", "way"), [((60,), "long"), ((-19,), "short"), ((-5,), "short"), ((-15, -5), "long")])
def test_a_call_that_comes_in_pieces_is_answered_once(served: Served, cuts: tuple[int, ...], way: str) -> None:
    whole, places = call(), [0, *cuts, None]
    with served.connected() as connection:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for first, last in pairwise(places):
            connection.send(whole[first:last])
            time.sleep(0.2)
        told, after = connection.answer(), connection.asked(call())

    assert (told.told["way"], told.told["body"]) == (way, BODY.decode())
    assert (after.told["way"], after.told["number"]) == ("short", 2)


def test_calls_that_are_sent_ahead_are_answered_in_their_order(served: Served) -> None:
    with served.connected() as connection:
        connection.send(call("X-Act: wait", body=b"1"))
        assert until(lambda: served.heard == "called 1", patience=SOON)
        connection.send(call(body=b"2") + call("Connection: keep-alive", body=b"3"))
        answers = [connection.answer() for _ in range(3)]

    assert [each.told["body"] for each in answers] == ["1", "2", "3"]


def test_an_application_that_breaks_is_answered_for_and_the_connection_goes_on(served: Served) -> None:
    with served.connected() as connection:
        broken, after = connection.asked(call("X-Act: break")), connection.asked(call())

    assert (broken.status, after.status) == (500, 202)


def test_no_header_of_an_answer_can_begin_another_line(served: Served) -> None:
    with served.connected() as connection:
        told = connection.asked(call("X-Act: inject"))

    assert (told.status, "x-injected" in told.headers) == (500, False)


def test_an_application_hears_that_its_caller_is_gone(served: Served) -> None:
    with served.connected() as connection:
        connection.send(call("X-Act: leave"))
        assert until(lambda: served.heard == "called 1", patience=SOON)

    assert until(lambda: served.heard == "http.disconnect", patience=SOON)


def test_a_sender_who_reads_no_answer_is_not_read_on(served: Served) -> None:
    """Each answer is 64 KiB, and what the server's and the kernel's buffers hold together is a few MB."""
    with served.connected() as connection:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        called = 0
        while called < 300 and _is_called(served, connection, called + 1):
            called += 1

    assert 0 < called < 300


def _is_called(served: Served, connection: Connection, number: int) -> bool:
    connection.send(call("X-Act: much"))
    return until(lambda: served.heard == f"called {number}", patience=timedelta(seconds=2))


def test_a_call_under_way_is_answered_before_the_process_leaves(served: Served) -> None:
    with served.connected() as connection:
        connection.send(call("X-Act: wait"))
        assert until(lambda: served.heard == "called 1", patience=SOON)
        served.process.send_signal(signal.SIGTERM)
        told = connection.answer()

    assert told.status == 202
    assert served.process.wait(20) == 0


@pytest.mark.parametrize(
    "given", [{"root_path": "/x"}, {"http_timeout": 30}, {"proxy_forwarded_address_header": "X-Forwarded-For"}, {"action_logger": True}]
)
def test_what_only_daphnes_own_way_has_is_had_by_all_calls(tmp_path: Path, given: dict[str, Any]) -> None:
    with serving(tmp_path, **given) as served, served.connected() as connection:
        assert connection.asked(call()).told["way"] == "long"


def test_an_idle_connection_is_closed_and_one_that_waits_for_an_answer_is_not(tmp_path: Path) -> None:
    with serving(tmp_path, idle_s=0.3) as served, served.connected() as connection:
        assert connection.asked(call("X-Act: wait")).told["way"] == "short"
        assert connection.socket.recv(1) == b""


def test_a_connection_is_idle_from_its_last_answer_on(tmp_path: Path) -> None:
    with serving(tmp_path, idle_s=3.0) as served, served.connected() as connection:
        for pause_s in (0.0, 1.5, 1.8):
            time.sleep(pause_s)
            assert connection.asked(call()).status == 202


def test_a_web_process_runs_on_uvloop_and_on_asyncio_where_there_is_none(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with served.connected() as connection:
        assert connection.asked(call()).told["loop"] == "uvloop"

    monkeypatch.setitem(sys.modules, "uvloop", None)
    loop = reactor.new_loop()
    loop.close()
    assert type(loop).__module__.startswith("asyncio")
