"""What chat's calls beside the stream say on the wire."""

from __future__ import annotations

from gearbox_client.calls import Call, Method
from gearbox_client.chat import Chat
from gearbox_client.values.jobs import AcceptedJob

ACCEPTED = {
    "id": "018f0000-0000-7000-8000-000000000001",
    "state": "queued",
    "endpoint": "personalize@1",
    "queue_position": 1,
    "eta_s": None,
    "created_at": "2026-11-20T12:00:00Z",
    "links": {},
}


def test_an_offer_is_accepted_by_its_turn_and_may_be_sent_again() -> None:
    call: Call[AcceptedJob] = Chat.accept.describe(None, "t-1")

    assert (call.method, call.path, call.is_repeatable) == (Method.POST, "/v1/turns/t-1/accept", True)
    assert call.read(ACCEPTED).id == ACCEPTED["id"]


def test_sessions_are_read_page_by_page_by_endpoint_and_subject() -> None:
    call = Chat.sessions.describe(None, endpoint="chat@1", subject="r-1")
    line = {"id": "s-1", "endpoint": "chat@1", "asked": "Why?", "turns": 2, "created_at": "2026-11-20T12:00:00Z", "asked_at": None}

    assert (call.method, call.path, dict(call.query)) == (
        Method.GET,
        "/v1/sessions",
        {"endpoint": "chat@1", "subject": "r-1", "limit": "100"},
    )
    assert call.read({"items": [line], "next": None}).items[0].asked == "Why?"
