"""The pages on which people read about the API, drawn from the OpenAPI document and the table of problems."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from invocation.api import doc_calls, openapi
from invocation.api.doc_words import marked
from invocation.api.pages import POLICY
from invocation.api.problems import every_code
from invocation.selectors import endpoints


@require_safe
def calls(request: HttpRequest) -> HttpResponse:
    """Answer the page of calls."""
    host = f"{request.scheme}://{request.get_host()}"
    shown: dict[str, object] = {"groups": doc_calls.groups(openapi.document(), host=host), "endpoints": endpoints.every(), "host": host}
    return _page(request, "docs/page.html", shown)


@require_safe
def problems(request: HttpRequest) -> HttpResponse:
    """Answer the page of problems; each `type` of a problem points at its place here."""
    return _page(request, "docs/problems.html", {"problems": [(each, marked(each.meaning), marked(each.remedy)) for each in every_code()]})


def _page(request: HttpRequest, template: str, shown: dict[str, object]) -> HttpResponse:
    answer = render(request, template, shown)
    answer["Content-Security-Policy"] = POLICY
    answer["Cache-Control"] = "no-cache"
    return answer
