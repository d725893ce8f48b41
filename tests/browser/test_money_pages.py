"""The admin's pages of money in Chromium: a glance at what was spent, filters, a table to take away, live gauges."""

from __future__ import annotations

import csv
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.speaking import Consumer
from tests.installation import Installation

USAGE = "/admin/quota/ledgerentry/usage/"
GAUGES = "/admin/quota/modelquota/gauges/"


def test_what_was_spent_is_seen_filtered_and_taken_away(admin: Page, live: Installation) -> None:
    admin.goto(live.base_url + USAGE)
    chart = admin.get_by_role("img", name="US dollars spent by day, stacked by mode")
    expect(chart.locator(".gx-mode-streaming-sync")).not_to_have_count(0)
    expect(chart.locator(".gx-mode-batch-window")).not_to_have_count(0)

    mode = admin.locator("select[name=mode]")
    mode.select_option("batch-window")
    admin.get_by_role("button", name="Show").click()
    expect(mode).to_have_value("batch-window")
    expect(admin.locator(".gx-plot .gx-mode-streaming-sync")).to_have_count(0)
    with admin.expect_download() as download:
        admin.get_by_role("link", name="CSV").click()
    head, *rows = csv.reader(Path(download.value.path()).read_text().splitlines())

    assert head[:3] == ["day", "endpoint", "calls"]
    assert {row[1] for row in rows} == {"enrich@1"}


def test_gauges_follow_what_is_used_without_a_reload(admin: Page, live: Installation) -> None:
    admin.goto(live.base_url + GAUGES)
    gauge = admin.get_by_role("img", name="offline/gearbox-offline-standard, requests a minute")
    before = gauge.get_attribute("aria-label")
    admin.evaluate("window.sameDocument = true")
    with closing(Consumer(live)) as consumer:
        consumer.chat({"text": "A sports series?"})
    expect(gauge).not_to_have_attribute("aria-label", before or "", timeout=10_000)

    assert admin.evaluate("window.sameDocument") is True


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", [USAGE, GAUGES, "/admin/quota/modelprice/", "/admin/quota/usageimport/reconciliation/"])
def test_a_page_fits_the_screen_and_can_be_read_in_both_themes(admin: Page, live: Installation, path: str, theme: str) -> None:
    admin.evaluate("theme => localStorage.setItem('_x_adminTheme', JSON.stringify(theme))", theme)
    admin.goto(live.base_url + path)
    text, ground = admin.evaluate(
        """() => { const card = document.querySelector('.gx-card'), told = card.querySelector('h2, label, span, td');
           return [getComputedStyle(told).color, getComputedStyle(card).backgroundColor]; }"""
    )

    assert text != ground
    assert admin.evaluate("document.documentElement.scrollWidth <= innerWidth")
