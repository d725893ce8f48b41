"""Calls on dead letters: list, redrive in bulk, discard; and on redrives: read, abort. A redrive is carried on by a sweep."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from invocation.api import bodies
from invocation.api.calls import READS_AND_INVOKES, Call, caller_of
from invocation.api.cursors import Place, page
from invocation.api.describing import described
from invocation.api.shapes.dead_letters import (
    DeadLetterPage,
    DeadLetterQuery,
    DiscardedShape,
    DiscardManyBody,
    EmptyBody,
    FailedJobShape,
    RedriveDetail,
    RedriveManyBody,
    RedrivePage,
    RedriveShape,
)
from invocation.api.shapes.fields import PageQuery
from invocation.domain.redrives import AgentChoice, Edit, Match
from invocation.models import DeadLetter, Redrive
from invocation.selectors import dead_letters
from invocation.selectors import redrives as seen
from invocation.services import discards, redrives
from invocation.services.redrives import Opening

TAG = "dead-letters"


class DeadLetters(Call):
    @described(
        "list_dead_letters",
        "List dead letters, newest first",
        tag=TAG,
        answers={200: DeadLetterPage},
        refuses=(400, 422),
        parameters=[DeadLetterQuery],
    )
    def get(self, request: Request) -> Response:
        """Those that are open, unless `standing` asks for those that were redriven or discarded."""
        asked = bodies.query(request, DeadLetterQuery)
        limit, cursor = asked.pop("limit"), asked.pop("cursor", None)
        place = Place(caller_of(request).tenant_id, request.path, dict(asked))
        rows = dead_letters.standing(dead_letters.dead_letters(), asked.pop("standing"))
        match = Match(**{**asked, "tenant_id": place.tenant_id})
        found, following = page(
            dead_letters.narrowed(rows, match).select_related("successor", "discard"), at=place, cursor=cursor, limit=limit
        )
        return Response({"items": [_shown(row) for row in found], "next": following})


class RedriveMany(Call):
    scopes = READS_AND_INVOKES

    @described(
        "redrive_dead_letters",
        "Start dead letters again",
        tag=TAG,
        answers={202: RedriveDetail},
        refuses=(400, 404, 409, 415, 422),
        request=RedriveManyBody,
    )
    def post(self, request: Request) -> Response:
        """Open a redrive of the dead letters that are named, or of all that match now, and answer at once.

        Each becomes a new job at the rate, linked to the old one, which stays failed. One that cannot be
        started is counted as refused with its reason, and the rest goes on.
        """
        told = bodies.body(request, RedriveManyBody)
        _may_use_their_class(request)
        redrive = redrives.open_redrive(_opening(request, told), now=timezone.now())
        return Response(_detail(redrive), status=202, headers={"Location": f"/v1/redrives/{redrive.pk}"})


class DiscardMany(Call):
    scopes = READS_AND_INVOKES

    @described(
        "discard_dead_letters",
        "Close dead letters for good",
        tag=TAG,
        answers={200: DiscardedShape},
        refuses=(400, 404, 415, 422),
        request=DiscardManyBody,
    )
    def post(self, request: Request) -> Response:
        """They are not listed as open any more and cannot be redriven."""
        told = bodies.body(request, DiscardManyBody)
        tenant_id = caller_of(request).tenant_id
        found = discards.discard(told["ids"], tenant_id=tenant_id, by=_who(request), reason=told["reason"], now=timezone.now())
        return Response({"discarded": found.closed, "redriven": found.redriven})


class Redrives(Call):
    @described(
        "list_redrives", "List redrives, newest first", tag=TAG, answers={200: RedrivePage}, refuses=(400, 422), parameters=[PageQuery]
    )
    def get(self, request: Request) -> Response:
        asked = bodies.query(request, PageQuery)
        place = Place(caller_of(request).tenant_id, request.path, {})
        found, following = page(seen.redrives_of(place.tenant_id), at=place, cursor=asked.get("cursor"), limit=asked["limit"])
        return Response({"items": RedriveShape(found, many=True).data, "next": following})


class OneRedrive(Call):
    @described("read_redrive", "Read how far a redrive is", tag=TAG, answers={200: RedriveDetail}, refuses=(404,))
    def get(self, request: Request, redrive_id: UUID) -> Response:
        return Response(_detail(_owned(request, redrive_id)))


class AbortRedrive(Call):
    scopes = READS_AND_INVOKES

    @described(
        "abort_redrive", "Abort a redrive", tag=TAG, answers={202: RedriveDetail}, refuses=(400, 404, 409, 415, 422), request=EmptyBody
    )
    def post(self, request: Request, redrive_id: UUID) -> Response:
        """What was started goes on; the rest stays an open dead letter."""
        redrive = _owned(request, redrive_id)
        bodies.body(request, EmptyBody)
        redrives.abort(redrive.pk, by=_who(request), now=timezone.now())
        return Response(_detail(_owned(request, redrive_id)), status=202)


def _opening(request: Request, told: dict[str, Any]) -> Opening:
    return Opening(
        by=_who(request),
        reason=told["reason"],
        tenant_id=caller_of(request).tenant_id,
        job_ids=told.get("ids", ()),
        match=Match(**told["filter"]) if "filter" in told else None,
        rate=told["rate"],
        edit=Edit(patch=told.get("input_patch"), agent=AgentChoice(told["agent"])),
    )


def _may_use_their_class(request: Request) -> None:
    """Redriven jobs run in their own class: a key that may not use it may not send them there this way either."""
    for priority_class in dead_letters.KEPT_CLASSES:
        caller_of(request).require_class(priority_class)


def _who(request: Request) -> str:
    return f"key {caller_of(request).key_id}"


def _owned(request: Request, redrive_id: UUID) -> Redrive:
    return seen.owned_redrive(caller_of(request).tenant_id, redrive_id)


def _shown(row: DeadLetter) -> dict[str, Any]:
    successor, discard = getattr(row, "successor", None), getattr(row, "discard", None)
    return {
        **FailedJobShape(row).data,
        "standing": dead_letters.standing_of(row),
        "redriven_as": successor and str(successor.pk),
        "discard_reason": discard and discard.reason,
    }


def _detail(redrive: Redrive) -> dict[str, Any]:
    place = f"/v1/redrives/{redrive.pk}"
    refusals = [{"code": each.code, "count": each.count, "sentence": each.sentence} for each in seen.refusals(redrive)]
    links = {"self": place, "abort": f"{place}/abort"}
    return {**RedriveShape(redrive).data, "refusals": refusals, "eta_s": seen.eta_s(redrive), "links": links}
