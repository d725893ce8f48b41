"""The admin's pages: they load with rows, ask a bounded number of questions, and open to those only who may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from invocation.domain.jobs import JobState
from invocation.domain.turns import TurnState
from invocation.models import Hold, Job
from invocation.models.admission import HoldScope
from invocation.services import holds, schedules
from quota.admin.paging import MOST_COUNTED
from tests.integration.invocation.records import a_batch, a_completed_job, a_dead_letter, a_named_tenant, a_redrive, a_run, a_schedule
from tests.integration.invocation.rows import NOW, a_job, a_process, a_session, a_turn
from tests.integration.invocation.webhooks.rows import a_sent_delivery

MAKERS: dict[str, Callable[[], Any]] = {
    "job": lambda: a_completed_job(tenant_id=a_named_tenant()),
    "deadletter": lambda: a_dead_letter(tenant_id=a_named_tenant()),
    "redrive": lambda: a_redrive(tenant_id=a_named_tenant()),
    "session": lambda: a_turn(TurnState.COMPLETED, text="Start with Monster.").session,
    "turn": lambda: a_turn(TurnState.COMPLETED, session=a_session(a_named_tenant()), truncated=True),
    "batch": lambda: a_batch(tenant_id=a_named_tenant()),
    "schedule": lambda: a_schedule(tenant_id=a_named_tenant()),
    "runrecord": lambda: a_run(tenant_id=a_named_tenant()),
    "process": a_process,
    "webhook": lambda: a_sent_delivery(a_named_tenant()).webhook,
    "delivery": lambda: a_sent_delivery(a_named_tenant()),
    "hold": lambda: holds.hold(HoldScope.TENANT, str(uuid4()), reason="asked", by=None, now=NOW),
}
VIEWS = ["index", "invocation_endpoints", "invocation_agents"]


def the_list(model: str) -> str:
    return reverse(f"admin:invocation_{model}_changelist")


def the_page(model: str, row: Any) -> str:
    return reverse(f"admin:invocation_{model}_change", args=[row.pk])


def text_of(client: Client, address: str) -> str:
    return client.get(address).content.decode()


@pytest.fixture
def clerk(db: None) -> User:
    """Staff without a permission."""
    return User.objects.create_user("clerk", password="long-enough-to-be-one", is_staff=True)


def permit(user: User, *names: str) -> None:
    user.user_permissions.add(*Permission.objects.filter(codename__in=names, content_type__app_label="invocation"))


@pytest.mark.parametrize("model", MAKERS)
def test_a_list_and_its_rows_are_shown(admin_client: Client, model: str) -> None:
    row = MAKERS[model]()

    assert the_page(model, row) in text_of(admin_client, the_list(model))
    assert admin_client.get(the_page(model, row)).status_code == 200


@pytest.mark.parametrize("name", VIEWS)
def test_a_page_without_a_table_is_shown(admin_client: Client, name: str) -> None:
    assert admin_client.get(reverse(f"admin:{name}")).status_code == 200


@pytest.mark.parametrize("model", MAKERS)
def test_a_longer_list_asks_no_more_questions(admin_client: Client, model: str) -> None:
    MAKERS[model]()
    admin_client.get(the_list(model))
    with CaptureQueriesContext(connection) as few:
        admin_client.get(the_list(model))
    for _ in range(8):
        MAKERS[model]()
    with CaptureQueriesContext(connection) as many:
        admin_client.get(the_list(model))

    assert len(many) == len(few) <= 12


@pytest.mark.parametrize("model", MAKERS)
def test_no_list_counts_its_whole_table(admin_client: Client, model: str) -> None:
    MAKERS[model]()
    with CaptureQueriesContext(connection) as asked:
        admin_client.get(the_list(model))
    counts = [query["sql"] for query in asked if query["sql"].startswith("SELECT COUNT(")]

    assert counts
    assert all(f"LIMIT {MOST_COUNTED + 1}" in statement for statement in counts)


@pytest.mark.parametrize("address", [*map(the_list, MAKERS), *(f"admin:{name}" for name in VIEWS)])
def test_who_is_not_signed_in_is_sent_to_sign_in(client: Client, db: None, address: str) -> None:
    answer = client.get(address if address.startswith("/") else reverse(address))

    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(reverse("admin:login"))


@pytest.mark.parametrize("model", MAKERS)
def test_staff_without_permission_is_refused(client: Client, clerk: User, model: str) -> None:
    client.force_login(clerk)

    assert client.get(the_list(model)).status_code == 403
    assert client.get(the_page(model, MAKERS[model]())).status_code == 403


@pytest.mark.parametrize("name", ["invocation_endpoints", "invocation_agents"])
def test_the_contract_pages_refuse_staff_without_permission(client: Client, clerk: User, name: str) -> None:
    client.force_login(clerk)

    assert client.get(reverse(f"admin:{name}")).status_code == 403


def test_the_overview_keeps_its_figures_and_links_from_staff_without_permission(client: Client, clerk: User) -> None:
    client.force_login(clerk)
    page = text_of(client, reverse("admin:index"))

    assert "runs in 24 h" not in page
    assert the_list("job") not in page


@pytest.mark.parametrize("model", [model for model in MAKERS if model not in {"hold", "redrive"}])
def test_records_are_neither_added_nor_changed_nor_deleted(admin_client: Client, model: str) -> None:
    row = MAKERS[model]()
    before = type(row).objects.values().get(pk=row.pk)
    admin_client.post(the_page(model, row), {"state": "completed", "name": "mine"})

    assert admin_client.post(reverse(f"admin:invocation_{model}_add")).status_code == 403
    assert admin_client.post(reverse(f"admin:invocation_{model}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    assert type(row).objects.values().get(pk=row.pk) == before
    assert "delete_selected" not in text_of(admin_client, the_list(model))


def test_private_values_of_a_job_are_masked(admin_client: Client) -> None:
    given = {"text": "write to kim@example.org, card 4111 1111 1111 1111", "api_token": "t0p"}
    row = a_dead_letter(input=given, metadata={"password": "hunter2"})
    pages = text_of(admin_client, the_page("deadletter", row)) + text_of(admin_client, the_list("deadletter"))

    assert not [word for word in ("kim@example.org", "4111", "t0p", "hunter2") if word in pages]
    assert "[card number]" in pages


def test_private_values_of_a_turn_are_masked(admin_client: Client) -> None:
    row = a_turn(TurnState.COMPLETED, input={"text": "I am kim@example.org"}, text="Hello kim@example.org")
    pages = [text_of(admin_client, the_page("turn", row)), text_of(admin_client, the_page("session", row.session))]

    assert not [page for page in pages if "kim@example.org" in page]


def test_a_job_tells_its_history_journal_runs_and_output(admin_client: Client) -> None:
    dead, done = a_dead_letter(), a_completed_job()
    page = text_of(admin_client, the_page("job", dead))

    assert all(word in page for word in ("submit", "search_catalog", "provider_down", "400"))
    assert "Dear reader" in text_of(admin_client, the_page("job", done))


def test_a_job_is_found_by_its_id_and_by_its_beginning(admin_client: Client) -> None:
    wanted, other = a_job(), a_job()
    for term in (str(wanted.pk), str(wanted.pk)[:30]):
        page = text_of(admin_client, f"{the_list('job')}?q={term}")
        assert the_page("job", wanted) in page
        assert (the_page("job", other) in page) == str(other.pk).startswith(term)


def test_a_search_for_no_id_says_what_to_search_by(admin_client: Client) -> None:
    row = a_job()
    page = text_of(admin_client, f"{the_list('job')}?q=hello")

    assert "Search by an id" in page
    assert the_page("job", row) not in page


def test_lists_are_filtered_by_declared_values_only(admin_client: Client) -> None:
    queued, done = a_job(), a_completed_job()
    page = text_of(admin_client, f"{the_list('job')}?state={JobState.COMPLETED}")

    assert the_page("job", done) in page
    assert the_page("job", queued) not in page
    assert the_page("job", queued) in text_of(admin_client, f"{the_list('job')}?state=nonsense")


def test_dead_letters_are_filtered_by_error_code_and_tenant(admin_client: Client) -> None:
    tenant = a_named_tenant("Paper Lantern")
    ours, other = a_dead_letter(tenant_id=tenant), a_dead_letter(error={"code": "output_invalid"}, cause="bad_output")
    by_tenant = text_of(admin_client, f"{the_list('deadletter')}?tenant_id={tenant}")
    by_code = text_of(admin_client, f"{the_list('deadletter')}?code=output_invalid")

    assert the_page("deadletter", ours) in by_tenant
    assert "Paper Lantern" in by_tenant
    assert the_page("deadletter", other) not in by_tenant
    assert the_page("deadletter", other) in by_code
    assert the_page("deadletter", ours) not in by_code


def test_only_modes_that_keep_dead_letters_list_them(admin_client: Client) -> None:
    kept, forgotten = a_dead_letter(), a_job(JobState.FAILED, mode="scheduled-trigger", endpoint="retention@1", priority_class="p2")
    page = text_of(admin_client, the_list("deadletter"))

    assert the_page("deadletter", kept) in page
    assert the_page("deadletter", forgotten) not in page
    assert admin_client.get(the_page("deadletter", Job.objects.get(pk=forgotten.pk))).status_code == 302


def test_a_batch_shows_every_shard_as_a_square(admin_client: Client) -> None:
    page = text_of(admin_client, the_page("batch", a_batch(shards=7)))

    assert page.count('title="Shard ') == 7
    assert "10 of 70 rows, 1 failed" in page


def test_a_schedule_shows_its_next_moments_in_utc_and_its_firings(admin_client: Client) -> None:
    row = a_schedule()
    firing = schedules.fire(row.pk, now=NOW)
    page = text_of(admin_client, the_page("schedule", row))

    assert page.count("06:30:00 UTC</dd>") == 5
    assert reverse("admin:invocation_job_change", args=[firing.job_id]) in page


def test_the_endpoints_page_shows_each_contract(admin_client: Client) -> None:
    page = text_of(admin_client, reverse("admin:invocation_endpoints"))

    assert all(word in page for word in ("chat@1", "batch-window", "as published", "65,536 bytes"))


def test_the_agents_page_shows_skills_and_rubric(admin_client: Client) -> None:
    page = text_of(admin_client, reverse("admin:invocation_agents"))

    assert all(word in page for word in ("mangaassist@1", "search_catalog", "grounded", "no private data"))


def test_holds_stay_on_record(admin_client: Client) -> None:
    row = MAKERS["hold"]()

    assert admin_client.post(reverse("admin:invocation_hold_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    assert Hold.objects.filter(pk=row.pk).exists()
