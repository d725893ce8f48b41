"""Calls on contexts: move one on, read how far it is and what its newest answer is."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from invocation.api import bodies
from invocation.api.calls import Call, caller_of
from invocation.api.describing import described
from invocation.api.shapes.contexts import ContextKeyOnly, ContextShape, MoveBody
from invocation.models import ContextRecord
from invocation.selectors import contexts as seen
from invocation.selectors import results
from invocation.services import contexts
from quota.domain.callers import Scope

TAG = "jobs"


class OneContext(Call):
    scopes = MappingProxyType({"GET": Scope.READ, "PUT": Scope.INVOKE})

    @described("read_context", "Read a context and its newest answer", tag=TAG, answers={200: ContextShape}, refuses=(404, 422))
    def get(self, request: Request, key: str) -> Response:
        return Response(_told(seen.owned_context(caller_of(request).tenant_id, _checked(key))))

    @described(
        "move_context",
        "Move a context on: answers of older versions come too late from now on",
        tag=TAG,
        answers={200: ContextShape},
        refuses=(400, 409, 415, 422),
        request=MoveBody,
    )
    def put(self, request: Request, key: str) -> Response:
        """Without a version it moves on by one; a new context begins at 1.

        With a version it moves there; again to the same changes nothing, and back is refused.
        """
        tenant_id, key, now = caller_of(request).tenant_id, _checked(key), timezone.now()
        version = bodies.body(request, MoveBody).get("version")
        if version is None:
            contexts.bump(tenant_id, key, now=now)
        else:
            contexts.move_to(tenant_id, key, version=version, now=now)
        return Response(_told(seen.owned_context(tenant_id, key)))


def _checked(key: str) -> str:
    return str(bodies.check(ContextKeyOnly, {"key": key})["key"])


def _told(context: ContextRecord) -> dict[str, Any]:
    return {"key": context.key, "version": context.version, "answer": _answer(context)}


def _answer(context: ContextRecord) -> dict[str, Any] | None:
    job = seen.answer_of(context)
    if job is None:
        return None
    return {
        "job": str(job.pk),
        "version": context.answer_version,
        "is_current": context.answer_version == context.version,
        "at": context.answered_at,
        "output": results.wanted_output(job),
        "result": f"/v1/jobs/{job.pk}/result",
    }
