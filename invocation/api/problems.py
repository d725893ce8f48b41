"""Refusals as RFC 9457 problems: for DRF's views, for the streaming views beside them, and for Django's own pages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Any, cast

import orjson
import structlog
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.views import defaults
from rest_framework.exceptions import APIException, AuthenticationFailed
from rest_framework.response import Response

from invocation.api.problem_rules import RULES, Rule, rule_of
from invocation.domain.errors import InvocationError
from quota.api.authentication import CHALLENGE
from quota.domain.days import DAY_S, DayStanding
from quota.domain.errors import QuotaError, RateExceeded
from quota.domain.rates import MINUTE_S, Rate

CONTENT_TYPE = "application/problem+json"
UNSAID = timedelta(seconds=2)
"""What Retry-After says when a 429 or 503 does not know better."""
WAITED_FOR = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One refusal as it goes over the wire."""

    status: int
    code: str
    title: str
    detail: str
    remedy: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    retry_after: timedelta | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, instance: str) -> dict[str, Any]:
        told = {
            "type": f"/docs/problems#{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
        }
        told |= {"remedy": self.remedy} if self.remedy else {}
        told |= {"retry_after_s": self._seconds} if self._seconds else {}
        return {**self.facts, **told}

    def all_headers(self) -> dict[str, str]:
        waiting = {"Retry-After": str(self._seconds)} if self._seconds else {}
        return {**self.headers, **waiting, "Cache-Control": "no-store"}

    @property
    def _seconds(self) -> int | None:
        """Whole seconds, rounded up: never earlier."""
        if self.status not in WAITED_FOR and self.retry_after is None:
            return None
        return max(1, math.ceil((self.retry_after or UNSAID).total_seconds()))


@dataclass(frozen=True, slots=True)
class Described:
    """A problem as the docs tell it."""

    status: int
    code: str
    title: str
    meaning: str
    remedy: str


DEFECT = Problem(
    status=500,
    code="internal_error",
    title="This is our fault",
    detail="The call met an error that nobody foresaw. It is on record.",
    remedy="Send the call again; with the same Idempotency-Key nothing happens twice.",
)
NO_SUCH_ADDRESS = Problem(status=404, code="not_found", title="Not found", detail="There is no such address.", remedy="Read /docs.")


def problem_of(error: Exception) -> Problem:
    """Return how an error is answered; one without a rule is a defect."""
    rule = rule_of(error)
    if rule is None:
        return DEFECT
    return Problem(
        status=rule.status,
        code=_code(error, rule),
        title=rule.title or str(getattr(error, "title", "")),
        detail=_detail(error),
        remedy=rule.remedy,
        facts=_facts(error),
        retry_after=getattr(error, "retry_after", None),
        headers=_headers(error, rule),
    )


def answer(error: Exception, context: Mapping[str, Any]) -> Response:
    """Answer what a DRF view raised (its EXCEPTION_HANDLER)."""
    problem = problem_of(error)
    _note(error, problem)
    body = problem.body(context["request"].path)
    return Response(body, status=problem.status, headers=problem.all_headers(), content_type=CONTENT_TYPE)


def respond(error: Exception, request: HttpRequest) -> HttpResponse:
    """Answer what a view outside DRF raised."""
    problem = problem_of(error)
    _note(error, problem)
    return _plain(problem, request)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404: a problem for callers of the API, a page for people."""
    return _plain(NO_SUCH_ADDRESS, request) if _is_api(request) else defaults.page_not_found(request, exception)


def failed(request: HttpRequest) -> HttpResponse:
    """Django's handler500."""
    return _plain(DEFECT, request) if _is_api(request) else defaults.server_error(request)


def rate_headers(rate: Rate, day: DayStanding | None = None) -> dict[str, str]:
    """Return how a tenant's minute stands, and its day where the plan limits it (draft-ietf-httpapi-ratelimit-headers)."""
    policies, states = [f'"minute";q={rate.limit};w={MINUTE_S}'], [f'"minute";r={rate.remaining};t={rate.reset_s}']
    for name, unit, limit, left in day.in_whole_units() if day else ():
        policies.append(f'"{name}";q={limit};w={DAY_S};qu="{unit}"')
        states.append(f'"{name}";r={left};t={day.ends_in_s if day else 0}')
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states)}


def every_code() -> list[Described]:
    """Return every problem once, by status and code, for the docs."""
    told: dict[str, Described] = {}
    for kind, rule in RULES.items():
        code = rule.code or str(getattr(kind, "code", "") or getattr(kind, "default_code", ""))
        title = rule.title or str(getattr(kind, "title", ""))
        told.setdefault(code, Described(rule.status, code, title, _meaning(kind), rule.remedy))
    told.setdefault(DEFECT.code, Described(DEFECT.status, DEFECT.code, DEFECT.title, DEFECT.detail, DEFECT.remedy))
    return sorted(told.values(), key=lambda each: (each.status, each.code))


def _meaning(kind: type[Exception]) -> str:
    """Return what an error of ours promises; a framework's docstring is about the framework."""
    return " ".join((kind.__doc__ or "").split()) if issubclass(kind, InvocationError | QuotaError) else ""


def _code(error: Exception, rule: Rule) -> str:
    if isinstance(error, AuthenticationFailed):
        return str(error.get_codes())
    return rule.code or str(getattr(error, "code", "error"))


def _detail(error: Exception) -> str:
    if isinstance(error, APIException):
        return str(error.detail)
    if isinstance(error, RequestDataTooBig):
        return f"A body has at most {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes."
    if getattr(rule_of(error), "status", 500) == HTTPStatus.SERVICE_UNAVAILABLE and not hasattr(error, "code"):
        return "What the call needs cannot be reached at the moment. Nothing was changed."
    return str(error)


def _facts(error: Exception) -> Mapping[str, Any]:
    facts = getattr(error, "facts", None)
    if facts is not None:
        return cast(Mapping[str, Any], facts)
    if isinstance(error, RequestDataTooBig):
        return {"limit": settings.DATA_UPLOAD_MAX_MEMORY_SIZE}
    named = getattr(error, "field", None)
    return {"field": f"/{named}"} if named else {}


def _headers(error: Exception, rule: Rule) -> dict[str, str]:
    challenge = {"WWW-Authenticate": CHALLENGE} if rule.status == HTTPStatus.UNAUTHORIZED else {}
    return challenge | (rate_headers(error.rate) if isinstance(error, RateExceeded) else {})


def _plain(problem: Problem, request: HttpRequest) -> HttpResponse:
    body = orjson.dumps(problem.body(request.path), default=str)
    return HttpResponse(body, status=problem.status, headers=problem.all_headers(), content_type=CONTENT_TYPE)


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/v1/") or request.path == "/v1"


def _note(error: Exception, problem: Problem) -> None:
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR and problem is DEFECT:
        log.error("call_failed", error=repr(error), exc_info=error)
