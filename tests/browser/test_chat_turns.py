"""What may become of a turn on the page: taken back, cut off and continued, looked back at; by keyboard and by ear."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chatting import LIMIT_MS, QUESTION, Chat, squeezed

COUNT_ANNOUNCEMENTS = """
    window.announced = [];
    document.addEventListener("DOMContentLoaded", () => {
        const told = document.getElementById("announcer");
        new MutationObserver(() => told.textContent && window.announced.push(told.textContent))
            .observe(told, { childList: true, characterData: true, subtree: true });
    });
"""
FOCUS = """() => {
    const { activeElement: at } = document;
    const { outlineStyle, outlineWidth } = getComputedStyle(at);
    const frame = at.closest(".composer");
    return {
        name: at.getAttribute("aria-label") || at.id || at.textContent.trim(),
        isSeen: (outlineStyle !== "none" && outlineWidth !== "0px") || frame !== null,
    };
}"""


def test_silence_is_shown_as_thinking_with_its_length(stage: Chat) -> None:
    stage.ask("think hard")
    thinking = stage.page.locator(".thinking-words")
    expect(thinking).to_contain_text("Thinking", timeout=LIMIT_MS)
    expect(thinking).to_contain_text(" · 2 s", timeout=LIMIT_MS)
    stage.wait_for_end()

    expect(stage.page.locator(".plan-line")).to_contain_text("checked before it is shown")
    expect(thinking).to_be_hidden()
    assert stage.shown == squeezed("I have thought about it.")


def test_what_was_taken_back_leaves_the_page_and_the_tab(stage: Chat) -> None:
    stage.ask("leak it")
    stage.wait_for_words()
    stage.wait_for_end()
    stage.page.reload()
    stage.wait_for_link("live")

    expect(stage.page.locator(".withdrawn")).to_contain_text("The answer shows an e-mail address.")
    expect(stage.page.locator(".escape")).to_have_text("Let me say it in other words.")
    assert stage.shown == ""
    kept = stage.page.evaluate("JSON.stringify(sessionStorage)")
    assert "Write to" not in kept
    assert "Write to" not in (stage.page.locator("body").text_content() or "")
    assert stage.page.get_by_role("button", name="Continue in the background").count() == 0


def test_an_offer_is_accepted_by_keyboard_and_its_job_is_followed_to_its_result(stage: Chat) -> None:
    stage.ask("slow please")
    stage.wait_for_end()
    page = stage.page
    assert page.locator(".job:visible").count() == 0, "nothing goes on that was not accepted"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(FOCUS)["isSeen"]
    page.keyboard.press("Enter")
    card = page.locator(".job")
    expect(card).to_be_focused()
    expect(card).to_contain_text("Part 2", timeout=LIMIT_MS)
    page.reload()
    stage.wait_for_link("live")
    expect(card).to_have_attribute("data-state", "completed", timeout=LIMIT_MS)

    expect(page.locator(".cut")).to_have_text("The answer was cut off here")
    expect(page.locator(".job-text")).to_contain_text("The third part was worth it.")
    session = stage.of_type("session.ready")[-1]["session"]
    fetched = page.evaluate(
        "async (id) => (await fetch(`/v1/sessions/${id}`, {headers: {Authorization: `Bearer ${sessionStorage['gearbox.key']}`}})).json()",
        session,
    )
    assert [turn["job"] is not None for turn in fetched["turns"]] == [True]


def test_an_earlier_conversation_comes_back_whole_and_goes_on(stage: Chat) -> None:
    page = stage.page
    stage.ask("think twice")
    stage.wait_for_end()
    stage.ask("leak again")
    stage.wait_for_end(turns=2)
    before = page.locator(".log").inner_text()
    session = stage.of_type("session.ready")[-1]["session"]
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator("#welcome")).to_be_visible()
    page.get_by_role("button", name="Earlier conversations").click()
    page.get_by_role("dialog").get_by_role("button", name="think twice").first.click()
    stage.wait_for_end(turns=2)

    expect(page.locator("#welcome")).to_be_hidden()
    assert page.locator(".log").inner_text() == before
    stage.ask("think once more")
    stage.wait_for_end(turns=3)
    assert stage.of_type("session.ready")[-1]["session"] == session
    assert page.locator("[data-mended]").count() == 0


def announced(page: Page) -> list[str]:
    """Return what was announced, once something is. The page's policy lets nothing be evaluated inside it, so it is asked from here."""
    for _ in range(200):
        if page.evaluate("window.announced.length"):
            break
        page.wait_for_timeout(50)
    return list(page.evaluate("window.announced"))


def test_a_screen_reader_hears_the_whole_answer_once_and_no_single_words(open_chat: Callable[..., Chat]) -> None:
    chat = open_chat()
    chat.page.add_init_script(COUNT_ANNOUNCEMENTS)
    chat.page.reload()
    chat.wait_for_link("live")
    assert chat.page.get_by_role("log", name="Conversation").get_attribute("aria-live") == "off"
    chat.ask(QUESTION)
    chat.wait_for_words()
    assert chat.page.locator(".answer[aria-busy='true']").count() == 1
    chat.wait_for_end()

    assert [squeezed(told) for told in announced(chat.page)] == [squeezed(chat.of_type("turn.completed")[0]["text"])]


def test_the_keyboard_reaches_everything_in_order_and_is_seen(chat: Chat) -> None:
    """Backwards from the question, where a reader with a keyboard begins, to the very first; and from there at once to the question."""
    expect(chat.page.get_by_role("textbox", name="Your question")).to_be_focused()
    visited = [step(chat.page, "Shift+Tab") for _ in range(9)]

    assert [each["name"] for each in visited[4:]] == [
        "Dark theme",
        "New conversation",
        "Earlier conversations",
        "endpoint",
        "Skip to the question",
    ]
    assert all(each["isSeen"] for each in visited)
    assert step(chat.page, "Enter") == {"name": "question", "isSeen": True}


def step(page: Page, key: str) -> dict[str, object]:
    page.keyboard.press(key)
    found: dict[str, object] = page.evaluate(FOCUS)
    return found


@pytest.mark.parametrize(("motion", "name"), [("reduce", "none"), ("no-preference", "breathe")])
def test_nothing_moves_for_whoever_wants_no_motion(open_chat: Callable[..., Chat], motion: str, name: str) -> None:
    stage = open_chat(endpoint="staged-chat@1", reduced_motion=motion)
    stage.wait_for_link("live")
    stage.ask("think hard")
    dots = stage.page.locator(".dots i").first
    dots.wait_for()

    assert dots.evaluate("dot => getComputedStyle(dot).animationName") == name
