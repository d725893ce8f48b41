"""Calls on subjects: forget one, and read how far that is."""

from __future__ import annotations

from types import MappingProxyType
from uuid import UUID

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from invocation.api import bodies
from invocation.api.calls import Call, caller_of
from invocation.api.describing import described
from invocation.api.shapes.subjects import ErasureShape, SubjectOnly
from invocation.selectors import erasures as seen
from invocation.services import erasures
from quota.domain.callers import Scope

TAG = "subjects"


class OneSubject(Call):
    scopes = MappingProxyType({"DELETE": Scope.MANAGE})

    @described("forget_subject", "Forget a subject", tag=TAG, answers={202: ErasureShape}, refuses=(409, 422), request=None)
    def delete(self, request: Request, subject: str) -> Response:
        """Erase every input, output, journal, answer and event of the subject's jobs and turns; what is open is cancelled first.

        This goes on after the answer: read the erasure to see when it is finished. What the subject's
        jobs cost stays on the bill.
        """
        caller, now = caller_of(request), timezone.now()
        named = bodies.check(SubjectOnly, {"subject": subject})["subject"]
        erasure = erasures.ask(caller.tenant_id, named, by=f"key {caller.key_id}", now=now)
        return Response(ErasureShape(erasure).data, status=202, headers={"Location": f"/v1/erasures/{erasure.pk}"})


class OneErasure(Call):
    @described("read_erasure", "Read how far the forgetting of a subject is", tag=TAG, answers={200: ErasureShape}, refuses=(404,))
    def get(self, request: Request, erasure_id: UUID) -> Response:
        return Response(ErasureShape(seen.owned_erasure(caller_of(request).tenant_id, erasure_id)).data)
