"""The chat page in Chromium against a running Gearbox: streaming, resuming, stopping, and how it looks and reads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from tests.browser.chatting import CUT_WHILE_STREAMING, QUESTION, Chat, Live, squeezed


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
    chat = open_chat(viewport={"width": 360, "height": 720}, has_touch=True)
    chat.wait_for_link("live")
    assert width_of_content(chat.page) <= 360
    expect(chat.page.get_by_role("heading", name="What would you like to read?")).to_be_in_viewport()
    chat.ask(QUESTION)
    chat.wait_for_end()

    assert width_of_content(chat.page) <= 360
    expect(chat.page.get_by_role("button", name="Send")).to_be_in_viewport()
    chat.page.get_by_role("button", name="Earlier conversations").click()
    expect(chat.page.get_by_role("button", name="Close")).to_be_in_viewport()
    assert width_of_content(chat.page) <= 360


def width_of_content(page: Page) -> int:
    width: int = page.evaluate("document.documentElement.scrollWidth")
    return width


def test_an_unknown_endpoint_is_named_as_the_problem(chat: Chat, live: Live) -> None:
    chat.page.goto(f"{live.base_url}/?endpoint=nobody@9")
    chat.wait_for_link("refused")

    assert chat.page.locator("#banner-words").inner_text().strip()
    assert chat.page.get_by_label("Endpoint").input_value() == "nobody@9"


def test_a_page_for_which_no_stream_is_left_says_so_and_comes_again(chat: Chat) -> None:
    refusals: list[WebSocketRoute] = []

    def refuse_once(socket: WebSocketRoute) -> None:
        if refusals:
            socket.connect_to_server()
            return
        refusals.append(socket)
        socket.close(code=4429)

    chat.page.route_web_socket("**/ws/chat/**", refuse_once)
    chat.page.reload()
    chat.wait_for_link("busy")
    expect(chat.page.locator("#banner")).to_contain_text("Trying again")
    chat.wait_for_link("live")


def test_a_hidden_page_that_was_closed_for_idling_comes_back_when_it_is_looked_at(chat: Chat) -> None:
    opened: list[WebSocketRoute] = []

    def note(socket: WebSocketRoute) -> None:
        opened.append(socket)
        socket.connect_to_server()

    chat.page.route_web_socket("**/ws/chat/**", note)
    chat.page.reload()
    chat.wait_for_link("live")
    chat.page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true, configurable: true })")
    opened[0].close(code=4408)
    chat.page.wait_for_timeout(1_500)
    rested = len(opened)
    chat.page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    for _ in range(200):
        if len(opened) > 1:
            break
        chat.page.wait_for_timeout(50)

    assert (rested, len(opened)) == (1, 2)
