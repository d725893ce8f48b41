"""Keys: created, recognised, revoked, and seen by DRF."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError
from pytest_django import DjangoAssertNumQueries
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView, exception_handler

from quota import selectors
from quota.api.authentication import BearerKey, caller_from_header
from quota.domain import keys as forms
from quota.domain.callers import Scope
from quota.domain.classes import PriorityClass
from quota.domain.errors import BadKey, ClassNotAllowed, KeyRevoked, ScopeMissing, UnknownKey, UnknownPlan
from quota.models import ApiKey, Plan, Tenant
from quota.services import keys
from tests.integration.quota.conftest import NOW

LATER = NOW + timedelta(seconds=5)


@pytest.fixture
def key(plan: Plan) -> str:
    _, text = keys.create(tenant_name=uuid4().hex, plan=plan.name, highest_class=PriorityClass.P1, scopes=[Scope.READ], now=NOW)
    return text


def test_a_key_shows_its_tenant_scopes_class_and_plan(key: str) -> None:
    caller = keys.authenticate(key, now=NOW)

    assert caller == selectors.caller_by_prefix(forms.split(key).prefix)
    assert (caller.scopes, caller.highest_class) == (frozenset({Scope.READ}), PriorityClass.P1)
    assert (caller.plan.name, caller.plan.in_flight[PriorityClass.P0], caller.plan.in_flight[PriorityClass.P3]) == ("trial", 20, None)


def test_a_caller_may_do_what_its_key_says_and_nothing_else(key: str) -> None:
    caller = keys.authenticate(key, now=NOW)
    caller.require(Scope.READ)
    caller.require_class(PriorityClass.P1)

    with pytest.raises(ScopeMissing):
        caller.require(Scope.INVOKE)
    with pytest.raises(ClassNotAllowed):
        caller.require_class(PriorityClass.P0)


def test_the_secret_is_stored_nowhere(key: str) -> None:
    row = ApiKey.objects.values().get()

    assert forms.split(key).secret not in str(row)


def test_a_known_prefix_with_another_secret_is_a_bad_key(key: str) -> None:
    with pytest.raises(BadKey):
        keys.authenticate(forms.RawKey(forms.split(key).prefix, "a" * 43).text, now=NOW)


def test_an_unknown_key_is_a_bad_key(db: None) -> None:
    with pytest.raises(BadKey):
        keys.authenticate(forms.generate().text, now=NOW)


def test_a_revoked_key_is_refused(key: str) -> None:
    keys.authenticate(key, now=NOW)
    keys.revoke(forms.split(key).prefix, now=NOW)

    with pytest.raises(KeyRevoked):
        keys.authenticate(key, now=NOW)


def test_a_key_that_another_process_revoked_is_refused_after_five_seconds(key: str) -> None:
    keys.authenticate(key, now=NOW)
    ApiKey.objects.update(revoked_at=NOW)

    with pytest.raises(KeyRevoked):
        keys.authenticate(key, now=LATER)


def test_a_recognised_key_is_remembered_without_a_question_to_the_database(
    key: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    keys.authenticate(key, now=NOW)

    with django_assert_num_queries(0):
        keys.authenticate(key, now=LATER - timedelta(milliseconds=1))


def test_an_expired_key_and_a_closed_tenant_are_refused(key: str) -> None:
    ApiKey.objects.update(expires_at=LATER)
    keys.authenticate(key, now=NOW)
    with pytest.raises(BadKey, match="expired"):
        keys.authenticate(key, now=LATER)

    ApiKey.objects.update(expires_at=None)
    Tenant.objects.update(is_active=False)
    with pytest.raises(BadKey, match="closed"):
        keys.authenticate(key, now=LATER)


def test_the_last_use_is_noted_at_most_once_a_minute(key: str) -> None:
    moments = [NOW + timedelta(seconds=seconds) for seconds in (0, 30, 60)]
    seen = []
    for moment in moments:
        keys.authenticate(key, now=moment)
        seen.append(ApiKey.objects.get().last_used_at)

    assert seen == [moments[0], moments[0], moments[2]]


def test_a_second_key_of_a_tenant_leaves_its_plan_alone(key: str) -> None:
    name = Tenant.objects.get(keys__prefix=forms.split(key).prefix).name
    Plan.objects.create(name="other", requests_per_minute=1)
    tenant, _ = keys.create(tenant_name=name, plan="other", now=NOW)

    assert (tenant.plan.name, tenant.keys.count()) == ("trial", 2)


def test_an_unknown_plan_and_an_unknown_prefix_are_refused(plan: Plan) -> None:
    with pytest.raises(UnknownPlan, match="trial"):
        keys.create(tenant_name="x", plan="nothing", now=NOW)
    with pytest.raises(UnknownKey):
        keys.revoke("aaaaaaaa", now=NOW)


@pytest.mark.parametrize(
    "wrong", [{"highest_class": "p9"}, {"scopes": ["rule"]}, {"scopes": []}, {"secret_sha256": "gbx_a_secret"}, {"expires_at": NOW}]
)
def test_the_database_refuses_a_key_that_makes_no_sense(key: str, wrong: dict[str, object]) -> None:
    with pytest.raises(IntegrityError):
        ApiKey.objects.update(**wrong)


class Whoami(APIView):
    authentication_classes = (BearerKey,)
    permission_classes = (IsAuthenticated,)

    def get(self, request: Request) -> Response:
        return Response({"tenant": str(request.user), "class": str(getattr(request.auth, "highest_class", None))})

    def get_exception_handler(self) -> Callable[..., Response | None]:
        return exception_handler


def _get(header: str | None) -> Response:
    headers = {"Authorization": header} if header else {}
    answer = Whoami.as_view()(APIRequestFactory().get("/", headers=headers))
    assert isinstance(answer, Response)
    return answer


def test_drf_sees_the_tenant_of_a_bearer_key(key: str) -> None:
    answer = _get(f"Bearer {key}")

    assert (answer.status_code, answer.data["class"]) == (200, "p1")


@pytest.mark.parametrize("header", [None, "Bearer", "Basic abc", "Bearer gbx_x", f"Bearer gbx_abcdefgh_{'a' * 43}"])
def test_whoever_has_no_good_key_gets_401_with_a_challenge(db: None, header: str | None) -> None:
    answer = _get(header)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_header_names_its_caller_outside_drf(key: str) -> None:
    assert caller_from_header(f"bearer {key}").plan.name == "trial"
    with pytest.raises(BadKey, match="Authorization: Bearer"):
        caller_from_header(None)


def _run(*words: str) -> str:
    out = StringIO()
    call_command("keys", *words, stdout=out)
    return out.getvalue()


def test_the_command_creates_lists_and_revokes_keys(plan: Plan) -> None:
    shown = _run("create", "--tenant", "Acme", "--plan", "trial", "--scope", "read", "--highest-class", "p2")
    text = next(word for word in shown.split() if word.startswith("gbx_"))
    assert keys.authenticate(text, now=NOW).highest_class == "p2"
    assert "curl" in shown

    prefix = forms.split(text).prefix
    assert f"gbx_{prefix}" in _run("list")
    _run("revoke", prefix)
    assert "revoked" in _run("list")


def test_the_command_says_what_is_wrong(plan: Plan) -> None:
    with pytest.raises(CommandError, match="There is no plan 'gold'"):
        _run("create", "--tenant", "Acme", "--plan", "gold")
