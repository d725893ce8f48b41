"""Batches in the admin: what a page and its updates show, and what an operator does, on record with a reason."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from invocation.models import Batch, BatchRow
from invocation.services import waves
from tests.integration.invocation.batches.test_windows import around
from tests.integration.invocation.records import a_batch, a_named_tenant
from tests.integration.invocation.rows import NOW
from tests.integration.invocation.test_admin_acts import the_act
from tests.integration.invocation.test_admin_pages import clerk, permit, text_of, the_list, the_page

__all__ = ["clerk"]


def live(client: Client, row: Batch) -> dict[str, Any]:
    answer = client.get(reverse("admin:invocation_batch_live", args=[row.pk]))
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    return dict(answer.json())


def do(client: Client, row: Batch, act: str, *, reason: str = "a storm") -> str:
    """Do an act from the batch's page, and return what that page says after it."""
    came_from = f"http://testserver{the_page('batch', row)}"
    return client.post(the_act("batch", row, act), {"reason": reason}, follow=True, headers={"Referer": came_from}).content.decode()


def failed_row(batch: Batch, row_id: str = "row-7") -> None:
    facts = {"row_id": row_id, "run_id": uuid4(), "shard": 0, "outcome": "failed", "agent": batch.agent, "duration_ms": 1, "at": NOW}
    BatchRow.objects.create(batch=batch, traceparent="", error_code="unknown_title", **facts)
    batch.shards.filter(index=0).update(errors={"unknown_title": 1})


def test_the_page_keeps_itself_live_until_the_batch_has_ended(admin_client: Client) -> None:
    batch = a_batch()
    address = reverse("admin:invocation_batch_live", args=[batch.pk])
    assert f'data-live-address="{address}"' in text_of(admin_client, the_page("batch", batch))

    Batch.objects.filter(pk=batch.pk).update(state="cancelled", finished_at=NOW)
    assert "data-live-address" not in text_of(admin_client, the_page("batch", batch))
    assert live(admin_client, batch)["is_live"] is False


def test_an_update_has_the_bar_the_figures_each_square_and_what_fails(admin_client: Client) -> None:
    batch = a_batch(shards=4)
    failed_row(batch)
    told = live(admin_client, batch)

    assert told["bar"] == {"good": "22.50%", "bad": "2.50%", "told": "10 of 40 rows, 1 failed"}
    assert (told["is_live"], told["acts"]) == (True, ["pause", "cancel"])
    assert told["squares"][0] == ["good", 100, True, "Shard 0: completed, 10 of 10 rows, 1 failed, attempt 0, $0.00"]
    assert told["squares"][1][:3] == ["calm", 0, False]
    assert "unknown_title" in told["parts"]["causes"]
    assert "row-7" in told["parts"]["causes"]
    assert "10 of 40" in told["parts"]["figures"]
    assert "running" in told["parts"]["head"]


def test_an_update_tells_of_the_window_and_what_is_too_late(admin_client: Client) -> None:
    batch = a_batch()
    Batch.objects.filter(pk=batch.pk).update(window=around(NOW, before=timedelta(0), after=timedelta(hours=1)), finish_by=NOW)
    told = live(admin_client, batch)["parts"]
    assert "Too late" in told["notices"]
    assert "12:00 to 13:00, UTC" in told["figures"]

    pause = {"code": "window", "sentence": "Its window is closed.", "at": NOW.isoformat()}
    Batch.objects.filter(pk=batch.pk).update(state="paused", pause=pause)
    told = live(admin_client, batch)
    assert "Its window is closed." in told["parts"]["notices"]
    assert told["acts"] == ["pause", "retry-failed", "cancel"]


def test_a_completed_batch_is_not_published_until_its_scores_say_so(admin_client: Client) -> None:
    batch = a_batch()
    Batch.objects.filter(pk=batch.pk).update(state="completed", finished_at=NOW, gathered_at=NOW)
    assert "not scored yet" in live(admin_client, batch)["parts"]["head"]

    scores = {"sentence": "Scored 0.5 where 0.6 is expected.", "rows": 3, "mean": 0.5, "expected": 0.6, "at": NOW.isoformat()}
    Batch.objects.filter(pk=batch.pk).update(scores=scores, publication="held")
    told = live(admin_client, batch)["parts"]
    assert "held" in told["head"]
    assert "Scored 0.5 where 0.6 is expected." in told["notices"]
    assert "held" in text_of(admin_client, the_list("batch"))


