"""Calls on webhooks: the secret is told once, what is kept is what was said, and the log is read by page."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from invocation.domain.webhooks import MOST_WEBHOOKS, WebhookEvent
from invocation.gateways import sealing
from invocation.models import Delivery, Webhook
from invocation.services import webhooks
from invocation.tasks.control import tidy_deliveries
from quota.domain.callers import Scope
from tests.integration.invocation.api.calling import Account, open_account, post, refusal
from tests.integration.invocation.api.test_api_lists import pages
from tests.integration.invocation.rows import NOW
from tests.integration.invocation.webhooks.rows import URL, a_sent_delivery, moved


def keep(account: Account, **changed: Any) -> dict[str, Any]:
    answer = post(account, "/v1/webhooks", {"url": URL, **changed})
    assert answer.status_code == 201, answer.json()
    assert answer.headers["Location"] == f"/v1/webhooks/{answer.json()['id']}"
    return dict(answer.json())


def patch(account: Account, told: dict[str, Any], **changed: Any) -> Any:
    return account.api.patch(f"/v1/webhooks/{told['id']}", changed, format="json")


def read(account: Account, told: dict[str, Any]) -> dict[str, Any]:
    return dict(account.api.get(f"/v1/webhooks/{told['id']}").json())


def test_a_webhook_is_kept_and_its_secret_told_once(account: Account) -> None:
    told = keep(account, description="shop")
    secret = told.pop("secret")

    assert sealing.unseal(Webhook.objects.get().secret) == secret
    assert (told["url"], told["events"], told["takes_all_jobs"], told["is_enabled"]) == (URL, sorted(map(str, WebhookEvent)), True, True)
    assert read(account, told) == told
    assert account.api.get("/v1/webhooks").json() == {"items": [told], "next": None}


def test_a_change_keeps_what_it_does_not_name(account: Account) -> None:
    told = keep(account, description="shop", events=["job.failed", "job.failed"])
    changed = patch(account, told, url=f"{URL}/2").json()

    assert (changed["url"], changed["description"], changed["events"]) == (f"{URL}/2", "shop", ["job.failed"])
    assert patch(account, told).json() == changed


def test_a_webhook_is_disabled_and_enabled(account: Account) -> None:
    told = keep(account)
    off = patch(account, told, is_enabled=False).json()
    on = patch(account, told, is_enabled=True).json()

    assert (off["is_enabled"], off["disabled_reason"], bool(off["disabled_at"])) == (False, "asked", True)
    assert (on["is_enabled"], on["disabled_reason"], on["disabled_at"]) == (True, "", None)


@pytest.mark.parametrize(
    ("changed", "code", "field"),
    [
        ({"url": "http://hooks.example.com/"}, "url_refused", "/url"),
        ({"url": "https://169.254.169.254/"}, "url_refused", "/url"),
        ({"url": "https://user:word@hooks.example.com/"}, "url_refused", "/url"),
        ({"url": 7}, "input_invalid", "/url"),
        ({"url": "https://hooks.example.com/" + "a" * 2_000}, "input_invalid", "/url"),
        ({"events": []}, "input_invalid", "/events"),
        ({"events": ["job.exploded"]}, "input_invalid", "/events/0"),
        ({"events": "job.failed"}, "input_invalid", "/events"),
        ({"takes_all_jobs": "yes"}, "input_invalid", "/takes_all_jobs"),
        ({"secret": "whsec_mine"}, "input_invalid", "/secret"),
    ],
)
def test_a_bad_webhook_is_refused_by_field(account: Account, changed: dict[str, Any], code: str, field: str) -> None:
    told = keep(account)
    before = read(account, told)

    assert refusal(post(account, "/v1/webhooks", {"url": URL, **changed}), status=422, code=code)["field"] == field
    assert refusal(patch(account, told, **changed), status=422, code=code)["field"] == field
    assert read(account, told) == before
    assert Webhook.objects.count() == 1


def test_a_tenant_keeps_only_so_many(account: Account, stranger: Account) -> None:
    kept = [keep(account) for _ in range(MOST_WEBHOOKS)]
    told = refusal(post(account, "/v1/webhooks", {"url": URL}), status=409, code="too_many_webhooks")
    assert told["most"] == MOST_WEBHOOKS

    assert stranger.api.get("/v1/webhooks").json()["items"] == []
    keep(stranger)
    assert account.api.delete(f"/v1/webhooks/{kept[0]['id']}").status_code == 204
    keep(account)


def test_a_new_secret_is_told_once_and_the_old_one_signs_on(account: Account) -> None:
    told = keep(account)
    rotated = post(account, f"/v1/webhooks/{told['id']}/rotate", None).json()
    row = Webhook.objects.get()

    assert (sealing.unseal(row.secret), sealing.unseal(row.previous_secret)) == (rotated["secret"], told["secret"])
    assert read(account, told)["previous_secret_signs_until"] == rotated["previous_secret_signs_until"]
    assert "secret" not in read(account, told)


def test_a_forgotten_webhook_is_gone_with_its_deliveries(account: Account) -> None:
    delivery = a_sent_delivery(account.tenant_id)
    place = f"/v1/webhooks/{delivery.webhook_id}"

    assert account.api.delete(place).status_code == 204
    for gone in (account.api.get(place), account.api.get(f"{place}/deliveries"), account.api.delete(place)):
        refusal(gone, status=404, code="not_found")
    assert account.api.get("/v1/webhooks").json()["items"] == []
    tidy_deliveries()
    assert not Delivery.objects.exists()


def test_the_log_tells_each_try(account: Account) -> None:
    delivery = a_sent_delivery(account.tenant_id)
    (told,) = account.api.get(f"/v1/webhooks/{delivery.webhook_id}/deliveries").json()["items"]

    assert (told["id"], told["job"], told["state"], told["due_at"]) == (str(delivery.pk), str(delivery.job_id), "delivered", None)
    assert (told["type"], told["body"]) == ("job.completed", delivery.body)
    assert [(each["number"], each["status"], each["fault"], each["answer"]) for each in told["tries"]] == [
        (1, 500, "", "out of paper"),
        (2, 204, "", ""),
    ]


def test_the_log_is_read_newest_first_by_page_and_by_state(account: Account, django_assert_max_num_queries: Any) -> None:
    told = keep(account)
    for _ in range(5):
        webhooks.tell([moved(account.tenant_id)], now=NOW)
    place = f"/v1/webhooks/{told['id']}/deliveries"
    ids = [str(key) for key in Delivery.objects.order_by("-pk").values_list("pk", flat=True)]

    assert pages(account, f"{place}?limit=2") == [ids[:2], ids[2:4], ids[4:]]
    assert pages(account, f"{place}?state=failed") == [[]]
    refusal(account.api.get(f"{place}?state=lost"), status=422, code="input_invalid")
    with django_assert_max_num_queries(4):
        account.api.get(f"{place}?limit=5")


def test_a_delivery_is_sent_again(account: Account) -> None:
    delivery = a_sent_delivery(account.tenant_id)
    place = f"/v1/webhooks/{delivery.webhook_id}/deliveries/{delivery.pk}/replay"
    answer = post(account, place, None)

    assert (answer.status_code, answer.json()["id"], answer.json()["state"]) == (202, str(delivery.pk), "pending")
    assert answer.json()["due_at"]
    assert len(answer.json()["tries"]) == 2

    patch(account, {"id": delivery.webhook_id}, is_enabled=False)
    refusal(post(account, place, None), status=409, code="stale_move")


def test_a_delivery_belongs_to_its_webhook_and_its_tenant(account: Account, stranger: Account) -> None:
    delivery, other = a_sent_delivery(account.tenant_id), keep(account)
    theirs = keep(stranger)

    for caller, webhook in ((account, other["id"]), (stranger, theirs["id"]), (stranger, delivery.webhook_id)):
        refusal(post(caller, f"/v1/webhooks/{webhook}/deliveries/{delivery.pk}/replay", None), status=404, code="not_found")
        listed = caller.api.get(f"/v1/webhooks/{webhook}/deliveries").json()
        assert listed.get("items", []) == []
    refusal(post(account, f"/v1/webhooks/{delivery.webhook_id}/deliveries/{uuid4()}/replay", None), status=404, code="not_found")
    assert Delivery.objects.get().state == "delivered"


def test_reading_does_not_let_manage(db: None) -> None:
    reader = open_account(scopes=[Scope.READ, Scope.INVOKE])
    delivery = a_sent_delivery(reader.tenant_id)
    place = f"/v1/webhooks/{delivery.webhook_id}"

    assert reader.api.get(place).status_code == reader.api.get(f"{place}/deliveries").status_code == 200
    for answer in (
        post(reader, "/v1/webhooks", {"url": URL}),
        reader.api.patch(place, {}, format="json"),
        reader.api.delete(place),
        post(reader, f"{place}/rotate", None),
        post(reader, f"{place}/deliveries/{delivery.pk}/replay", None),
    ):
        refusal(answer, status=403, code="scope_missing")
    assert UUID(str(Webhook.objects.get().pk)) == delivery.webhook_id
