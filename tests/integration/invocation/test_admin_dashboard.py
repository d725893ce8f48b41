"""The figures of the admin's first page."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from invocation.admin import charts
from invocation.admin.dashboard import figures
from invocation.domain.jobs import JobState
from invocation.domain.modes import Mode
from invocation.domain.slo import Sample
from invocation.domain.turns import TurnState
from invocation.models import Alert
from invocation.selectors import dashboard, dead_letters
from invocation.services import slo
from tests.integration.invocation.records import a_batch, a_dead_letter, a_run
from tests.integration.invocation.rows import NOW, a_job, a_process, a_turn

SINCE = NOW - timedelta(hours=24)


def of_mode(mode: Mode) -> dashboard.ModeFigures:
    return next(found for found in dashboard.modes(since=SINCE) if found.mode is mode)


def of_class(name: str, *, now: datetime = NOW) -> dashboard.ClassFigures:
    return next(found for found in dashboard.classes(now=now) if found.priority_class == name)


def test_every_mode_has_figures_though_nothing_ran(db: None) -> None:
    assert [(found.mode, found.runs, found.duration) for found in dashboard.modes(since=SINCE)] == [(mode, 0, None) for mode in Mode]


def test_a_mode_counts_runs_failures_lengths_and_cost_of_the_day(db: None) -> None:
    for number, outcome in enumerate(["completed", "failed", "declined"], start=1):
        a_run(outcome=outcome, duration_ms=1_000 * number, first_delta_ms=100 * number, cost_usd="0.25")
    a_run(at=SINCE - timedelta(seconds=1))
    found = of_mode(Mode.ASYNC_QUEUE)

    assert (found.runs, found.failures, float(found.cost_usd)) == (3, 1, 0.75)
    assert found.duration == pytest.approx((2_000, 2_900))
    assert found.first_delta == pytest.approx((200, 290))


def test_a_batch_counts_its_rows(db: None) -> None:
    a_batch(shards=3)
    found = of_mode(Mode.BATCH_WINDOW)

    assert (found.runs, found.failures) == (10, 1)


def test_runs_are_counted_by_the_hour_they_ended_in(db: None) -> None:
    a_run(at=NOW - timedelta(minutes=61))
    a_run(at=NOW - timedelta(minutes=1), outcome="failed")
    found = dashboard.hours(since=SINCE, now=NOW)["async-queue"]

    assert found == {
        NOW - timedelta(hours=2): dashboard.HourFigures(1, 0),
        NOW - timedelta(hours=1): dashboard.HourFigures(1, 1),
    }


def test_the_tallest_hour_fills_the_chart_and_failures_stand_on_top() -> None:
    hour = NOW.replace(minute=0)
    bars = charts.by_hour({hour: dashboard.HourFigures(4, 1), hour - timedelta(hours=1): dashboard.HourFigures(2, 0)}, now=NOW)

    assert len(bars) == charts.HOURS
    assert (bars[-1].bad_y, bars[-1].bad_height, bars[-1].good_height) == (0, 10, 30)
    assert (bars[-2].good_y, bars[-2].good_height) == (20, 20)
    assert bars[0].good_height == 0


def test_a_class_knows_its_queue_its_oldest_and_its_slots(db: None) -> None:
    worker = a_process("p1", slots=4)
    a_process("p1", slots=4, lease=-timedelta(seconds=1))
    a_job(queued_at=NOW - timedelta(minutes=5))
    a_job(queued_at=NOW - timedelta(minutes=9))
    a_job(JobState.WORKING, owner=worker.pk)
    found = of_class("p1")

    assert (found.depth, found.oldest_at, found.slots, found.used) == (2, NOW - timedelta(minutes=9), 4, 1)


def test_turns_and_shards_wait_in_their_modes_classes(db: None) -> None:
    a_turn(TurnState.QUEUED)
    a_turn(TurnState.WORKING)
    a_batch(shards=3)

    assert (of_class("p0").depth, of_class("p0").used) == (1, 1)
    assert of_class("p3").depth == 2


def test_dead_letters_are_shared_by_what_ended_in_their_modes(db: None) -> None:
    a_dead_letter()
    for _ in range(3):
        a_run()
    a_run(mode="streaming-sync", source="turn")

    assert dead_letters.share(since=SINCE) == (1, 4)
    assert figures(now=NOW)["dead"]["holds"] is False


def test_without_jobs_the_objective_holds(db: None) -> None:
    assert figures(now=NOW)["dead"]["holds"] is True


def test_a_class_says_when_its_queue_is_done_and_how_its_slots_were_used(db: None) -> None:
    a_process("p1", slots=4, lease=timedelta(hours=1))
    for minutes in (3, 2, 1):
        slo.keep(now=NOW - timedelta(minutes=minutes))
        a_run(at=NOW - timedelta(minutes=minutes, seconds=-30))
    for _ in range(6):
        a_job()
    found = of_class("p1")
    shown = next(each for each in figures(now=NOW)["classes"] if each["name"] == "p1")

    assert found.eta == timedelta(minutes=6)
    assert (shown["eta"], shown["mean"], len(shown["chart"])) == ("6 min", "—", 3)


def test_the_use_of_slots_is_drawn_by_minute_inside_or_outside_the_band() -> None:
    samples = [a_sample(NOW - timedelta(minutes=minutes), busy=busy) for minutes, busy in ((61, 9), (59, 5), (1, 7), (0, 10))]
    bars = charts.by_minute(samples, now=NOW)

    assert [(bar.x, bar.height, bar.tone) for bar in bars] == [(0, 20, "calm"), (232, 28, "good"), (236, 40, "bad")]
    assert charts.band() == pytest.approx((10, 4))


def a_sample(at: datetime, *, busy: int) -> Sample:
    zeros = dict.fromkeys(("depth", "admitted", "finished", "dead", "volume", "holds"), 0)
    return Sample(at=at, oldest=timedelta(), slots=10, busy=busy, is_led=True, **zeros)


def test_open_alerts_stand_on_the_overview_and_in_a_list_of_their_own(admin_client: Client) -> None:
    job = a_job(queued_at=NOW - timedelta(minutes=9))
    slo.keep(now=NOW)
    alert = Alert.objects.get(kind="oldest_age")
    page = admin_client.get(reverse("admin:index")).content.decode()
    its_list = admin_client.get(reverse("admin:invocation_alert_changelist")).content.decode()
    its_page = admin_client.get(reverse("admin:invocation_alert_change", args=[alert.pk])).content.decode()
    assert all(alert.sentence in shown for shown in (page, its_list, its_page))

    job.delete()
    slo.keep(now=NOW + timedelta(minutes=1))
    slo.keep(now=NOW + timedelta(minutes=2))
    assert alert.sentence not in admin_client.get(reverse("admin:index")).content.decode()
    assert alert.sentence in admin_client.get(reverse("admin:invocation_alert_changelist")).content.decode()


def test_the_overview_asks_a_fixed_number_of_questions(admin_client: Client) -> None:
    def questions() -> tuple[int, str]:
        with CaptureQueriesContext(connection) as asked:
            page = admin_client.get(reverse("admin:index")).content.decode()
        return len(asked), page

    questions()
    few, _ = questions()
    for _ in range(5):
        a_dead_letter()
        a_process()
        a_batch()
        a_job(queued_at=NOW - timedelta(days=1))
    slo.keep(now=timezone.now())
    many, page = questions()

    assert few == many <= 25
    assert all(mode in page for mode in Mode)
