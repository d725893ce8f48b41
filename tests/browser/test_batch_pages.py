"""A batch in Chromium: its page keeps itself up to date, is paused and resumed with a reason, and rests when the batch has ended."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.acceptance.speaking import Consumer
from tests.installation import Installation

LIMIT_MS = 90_000
ROWS = 160
PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1440, "height": 1000}


def photograph(page: Page, name: str) -> None:
    """Keep a picture for who wants to look, in the folder that SCREENSHOTS names."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def opened(live: Installation) -> str:
    """Open a batch every tenth row of which is of no title that there is."""
    rows = [{"row_id": f"row-{number}", "title": "no-such-title" if number % 10 == 3 else "monster"} for number in range(ROWS)]
    body = {"endpoint": "enrich@1", "manifest": {"rows": rows}, "shards": 40, "finish_by": "2020-01-01T00:00:00Z"}
    with closing(Consumer(live)) as consumer:
        answer = consumer.http.post("/v1/batches", json=body)
        answer.raise_for_status()
        return str(answer.json()["id"])


@pytest.fixture
def page(chromium: Browser, live: Installation) -> Iterator[Page]:
    context = chromium.new_context(viewport=DESK, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(LIMIT_MS)
    expect.set_options(timeout=LIMIT_MS)
    page.goto(f"{live.base_url}/admin/")
    page.fill("input[name=username]", "admin")
    page.fill("input[name=password]", (live.home / "secrets" / "admin_password").read_text())
    page.keyboard.press("Enter")
    page.wait_for_url(f"{live.base_url}/admin/")
    yield page
    context.close()
    expect.set_options(timeout=5_000)


def act(page: Page, name: str, *, reason: str) -> None:
    button = page.locator(f"[data-act='{name}']")
    button.locator("summary").click()
    button.get_by_placeholder("Why?").fill(reason)
    photograph(page, f"batch-{name}")
    button.locator("form button").click()


def test_a_batch_is_watched_paused_and_resumed_without_a_reload(page: Page, live: Installation) -> None:
    errors: list[str] = []
    looked: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: looked.append(request.url) if request.url.endswith("/live/") else None)
    batch = opened(live)
    page.goto(f"{live.base_url}/admin/invocation/batch/{batch}/change/")
    page.evaluate("window.stayed = true")

    expect(page.locator(".gx-heat .gx-cell")).to_have_count(40)
    expect(page.locator("[data-told]")).to_have_text(re.compile(rf"^[1-9]\d* of {ROWS} rows"))
    expect(page.locator("[data-part=notices]")).to_contain_text("was to be")
    photograph(page, "batch-running")
    assert page.evaluate("window.stayed") is True
    act(page, "pause", reason="a look at the first rows")
    expect(page.locator("[data-part=head] .gx-badge").first).to_have_text("paused")
    expect(page.locator("[data-part=notices]")).to_contain_text("a look at the first rows")
    expect(page.locator("[data-act=pause]")).to_be_hidden()
    page.set_viewport_size(PHONE)
    photograph(page, "batch-paused-phone")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size(DESK)
    act(page, "resume", reason="they are well")

    page.evaluate("window.stayed = true")
    expect(page.locator("[data-part=head] .gx-badge").first).to_have_text("completed")
    expect(page.locator("[data-told]")).to_have_text(f"{ROWS} of {ROWS} rows, {ROWS // 10} failed")
    expect(page.locator(".gx-heat .gx-good")).to_have_count(40)
    expect(page.locator("[data-part=causes]")).to_contain_text("Errors by cause")
    expect(page.locator("[data-act=retry-failed]")).to_be_visible()
    assert page.evaluate("window.stayed") is True
    photograph(page, "batch-completed")
    rests = len(looked)
    page.wait_for_timeout(5_000)
    assert len(looked) == rests > 2
    page.evaluate("document.documentElement.classList.add('dark')")
    photograph(page, "batch-completed-dark")
    page.goto(f"{live.base_url}/admin/invocation/batch/")
    photograph(page, "batches")
    page.set_viewport_size(PHONE)
    photograph(page, "batches-phone")
    assert errors == []
