"""A client of the running installation: the calls that the demonstration makes, over HTTP only."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

POLL_S = 0.3


class DemoFailed(RuntimeError):
    """The demonstration could not go on; the sentence says at which call."""


class Client:
    """Speaks to one base URL with one key."""

    def __init__(self, base_url: str, key: str) -> None:
        self._http = httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {key}"}, timeout=30)

    def chat(self, text: str, *, endpoint: str = "chat@1", session: str | None = None) -> Iterator[dict[str, Any]]:
        """Ask and yield the turn's events."""
        body = {"endpoint": endpoint, "input": {"text": text}} | ({"session": session} if session else {})
        with self._http.stream("POST", "/v1/chat", json=body) as response:
            if response.status_code != httpx.codes.OK:
                raise DemoFailed(f"POST /v1/chat: {response.status_code} {response.read().decode()}")
            for line in response.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))

    def post(self, path: str, body: Mapping[str, Any], **headers: str) -> dict[str, Any]:
        return self._answer(self._http.post(path, json=body, headers=headers))

    def get(self, path: str) -> dict[str, Any]:
        return self._answer(self._http.get(path))

    def until(self, path: str, is_done: Callable[[dict[str, Any]], bool], *, within_s: float) -> dict[str, Any]:
        """Poll until the answer is what is waited for. Raises DemoFailed when it takes too long."""
        end = time.monotonic() + within_s
        while True:
            found = self.get(path)
            if is_done(found):
                return found
            if time.monotonic() > end:
                raise DemoFailed(f"GET {path} still answers {found} after {within_s} s.")
            time.sleep(POLL_S)

    @staticmethod
    def _answer(response: httpx.Response) -> dict[str, Any]:
        if response.is_error:
            raise DemoFailed(f"{response.request.method} {response.request.url.path}: {response.status_code} {response.text}")
        found: dict[str, Any] = response.json() if response.content else {}
        return found
