"""The pages' installation, and the system's Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

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
