"""The admin in Chromium: every page of its navigation opens, without an error and without a word to the outside."""

from __future__ import annotations

from contextlib import closing
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page

from tests.acceptance.speaking import Consumer
from tests.installation import Installation


def test_every_page_of_the_navigation_opens_without_an_error(admin: Page, live: Installation) -> None:
    errors: list[str] = []
    outside: list[str] = []
    admin.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    admin.on("pageerror", lambda error: errors.append(str(error)))
    admin.on("request", lambda request: outside.append(request.url) if not is_inside(request.url, live) else None)
    links = {link.get_attribute("href") or "" for link in admin.locator("nav a, aside a, #nav-sidebar a").all()}
    pages = sorted(link for link in links if link.startswith("/admin/") and "logout" not in link)

    assert len(pages) > 12
    statuses = {path: opened(admin, live.base_url + path) for path in pages}
    assert set(statuses.values()) == {200}, statuses
    assert errors == []
    assert outside == []


def test_the_overview_shows_what_each_mode_did(admin: Page) -> None:
    shown = admin.inner_text("#content-main")

    assert all(mode in shown for mode in ("streaming-sync", "async-queue", "scheduled-trigger", "batch-window"))
    assert "Dead letters" in shown


def test_flower_asks_for_a_password_and_shows_a_job_under_its_own_id(admin: Page, chromium: Browser, live: Installation) -> None:
    with closing(Consumer(live)) as consumer:
        job = consumer.submit("personalize@1", {"reader": "r-006"})["id"]
        consumer.job(job)
    stranger = admin.request.get(f"{live.flower_url}/tasks")
    password = (live.home / "secrets" / "flower_password").read_text()
    context = chromium.new_context(http_credentials={"username": "ops", "password": password})
    page = context.new_page()
    page.goto(f"{live.flower_url}/task/{job}")
    shown = page.inner_text("body")
    context.close()

    assert stranger.status == 401
    assert job in shown
    assert "mangaassist@1" in shown


def is_inside(url: str, live: Installation) -> bool:
    return urlsplit(url).scheme == "data" or url.startswith(live.base_url)


def opened(page: Page, url: str) -> int:
    answer = page.goto(url)
    assert answer is not None
    return answer.status
