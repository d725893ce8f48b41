"""Callers of the API for tests: a tenant, its key and clients that send it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from django.test import AsyncClient
from rest_framework.test import APIClient

from invocation.models import RunRecord
from quota.domain.callers import Scope
from quota.domain.classes import PriorityClass
from quota.models import Plan
from quota.services import keys

PROBLEM = "application/problem+json"


class Following(AsyncClient):
    """Sends the key with every request; Django's own client drops the headers that it was made with."""

    def __init__(self, bearer: str) -> None:
        super().__init__()
        self._bearer = bearer

    def generic(self, *args: Any, headers: Any = None, **named: Any) -> Any:
        return super().generic(*args, headers={"Authorization": self._bearer, **(headers or {})}, **named)


@dataclass(frozen=True, slots=True)
class Account:
    """One tenant with a key, and how to call as it."""

    tenant_id: UUID
    key: str

    @property
    def bearer(self) -> str:
        return f"Bearer {self.key}"

    @property
    def api(self) -> APIClient:
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=self.bearer)
        return client

    @property
    def stream(self) -> AsyncClient:
        return Following(self.bearer)


def open_account(
    *, scopes: Iterable[Scope] = tuple(Scope), highest: PriorityClass = PriorityClass.P0, a_minute: int = 10_000, tenant: str = ""
) -> Account:
    plan, _ = Plan.objects.get_or_create(name=f"tested-{a_minute}", defaults={"requests_per_minute": a_minute})
    name = tenant or f"tenant-{uuid4()}"
    found, key = keys.create(tenant_name=name, plan=plan.name, now=datetime.now(UTC), scopes=scopes, highest_class=highest)
    return Account(found.pk, key)


def post(account: Account, path: str, body: Any, **headers: str) -> Any:
    return account.api.post(path, body, format="json", headers={name.replace("_", "-"): value for name, value in headers.items()})


def submit(account: Account, *, text: str = "What is new?", **headers: str) -> str:
    answer = post(account, "/v1/jobs", {"endpoint": "personalize@1", "input": {"text": text}}, **headers)
    assert answer.status_code == 202, answer.json()
    return str(answer.json()["id"])


def refusal(answer: Any, *, status: int, code: str) -> dict[str, Any]:
    """Check that the answer is this problem, whole, and return it."""
    told: dict[str, Any] = answer.json()
    assert (answer.status_code, told.get("code")) == (status, code), told
    assert answer.headers["Content-Type"] == PROBLEM
    assert told["status"] == status
    assert told["type"] == f"/docs/problems#{code}"
    assert told["title"]
    assert told["detail"]
    assert told["instance"]
    return told


def a_run(mode: str, *, took_ms: int, at: datetime, tenant_id: UUID | None = None) -> RunRecord:
    """Put a finished run on record."""
    return RunRecord.objects.create(
        tenant_id=tenant_id or uuid4(),
        endpoint="personalize@1",
        agent="mangaassist@1",
        mode=mode,
        traceparent="",
        source="job",
        source_id=uuid4(),
        attempt=1,
        outcome="completed",
        started_at=at,
        finished_at=at,
        waited_ms=0,
        duration_ms=took_ms,
    )
