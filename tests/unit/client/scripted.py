"""A small HTTP server that answers what a test wrote down, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One answer. `cuts` ends the connection in the middle of it, `hangs` says nothing at all."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cuts: bool = False
    hangs: bool = False


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


class Script:
    """Answers in order; the last answer is given for ever."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answers = list(answers)
        self.asked: list[Asked] = []
        self.url = ""
        self.over = threading.Event()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def next(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def serving(*answers: Answer) -> Iterator[Script]:
    script = Script(answers)

    class Replies(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            told = {name.lower(): value for name, value in self.headers.items()}
            script.asked.append(Asked(self.command, self.path, told, json.loads(raw) if raw else None))
            _write(self, script.next(), script.over)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = reply  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Replies)
    server.daemon_threads = True
    script.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield script
    finally:
        script.over.set()
        server.shutdown()
        server.server_close()


def problem(status: int, code: str, *, retry_after: str | None = None, **facts: Any) -> Answer:
    headers = {"Content-Type": "application/problem+json"} | ({"Retry-After": retry_after} if retry_after is not None else {})
    body = {"type": f"/docs/problems#{code}", "title": "A title", "status": status, "detail": "A detail.", "code": code, **facts}
    return Answer(status, body, headers)


def events(*told: Mapping[str, Any], headers: Mapping[str, str] | None = None, cuts: bool = False) -> Answer:
    """Return an event stream; it ends in good order unless it is cut."""
    lines = "".join(f"id: {event['seq']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in told)
    return Answer(200, ": open\n\n" + lines, {"Content-Type": "text/event-stream; charset=utf-8", **(headers or {})}, cuts=cuts)


def event(seq: int, kind: str, **data: Any) -> dict[str, Any]:
    return {"seq": seq, "type": kind, "at": "2026-11-20T12:00:00+00:00", "data": data}


def _write(reply: BaseHTTPRequestHandler, answer: Answer, over: threading.Event) -> None:
    if answer.hangs:
        over.wait(20)
        reply.close_connection = True
        return
    body = answer.body if isinstance(answer.body, str) else "" if answer.body is None else json.dumps(answer.body)
    reply.send_response(answer.status)
    for name, value in {"Content-Type": "application/json", **answer.headers}.items():
        reply.send_header(name, value)
    reply.send_header("Content-Length", str(len(body.encode()) + (10 if answer.cuts else 0)))
    reply.end_headers()
    reply.wfile.write(body.encode())
    reply.close_connection = answer.cuts
