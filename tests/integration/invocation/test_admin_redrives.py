"""Redriving in bulk, discarding and revealing in the admin: the forms, the progress, and what stays on record."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from invocation.models import DeadLetter, Discard, Job, Redrive, RedriveMember
from invocation.services import discards, redrives, redriving
from tests.integration.invocation.records import a_dead_letter, a_named_tenant, a_redrive
from tests.integration.invocation.rows import NOW, a_job
from tests.integration.invocation.test_admin_acts import do, the_act
from tests.integration.invocation.test_admin_pages import clerk, permit, text_of, the_list, the_page

__all__ = ["clerk"]

FORM = {"reason": "the provider is back", "rate": "50", "agent": "original"}


def the_form(**given: str) -> str:
    return f"{reverse('admin:invocation_redrive_add')}?{urlencode(given)}"


def chosen(*rows: DeadLetter) -> str:
    return the_form(ids=",".join(str(row.pk) for row in rows))


def act_on(client: Client, action: str, rows: list[DeadLetter], *, query: str = "", **form: str) -> Any:
    told = {"action": action, "_selected_action": [str(row.pk) for row in rows], **form}
    return client.post(the_list("deadletter") + query, told)


def members() -> set[UUID]:
    return set(RedriveMember.objects.values_list("job_id", flat=True))


def swept(*, seconds: int = 5) -> None:
    for second in range(1, seconds):
        redrives.sweep(now=timezone.now() + timedelta(seconds=second))


def test_selected_jobs_are_redriven_by_a_form_that_asks_why_and_how_fast(admin_client: Client) -> None:
    first, second, _ = a_dead_letter(), a_dead_letter(), a_dead_letter()
    sent = act_on(admin_client, "redrive_selected", [first, second])
    assert sent.status_code == 302
    assert "Redrive 2 dead letters" in text_of(admin_client, sent.headers["Location"])
    page = admin_client.post(sent.headers["Location"], {**FORM, "patch": '{"text": "better"}'}, follow=True).content.decode()
    redrive = Redrive.objects.get()

    assert (redrive.reason, redrive.rate, redrive.by, redrive.tenant_id) == ("the provider is back", 50, "operator admin", None)
    assert members() == {first.pk, second.pk}
    assert all(word in page for word in ("running", "the provider is back", "operator admin", the_act("redrive", redrive, "abort")))
    swept()
    assert {job.input["text"] for job in Job.objects.filter(redrive_of__isnull=False)} == {"better"}


def test_all_that_the_lists_filters_match_are_redriven(admin_client: Client) -> None:
    tenant = a_named_tenant()
    wanted = a_dead_letter(tenant_id=tenant, finished_at=timezone.now())
    a_dead_letter(tenant_id=tenant, finished_at=NOW - timedelta(days=40))
    a_dead_letter(tenant_id=tenant, finished_at=timezone.now(), cause="bad_code")
    a_dead_letter(finished_at=timezone.now())
    query = f"?endpoint=personalize%401&cause=provider&code=provider_down&age=week&tenant_id={tenant}"
    page = text_of(admin_client, the_list("deadletter") + query)
    address = reverse("admin:invocation_redrive_add") + "?all=yes&" + query[1:]

    assert address.replace("&", "&amp;") in page
    assert the_page("deadletter", wanted) in page
    assert "Redrive 1 dead letter<" in text_of(admin_client, address)
    admin_client.post(address, FORM)
    swept()
    assert set(Job.objects.filter(redrive_of__isnull=False).values_list("redrive_of_id", flat=True)) == {wanted.pk}


def test_select_all_means_the_filter_and_not_the_page(admin_client: Client) -> None:
    rows = [a_dead_letter() for _ in range(3)]
    sent = act_on(admin_client, "redrive_selected", rows[:1], query="?cause=provider", select_across="1")

    assert sent.headers["Location"] == the_form(cause="provider", all="yes")
    assert "Redrive 3 dead letters" in text_of(admin_client, sent.headers["Location"])


def test_the_list_can_show_the_old_only(admin_client: Client) -> None:
    old, young = a_dead_letter(finished_at=NOW - timedelta(days=40)), a_dead_letter(finished_at=timezone.now())
    page = text_of(admin_client, the_list("deadletter") + "?age=older-month")

    assert the_page("deadletter", old) in page
    assert the_page("deadletter", young) not in page
    assert "Redrive 1 dead letter<" in text_of(admin_client, the_form(age="older-month", all="yes"))


@pytest.mark.parametrize(
    "given",
    [{}, {"cause": "provider"}, {"all": "yes", "q": "0190"}, {"all": "yes", "standing": "all"}, {"ids": "x"}, {"all": "yes", "age": "x"}],
)
def test_an_address_that_names_nothing_to_redrive_leads_back(admin_client: Client, given: dict[str, str]) -> None:
    a_dead_letter()
    answer = admin_client.post(the_form(**given), FORM)

    assert (answer.status_code, answer.headers["Location"]) == (302, the_list("deadletter"))
    assert not Redrive.objects.exists()


def test_a_form_that_is_wrong_says_so_and_opens_nothing(admin_client: Client) -> None:
    dead, queued = a_dead_letter(), a_job()
    wrong = {"rate": "1000", "reason": "", "patch": "[1]", "agent": "newest"}
    page = admin_client.post(chosen(dead), wrong).content.decode()
    refused = admin_client.post(the_form(ids=f"{dead.pk},{queued.pk}"), FORM).content.decode()

    assert page.count('class="gx-red"') == 4
    assert "There is no dead letter" in refused
    assert not Redrive.objects.exists()


def test_one_job_may_be_redriven_with_a_whole_new_input_and_several_may_not(admin_client: Client) -> None:
    dead, other = a_dead_letter(), a_dead_letter()
    assert 'name="input"' in text_of(admin_client, chosen(dead))
    assert 'name="input"' not in text_of(admin_client, chosen(dead, other))
    assert chosen(dead) in text_of(admin_client, the_page("deadletter", dead))
    admin_client.post(chosen(dead), {**FORM, "input": '{"text": "another"}'})
    swept()

    assert Job.objects.get(redrive_of=dead.pk).input == {"text": "another"}


def test_a_redrives_page_shows_its_progress_live_and_who_was_refused_why(admin_client: Client) -> None:
    good, wrong = a_dead_letter(), a_dead_letter(input={"text": "kim@example.org"}, agent="mangaassist@99")
    redrive = a_redrive(rate=10, match=None, job_ids=[good.pk, wrong.pk])
    before = text_of(admin_client, the_page("redrive", redrive))
    listed = text_of(admin_client, the_list("redrive"))
    assert 'data-live="redrive" data-open' in before
    assert f'data-live="bar-{redrive.pk}" data-open' in listed
    assert all("invocation/live.js" in page for page in (before, listed))
    redrives.sweep(now=NOW + timedelta(seconds=5))
    after = text_of(admin_client, the_page("redrive", redrive))

    assert "data-open" not in after
    assert "data-open" not in text_of(admin_client, the_list("redrive"))
    assert all(word in after for word in ("agent_version_gone", "mangaassist@99", the_page("deadletter", wrong), "2 of 2, 1 failed"))
    assert the_page("job", Job.objects.get(redrive_of=good.pk)) in after


def test_a_redrive_is_aborted_by_its_button(admin_client: Client) -> None:
    redrive = a_redrive(match=None, job_ids=[a_dead_letter().pk])
    page = do(admin_client, "redrive", redrive, "abort")
    redrive.refresh_from_db()

    assert (redrive.state, redrive.aborted_by) == ("aborted", "operator admin")
    assert "the rest stays an open dead letter" in page
    assert the_act("redrive", redrive, "abort") not in text_of(admin_client, the_page("redrive", redrive))


def test_selected_jobs_are_discarded_once_it_was_said_why(admin_client: Client) -> None:
    rows = [a_dead_letter() for _ in range(2)]
    asked = act_on(admin_client, "discard_selected", rows).content.decode()
    assert "Discard 2 dead letters" in asked
    assert not Discard.objects.exists()
    act_on(admin_client, "discard_selected", rows, reason=" ")
    assert not Discard.objects.exists()
    act_on(admin_client, "discard_selected", rows, reason="a test order")

    assert {(row.job_id, row.reason, row.by) for row in Discard.objects.all()} == {
        (row.pk, "a test order", "operator admin") for row in rows
    }
    page = text_of(admin_client, the_list("deadletter"))
    assert not [row for row in rows if the_page("deadletter", row) in page]
    assert all(the_page("deadletter", row) in text_of(admin_client, the_list("deadletter") + "?standing=discarded") for row in rows)


def test_one_is_discarded_on_its_page_which_then_says_who_and_why(admin_client: Client) -> None:
    dead = a_dead_letter()
    admin_client.post(the_act("deadletter", dead, "discard"), {"reason": "a test order"})
    page = text_of(admin_client, the_page("deadletter", dead))

    assert all(word in page for word in ("a test order", "operator admin"))
    assert the_act("deadletter", dead, "redrive") not in page
    assert the_act("deadletter", dead, "discard") not in page
    assert "was discarded" in do(admin_client, "deadletter", dead, "redrive")
    assert not Job.objects.filter(redrive_of=dead.pk).exists()


def test_the_list_shows_the_open_ones_unless_others_are_asked_for(admin_client: Client) -> None:
    dead, redriven, discarded = a_dead_letter(), a_dead_letter(), a_dead_letter()
    redriving.redrive(redriven.pk, now=NOW)
    discards.discard([discarded.pk], tenant_id=None, by="kim", reason="done", now=NOW)
    shown = {
        name: {
            row
            for row in (dead, redriven, discarded)
            if the_page("deadletter", row) in text_of(admin_client, the_list("deadletter") + query)
        }
        for name, query in (
            ("open", ""),
            ("redriven", "?standing=redriven"),
            ("discarded", "?standing=discarded"),
            ("all", "?standing=all"),
        )
    }

    assert shown == {"open": {dead}, "redriven": {redriven}, "discarded": {discarded}, "all": {dead, redriven, discarded}}


def test_private_values_are_revealed_to_who_may_and_that_is_on_record(client: Client, clerk: User) -> None:
    dead = a_dead_letter(input={"text": "I am kim@example.org"})
    reveal = reverse("admin:invocation_deadletter_reveal", args=[dead.pk])
    permit(clerk, "view_deadletter")
    client.force_login(clerk)
    assert reveal not in text_of(client, the_page("deadletter", dead))
    assert client.post(reveal).status_code == 403
    assert not LogEntry.objects.exists()

    permit(clerk, "reveal_deadletter")
    client.force_login(User.objects.get(pk=clerk.pk))
    assert "kim@example.org" not in text_of(client, the_page("deadletter", dead))
    assert client.get(reveal).status_code == 405
    answer = client.post(reveal)
    entry = LogEntry.objects.get()

    assert "kim@example.org" in answer.content.decode()
    assert "no-store" in answer.headers["Cache-Control"]
    assert (entry.user, entry.object_id, entry.get_change_message()) == (clerk, str(dead.pk), "Revealed the private values.")
    assert "clerk: Revealed the private values." in text_of(client, the_page("deadletter", dead))


def test_a_redrive_by_button_is_on_record(admin_client: Client) -> None:
    dead = a_dead_letter()
    do(admin_client, "deadletter", dead, "redrive")

    assert "admin: Redriven." in text_of(admin_client, the_page("deadletter", dead))


def test_who_may_only_look_opens_aborts_and_discards_nothing(client: Client, clerk: User) -> None:
    dead = a_dead_letter()
    redrive = a_redrive(match=None, job_ids=[dead.pk])
    permit(clerk, "view_deadletter", "view_redrive")
    client.force_login(clerk)
    page = text_of(client, the_page("deadletter", dead))

    assert reverse("admin:invocation_redrive_add") not in page + text_of(client, the_list("deadletter"))
    assert the_act("deadletter", dead, "discard") not in page
    assert the_act("redrive", redrive, "abort") not in text_of(client, the_page("redrive", redrive))
    assert client.get(chosen(dead)).status_code == client.post(chosen(dead), FORM).status_code == 403
    assert client.post(the_act("redrive", redrive, "abort")).status_code == 403
    assert client.post(the_act("deadletter", dead, "discard"), {"reason": "r"}).status_code == 403
    act_on(client, "discard_selected", [dead], reason="r")
    assert not Discard.objects.exists()
    assert Redrive.objects.get().state == "running"
