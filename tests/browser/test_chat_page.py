"""The chat page in Chromium against a running Gearbox: streaming, resuming, stopping, and how it looks and reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, WebSocket, expect

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


@pytest.fixture
def open_chat(chromium: Browser, live: Live) -> Iterator[Callable[..., Chat]]:
    contexts: list[BrowserContext] = []

    def opened(*, key: str | None = None, **look: Any) -> Chat:
        contexts.append(chromium.new_context(**look))
        chat = Chat(contexts[-1].new_page())
        chat.page.goto(f"{live.base_url}/#key={key or live.key}")
        return chat

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def chat(open_chat: Callable[..., Chat]) -> Chat:
    chat = open_chat()
    chat.wait_for_link("live")
    return chat


def squeezed(text: str) -> str:
    return "".join(text.split())


def test_an_answer_streams_and_says_what_it_was_written_from_and_what_it_took(chat: Chat) -> None:
    chat.ask(QUESTION)
    chat.wait_for_words()
    chat.wait_for_end()

    assert len(chat.of_type("delta")) > 1
    assert chat.shown == squeezed(chat.of_type("turn.completed")[0]["text"])
    assert "Urasawa" in chat.page.get_by_role("list", name="Sources").inner_text()
    figures = chat.page.get_by_role("list", name="What this turn took").inner_text()
    assert all(word in figures for word in ("first words", "tokens", "$"))
    assert chat.errors == []


def test_a_key_in_the_address_is_taken_out_of_it_at_once(chat: Chat, live: Live) -> None:
    assert live.key not in chat.page.url
    chat.page.reload()
    chat.wait_for_link("live")


def test_an_answer_cut_in_the_middle_goes_on_without_lost_or_repeated_text(chat: Chat) -> None:
    chat.ask(QUESTION)
    chat.wait_for_words()
    chat.page.context.set_offline(True)
    assert chat.page.evaluate(CUT_WHILE_STREAMING), "the answer ended before it could be cut"
    chat.wait_for_link("reconnecting")
    expect(chat.page.locator("#banner")).to_contain_text("Reconnecting")

    chat.page.context.set_offline(False)
    chat.wait_for_link("back")
    chat.wait_for_end()

    assert len(chat.sockets) > 1
    assert chat.shown == squeezed(chat.of_type("turn.completed")[0]["text"])
    # The page marks an answer whose streamed text was not the stored one: equal text alone could be the repair.
    assert chat.page.locator(".turn[data-mended]").count() == 0


def test_a_reload_in_the_middle_of_an_answer_shows_all_of_it(chat: Chat) -> None:
    chat.ask(QUESTION)
    chat.wait_for_words()
    chat.page.reload()
    chat.wait_for_end()

    assert chat.shown == squeezed(chat.of_type("turn.completed")[0]["text"])
    assert chat.page.locator(".turn[data-mended]").count() == 0
    assert chat.page.locator(".asked").inner_text().endswith(QUESTION)


def test_the_conversation_goes_on_in_its_session_after_a_reload(chat: Chat) -> None:
    chat.ask(QUESTION)
    chat.wait_for_end()
    chat.page.reload()
    chat.wait_for_link("live")
    chat.ask("And something shorter?")
    chat.wait_for_end(turns=2)

    assert [turn["number"] for turn in chat.of_type("turn.started")] == [1, 2]
    assert len({ready["session"] for ready in chat.of_type("session.ready") if ready["session"]}) == 1


def test_a_bad_key_shows_the_problem_and_a_good_one_opens_the_chat(open_chat: Callable[..., Chat], live: Live) -> None:
    chat = open_chat(key="gbx_00000000_" + "0" * 43)
    problem = chat.page.locator("#gate-problem")
    problem.wait_for()

    assert problem.inner_text().strip()
    chat.page.get_by_label("Key", exact=True).fill(live.key)
    chat.page.get_by_role("button", name="Open the chat").click()
    chat.wait_for_link("live")


@pytest.mark.parametrize("how", ["button", "escape"])
def test_a_running_answer_can_be_stopped(chat: Chat, how: str) -> None:
    chat.ask(QUESTION)
    chat.wait_for_words()
    if how == "button":
        chat.page.get_by_role("button", name="Stop the answer").click()
    else:
        chat.page.keyboard.press("Escape")
    chat.wait_for_end()

    assert chat.page.locator(".turn[data-state='stopped']").count() == 1
    assert chat.of_type("turn.completed") == []
    expect(chat.page.get_by_role("button", name="Send")).to_be_visible()


def test_shift_enter_makes_a_line_and_enter_asks(chat: Chat) -> None:
    question = chat.page.get_by_role("textbox", name="Your question")
    question.press_sequentially("one")
    question.press("Shift+Enter")
    question.press_sequentially("two")
    assert question.input_value() == "one\ntwo"
    assert chat.page.locator(".turn").count() == 0

    question.press("Enter")
    expect(chat.page.locator(".turn .asked p")).to_have_text("one\ntwo", use_inner_text=True)
    assert question.input_value() == ""


def test_markup_in_a_conversation_is_shown_as_text(chat: Chat) -> None:
    markup = "<img src=x onerror='document.title=1'><b>Monster</b>"
    chat.ask(markup)
    chat.wait_for_end()

    assert chat.page.locator(".asked p").text_content() == markup
    assert chat.page.locator(".log img, .log .asked b").count() == 0
    assert chat.errors == []


def test_a_screen_reader_meets_a_polite_log_that_is_busy_while_an_answer_streams(chat: Chat) -> None:
    log = chat.page.get_by_role("log", name="Conversation")
    assert log.get_attribute("aria-live") == "polite"
    chat.ask(QUESTION)
    chat.wait_for_words()

    assert log.locator(".answer[aria-busy='true']").count() == 1
    chat.wait_for_end()


def test_dark_follows_the_system_and_the_choice_outlives_a_reload(open_chat: Callable[..., Chat]) -> None:
    page = open_chat(color_scheme="dark").page
    assert lightness(page) < 0.2
    page.get_by_role("button", name="Dark theme").click()
    assert lightness(page) > 0.8

    page.reload()
    assert lightness(page) > 0.8


def lightness(page: Page) -> float:
    """How light the paper is, 0 to 1."""
    colour: str = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    red, green, blue = (int(part) for part in colour.strip("rgb()").split(",")[:3])
    return (red + green + blue) / 765


def test_a_phone_shows_everything_without_scrolling_sideways(open_chat: Callable[..., Chat]) -> None:
    chat = open_chat(viewport={"width": 390, "height": 844}, has_touch=True)
    chat.wait_for_link("live")
    assert width_of_content(chat.page) <= 390
    chat.ask(QUESTION)
    chat.wait_for_end()

    assert width_of_content(chat.page) <= 390
    expect(chat.page.get_by_role("button", name="Send")).to_be_in_viewport()


def width_of_content(page: Page) -> int:
    width: int = page.evaluate("document.documentElement.scrollWidth")
    return width


def test_an_unknown_endpoint_is_named_as_the_problem(chat: Chat, live: Live) -> None:
    chat.page.goto(f"{live.base_url}/?endpoint=nobody@9")
    chat.wait_for_link("refused")

    assert chat.page.locator("#banner-words").inner_text().strip()
    assert chat.page.get_by_label("Endpoint").input_value() == "nobody@9"
