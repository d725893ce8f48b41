"""Dead letters over the API: lists, bulk redrives with their progress, abort, and discards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from invocation.domain.redrives import MOST_OPEN, Match
from invocation.models import Discard, Job, Redrive
from invocation.services import redrives
from quota.domain.callers import Scope
from quota.domain.classes import PriorityClass
from tests.integration.invocation.api.calling import Account, open_account, post, refusal
from tests.integration.invocation.records import a_dead_letter
from tests.integration.invocation.rows import NOW, a_job

REASON = "the provider is back"


def dead(account: Account, **columns: Any) -> str:
    return str(a_dead_letter(tenant_id=account.tenant_id, **columns).pk)


def listed(account: Account, query: str = "") -> list[str]:
    return [each["id"] for each in account.api.get(f"/v1/dead-letters{query}").json()["items"]]


def redrive(account: Account, **told: Any) -> Any:
    return post(account, "/v1/dead-letters/redrive", {"reason": REASON, "rate": 100, **told})


def swept() -> None:
    for second in (1, 2):
        redrives.sweep(now=datetime.now(UTC) + timedelta(seconds=second))


def test_dead_letters_are_listed_with_why_and_what_became_of_them(account: Account) -> None:
    job_id = dead(account, failures=3, losses=1)
    (told,) = account.api.get("/v1/dead-letters").json()["items"]

    assert (told["id"], told["standing"], told["cause"], told["error"]["code"]) == (job_id, "open", "provider", "provider_down")
    assert (told["failures"], told["losses"], told["redriven_as"], told["discard_reason"]) == (3, 1, None, None)
    assert told["failed_at"] == "2026-11-20T12:00:00Z"


def test_dead_letters_are_filtered_and_paged(account: Account) -> None:
    old = dead(account, finished_at=NOW - timedelta(days=1))
    code = dead(account, cause="bad_code", error={"code": "platform_error"})
    other = dead(account, endpoint="refund@1")
    a_job(tenant_id=account.tenant_id)

    assert listed(account) == [other, code, old]
    assert listed(account, "?cause=bad_code") == listed(account, "?code=platform_error") == [code]
    assert listed(account, "?endpoint=refund@1") == [other]
    assert listed(account, "?failed_before=2026-11-20T00:00:00Z") == [old]
    assert listed(account, "?failed_after=2026-11-20T12:00:00Z") == [other, code]
    first = account.api.get("/v1/dead-letters?limit=2").json()
    assert [each["id"] for each in account.api.get(f"/v1/dead-letters?limit=2&cursor={first['next']}").json()["items"]] == [old]
    refusal(account.api.get("/v1/dead-letters?cause=nobody"), status=422, code="input_invalid")
    refusal(account.api.get("/v1/dead-letters?failed_after=2026-11-20"), status=422, code="input_invalid")


def test_a_redrive_by_filter_is_accepted_at_once_and_told_as_it_goes(account: Account) -> None:
    job_id, wrong, other = dead(account), dead(account, input={"text": 7}), dead(account, cause="bad_code")
    answer = redrive(account, filter={"cause": "provider"}, rate=50)
    told = answer.json()

    assert answer.status_code == 202
    assert answer.headers["Location"] == told["links"]["self"] == f"/v1/redrives/{told['id']}"
    assert (told["state"], told["total"], told["reason"], told["rate"]) == ("collecting", 0, REASON, 50.0)
    assert told["filter"] == {"cause": "provider", "tenant_id": str(account.tenant_id)}
    swept()
    done = account.api.get(told["links"]["self"]).json()
    assert (done["state"], done["total"], done["done"], done["refused"], done["eta_s"]) == ("completed", 2, 1, 1, None)
    assert [(each["code"], each["count"]) for each in done["refusals"]] == [("input_invalid", 1)]
    assert listed(account) == [other, wrong]
    (gone,) = account.api.get("/v1/dead-letters?standing=redriven").json()["items"]
    assert (gone["id"], gone["redriven_as"]) == (job_id, str(Job.objects.get(redrive_of=UUID(job_id)).pk))
    assert [each["id"] for each in account.api.get("/v1/redrives").json()["items"]] == [told["id"]]


def test_a_redrive_of_ids_may_patch_their_inputs_and_take_todays_agent(account: Account) -> None:
    job_id = dead(account, agent="mangaassist@99", input={"text": "hello", "reader": "r-001"})
    redrive(account, ids=[job_id], input_patch={"text": "better"}, agent="current")
    swept()
    fresh = Job.objects.get(redrive_of=UUID(job_id))

    assert (fresh.input, fresh.agent) == ({"text": "better", "reader": "r-001"}, "mangaassist@1")


def test_a_single_redrive_may_take_todays_agent(account: Account) -> None:
    job_id = dead(account, agent="mangaassist@99")
    refusal(post(account, f"/v1/jobs/{job_id}/redrive", {}), status=410, code="agent_version_gone")
    answer = post(account, f"/v1/jobs/{job_id}/redrive", {"agent": "current"})

    assert answer.status_code == 202
    assert Job.objects.get(redrive_of=UUID(job_id)).agent == "mangaassist@1"


def test_a_redrive_is_aborted_and_its_rest_stays_open(account: Account) -> None:
    job_id = dead(account)
    place = redrive(account, ids=[job_id]).json()["links"]["self"]
    answer = post(account, f"{place}/abort", {})
    swept()

    assert (answer.status_code, answer.json()["state"]) == (202, "aborted")
    assert answer.json()["aborted_by"].startswith("key ")
    assert listed(account) == [job_id]
    assert post(account, f"{place}/abort", {}).status_code == 202


def test_a_completed_redrive_cannot_be_aborted(account: Account) -> None:
    place = redrive(account, ids=[dead(account)]).json()["links"]["self"]
    swept()

    refusal(post(account, f"{place}/abort", {}), status=409, code="stale_move")


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({}, "/ids"),
        ({"ids": []}, "/ids"),
        ({"ids": ["x"]}, "/ids/0"),
        ({"ids": [str(uuid4())], "filter": {}}, "/ids"),
        ({"filter": {"tenant_id": str(uuid4())}}, "/filter/tenant_id"),
        ({"filter": {}, "rate": 0}, "/rate"),
        ({"filter": {}, "rate": "5"}, "/rate"),
        ({"filter": {}, "rate": 201}, "/rate"),
        ({"filter": {}, "input_patch": ["text"]}, "/input_patch"),
        ({"filter": {}, "agent": "newest"}, "/agent"),
        ({"filter": {}, "reason": ""}, "/reason"),
    ],
)
def test_a_redrive_that_makes_no_sense_names_its_field(account: Account, told: dict[str, Any], field: str) -> None:
    assert refusal(redrive(account, **told), status=422, code="input_invalid")["field"] == field
    assert not Redrive.objects.exists()


def test_a_discard_closes_dead_letters_and_a_discarded_one_is_not_redriven(account: Account) -> None:
    job_id, redriven = dead(account), dead(account)
    post(account, f"/v1/jobs/{redriven}/redrive", {})
    told = post(account, "/v1/dead-letters/discard", {"ids": [job_id, redriven], "reason": "a test order"}).json()

    assert told == {"discarded": [job_id], "redriven": [redriven]}
    assert listed(account) == []
    (closed,) = account.api.get("/v1/dead-letters?standing=discarded").json()["items"]
    assert (closed["id"], closed["discard_reason"]) == (job_id, "a test order")
    assert Discard.objects.get().by.startswith("key ")
    refusal(post(account, f"/v1/jobs/{job_id}/redrive", {}), status=409, code="dead_letter_discarded")


def test_a_tenant_neither_sees_nor_redrives_nor_discards_anothers(account: Account, stranger: Account) -> None:
    job_id = dead(account)

    assert listed(stranger) == []
    for path in ("redrive", "discard"):
        theirs, nobodys = (
            refusal(post(stranger, f"/v1/dead-letters/{path}", {"ids": [asked], "reason": REASON}), status=404, code="not_found")
            for asked in (job_id, str(uuid4()))
        )
        assert theirs["title"] == nobodys["title"]
    redrive(stranger, filter={})
    swept()
    assert listed(account) == [job_id]
    assert not Discard.objects.exists()


def test_an_operators_redrive_is_in_no_tenants_list(account: Account) -> None:
    dead(account)
    opening = redrives.Opening(by="an operator", reason=REASON, match=Match(tenant_id=account.tenant_id))
    row = redrives.open_redrive(opening, now=NOW)

    assert account.api.get("/v1/redrives").json()["items"] == []
    refusal(account.api.get(f"/v1/redrives/{row.pk}"), status=404, code="not_found")


def test_a_key_that_may_only_read_or_not_use_the_class_redrives_nothing(db: None) -> None:
    reader, small = open_account(scopes=[Scope.READ]), open_account(highest=PriorityClass.P3)
    dead(reader)

    refusal(redrive(reader, filter={}), status=403, code="scope_missing")
    refusal(post(reader, "/v1/dead-letters/discard", {"ids": [dead(reader)], "reason": "r"}), status=403, code="scope_missing")
    refusal(redrive(small, filter={}), status=403, code="class_not_allowed")
    assert not Redrive.objects.exists()


def test_too_many_open_redrives_are_refused(account: Account) -> None:
    for _ in range(MOST_OPEN):
        assert redrive(account, filter={}).status_code == 202

    assert refusal(redrive(account, filter={}), status=409, code="too_many_redrives")["most"] == MOST_OPEN
