"""The pages on which people read about the API, drawn from the OpenAPI document."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from invocation.api import openapi
from invocation.api.problems import every_code


@require_safe
def calls(request: HttpRequest) -> HttpResponse:
    """Answer the page of calls."""
    return render(request, "docs/page.html", {"document": openapi.document()})


@require_safe
def problems(request: HttpRequest) -> HttpResponse:
    """Answer the page of problems; each `type` of a problem points at its place here."""
    return render(request, "docs/problems.html", {"problems": every_code()})
