"""Bodies are bounded while they come in, and a long one never lies in memory."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from config.serving.bodies import LARGE_BYTES, MOST_BYTES
from config.supervisor.ending import until
from tests.integration.config.echoes import Connection, Served, serving
from tests.integration.config.serving import SOON

MEGA = 1024 * 1024
MOST_UPLOAD = 24 * MEGA
KEY = "Authorization: Bearer gbx_x"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("MANIFEST_MAX_BYTES", str(MOST_UPLOAD))
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "config.settings")
    with serving(tmp_path, is_django=True) as served:
        yield served


def head(length: int | str, *more: str, start: str = "PUT /v1/manifests/rows.jsonl") -> bytes:
    framing = f"Content-Length: {length}" if isinstance(length, int) else f"Transfer-Encoding: {length}"
    return "\r\n".join((f"{start} HTTP/1.1", "Host: x", "x-act: read", framing, *more, "", "")).encode()


def must_refuse(connection: Connection, status: int, code: str) -> None:
    answer = connection.answer()
    assert (answer.status, answer.told["code"], answer.headers["content-type"]) == (status, code, "application/problem+json")
    assert answer.told["instance"].startswith("/v1/")
    assert connection.reader.read() == b""  # the connection ends with it


@pytest.mark.parametrize(
    ("start", "length", "code"),
    [
        ("POST /v1/batches", MOST_BYTES + 1, "body_too_large"),
        ("PUT /v1/manifests/rows.jsonl", MOST_UPLOAD + 1, "manifest_too_large"),
    ],
)
def test_a_body_that_says_that_it_is_too_long_is_refused_before_it_comes(served: Served, start: str, length: int, code: str) -> None:
    with served.connected() as connection:
        connection.send(head(length, KEY, "Expect: 100-continue", start=start))
        must_refuse(connection, 413, code)

    assert not served.heard


def test_a_body_that_does_not_say_its_length_is_refused_where_it_grows_too_long(served: Served) -> None:
    with served.connected() as connection:
        connection.send(head("chunked", start="POST /v1/batches"))
        for _ in range(MOST_BYTES // MEGA + 1):
            connection.send(b"%x\r\n%b\r\n" % (MEGA, b"x" * MEGA))
        must_refuse(connection, 413, "body_too_large")

    assert not served.heard


def test_who_shows_no_key_uploads_nothing_long(served: Served) -> None:
    with served.connected() as connection:
        connection.send(head(MOST_BYTES + 1))
        must_refuse(connection, 401, "bad_key")


@pytest.mark.parametrize("length", [LARGE_BYTES, LARGE_BYTES + 1, MOST_UPLOAD])
def test_a_body_reaches_the_application_whole_and_a_long_one_never_lies_in_memory(served: Served, length: int) -> None:
    web = psutil.Process(served.process.pid)
    with served.connected() as connection:
        connection.asked(head(1, KEY) + b"x")
        before = web.memory_info().rss
        body = bytes(range(256)) * (length // 256) + b"x" * (length % 256)
        answer = connection.asked(head(length, KEY) + body)
        again = connection.asked(head(3, KEY) + b"abc")

    assert answer.told["body"].split()[:2] == [str(length), hashlib.sha256(body).hexdigest()]
    assert int(answer.told["body"].split()[2]) > length // (64 * 1024) - 1
    assert again.told["body"].split()[:2] == ["3", hashlib.sha256(b"abc").hexdigest()]
    assert web.memory_info().rss - before < MOST_UPLOAD / 3


def test_uploads_that_wait_are_bounded_together_and_one_callers_are_half_of_them(served: Served) -> None:
    """There is room for two of the longest uploads. While they are nearly whole a third is refused, and other calls are served."""
    nearly = MOST_UPLOAD - 1
    with served.connected() as first:
        with served.connected() as second:
            for number, connection in enumerate((first, second)):
                connection.send(head(MOST_UPLOAD, f"{KEY}{number}") + b"x" * nearly)
            assert until(lambda: not is_taken(served, "third"), patience=SOON)
            with served.connected() as third:
                third.send(head(MEGA, KEY))
                must_refuse(third, 503, "saturated")
            with served.connected() as call:
                assert call.asked(head(MEGA, start="POST /v1/batches") + b"x" * MEGA).status == 202

        assert until(lambda: is_taken(served, "third"), patience=SOON)
        assert not is_taken(served, "0")
        assert first.asked(b"x").status == 202
    assert until(lambda: is_taken(served, "0"), patience=SOON)


def is_taken(served: Served, key: str) -> bool:
    with served.connected() as connection:
        connection.send(head(MEGA, f"{KEY}{key}"))
        time.sleep(0.05)
        return connection.asked(b"x" * MEGA).status == 202


def test_a_handshake_brings_no_body(served: Served) -> None:
    """daphne hands its connection on, and tells nobody of its end: what it held would be held for good."""
    with served.connected() as connection:
        connection.send(head(1, "Upgrade: websocket", "Connection: Upgrade", start="GET /v1/chat"))
        must_refuse(connection, 413, "body_too_large")


def test_a_body_that_drips_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "config.settings")
    with serving(tmp_path, is_django=True, pace_s=0.5) as served, served.connected() as connection:
        connection.send(head(MEGA, KEY))
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            drip(connection)


def drip(connection: Connection) -> None:
    for _ in range(100):
        connection.send(b"x")
        time.sleep(0.1)
