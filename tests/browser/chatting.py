"""The chat page as a person has it before them, with all that reached it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Protocol

from playwright.sync_api import ConsoleMessage, Page, WebSocket, expect

QUESTION = "Where should I start with Naoki Urasawa?"
LIMIT_MS = 20_000
KEEP_SOCKETS = """
    window.sockets = [];
    window.WebSocket = class extends WebSocket {
        constructor(...address) { super(...address); window.sockets.push(this); }
    };
"""
CUT_WHILE_STREAMING = """() => {
    const wasStreaming = document.querySelector('.turn[data-state="streaming"]') !== null;
    window.sockets.at(-1).close();
    return wasStreaming;
}"""


class Live(Protocol):
    """A running Gearbox: where it answers, and a key that may chat."""

    base_url: str
    key: str


@dataclass
class Chat:
    """A page of its own browser context, with every event that reached it and every error it wrote."""

    page: Page
    events: list[dict[str, Any]] = field(default_factory=list)
    sockets: list[WebSocket] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(LIMIT_MS)
        self.page.add_init_script(KEEP_SOCKETS)
        self.page.on("websocket", self._followed)
        self.page.on("console", self._wrote)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _followed(self, socket: WebSocket) -> None:
        self.sockets.append(socket)
        socket.on("framereceived", lambda frame: self.events.append(json.loads(frame)))

    def _wrote(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(message.text)

    def ask(self, text: str) -> None:
        self.page.get_by_role("textbox", name="Your question").fill(text)
        self.page.keyboard.press("Enter")

    def wait_for_words(self) -> None:
        self.page.locator(".turn[data-state='streaming'] .prose p").first.wait_for()

    def wait_for_end(self, turns: int = 1) -> None:
        expect(self.page.locator(".answer[aria-busy='false']")).to_have_count(turns, timeout=LIMIT_MS)

    def wait_for_link(self, state: str) -> None:
        self.page.locator(f"body[data-link='{state}']").wait_for()

    def of_type(self, name: str) -> list[dict[str, Any]]:
        return [event["data"] for event in self.events if event["type"] == name]

    @property
    def shown(self) -> str:
        """The last answer without its spaces: paragraphs have no line ends on the page."""
        return squeezed(self.page.locator(".turn:last-child .prose").first.text_content() or "")


def squeezed(text: str) -> str:
    return "".join(text.split())
