"""Usage: summed by day behind a mark, read at one moment, the same whether a line is summed yet or not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quota.domain.usage import Figures, Grouping, Selection, Used
from quota.gateways.ledgers import MAIN
from quota.models import LedgerEntry, UsageDay, UsageMark
from quota.selectors import usage as read
from quota.services import ledger, usage
from tests.integration.quota.conftest import NOW
from tests.integration.quota.lines import TENANT, a_line

DAY = timedelta(days=1)
MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)
LATER = NOW + 30 * DAY
EVERY = tuple(Grouping)


def _selection(**facts: Any) -> Selection:
    return Selection(**{"since": MIDNIGHT, "until": MIDNIGHT + 10 * DAY, "tenant_id": TENANT, **facts})


@pytest.mark.django_db
def test_usage_is_summed_by_what_is_asked_for_of_one_tenant() -> None:
    ledger.append([a_line(), a_line(estimated=True), a_line(at=NOW + DAY, endpoint="enrich@1"), a_line(tenant_id=uuid4())])
    first, second = read.used(_selection(), (Grouping.DAY, Grouping.ENDPOINT), now=LATER)

    assert (first.group, first.figures.calls, first.figures.input_tokens) == (("2026-11-20", "chat@1"), 2, 1400)
    assert (first.figures.cost_usd, first.figures.estimated_usd) == (Decimal("0.000944"), Decimal("0.000472"))
    assert (second.group, second.figures.calls) == (("2026-11-21", "enrich@1"), 1)


@pytest.mark.django_db
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_period_is_the_sum_of_its_lines_wherever_it_begins_and_however_far_the_sums_are(data: st.DataObject) -> None:
    with transaction.atomic():
        hours = st.integers(-30, 80)
        lines = [
            a_line(at=MIDNIGHT + timedelta(hours=hour), endpoint=endpoint, input_tokens=hour + 100, estimated=hour % 3 == 0)
            for hour, endpoint in data.draw(st.lists(st.tuples(hours, st.sampled_from(["a@1", "b@1"])), max_size=12))
        ]
        summed = data.draw(st.integers(0, len(lines)))
        ledger.append(lines[:summed])
        usage.sweep(now=NOW)
        ledger.append(lines[summed:])
        start, length, now_at = data.draw(st.tuples(hours, st.integers(1, 90), hours))
        since = MIDNIGHT + timedelta(hours=start)
        now = MIDNIGHT + timedelta(hours=now_at)
        until = since + timedelta(hours=length)
        end = until if until < now else (until + DAY - timedelta(microseconds=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        inside = [line for line in lines if since <= line.at < end]
        found = read.used(_selection(since=since, until=until), (Grouping.DAY, Grouping.ENDPOINT), now=now)

        assert sum(each.figures.calls for each in found) == len(inside)
        assert read.total(_selection(since=since, until=until), now=now) == Figures(
            calls=len(inside),
            input_tokens=sum(line.input_tokens for line in inside),
            output_tokens=120 * len(inside),
            cost_usd=sum((line.cost_usd for line in inside), Decimal(0)),
            estimated_calls=sum(line.estimated for line in inside),
            estimated_tokens=sum(line.input_tokens + 120 for line in inside if line.estimated),
            estimated_usd=sum((line.cost_usd for line in inside if line.estimated), Decimal(0)),
        )
        transaction.set_rollback(True)


@pytest.mark.django_db
def test_the_sums_hold_each_line_once_however_often_they_are_made() -> None:
    ledger.append([a_line() for _ in range(7)])

    assert usage.sweep(now=NOW) > 0
    assert usage.sweep(now=NOW) == 0
    ledger.append([a_line(), a_line()])
    usage.sweep(now=NOW)

    assert UsageDay.objects.get().calls == 9
    assert UsageMark.objects.get().ledger_id == LedgerEntry.objects.latest("id").pk


@pytest.mark.django_db
def test_a_sweep_between_the_reading_of_the_mark_and_of_the_sums_doubles_nothing() -> None:
    ledger.append([a_line() for _ in range(3)])
    text, given = read.statement(MAIN, _selection(), (Grouping.DAY,), now=LATER, known=0)
    usage.sweep(now=NOW)
    with connection.cursor() as cursor:
        cursor.execute(text, given)
        rows = cursor.fetchall()

    assert [row[1] for row in rows] == [3]


@pytest.mark.django_db
def test_a_long_stretch_is_summed_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    usage.sweep(now=NOW)
    monkeypatch.setattr(usage, "STEP", 3)
    ledger.append([a_line() for _ in range(10)])
    usage.sweep(now=NOW)

    assert UsageDay.objects.get().calls == 10


@pytest.mark.django_db
def test_pages_of_groups_follow_one_another_without_gap_or_repeat() -> None:
    ledger.append([a_line(endpoint=f"{name}@1", at=NOW + days * DAY) for name in ("b", "A", "ä", "a") for days in range(3)])
    by = (Grouping.ENDPOINT, Grouping.DAY)
    whole = read.used(_selection(), by, now=LATER)
    pages: list[Used] = []
    while page := read.used(_selection(), by, now=LATER, after=pages[-1].group if pages else (), most=5):
        pages += page

    assert len(whole) == 12
    assert pages == whole


@pytest.mark.django_db
@pytest.mark.parametrize("wanted", [_selection(tenant_id=None, only={Grouping.MODE: "batch-window"}), _selection(tenant_id=uuid4())])
def test_a_filter_leaves_the_others_out(wanted: Selection) -> None:
    ledger.append([a_line()])

    assert read.used(wanted, EVERY, now=LATER) == []
    assert read.total(wanted, now=LATER) == Figures()


@pytest.mark.django_db
@pytest.mark.parametrize("tenant", [TENANT, None])
def test_what_a_question_costs_does_not_grow_with_the_ledger(tenant: UUID | None) -> None:
    selection = _selection(since=LATER - 30 * DAY, until=LATER, tenant_id=tenant)
    costs = []
    for _ in range(2):
        _fill(10_000)
        usage.sweep(now=NOW)
        ledger.append([a_line(at=LATER) for _ in range(10)])
        costs.append(_rows_read(selection))
        usage.sweep(now=NOW)

    assert costs[0] == costs[1]
    assert costs[0] < 100


@pytest.mark.django_db
def test_what_the_rebuild_of_a_wiped_models_day_reads_does_not_grow_with_the_days_calls() -> None:
    costs = []
    for _ in range(2):
        ledger.append([a_line(at=MIDNIGHT + timedelta(seconds=second)) for second in range(10_000)])
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE quota_ledgerentry")
        usage.sweep(now=NOW)
        ledger.append([a_line(at=NOW) for _ in range(10)])
        costs.append(_rows_read(read.model_since(a_line().provider, a_line().model, since=MIDNIGHT), by=Grouping.CLASS))
        usage.sweep(now=NOW)
    [(tokens, calls)] = read.used_by_class(a_line().provider, a_line().model, since=MIDNIGHT).values()

    assert costs[0] == costs[1]
    assert costs[0] < 100
    assert (tokens, calls) == (20_020 * (a_line().input_tokens + a_line().output_tokens), 20_020)


@pytest.mark.django_db
@pytest.mark.parametrize("is_summed", [True, False])
def test_a_models_day_in_another_zone_is_counted_from_its_own_midnight(*, is_summed: bool) -> None:
    theirs = MIDNIGHT + timedelta(hours=8)
    ledger.append([a_line(at=theirs - timedelta(seconds=1)), a_line(at=theirs), a_line(at=MIDNIGHT + DAY)])
    if is_summed:
        usage.sweep(now=NOW)
    [(_, calls)] = read.used_by_class(a_line().provider, a_line().model, since=theirs).values()

    assert calls == 2


@pytest.mark.django_db(transaction=True)
def test_a_line_that_commits_after_a_later_one_is_not_passed_over() -> None:
    usage.sweep(now=NOW)  # other tests gave out ids
    early, may_commit = threading.Event(), threading.Event()
    writer = threading.Thread(target=_write_slowly, args=(early, may_commit))
    writer.start()
    early.wait(10)
    ledger.append([a_line()])  # gets the higher id, and is committed first
    usage.PATIENCE_S, patience = 0.1, usage.PATIENCE_S
    try:
        assert usage.sweep(now=NOW) == 0
    finally:
        usage.PATIENCE_S = patience
    may_commit.set()
    writer.join()
    usage.sweep(now=NOW)

    assert UsageDay.objects.get().calls == 2


@pytest.mark.django_db(transaction=True)
def test_many_writers_and_sweeps_at_once_lose_and_double_nothing() -> None:
    def write() -> None:
        for _ in range(25):
            with transaction.atomic():
                ledger.append([a_line() for _ in range(3)])

    def sum_up() -> None:
        for _ in range(25):
            usage.sweep(now=NOW)
            seen.append(read.total(_selection(), now=LATER).calls)

    seen: list[int] = []
    _at_once(*[write] * 4, *[sum_up] * 2)
    usage.sweep(now=NOW)

    assert UsageDay.objects.get().calls == LedgerEntry.objects.count() == 300
    assert max(seen) <= 300


def _write_slowly(early: threading.Event, may_commit: threading.Event) -> None:
    try:
        with transaction.atomic():
            ledger.append([a_line()])
            early.set()
            may_commit.wait(10)
    finally:
        connection.close()


def _at_once(*work: Callable[[], None]) -> None:
    def closing(each: Callable[[], None]) -> None:
        try:
            each()
        finally:
            connection.close()

    threads = [threading.Thread(target=closing, args=(each,)) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _fill(lines: int) -> None:
    """Write a history of one tenant, inside the period that will be asked for."""
    ledger.append([a_line(at=LATER - timedelta(minutes=index % 40_000)) for index in range(lines)])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE quota_ledgerentry")


def _rows_read(selection: Selection, *, by: Grouping = Grouping.DAY) -> int:
    """Return how many rows the statement takes from tables."""
    mark = UsageMark.objects.get().ledger_id
    text, given = read.statement(MAIN, selection, (by,), now=min(LATER, selection.until), known=mark)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", given)
        plan = cursor.fetchone()[0]
    return sum(_scanned(plan[0]["Plan"]))


def _scanned(node: dict[str, Any]) -> Iterator[int]:
    if "Relation Name" in node:
        yield int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
    for below in node.get("Plans", ()):
        yield from _scanned(below)
