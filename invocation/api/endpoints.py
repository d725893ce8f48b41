"""Calls that read the contracts."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from invocation.api.calls import Call
from invocation.api.describing import described
from invocation.api.shapes.endpoints import EndpointList, EndpointShape, shown
from invocation.selectors import endpoints

TAG = "endpoints"


class Endpoints(Call):
    @described("list_endpoints", "List every endpoint with its contract", tag=TAG, answers={200: EndpointList})
    def get(self, request: Request) -> Response:
        return Response({"items": [shown(endpoint) for endpoint in endpoints.every()]})


class OneEndpoint(Call):
    @described("read_endpoint", "Read one endpoint's contract", tag=TAG, answers={200: EndpointShape}, refuses=(404,))
    def get(self, request: Request, label: str) -> Response:
        return Response(shown(endpoints.named(label)))
