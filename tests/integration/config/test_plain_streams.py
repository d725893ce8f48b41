"""Events that answer a plain call go over the wire as they come, framed as Twisted frames those of any other call."""

from __future__ import annotations

import signal
from http.client import IncompleteRead
from pathlib import Path

import pytest

from config.supervisor.ending import until
from tests.integration.config.echoes import Connection, Served, call, serving
from tests.integration.config.serving import SOON

CHAT = "/v1/chat"
LONG = f"{CHAT}?"
PARTS = [b"8\r\n: open\n\n\r\n", b"9\r\ndata: 1\n\n\r\n", b"9\r\ndata: 2\n\n\r\n"]
LAST = b"0\r\n\r\n"


def ask(act: str = "stream", path: str = CHAT) -> bytes:
    return call(f"X-Act: {act}", path=path)


def head(connection: Connection) -> list[bytes]:
    """Return the lines of an answer's head; what HTTP leaves open about them is made even."""
    first, *lines = iter(lambda: connection.reader.readline().rstrip(b"\r\n"), b"")
    return [first, *sorted(line.partition(b":")[0].lower() + b":" + line.partition(b":")[2] for line in lines)]


def test_both_ways_write_the_same_stream(served: Served) -> None:
    told = []
    for path in (CHAT, LONG):
        with served.connected() as connection:
            connection.send(ask(path=path))
            told.append((head(connection), connection.reader.read(len(b"".join([*PARTS, LAST])))))

    assert told[0] == told[1]
    assert told[0][1] == b"".join([*PARTS, LAST])
    assert b"transfer-encoding: chunked" in told[0][0]


def test_a_part_is_told_before_the_next_is_known_and_the_application_hears_that_its_reader_is_gone(served: Served) -> None:
    with served.connected() as connection:
        connection.send(ask("stream-leave"))
        head(connection)
        told = connection.reader.read(len(b"".join(PARTS[:2])))

    assert told == b"".join(PARTS[:2])
    assert until(lambda: served.heard == "http.disconnect", patience=SOON)


def test_calls_that_are_sent_behind_a_stream_are_answered_in_their_order(served: Served) -> None:
    with served.connected() as connection:
        connection.send(ask("stream-wait"))
        assert until(lambda: served.heard == "called 1", patience=SOON)
        connection.send(call(body=b"2") + ask() + call("Connection: keep-alive", body=b"4"))
        bodies = [connection.answer() for _ in range(4)]

    assert [bodies[0].body, bodies[2].body] == [b": open\n\ndata: 1\n\ndata: 2\n\n"] * 2
    assert [bodies[1].told["body"], bodies[3].told["body"]] == ["2", "4"]


@pytest.mark.parametrize("path", [CHAT, LONG])
def test_a_stream_whose_application_breaks_has_no_end(served: Served, path: str) -> None:
    for _ in range(2):
        with served.connected() as connection:
            connection.send(ask("stream-break", path=path))

            with pytest.raises(IncompleteRead) as broken:
                connection.answer()
            assert broken.value.partial == b": open\n\ndata: 1\n\n"


def test_no_header_of_a_stream_can_begin_another_line(served: Served) -> None:
    with served.connected() as connection:
        told, after = connection.asked(ask("stream-inject")), connection.asked(call())

    assert (told.status, "x-injected" in told.headers, after.status) == (500, False, 202)


def test_a_stream_under_way_comes_to_its_end_before_the_process_leaves(served: Served) -> None:
    with served.connected() as connection:
        connection.send(ask("stream-wait"))
        assert until(lambda: served.heard == "called 1", patience=SOON)
        served.process.send_signal(signal.SIGTERM)
        told = connection.answer()

    assert told.body == b": open\n\ndata: 1\n\ndata: 2\n\n"
    assert served.process.wait(20) == 0


def test_a_stream_may_be_silent_for_longer_than_a_connection_may_be_idle(tmp_path: Path) -> None:
    with serving(tmp_path, idle_s=0.3) as served, served.connected() as connection:
        told = connection.asked(ask("stream-wait"))
        assert told.body.endswith(b"data: 2\n\n")
        assert connection.reader.read(1) == b""
