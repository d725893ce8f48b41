"""The pages' installation, and the system's Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.acceptance.speaking import Consumer
from tests.browser.chatting import Chat, Live
from tests.installation import Installation

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
REMEDY = "Chromium is not installed: `apt-get install chromium`, or name one in CHROMIUM."


@pytest.fixture
def live(up: Installation) -> Installation:
    return up


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's Chromium. CI sets REQUIRE_BROWSER, and then its absence is a failure; elsewhere these tests are left out.

    No longer than a module: its driver runs an event loop in this thread, in which no asyncio test could run.
    """
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        (pytest.fail if os.environ.get("REQUIRE_BROWSER") else pytest.skip)(REMEDY)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def admin(chromium: Browser, live: Installation) -> Iterator[Page]:
    """A signed-in administrator, with some work of each mode to look at."""
    with closing(Consumer(live)) as consumer:
        job = consumer.submit("personalize@1", {"reader": "r-005"})["id"]
        rows = [{"title": "monster"}, {"title": "pluto"}]
        consumer.http.post("/v1/batches", json={"endpoint": "enrich@1", "manifest": {"rows": rows}, "shards": 2}).raise_for_status()
        consumer.chat({"text": "A sports series?"})
        consumer.job(job)
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(f"{live.base_url}/admin/")
    page.fill("input[name=username]", "admin")
    page.fill("input[name=password]", (live.home / "secrets" / "admin_password").read_text())
    page.keyboard.press("Enter")
    page.wait_for_url(f"{live.base_url}/admin/")
    yield page
    context.close()


@pytest.fixture
def open_chat(chromium: Browser, live: Live) -> Iterator[Callable[..., Chat]]:
    contexts: list[BrowserContext] = []

    def opened(*, key: str | None = None, endpoint: str = "chat@1", **look: Any) -> Chat:
        contexts.append(chromium.new_context(**look))
        chat = Chat(contexts[-1].new_page())
        chat.page.goto(f"{live.base_url}/?endpoint={endpoint}#key={key or live.key}")
        return chat

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def chat(open_chat: Callable[..., Chat]) -> Chat:
    chat = open_chat()
    chat.wait_for_link("live")
    return chat


@pytest.fixture
def stage(open_chat: Callable[..., Chat]) -> Chat:
    """A chat with the agent that plays what its question says."""
    chat = open_chat(endpoint="staged-chat@1")
    chat.wait_for_link("live")
    return chat
