"""A separate effects service over HTTP: it applies each effect once by its Idempotency-Key, and counts what it was asked."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Effects:
    """What was asked and what was applied; and which points runs have reached, each for the first time only once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.asked: Counter[str] = Counter()
        self.applied: Counter[str] = Counter()
        self.reached: dict[str, int] = {}
        self.url = ""

    def apply(self, key: str) -> None:
        with self._lock:
            self.asked[key] += 1
            if not self.applied[key]:
                self.applied[key] += 1

    def reach(self, point: str, pid: int) -> bool:
        """Note who stands at a point; True for the first who ever did."""
        with self._lock:
            is_first = point not in self.reached
            self.reached.setdefault(point, pid)
            return is_first


@contextmanager
def serving() -> Iterator[Effects]:
    """Serve for as long as the block."""
    effects = Effects()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            answer: dict[str, Any] = {}
            if self.path == "/effects":
                effects.apply(self.headers["Idempotency-Key"])
            else:
                answer["first"] = effects.reach(told["point"], told["pid"])
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    effects.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield effects
    finally:
        server.shutdown()
        server.server_close()
