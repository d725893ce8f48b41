"""Callbacks: calls from outside that end a job's wait. The token in the address is the only credential."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from invocation.api import bodies
from invocation.api.describing import described
from invocation.domain.errors import BodyTooLarge, InputInvalid
from invocation.domain.waits import CALLBACK_BYTES
from invocation.gateways import schemas
from invocation.services import callbacks


class CallbackTaken(serializers.Serializer[Any]):
    accepted = serializers.BooleanField()


class OneCallback(APIView):
    """No key is asked for, and nothing is told of the job."""

    authentication_classes = ()
    permission_classes = ()

    @described(
        "call_back",
        "End a job's wait",
        tag="callbacks",
        answers={202: CallbackTaken},
        refuses=(400, 404, 413, 415, 422),
        request=OpenApiTypes.ANY,
        auth=[],
    )
    def post(self, request: Request, token: str) -> Response:
        """Bring the JSON that a job waits for. Called again it answers the same, and the first value stands."""
        size = len(request.body)
        if size > CALLBACK_BYTES:
            raise BodyTooLarge(f"The body has {size} bytes; a callback takes {CALLBACK_BYTES}.", found=size, limit=CALLBACK_BYTES)
        value = bodies.read(request)
        try:
            schemas.check_storable(value)
        except schemas.Unfit as unfit:
            raise InputInvalid(f"{unfit.pointer or '/'}: {unfit.wanted}.", field=unfit.pointer or "/") from None
        callbacks.receive(token, value, now=timezone.now())
        return Response({"accepted": True}, status=202, headers={"Cache-Control": "no-store"})
