"""Run by test_two_databases.py in a process of its own, where batches have a second database: what only there can be seen."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connections
from django.test import Client
from django.urls import reverse

from config.databases import TABLES_OF_BATCH
from evals.models import BatchScoring
from evals.services import batch_scoring
from invocation.domain.modes import Mode
from invocation.gateways.database import BATCH, DEFAULT
from invocation.models import Batch, BatchOutbox, Outbox, Process
from invocation.selectors import dashboard, depth, report, slo
from invocation.services import batches, readiness, rescue
from quota.domain.classes import PriorityClass
from quota.domain.usage import Grouping, Selection
from quota.models import BatchLedgerEntry, LedgerEntry
from quota.selectors import usage as read
from quota.services import ledger, usage
from tests.integration.invocation.batches.planned import LINES, TENANT, Workers, opened, results
from tests.integration.quota.lines import a_line

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]
OF_BATCH = {apps.get_model(*each)._meta.db_table for each in TABLES_OF_BATCH}
LEASE = timedelta(seconds=10)


def tables(alias: str) -> set[str]:
    return set(connections[alias].introspection.table_names())


def test_each_table_lies_in_one_database_alone() -> None:
    assert (DEFAULT, BATCH) == ("default", "batch")
    assert connections[DEFAULT].settings_dict["NAME"] != connections[BATCH].settings_dict["NAME"]
    assert tables(BATCH) - {"django_migrations"} == OF_BATCH
    assert tables(DEFAULT) & OF_BATCH == set()


def test_every_key_of_a_batch_leads_to_a_table_of_batches() -> None:
    with connections[BATCH].cursor() as cursor:
        cursor.execute("SELECT DISTINCT confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'")
        assert {row[0] for row in cursor.fetchall()} == {Batch._meta.db_table}


def test_migrate_goes_over_both_and_finds_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("migrate", "--check", verbosity=0)
    call_command("migrate", "--plan", verbosity=1, no_color=True)

    assert capsys.readouterr().out.count("No planned migration operations.") == 2
    assert readiness.check()["migrations"] == "ready"


def test_a_batch_runs_to_its_end_and_usage_reads_both_ledgers(workers: Workers) -> None:
    ledger.append([a_line(tenant_id=TENANT, at=datetime.now(UTC))])
    began = datetime.now(UTC) - timedelta(hours=1)
    batch = workers.finish(opened([{**line, "model": "What does the catalog say?"} for line in LINES[:20]]))
    now = datetime.now(UTC)
    booked = Counter(BatchLedgerEntry.objects.values_list("parent_id", flat=True))
    spent = sum(BatchLedgerEntry.objects.values_list("cost_usd", flat=True), Decimal(0))

    assert (batch.state, len(results(batch))) == ("completed", 20)
    assert (booked, LedgerEntry.objects.count()) == ({str(batch.pk): 20}, 1)
    for _ in range(2):
        found = read.used(Selection(since=began, until=now + timedelta(days=1), tenant_id=TENANT), (Grouping.CLASS,), now=now)
        assert {each.group[0]: each.figures.calls for each in found} == {"p0": 1, "p3": 20}
        assert sum((each.figures.cost_usd for each in found), Decimal(0)) == spent + a_line().cost_usd
        usage.sweep(now=now)


def test_evals_hear_once_of_a_completed_batch(workers: Workers, now: datetime) -> None:
    batch = workers.finish(opened(LINES[:3]))

    assert (BatchOutbox.objects.count(), Outbox.objects.count()) == (1, 0)
    assert [batch_scoring.accept(now=now), batch_scoring.accept(now=now)] == [1, 0]
    assert BatchScoring.objects.get().tenant_id == batch.tenant_id
    assert (BatchOutbox.objects.count(), Outbox.objects.count()) == (0, 0)


def test_shards_of_a_dead_process_are_rescued_and_only_then_is_it_forgotten(workers: Workers, now: datetime) -> None:
    batch = opened(LINES[:4], shards=2)
    dead, alive = (a_process(now=moment) for moment in (now - timedelta(minutes=5), now))
    for shard, process in zip(batch.shards.all(), (dead, alive), strict=True):
        batch.shards.filter(pk=shard.pk).update(state="working", owner=process.pk)  # as `claim` does

    assert rescue.forget_the_dead(now=now) == 0
    assert batches.rescue_shards(now=now) == 1
    assert batch.shards.get(state="working").owner == alive.pk
    assert rescue.forget_the_dead(now=now) == 1
    assert list(Process.objects.all()) == [alive]


def a_process(*, now: datetime) -> Process:
    facts: dict[str, Any] = {"id": uuid4(), "host": "here", "pid": 1, "presence": uuid4().int >> 66, "slots": 4}
    return Process.objects.create(**facts, priority_class="p3", started_at=now, lease_until=now + LEASE)


def test_figures_are_read_of_both(workers: Workers, now: datetime) -> None:
    batch = workers.finish(opened(LINES[:6]))
    since = now - timedelta(hours=1)
    later = datetime.now(UTC)

    assert {figures.mode: figures.rows for figures in report.by_mode(since=since).values()}[Mode(batch.mode)] == 6
    assert {figures.mode: figures.runs for figures in dashboard.modes(since=since)}[Mode(batch.mode)] == 6
    assert sum(hour.runs for hour in dashboard.hours(since=since, now=later)[batch.mode].values()) == 6
    assert {line.priority_class for line in depth.depths()} == set(PriorityClass)
    assert slo.measured(since=dict.fromkeys(PriorityClass, since), is_led=True, now=later)["p3"].finished == batch.shards.count()


@pytest.mark.parametrize("page", ["invocation_batch", "invocation_process", "quota_ledgerentry", "quota_batchledgerentry"])
def test_the_admin_lists_both(workers: Workers, now: datetime, page: str) -> None:
    workers.finish(opened([{**LINES[0], "model": "What does the catalog say?"}]))
    ledger.append([a_line()])
    a_process(now=now)
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("ops", password="a long enough word"))
    answer = client.get(reverse(f"admin:{page}_changelist"))

    assert answer.status_code == 200
    assert answer.context["cl"].result_count >= 1
