"""Shards hold the threads of their worker: what goes on beside them has threads of its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kombu import Queue

from invocation.gateways import declared
from invocation.models import Batch, Process, Shard
from invocation.services import batch_start, waves
from tests.integration.invocation.batches.planned import LINES, manifest, opened, unread
from tests.integration.invocation.batches.test_planning import of
from tests.integration.invocation.crew import DECLARED, Crew, crew, wait_until

pytestmark = [pytest.mark.usefixtures("wiped"), pytest.mark.django_db(transaction=True)]
SLOTS = 5
"""More than the threads that the crew's workers are told to have."""


@pytest.fixture
def staff(settings: Any, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    settings.ENDPOINT_MODULES = tuple(DECLARED.split(","))
    declared.book.cache_clear()
    with crew(tmp_path_factory.mktemp("crew"), SLOTS=f"p3={SLOTS}", OBJECT_STORE=str(store)) as started:
        started.worker("shards", priority_class="p3")
        wait_until(lambda: Process.objects.count() == 1)
        yield started
    declared.book.cache_clear()


def at_work() -> int:
    return Shard.objects.filter(state="working").count()


def test_a_manifest_is_read_while_every_slot_has_a_shard(staff: Crew, p3: Queue) -> None:
    hanging = opened([{**line, "takes_s": 600} for line in LINES[:SLOTS]], endpoint="harmful-batch@1", shards=SLOTS)
    assert waves.go_on(hanging.pk, now=datetime.now(UTC)) == SLOTS
    wait_until(lambda: at_work() == SLOTS)

    waiting = unread(of(manifest(LINES)))
    batch_start.ask_for_plan(waiting.pk)
    wait_until(lambda: Batch.objects.get(pk=waiting.pk).state == "planned")
    assert at_work() == SLOTS
