"""Dead letters in Chromium: filtered, redriven with a mended input while the bar moves, and the rest discarded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.speaking import Consumer
from tests.installation import KEY, Installation

BROKEN = "A finished seinen thriller [[fault:500]]"
JOBS = 4
TENANT = "a shop with dead letters"
LIMIT_MS = 60_000


@pytest.fixture(scope="module")
def key(up: Installation) -> str:
    """A key of a tenant of its own: others have dead letters too."""
    found = KEY.search(up.manage("keys", "create", "--tenant", TENANT, "--plan", "house"))
    assert found
    return found.group()


@pytest.fixture(scope="module")
def dead(up: Installation, key: str) -> list[str]:
    """Jobs whose provider failed three times."""
    with closing(Consumer(up, key=key)) as consumer:
        jobs = [consumer.submit("personalize@1", {"text": BROKEN, "reader": "r-001"})["id"] for _ in range(JOBS)]
        assert {consumer.job(job, within=60)["state"] for job in jobs} == {"failed"}
    return jobs


@pytest.fixture
def page(chromium: Browser, live: Installation) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(LIMIT_MS)
    page.goto(f"{live.base_url}/admin/")
    page.fill("input[name=username]", "admin")
    page.fill("input[name=password]", (live.home / "secrets" / "admin_password").read_text())
    page.keyboard.press("Enter")
    page.wait_for_url(f"{live.base_url}/admin/")
    yield page
    context.close()


def photograph(page: Page, name: str) -> None:
    """Keep a picture for who wants to look, in the folder that SCREENSHOTS names."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_dead_letters_are_redriven_under_the_operators_eyes_and_the_rest_discarded(
    page: Page, live: Installation, key: str, dead: list[str]
) -> None:
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{live.base_url}/admin/invocation/deadletter/?cause=provider")
    page.locator("#changelist a", has_text="Filters").first.click()
    page.get_by_role("link", name=TENANT, exact=True).click()
    page.wait_for_url("**tenant_id=**")
    filtered = page.url
    photograph(page, "dead-letters")
    page.get_by_role("link", name="Redrive all that match").click()
    expect(page.get_by_role("heading", name="Redrive 4 dead letters")).to_be_visible()
    page.get_by_label("Why?").fill("the provider is back")
    page.get_by_label("Jobs a second").fill("0.5")
    page.get_by_label("Patch of the input").fill('{"text": "A finished seinen thriller"}')
    photograph(page, "redrive-form")
    page.get_by_role("button", name="Redrive").click()

    expect(page.locator(".gx-head .gx-progress")).to_have_attribute("title", "1 of 4, 0 failed")
    photograph(page, "redrive-running")
    expect(page.locator(".gx-head .gx-progress")).to_have_attribute("title", "2 of 4, 0 failed")
    page.get_by_role("button", name="Abort").click()
    expect(page.locator(".gx-head .gx-badge")).to_have_text("aborted")
    photograph(page, "redrive-aborted")

    page.goto(filtered)
    left = page.locator("#result_list tbody tr").count()
    assert 1 <= left <= 2
    page.locator("#action-toggle").check()
    page.locator("select[name=action]").first.select_option("discard_selected")
    page.get_by_role("button", name="Run").click()
    page.get_by_label("Why?").fill("a test order")
    photograph(page, "discard-form")
    page.get_by_role("button", name="Discard").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(0)
    page.goto(f"{live.base_url}/admin/invocation/deadletter/?standing=all")
    photograph(page, "dead-letters-after")
    page.goto(f"{live.base_url}/admin/invocation/redrive/")
    photograph(page, "redrives")

    assert errors == []
    with closing(Consumer(live, key=key)) as consumer:
        told = [consumer.get(f"/v1/jobs/{job}")["redriven_as"] for job in dead]
        assert {consumer.job(successor)["state"] for successor in told if successor} == {"completed"}


def test_a_private_value_is_masked_until_it_is_asked_for(page: Page, live: Installation) -> None:
    with closing(Consumer(live)) as consumer:
        job = consumer.submit("personalize@1", {"text": f"{BROKEN} for kim@example.org"})["id"]
        consumer.job(job)
    page.goto(f"{live.base_url}/admin/invocation/deadletter/{job}/change/")
    expect(page.locator("#content-main")).not_to_contain_text("kim@example.org")
    photograph(page, "dead-letter")
    page.get_by_role("button", name="Reveal private values").click()
    expect(page.locator("#content-main")).to_contain_text("kim@example.org")
    expect(page.locator("#content-main")).to_contain_text("on record")
    photograph(page, "dead-letter-revealed")
