"""How a call is described to OpenAPI: its summary, its group, and the problems that it may answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import getdoc
from typing import Any, TypeVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from invocation.api.shapes.problems import ProblemShape

F = TypeVar("F", bound=Callable[..., Any])

PROBLEM = "application/problem+json"
EVERY_CALL = (401, 403, 429, 503)
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="The same key and body again answer the same; the same key with another body is refused.",
)
TRACEPARENT = OpenApiParameter(
    "traceparent", OpenApiTypes.STR, OpenApiParameter.HEADER, description="W3C trace context; the run continues this trace."
)


def described(
    name: str, summary: str, *, tag: str, answers: Mapping[Any, Any], refuses: Sequence[int] = (), **more: Any
) -> Callable[[F], F]:
    """Describe a view's method, whose docstring goes to OpenAPI.

    `answers` maps statuses to shapes, `refuses` lists the problems beyond every call's own.
    """
    problems = {(status, PROBLEM): OpenApiResponse(ProblemShape, _MEANING[status]) for status in sorted({*EVERY_CALL, *refuses})}

    def describe(method: F) -> F:
        told = getdoc(method) or f"{summary}."
        answered = {**answers, **problems}
        return extend_schema(operation_id=name, summary=summary, description=told, tags=[tag], responses=answered, **more)(method)

    return describe


_MEANING: Mapping[int, str] = {
    400: "The body is not JSON, or the cursor is not one of ours.",
    401: "The API key is missing, unknown or revoked.",
    403: "The key lacks the scope or the class.",
    404: "There is no such thing here.",
    409: "Too late, or not now.",
    410: "Retired, or there will be none.",
    413: "The body is too large.",
    415: "Not JSON.",
    422: "Understood and refused; `field` names what is wrong.",
    429: "The tenant's minute is full.",
    503: "Held, saturated or out of service; `Retry-After` says when to come back.",
}
