"""Calls on schedules: keep, change, pause, resume, fire, forget; and their firings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from invocation.api import bodies
from invocation.api.calls import READS_AND_MANAGES, Call, caller_of, must_have_room
from invocation.api.cursors import Place, page
from invocation.api.describing import described
from invocation.api.shapes.fields import PageQuery, wish_of
from invocation.api.shapes.schedules import FiringPage, FiringShape, ScheduleBody, ScheduleChange, SchedulePage, ScheduleShape
from invocation.domain.modes import Transport
from invocation.models import Schedule
from invocation.selectors import endpoints
from invocation.selectors import schedules as seen
from invocation.services import schedules
from invocation.services.schedules import ScheduleTerms

TAG = "schedules"
FIELDS = ("name", "endpoint", "cron", "timezone", "input")


class Schedules(Call):
    scopes = READS_AND_MANAGES

    @described(
        "list_schedules", "List schedules, newest first", tag=TAG, answers={200: SchedulePage}, refuses=(400, 422), parameters=[PageQuery]
    )
    def get(self, request: Request) -> Response:
        asked = bodies.query(request, PageQuery)
        place = Place(caller_of(request).tenant_id, request.path, {})
        found, following = page(seen.schedules_of(place.tenant_id), at=place, cursor=asked.get("cursor"), limit=asked["limit"])
        return Response({"items": ScheduleShape(found, many=True).data, "next": following})

    @described(
        "create_schedule",
        "Keep a schedule",
        tag=TAG,
        answers={201: ScheduleShape},
        refuses=(400, 404, 409, 410, 413, 415, 422),
        request=ScheduleBody,
    )
    def post(self, request: Request) -> Response:
        schedule = schedules.create(_terms(request, bodies.body(request, ScheduleBody)), now=timezone.now())
        return Response(ScheduleShape(schedule).data, status=201, headers={"Location": f"/v1/schedules/{schedule.pk}"})


class OneSchedule(Call):
    scopes = READS_AND_MANAGES

    @described("read_schedule", "Read a schedule", tag=TAG, answers={200: ScheduleShape}, refuses=(404,))
    def get(self, request: Request, schedule_id: UUID) -> Response:
        return Response(ScheduleShape(_owned(request, schedule_id)).data)

    @described(
        "replace_schedule",
        "Replace a schedule",
        tag=TAG,
        answers={200: ScheduleShape},
        refuses=(400, 404, 409, 410, 422),
        request=ScheduleBody,
    )
    def put(self, request: Request, schedule_id: UUID) -> Response:
        return _changed(request, _owned(request, schedule_id), bodies.body(request, ScheduleBody))

    @described(
        "change_schedule",
        "Change fields of a schedule",
        tag=TAG,
        answers={200: ScheduleShape},
        refuses=(400, 404, 409, 410, 422),
        request=ScheduleChange,
    )
    def patch(self, request: Request, schedule_id: UUID) -> Response:
        schedule = _owned(request, schedule_id)
        kept = {name: getattr(schedule, name) for name in FIELDS} | {"budget": _wished(schedule)}
        return _changed(request, schedule, kept | bodies.body(request, ScheduleChange))

    @described("delete_schedule", "Forget a schedule", tag=TAG, answers={204: None}, refuses=(404,))
    def delete(self, request: Request, schedule_id: UUID) -> Response:
        schedules.delete(_owned(request, schedule_id).pk)
        return Response(status=204)


class ScheduleFirings(Call):
    @described(
        "list_firings",
        "List a schedule's firings, newest first",
        tag=TAG,
        answers={200: FiringPage},
        refuses=(400, 404),
        parameters=[PageQuery],
    )
    def get(self, request: Request, schedule_id: UUID) -> Response:
        asked = bodies.query(request, PageQuery)
        place = Place(caller_of(request).tenant_id, request.path, {})
        firings = seen.firings_of(_owned(request, schedule_id))
        found, following = page(firings, at=place, cursor=asked.get("cursor"), limit=asked["limit"])
        return Response({"items": FiringShape(found, many=True).data, "next": following})


class FireSchedule(Call):
    scopes = READS_AND_MANAGES

    @described(
        "fire_schedule",
        "Fire a schedule now",
        tag=TAG,
        answers={202: FiringShape},
        refuses=(404, 409, 410, 422),
        request=None,
    )
    def post(self, request: Request, schedule_id: UUID) -> Response:
        """Fire beside the clock: the next moment stays as it was."""
        schedule = _owned(request, schedule_id)
        must_have_room(caller_of(request))
        firing = schedules.fire(schedule.pk, now=timezone.now())
        return Response(FiringShape(firing).data, status=202, headers={"Location": f"/v1/jobs/{firing.job_id}"})


class PauseSchedule(Call):
    scopes = READS_AND_MANAGES

    @described("pause_schedule", "Pause a schedule", tag=TAG, answers={200: ScheduleShape}, refuses=(404,), request=None)
    def post(self, request: Request, schedule_id: UUID) -> Response:
        schedules.pause(_owned(request, schedule_id).pk, now=timezone.now())
        return Response(ScheduleShape(_owned(request, schedule_id)).data)


class ResumeSchedule(Call):
    scopes = READS_AND_MANAGES

    @described(
        "resume_schedule",
        "Resume a schedule",
        tag=TAG,
        answers={200: ScheduleShape},
        refuses=(404,),
        request=None,
    )
    def post(self, request: Request, schedule_id: UUID) -> Response:
        """Fire again from the next moment on; what was missed is not made up."""
        schedules.resume(_owned(request, schedule_id).pk, now=timezone.now())
        return Response(ScheduleShape(_owned(request, schedule_id)).data)


def _terms(request: Request, told: Mapping[str, Any]) -> ScheduleTerms:
    caller = caller_of(request)
    endpoint = endpoints.callable_as(told["endpoint"], Transport.SCHEDULE)
    caller.require_class(endpoint.policy.priority_class)
    return ScheduleTerms(
        tenant_id=caller.tenant_id,
        name=told["name"],
        endpoint=endpoint,
        cron=told["cron"],
        timezone=told["timezone"],
        input=told["input"],
        wish=wish_of(told),
    )


def _changed(request: Request, schedule: Schedule, told: Mapping[str, Any]) -> Response:
    schedules.change(schedule.pk, _terms(request, told), now=timezone.now())
    return Response(ScheduleShape(_owned(request, schedule.pk)).data)


def _owned(request: Request, schedule_id: UUID) -> Schedule:
    return seen.owned_schedule(caller_of(request).tenant_id, schedule_id)


def _wished(schedule: Schedule) -> dict[str, Any]:
    return {name: getattr(schedule, name) for name in ("cost_usd", "tokens", "model_calls")}
