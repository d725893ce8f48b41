"""The OpenAPI document, drawn once a process from the views, and the pages for people that are drawn from it."""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import patched_settings

# A choice is easier to read where it stands than under a name made up for it.
PLAIN = {"POSTPROCESSING_HOOKS": [], "ENUM_GENERATE_CHOICE_DESCRIPTION": False}


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of every call under /v1."""
    with patched_settings(PLAIN):
        drawn: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return drawn


@require_safe
def openapi(request: HttpRequest) -> HttpResponse:
    """Answer the document as JSON."""
    answer = HttpResponse(orjson.dumps(document(), default=str), content_type="application/json")
    answer["Cache-Control"] = "no-cache"
    answer["Access-Control-Allow-Origin"] = "*"
    return answer
