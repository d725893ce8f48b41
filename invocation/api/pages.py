"""The page on which a person chats: one document without a word of the conversation, which comes over the wire."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

ENDPOINTS = ("chat@1", "voice@1")
POLICY = "; ".join(
    (
        "default-src 'self'",
        "connect-src 'self' ws: wss:",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "object-src 'none'",
        "require-trusted-types-for 'script'",
    )
)


@require_safe
def chat_page(request: HttpRequest) -> HttpResponse:
    """Answer the chat page; `?endpoint=` chooses which endpoint it talks to, offered or not."""
    endpoint = request.GET.get("endpoint") or ENDPOINTS[0]
    offered = ENDPOINTS if endpoint in ENDPOINTS else (*ENDPOINTS, endpoint)
    answer = render(request, "chat/page.html", {"endpoint": endpoint, "endpoints": offered})
    answer["Content-Security-Policy"] = POLICY
    answer["Referrer-Policy"] = "no-referrer"
    answer["Cache-Control"] = "no-cache"
    return answer
