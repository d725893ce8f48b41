"""Calls on chat sessions beside the streams, and the tickets that open a WebSocket."""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from invocation.api import bodies
from invocation.api.calls import READS_AND_INVOKES, Call, caller_of, must_have_room
from invocation.api.cursors import Place, page
from invocation.api.describing import described
from invocation.api.jobs import told_of_accepted
from invocation.api.shapes.chat import SessionLine, SessionPage, SessionShape, SessionsQuery, StoppedTurn, TicketShape, TurnShape
from invocation.api.shapes.jobs import AcceptedJob
from invocation.selectors.chat import owned_session, sessions_of, turns_of
from invocation.services import cancelling, offers, tickets
from quota.domain.keys import split

TAG = "chat"


class Sessions(Call):
    @described(
        "list_sessions", "List sessions, newest first", tag=TAG, answers={200: SessionPage}, refuses=(422,), parameters=[SessionsQuery]
    )
    def get(self, request: Request) -> Response:
        """Each with the first question that was asked in it; `GET /v1/sessions/{id}` has its turns."""
        asked = bodies.query(request, SessionsQuery)
        limit, cursor = asked.pop("limit"), asked.pop("cursor", None)
        place = Place(caller_of(request).tenant_id, request.path, asked)
        found, following = page(sessions_of(place.tenant_id, asked), at=place, cursor=cursor, limit=limit)
        return Response({"items": SessionLine(found, many=True).data, "next": following})


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
        turn = cancelling.stop_open_turn(caller_of(request).tenant_id, session_id, now=timezone.now())
        return Response(StoppedTurn(turn).data, status=202)


class AcceptOffer(Call):
    scopes = READS_AND_INVOKES

    @described(
        "accept_offer",
        "Go on with a turn as the job that it offered",
        tag=TAG,
        answers={202: AcceptedJob},
        refuses=(404, 409, 410, 413, 422),
        request=None,
    )
    def post(self, request: Request, turn_id: UUID) -> Response:
        """Accept the escape hatch's offer: the turn's input becomes a job of the endpoint that `turn.failed` named in `escape.offer`.

        An offer is accepted once: the same call again answers with the same job. Without an offer: 409 `nothing_offered`.
        """
        now = timezone.now()
        must_have_room(caller_of(request))
        found = offers.accept(caller_of(request), turn_id, now=now)
        told = told_of_accepted(found.accepted, found.endpoint, caller_of(request).tenant_id, now=now)
        return Response(told, status=202, headers={"Location": told["links"]["self"]})


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
