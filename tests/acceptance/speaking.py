"""What an API consumer does: calls over HTTP, streams over SSE and WebSocket."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from tests.installation import Installation

ENDED = frozenset({"completed", "failed", "cancelled"})
LAST = frozenset({"turn.completed", "turn.failed"})
BATCH_S = 240.0
"""The workers of p2 and p3 give way to all else on the machine, also while they start."""


class Consumer:
    """One tenant's program."""

    def __init__(self, installation: Installation, *, key: str | None = None) -> None:
        self._installation = installation
        self._key = key or installation.key
        self.http = httpx.Client(base_url=installation.base_url, headers={"Authorization": f"Bearer {self._key}"}, timeout=30)

    def close(self) -> None:
        self.http.close()

    def submit(self, endpoint: str, value: dict[str, Any], **headers: str) -> dict[str, Any]:
        answer = self.http.post("/v1/jobs", json={"endpoint": endpoint, "input": value}, headers=headers)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def get(self, path: str) -> dict[str, Any]:
        answer = self.http.get(path)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def job(self, job_id: str, *, within: float = 60, states: frozenset[str] = ENDED) -> dict[str, Any]:
        """Return the job once it is in one of the states."""
        found: dict[str, Any] = until(lambda: self.get(f"/v1/jobs/{job_id}"), lambda job: job["state"] in states, within=within)
        return found

    def text_of(self, job_id: str) -> str:
        return str(self.get(f"/v1/jobs/{job_id}/result")["output"]["text"])

    def chat(self, value: dict[str, Any], *, endpoint: str = "chat@1", session: str | None = None) -> list[dict[str, Any]]:
        """Ask over SSE and return the turn's events."""
        return list(
            self.stream("POST", "/v1/chat", json={"endpoint": endpoint, "input": value} | ({"session": session} if session else {}))
        )

    def stream(self, method: str, path: str, **call: Any) -> Iterator[dict[str, Any]]:
        with self.http.stream(method, path, **call) as answer:
            assert answer.status_code == httpx.codes.OK, answer.read().decode()
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))

    def socket(self, endpoint: str = "chat@1", **query: Any) -> ClientConnection:
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        address = self._installation.base_url.replace("http", "ws", 1) + f"/ws/chat/{endpoint}?{asked}"
        return connect(address, additional_headers={"Authorization": f"Bearer {self._key}"}, open_timeout=10)


def heard(socket: ClientConnection, *, until_type: frozenset[str] = LAST, within: float = 20) -> list[dict[str, Any]]:
    """Return the frames up to one of the types."""
    frames: list[dict[str, Any]] = []
    end = time.monotonic() + within
    while not frames or frames[-1]["type"] not in until_type:
        frames.append(json.loads(socket.recv(timeout=max(0.1, end - time.monotonic()))))
    return frames


def text(events: list[dict[str, Any]]) -> str:
    return "".join(event["data"]["text"] for event in events if event["type"] == "delta")


def until(look: Callable[[], Any], is_so: Callable[[Any], bool], *, within: float) -> Any:
    """Look until it is so and return what was seen; fail with what was seen last."""
    end = time.monotonic() + within
    while True:
        seen = look()
        if is_so(seen):
            return seen
        assert time.monotonic() < end, f"still {seen} after {within} s"
        time.sleep(0.2)
