"""A tenant sees, changes and learns of nothing that is another's."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.urls import URLPattern

from invocation.api.urls import urlpatterns
from invocation.domain.jobs import JobState
from invocation.domain.turns import TurnState
from invocation.models import Batch, Erasure, Job, Redrive, Schedule, Session, Turn, Webhook
from tests.integration.invocation.api.calling import Account, post, refusal
from tests.integration.invocation.api.test_api_offers import failed_turn
from tests.integration.invocation.rows import a_job, a_session, a_turn

KINDS = {
    "job_id": "job",
    "session_id": "session",
    "batch_id": "batch",
    "schedule_id": "schedule",
    "turn_id": "turn",
    "redrive_id": "redrive",
    "webhook_id": "webhook",
    "erasure_id": "erasure",
}


def a_batch(account: Account) -> UUID:
    told = post(account, "/v1/batches", {"endpoint": "enrich@1", "manifest": {"rows": [{"title": "monster"}]}}).json()
    return UUID(told["id"])


def a_schedule(account: Account) -> UUID:
    body = {"name": f"s {uuid4()}", "endpoint": "retention@1", "cron": "0 9 * * 1", "input": {"reader": "r-001"}}
    return UUID(post(account, "/v1/schedules", body).json()["id"])


def a_talk(account: Account) -> UUID:
    session = a_session(account.tenant_id)
    a_turn(TurnState.QUEUED, session=session)
    return session.pk


def an_offer(account: Account) -> UUID:
    return failed_turn(account).pk


def a_redrive(account: Account) -> UUID:
    return UUID(post(account, "/v1/dead-letters/redrive", {"filter": {}, "reason": "the provider is back"}).json()["id"])


def a_hook(account: Account) -> UUID:
    return UUID(post(account, "/v1/webhooks", {"url": "https://hooks.example.com/"}).json()["id"])


def an_erasure(account: Account) -> UUID:
    return UUID(account.api.delete("/v1/subjects/reader-7").json()["id"])


LISTS = ("/v1/jobs", "/v1/batches", "/v1/schedules", "/v1/runs", "/v1/sessions")
MAKERS: dict[str, Callable[[Account], UUID]] = {
    "job": lambda account: a_job(JobState.QUEUED, tenant_id=account.tenant_id).pk,
    "session": a_talk,
    "turn": an_offer,
    "batch": a_batch,
    "schedule": a_schedule,
    "redrive": a_redrive,
    "webhook": a_hook,
    "erasure": an_erasure,
}
TABLES: dict[str, Any] = {
    "job": Job,
    "session": Session,
    "turn": Turn,
    "batch": Batch,
    "schedule": Schedule,
    "redrive": Redrive,
    "webhook": Webhook,
    "erasure": Erasure,
}


def calls_by_id() -> list[tuple[str, str]]:
    """Return every method and address of the API that names a thing by its id."""
    found = []
    for pattern in urlpatterns:
        assert isinstance(pattern, URLPattern)
        route = str(pattern.pattern)
        if "<uuid:" in route:
            view = pattern.callback.cls  # type: ignore[attr-defined]
            found += [(method, route) for method in ("get", "post", "put", "patch", "delete") if hasattr(view, method)]
    return found


def body_for(method: str, route: str) -> Any:
    if route.endswith("/input"):
        return {"key": "agreed", "value": True}
    if method == "put":
        return {"name": "x", "endpoint": "retention@1", "cron": "0 9 * * 1", "input": {"reader": "r-001"}}
    return {} if method in {"post", "patch"} else None


def place(route: str, key: UUID) -> tuple[str, str]:
    """Return what kind of thing the route names, and the address of this one."""
    name = route.split("<uuid:")[1].split(">", maxsplit=1)[0]
    here = route.replace(f"<uuid:{name}>", str(key))
    return KINDS[name], "/v1/" + re.sub(r"<uuid:\w+>", str(uuid4()), here)


SYNCHRONOUS = [(method, route) for method, route in calls_by_id() if not route.endswith("/events")]


def test_every_address_with_an_id_is_behind_the_wall() -> None:
    assert len(SYNCHRONOUS) >= 20


@pytest.mark.parametrize(("method", "route"), SYNCHRONOUS)
def test_anothers_id_is_answered_like_one_that_never_was(account: Account, stranger: Account, method: str, route: str) -> None:
    kind, _ = place(route, uuid4())
    key = MAKERS[kind](account)
    before = TABLES[kind].objects.filter(pk=key).values().get()

    answers = [
        getattr(stranger.api, method)(place(route, asked)[1], body_for(method, route), format="json").json() for asked in (key, uuid4())
    ]
    theirs, nobodys = [{name: str(value).replace(str(key), "ID") for name, value in each.items()} for each in answers]
    known = {name: value for name, value in nobodys.items() if name not in {"detail", "found", "instance"}}

    assert known.items() <= theirs.items()
    assert (theirs["status"], theirs["code"]) == ("404", "not_found")
    assert TABLES[kind].objects.filter(pk=key).values().get() == before


def test_anothers_jobs_batches_schedules_and_runs_are_in_no_list(account: Account, stranger: Account, now: datetime) -> None:
    for maker in MAKERS.values():
        maker(account)

    lists = {path: stranger.api.get(path).json()["items"] for path in LISTS}
    assert lists == {path: [] for path in LISTS}


def test_a_manifest_of_another_tenant_cannot_be_named(account: Account, stranger: Account) -> None:
    manifest = Batch.objects.get(pk=a_batch(account)).manifest
    inside = manifest.split(str(account.tenant_id))[1].lstrip("/")
    for path in (inside, f"../{account.tenant_id}/{inside}", manifest):
        answer = post(stranger, "/v1/batches", {"endpoint": "enrich@1", "manifest": path})
        refusal(answer, status=422, code="manifest_invalid")
