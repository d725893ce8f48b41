"""`manage.py batch`: opening, watching, and every act on a batch from a terminal."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from rich.console import Console

from invocation.domain import paces
from invocation.domain.batches import BatchState
from invocation.gateways.stores import store_at
from invocation.management import watching
from invocation.models import Batch, StoreGrant
from invocation.services import planning
from tests.integration.invocation.batches.planned import Workers
from tests.integration.invocation.records import a_batch, a_named_tenant
from tests.integration.invocation.rows import NOW

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]


def said(*words: Any) -> str:
    out = StringIO()
    call_command("batch", *map(str, words), stdout=out)
    return out.getvalue()


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "list.jsonl"
    path.write_bytes(b"".join(orjson.dumps({"row_id": f"r{number}", "text": "x"}) + b"\n" for number in range(10)))
    return path


@pytest.fixture
def opened_batch(manifest: Path) -> Batch:
    a_named_tenant("Paper Lantern")
    words = ["--endpoint", "trial-batch@1", "--tenant", "Paper Lantern", "--shards", "2"]
    told = said("run", manifest, *words, "--window", "22:00-06:00@Europe/Berlin", "--finish-by", "2026-12-01T06:00:00Z")
    return Batch.objects.get(pk=UUID(told.split()[1]))


def test_a_batch_is_opened_with_its_window_and_a_moment_to_be_done_by(opened_batch: Batch) -> None:
    assert (opened_batch.rows, opened_batch.shards.count()) == (10, 2)
    assert opened_batch.window == {"start": "22:00", "end": "06:00", "zone": "Europe/Berlin"}
    assert opened_batch.finish_by == datetime(2026, 12, 1, 6, tzinfo=UTC)
    assert "window 22:00-06:00@Europe/Berlin, open" in said("status", opened_batch.pk)


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["--window", "22:00"], "no window such as"),
        (["--window", "22:00-06:00@Mars/Olympus"], "no time zone"),
        (["--finish-by", "2026-12-01T06:00:00"], "no moment with its offset"),
        (["--shards", "0"], "no whole number above 0"),
    ],
)
def test_a_wrong_word_is_refused_by_what_is_wrong(manifest: Path, words: list[str], refusal: str) -> None:
    with pytest.raises(CommandError, match=refusal):
        said("run", manifest, "--endpoint", "trial-batch@1", "--tenant", "nobody", *words)
    assert not Batch.objects.exists()


def test_it_is_paused_resumed_cancelled_and_listed() -> None:
    batch = a_batch()

    assert said("pause", batch.pk, "--reason", "a storm") == "paused\n"
    told = said("status", batch.pk)
    assert "paused (asked): 10/40 rows, 1 failed" in told
    assert "paused, asked: Paused by a command: a storm" in told
    assert said("resume", batch.pk) == "resumed\n"
    assert "running" in said("list")
    assert said("list", "--state", "completed") == ""
    assert said("cancel", batch.pk) == "cancelled\n"
    with pytest.raises(CommandError, match="cannot be cancelled"):
        said("cancel", batch.pk)


def test_resumed_outside_of_its_window_it_says_when_it_goes_on() -> None:
    batch = a_batch()
    now = datetime.now(UTC)
    window = {"start": f"{now + timedelta(hours=2):%H:%M}", "end": f"{now + timedelta(hours=4):%H:%M}", "zone": "UTC"}
    Batch.objects.filter(pk=batch.pk).update(window=window)
    said("pause", batch.pk)

    assert "the next opens at" in said("resume", batch.pk)


def test_failed_rows_are_run_again() -> None:
    batch = a_batch(shards=2)
    batch.shards.filter(index=0).update(errors={"unknown_title": 1})
    batch.shards.update(state="completed", position=10, done=10, finished_at=NOW)
    Batch.objects.filter(pk=batch.pk).update(state=BatchState.COMPLETED, finished_at=NOW, gathered_at=NOW, manifest=__file__)

    assert "error unknown_title: 1 rows" in said("status", batch.pk)
    assert said("retry-failed", batch.pk) == "1 failed rows run again\n"


@pytest.mark.parametrize("act", ["status", "pause", "resume", "cancel", "retry-failed"])
def test_what_is_not_there_is_said(act: str) -> None:
    unknown = uuid4()
    with pytest.raises(CommandError, match=f"There is no batch {unknown}"):
        said(act, unknown)


def test_the_only_tenant_need_not_be_named(manifest: Path) -> None:
    words = ("run", manifest, "--endpoint", "trial-batch@1")
    with pytest.raises(CommandError, match="There is no tenant"):
        said(*words)
    ours = a_named_tenant("Paper Lantern")
    said(*words)
    assert Batch.objects.get().tenant_id == ours

    a_named_tenant("Another House")
    with pytest.raises(CommandError, match="--tenant: there are Another House, Paper Lantern"):
        said(*words)


def test_a_manifest_in_s3_is_one_that_the_tenant_was_granted(s3_folder: str) -> None:
    ours, place = a_named_tenant(), f"{s3_folder}/list.jsonl"
    store_at(s3_folder).write_whole("list.jsonl", b'{"row_id": "a", "text": "x"}\n')
    with pytest.raises(CommandError, match="was not granted"):
        said("run", place, "--endpoint", "trial-batch@1")
    StoreGrant.objects.create(tenant_id=ours, prefix=s3_folder)
    said("run", place, "--endpoint", "trial-batch@1")
    batch = Batch.objects.get()

    assert (batch.tenant_id, batch.manifest, batch.state) == (ours, place, "planning")
    planning.plan(batch.pk)
    assert Batch.objects.values_list("state", "rows").get() == ("planned", 1)
    assert store_at(s3_folder).exists("list.jsonl")


def test_a_bar_shows_rows_rate_cost_and_what_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK_S", 0.01)
    batch = a_batch(shards=4, started_at=datetime.now(UTC) - timedelta(minutes=5))
    errors = {"unknown_title": 1}
    batch.shards.filter(index=0).update(cost_usd="0.25", errors=errors, pace=paces.counted([], 120, at=datetime.now(UTC)))
    console = Console(file=StringIO(), force_terminal=True, width=160)

    def ending() -> None:
        Batch.objects.filter(pk=batch.pk).update(state="cancelled", finished_at=datetime.now(UTC))
        connection.close()

    timer = threading.Timer(0.6, ending)
    timer.start()
    assert watching.watch(batch.pk, console=console) == "cancelled"
    timer.join()

    shown = console.file.getvalue()  # type: ignore[attr-defined]
    told = ("10/40 rows", "25%", "left", "0.2500 USD", "1 failed: 1 unknown_title", "cancelled")
    assert [words for words in told if words not in shown] == []
    assert re.search(r"2\.\d rows/s", shown)


def test_watching_ends_with_the_batch(opened_batch: Batch, workers: Workers) -> None:
    Batch.objects.filter(pk=opened_batch.pk).update(window=None)
    workers.finish(opened_batch)

    assert "10/10 rows" in said("status", opened_batch.pk, "--watch")