def test_what_it_costs_does_not_go_with_the_rows(admin_client: Client) -> None:
    batch = a_batch(shards=4)
    with CaptureQueriesContext(connection) as few:
        live(admin_client, batch)
    for number in range(50):
        failed_row(batch, f"row-{number}")
    with CaptureQueriesContext(connection) as many:
        live(admin_client, batch)

    assert len(many) - len(few) == 1


def test_a_list_of_batches_reads_them_with_one_query(admin_client: Client) -> None:
    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            page = text_of(admin_client, the_list("batch"))
        assert page.count('data-live="bar-') == Batch.objects.count()
        return sum('FROM "invocation_shard"' in query["sql"] for query in queries)

    tenant = a_named_tenant("Paper Lantern")
    a_batch(tenant_id=tenant)
    assert asked() == 1
    for _ in range(5):
        a_batch(tenant_id=tenant)
    assert asked() == 1
    assert "Paper Lantern" in text_of(admin_client, the_list("batch"))


def test_an_operator_pauses_resumes_and_cancels_and_it_stays_on_record(admin_client: Client) -> None:
    batch = a_batch()

    page = do(admin_client, batch, "pause", reason="the provider asks us to wait")
    batch.refresh_from_db()
    assert (batch.state, (batch.pause or {})["code"]) == ("paused", "asked")
    assert "Paused by operator admin: the provider asks us to wait" in page
    assert live(admin_client, batch)["acts"] == ["resume", "retry-failed", "cancel"]

    do(admin_client, batch, "resume", reason="it is well")
    batch.refresh_from_db()
    assert (batch.state, batch.pause) == ("running", None)
    page = do(admin_client, batch, "cancel", reason="not wanted")
    batch.refresh_from_db()
    assert batch.state == "cancelled"
    assert all(words in page for words in ("Pause: the provider asks us to wait", "Resume: it is well", "Cancel: not wanted"))


def test_failed_rows_are_run_again(admin_client: Client) -> None:
    batch = a_batch(shards=2)
    failed_row(batch)
    batch.shards.update(state="completed", position=10, done=10, finished_at=NOW)
    Batch.objects.filter(pk=batch.pk).update(state="completed", finished_at=NOW, gathered_at=NOW, manifest=__file__)

    assert "1 failed rows run again" in do(admin_client, batch, "retry-failed")
    batch.refresh_from_db()
    assert (batch.state, batch.round) == ("running", 1)


def test_what_cannot_be_done_is_refused_with_a_reason(admin_client: Client) -> None:
    batch = a_batch()
    Batch.objects.filter(pk=batch.pk).update(state="completed", finished_at=NOW, gathered_at=NOW)

    for act in ("pause", "resume", "cancel"):
        assert f"Batch {batch.pk} is completed" in do(admin_client, batch, act)


def test_who_may_only_look_has_no_button_and_no_act(clerk: User, client: Client) -> None:
    batch = a_batch()
    client.force_login(clerk)
    assert client.get(reverse("admin:invocation_batch_live", args=[batch.pk])).status_code == 403
    permit(clerk, "view_batch")
    page = text_of(client, the_page("batch", batch))

    assert "data-act=" not in page
    assert client.post(the_act("batch", batch, "pause"), {"reason": "x"}).status_code == 403
    assert live(client, batch)["is_live"]


def test_a_batch_that_is_not_there_has_no_updates(admin_client: Client) -> None:
    assert admin_client.get(reverse("admin:invocation_batch_live", args=[uuid4()])).status_code == 404


def test_a_window_that_closes_is_seen(admin_client: Client) -> None:
    batch = a_batch()
    Batch.objects.filter(pk=batch.pk).update(window=around(NOW, before=timedelta(hours=1), after=timedelta(hours=2)))
    waves.sweep(now=NOW)

    assert "Paused: window" in live(admin_client, batch)["parts"]["notices"]
