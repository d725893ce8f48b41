"""What an operator does in the admin: redrive, hold, release, and pause, resume or fire a schedule."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from invocation.domain.jobs import JobState
from invocation.models import Firing, Hold, Job, Schedule
from invocation.models.admission import HoldScope
from invocation.selectors.admission import hold_on
from invocation.services import holds
from tests.integration.invocation.records import a_dead_letter, a_schedule
from tests.integration.invocation.rows import NOW, a_job, a_tenant
from tests.integration.invocation.test_admin_pages import clerk, permit, text_of, the_list, the_page

__all__ = ["clerk"]

ENDPOINTS = "admin:invocation_endpoints"


def the_act(model: str, row: Any, act: str) -> str:
    return reverse(f"admin:invocation_{model}_act", args=[row.pk, act])


def do(client: Client, model: str, row: Any, act: str) -> str:
    return client.post(the_act(model, row, act), follow=True).content.decode()


def do_with_all(client: Client, model: str, action: str, rows: list[Any]) -> str:
    form = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    return client.post(the_list(model), form, follow=True).content.decode()


def held(endpoint: str) -> Hold | None:
    return hold_on(endpoint=endpoint, agent="mangaassist@1", tenant_id=UUID(int=1), priority_class="p1")


def test_a_redriven_job_stays_failed_and_names_its_successor(admin_client: Client) -> None:
    dead = a_dead_letter()
    page = do(admin_client, "deadletter", dead, "redrive")
    successor = Job.objects.get(redrive_of=dead.pk)

    assert successor.state == JobState.QUEUED
    assert Job.objects.get(pk=dead.pk).state == JobState.FAILED
    assert the_page("job", successor) in page
    assert the_page("job", successor) in text_of(admin_client, the_page("job", dead))
    assert the_page("job", dead) in text_of(admin_client, the_page("job", successor))


def test_a_second_redrive_is_refused_and_says_why(admin_client: Client) -> None:
    dead = a_dead_letter()
    do(admin_client, "deadletter", dead, "redrive")

    assert "was redriven before" in do(admin_client, "deadletter", dead, "redrive")
    assert Job.objects.filter(redrive_of=dead.pk).count() == 1


def test_a_redrive_that_does_not_fit_the_plan_any_more_is_refused_and_says_why(admin_client: Client) -> None:
    dead = a_dead_letter(tenant_id=a_tenant("shrunk", daily_tokens=1), input={"text": "hello, all of you"})

    assert "plan allows 1 tokens a day" in do(admin_client, "deadletter", dead, "redrive")
    assert not Job.objects.filter(redrive_of=dead.pk).exists()


def test_a_job_that_did_not_fail_has_nothing_to_redrive(admin_client: Client) -> None:
    job = a_job()

    assert admin_client.post(the_act("deadletter", job, "redrive")).status_code == 404


def test_an_act_is_a_post_with_a_token_of_this_site(admin_user: User) -> None:
    dead = a_dead_letter()
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)

    assert client.get(the_act("deadletter", dead, "redrive")).status_code == 405
    assert client.post(the_act("deadletter", dead, "redrive")).status_code == 403
    assert client.post(reverse(ENDPOINTS), {"hold": "chat@1"}).status_code == 403
    assert not Job.objects.filter(redrive_of=dead.pk).exists()


def test_after_an_act_one_is_back_where_one_was_and_never_elsewhere(admin_client: Client) -> None:
    first, second = a_dead_letter(), a_dead_letter()
    inside = f"http://testserver{the_list('deadletter')}?cause=provider"
    back = admin_client.post(the_act("deadletter", first, "redrive"), headers={"referer": inside})
    away = admin_client.post(the_act("deadletter", second, "redrive"), headers={"referer": "https://elsewhere.example/"})

    assert back.headers["Location"] == inside
    assert away.headers["Location"] == the_list("deadletter")


def test_who_may_only_look_finds_no_button_and_cannot_act(client: Client, clerk: User) -> None:
    dead, schedule = a_dead_letter(), a_schedule()
    permit(clerk, "view_deadletter", "view_schedule", "view_hold")
    client.force_login(clerk)

    assert the_act("deadletter", dead, "redrive") not in text_of(client, the_page("deadletter", dead))
    assert the_act("deadletter", dead, "redrive") not in text_of(client, the_list("deadletter"))
    assert "redrive_selected" not in text_of(client, the_list("deadletter"))
    assert "discard_selected" not in text_of(client, the_list("deadletter"))
    assert client.post(the_act("deadletter", dead, "redrive")).status_code == 403
    assert client.post(the_act("schedule", schedule, "fire")).status_code == 403
    assert client.post(reverse(ENDPOINTS), {"hold": "chat@1"}).status_code == 403
    assert client.post(reverse(ENDPOINTS), {"release": "1"}).status_code == 403


def test_an_endpoint_is_held_and_released_on_its_page(admin_client: Client, admin_user: User) -> None:
    page = admin_client.post(reverse(ENDPOINTS), {"hold": "chat@1", "reason": "too many complaints"}, follow=True).content.decode()
    hold = held("chat@1")

    assert hold is not None
    assert (hold.held_by, hold.reason) == (admin_user, "too many complaints")
    assert "too many complaints" in page
    admin_client.post(reverse(ENDPOINTS), {"release": str(hold.pk)})
    hold.refresh_from_db()
    assert held("chat@1") is None
    assert hold.released_by == admin_user


def test_an_agent_is_held_on_its_page(admin_client: Client) -> None:
    admin_client.post(reverse("admin:invocation_agents"), {"hold": "mangaassist@1"})

    assert held("personalize@1") is not None


@pytest.mark.parametrize("form", [{"hold": "nothing@9"}, {"release": "0"}, {"release": "x"}, {}])
def test_holding_or_releasing_what_is_not_there_is_refused(admin_client: Client, form: dict[str, str]) -> None:
    page = admin_client.post(reverse(ENDPOINTS), form, follow=True).content.decode()

    assert "There is no endpoint" in page or "released already" in page
    assert not Hold.objects.exists()


@pytest.mark.parametrize(
    ("scope", "value"), [("endpoint", "chat@1"), ("agent", "mangaassist@1"), ("class", "p3"), ("tenant", str(uuid4()))]
)
def test_a_hold_is_added_by_form_and_names_who_added_it(admin_client: Client, admin_user: User, scope: str, value: str) -> None:
    admin_client.post(reverse("admin:invocation_hold_add"), {"scope": scope, "value": value, "reason": "month-end"})
    hold = Hold.objects.get()

    assert (hold.scope, hold.value, hold.reason, hold.held_by) == (scope, value, "month-end", admin_user)


@pytest.mark.parametrize(("scope", "value"), [("endpoint", "chat@9"), ("agent", "nobody@1"), ("class", "p9"), ("tenant", "Paper Lantern")])
def test_a_hold_of_what_does_not_exist_is_refused(admin_client: Client, scope: str, value: str) -> None:
    page = admin_client.post(reverse("admin:invocation_hold_add"), {"scope": scope, "value": value, "reason": "month-end"})

    assert f"There is no {scope} called {value}." in page.content.decode()
    assert not Hold.objects.exists()


def test_what_is_held_is_not_held_again(admin_client: Client) -> None:
    holds.hold(HoldScope.ENDPOINT, "chat@1", reason="first", by=None, now=NOW)
    form = {"scope": "endpoint", "value": "chat@1", "reason": "second"}
    page = admin_client.post(reverse("admin:invocation_hold_add"), form, follow=True).content.decode()

    assert "is held already" in page
    assert Hold.objects.get().reason == "first"


def test_holds_are_released_by_button_and_in_numbers(admin_client: Client) -> None:
    one, two = (holds.hold(HoldScope.CLASS, value, reason="r", by=None, now=NOW) for value in ("p2", "p3"))
    do(admin_client, "hold", one, "release")
    page = do_with_all(admin_client, "hold", "release_selected", [one, two])

    assert "released already" in page
    assert not Hold.objects.filter(released_at__isnull=True).exists()


def test_a_schedule_is_paused_resumed_and_fired(admin_client: Client) -> None:
    row = a_schedule()
    do(admin_client, "schedule", row, "pause")
    assert Schedule.objects.filter(pk=row.pk, is_paused=True).exists()

    do(admin_client, "schedule", row, "resume")
    assert Schedule.objects.filter(pk=row.pk, is_paused=False).exists()

    page = do(admin_client, "schedule", row, "fire")
    assert the_page("job", Firing.objects.get(schedule=row).job) in page


def test_schedules_are_fired_in_numbers(admin_client: Client) -> None:
    rows = [a_schedule(name="one"), a_schedule(name="two")]
    do_with_all(admin_client, "schedule", "fire_selected", rows)

    assert Firing.objects.count() == 2
