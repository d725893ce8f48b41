"""Calls on chat sessions beside the streams, and the tickets that open a WebSocket."""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from invocation.api.calls import READS_AND_INVOKES, Call, caller_of
from invocation.api.describing import described
from invocation.api.shapes.chat import SessionShape, StoppedTurn, TicketShape, TurnShape
from invocation.selectors.chat import owned_session, turns_of
from invocation.services import chatting, tickets
from quota.domain.keys import split

TAG = "chat"


class OneSession(Call):
    @described("read_session", "Read a session with its turns", tag=TAG, answers={200: SessionShape}, refuses=(404,))
    def get(self, request: Request, session_id: UUID) -> Response:
        session = owned_session(caller_of(request).tenant_id, session_id)
        told = {
            "id": str(session.pk),
            "endpoint": session.endpoint,
            "last_seq": session.last_seq,
            "created_at": session.created_at,
            "turns": TurnShape(turns_of(session), many=True).data,
        }
        return Response(told)


class CancelTurn(Call):
    scopes = READS_AND_INVOKES

    @described(
        "cancel_turn",
        "Stop a session's open turn",
        tag=TAG,
        answers={202: StoppedTurn},
        refuses=(404, 409),
        request=None,
    )
    def post(self, request: Request, session_id: UUID) -> Response:
        """Ask the open turn to stop: what was shown stays, and its last event says when it has ended."""
        turn = chatting.stop(caller_of(request).tenant_id, session_id, now=timezone.now())
        return Response(StoppedTurn(turn).data, status=202)


class Tickets(Call):
    scopes = READS_AND_INVOKES

    @described(
        "buy_ticket",
        "Buy a ticket for a WebSocket",
        tag=TAG,
        answers={201: TicketShape},
        request=None,
    )
    def post(self, request: Request) -> Response:
        """Open `/ws/chat/{label}?ticket=…` with it within a minute; a browser cannot send a key with a WebSocket."""
        key = split(request.headers["Authorization"].partition(" ")[2].strip())
        told = {"ticket": tickets.issue(key.prefix), "expires_in": int(tickets.LIFE.total_seconds())}
        return Response(told, status=201)
