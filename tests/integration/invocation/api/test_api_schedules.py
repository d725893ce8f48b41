from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from invocation.models import Job, Schedule
from tests.integration.invocation.api.calling import Account, post, refusal

WEEKLY = {"name": "weekly", "endpoint": "retention@1", "cron": "0 9 * * 1", "timezone": "Europe/Berlin", "input": {"reader": "r-001"}}


def keep(account: Account, **changed: Any) -> dict[str, Any]:
    answer = post(account, "/v1/schedules", {**WEEKLY, **changed})
    assert answer.status_code == 201, answer.json()
    return dict(answer.json())


def test_a_schedule_is_kept_with_its_next_moment(account: Account) -> None:
    told = keep(account)
    moment = datetime.fromisoformat(told["next_fire_at"])

    assert {name: told[name] for name in WEEKLY} == WEEKLY
    assert moment > datetime.now(UTC)
    assert (moment.weekday(), moment.minute, moment.astimezone(UTC).hour) in {(0, 0, 7), (0, 0, 8)}
    assert account.api.get(f"/v1/schedules/{told['id']}").json() == told


def test_a_name_is_taken_once_in_a_tenant(account: Account, stranger: Account) -> None:
    keep(account)
    keep(stranger)

    refusal(post(account, "/v1/schedules", WEEKLY), status=409, code="stale_move")


def test_a_change_keeps_what_it_does_not_name(account: Account) -> None:
    told = keep(account)
    changed = account.api.patch(f"/v1/schedules/{told['id']}", {"cron": "30 9 * * 1"}, format="json").json()

    assert (changed["cron"], changed["name"], changed["timezone"]) == ("30 9 * * 1", "weekly", "Europe/Berlin")
    assert changed["next_fire_at"] != told["next_fire_at"]


def test_a_change_to_a_name_that_is_taken_is_refused(account: Account) -> None:
    keep(account)
    other = keep(account, name="other")
    answer = account.api.patch(f"/v1/schedules/{other['id']}", {"name": "weekly"}, format="json")

    refusal(answer, status=409, code="stale_move")
    assert Schedule.objects.get(pk=other["id"]).name == "other"


def test_a_replacement_that_is_wrong_changes_nothing(account: Account) -> None:
    told = keep(account)
    answer = account.api.put(f"/v1/schedules/{told['id']}", {**WEEKLY, "cron": "soon"}, format="json")

    assert refusal(answer, status=422, code="input_invalid")["field"] == "/cron"
    assert account.api.get(f"/v1/schedules/{told['id']}").json() == told


def test_pause_and_resume_are_seen_and_may_be_said_twice(account: Account) -> None:
    place = f"/v1/schedules/{keep(account)['id']}"

    assert [post(account, f"{place}/pause", None).json()["is_paused"] for _ in range(2)] == [True, True]
    assert [post(account, f"{place}/resume", None).json()["is_paused"] for _ in range(2)] == [False, False]


def test_firing_now_makes_a_job_and_leaves_the_next_moment(account: Account) -> None:
    told = keep(account)
    place = f"/v1/schedules/{told['id']}"
    answer = post(account, f"{place}/fire", None)
    (firing,) = account.api.get(f"{place}/firings").json()["items"]

    assert (answer.status_code, answer.headers["Location"]) == (202, f"/v1/jobs/{firing['job']}")
    assert (firing["state"], firing["job"]) == ("fired", answer.json()["job"])
    assert Job.objects.get(pk=firing["job"]).endpoint == "retention@1"
    assert account.api.get(place).json()["next_fire_at"] == told["next_fire_at"]


def test_a_forgotten_schedule_is_gone_and_its_jobs_stay(account: Account) -> None:
    place = f"/v1/schedules/{keep(account)['id']}"
    job_id = post(account, f"{place}/fire", None).json()["job"]

    assert account.api.delete(place).status_code == 204
    refusal(account.api.get(place), status=404, code="not_found")
    assert account.api.get(f"/v1/jobs/{job_id}").status_code == 200


def test_schedules_are_listed_newest_first_by_page(account: Account) -> None:
    made = [keep(account, name=f"n{number}")["id"] for number in range(3)]
    first = account.api.get("/v1/schedules?limit=2").json()
    last = account.api.get(f"/v1/schedules?limit=2&cursor={first['next']}").json()

    assert [each["id"] for each in first["items"] + last["items"]] == made[::-1]
    assert last["next"] is None
