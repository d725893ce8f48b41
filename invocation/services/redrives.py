"""Redrives in bulk: opened by a call, carried on by a sweep at a set rate, and ended by completion or abort.

A step starts some jobs and writes down what became of each in one transaction, under the
redrive's own lock: killed anywhere, the next sweep goes on, and no job is started twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import structlog
from django.db import InterfaceError, OperationalError, connection, transaction

from invocation.domain.errors import InputInvalid, InvocationError, NotFound, StaleMove, TooManyRedrives
from invocation.domain.redrives import (
    AS_IT_WAS,
    LEAST_RATE,
    MOST_EDIT_BYTES,
    MOST_IDS,
    MOST_OPEN,
    MOST_RATE,
    REDRIVE_EDGES,
    REDRIVE_OPEN,
    USUAL_RATE,
    AgentChoice,
    Edit,
    Match,
    Pace,
    RedriveMove,
    RedriveState,
)
from invocation.gateways import hints, schemas
from invocation.models import Redrive, RedriveMember
from invocation.selectors import dead_letters
from invocation.services import redriving
from invocation.services.redriving import Held
from quota.domain.errors import CanNeverFit

log = structlog.get_logger()

PAGE = 5_000
PAGES_OF_A_SWEEP = 5
MOST_SENTENCE = 500
DEFECT = "defect"
"""The code of a member that could not be started because of a defect: of an endpoint's own code, of its input, or of ours."""
JOBS_OF_A_STEP = 50
JOBS_OF_A_SWEEP = 1_000
"""More than this would keep the control queue from its other ticks."""


WRITE_DOWN = """
UPDATE invocation_redrivemember AS member SET successor_id = settled.successor_id, code = settled.code, sentence = settled.sentence
FROM unnest(%s::bigint[], %s::uuid[], %s::text[], %s::text[]) AS settled (id, successor_id, code, sentence)
WHERE member.id = settled.id
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a member: its successor, or why it was refused."""

    successor_id: UUID | None
    code: str = ""
    sentence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A redrive that is asked for: these ids, or all that match; `tenant_id` is whose it is, None an operator's."""

    by: str
    reason: str
    tenant_id: UUID | None = None
    job_ids: Sequence[UUID] = ()
    match: Match | None = None
    rate: float = USUAL_RATE
    edit: Edit = AS_IT_WAS


@transaction.atomic
def open_redrive(opening: Opening, *, now: datetime) -> Redrive:
    """Keep a redrive; the sweep carries it on. What matches now are its members, and nothing that fails later.

    Raises InputInvalid, NotFound for an id that is no dead letter of the tenant's, and TooManyRedrives.
    """
    _check(opening)
    _one_at_a_time(opening.tenant_id)
    if Redrive.objects.filter(tenant_id=opening.tenant_id, state__in=REDRIVE_OPEN).count() >= MOST_OPEN:
        raise TooManyRedrives(f"{MOST_OPEN} redrives are open already.", most=MOST_OPEN)
    if opening.match is None:
        return _open_chosen(opening, now=now)
    match = opening.match if opening.tenant_id is None else replace(opening.match, tenant_id=opening.tenant_id)
    return _create(opening, now=now, state=RedriveState.COLLECTING, match=match.as_json())


def count_matching(match: Match) -> int:
    """Return how many dead letters a redrive of this match would have now."""
    return dead_letters.matching(match).count()


def abort(redrive_id: UUID, *, by: str, now: datetime) -> None:
    """End a redrive: what was started goes on, the rest stays as it is. Again it changes nothing. Raises StaleMove if it is completed."""
    if not _move(redrive_id, RedriveMove.ABORT, finished_at=now, aborted_by=by):
        state = Redrive.objects.values_list("state", flat=True).get(pk=redrive_id)
        if state != RedriveState.ABORTED:
            raise StaleMove(f"Redrive {redrive_id} is {state} and cannot be aborted.")


def sweep(*, now: datetime) -> int:
    """Carry on every open redrive as far as its rate allows, and return how many jobs were started or refused.

    The one that waited longest goes first. Many may run at once: a redrive that another holds is passed over.
    One that breaks off stops no other.
    """
    settled = 0
    for redrive_id in Redrive.objects.filter(state__in=REDRIVE_OPEN).order_by("paced_at").values_list("pk", flat=True):
        settled += _carry_on(redrive_id, now=now, most=JOBS_OF_A_SWEEP - settled)
    if settled:
        for each in dead_letters.KEPT_CLASSES:
            hints.wake(str(each))
    return settled


def _carry_on(redrive_id: UUID, *, now: datetime, most: int) -> int:
    settled = 0
    try:
        _collect(redrive_id, now=now)
        while count := _step(redrive_id, now=now, most=min(JOBS_OF_A_STEP, most - settled)):
            settled += count
    except Exception:
        log.exception("redrive_broke_off", redrive_id=str(redrive_id))
    return settled


def _collect(redrive_id: UUID, *, now: datetime) -> None:
    for _ in range(PAGES_OF_A_SWEEP):
        if not _collect_page(redrive_id, now=now):
            return


@transaction.atomic
def _collect_page(redrive_id: UUID, *, now: datetime) -> bool:
    """List the next page of what matched at the opening, and start when there is none; return whether there may be more."""
    redrive = _locked(redrive_id, RedriveState.COLLECTING)
    if redrive is None:
        return False
    rows = dead_letters.matching(Match.of_json(redrive.match or {})).filter(finished_at__lte=redrive.opened_at)
    if redrive.position is not None:
        rows = rows.filter(pk__gt=redrive.position)
    found = list(rows.order_by("pk").values_list("pk", flat=True)[:PAGE])
    RedriveMember.objects.bulk_create(RedriveMember(redrive=redrive, job_id=job_id) for job_id in found)
    total = redrive.total + len(found)
    Redrive.objects.filter(pk=redrive_id).update(total=total, position=found[-1] if found else redrive.position)
    if len(found) == PAGE:
        return True
    _move(redrive_id, RedriveMove.START)
    if not total:
        _move(redrive_id, RedriveMove.COMPLETE, finished_at=now)
    return False


@transaction.atomic
def _step(redrive_id: UUID, *, now: datetime, most: int) -> int:
    """Start the next members, as many as the rate has room for, and return how many were started or refused."""
    redrive = _locked(redrive_id, RedriveState.RUNNING)
    if redrive is None:
        return 0
    pace = Pace(redrive.rate, redrive.paced_at)
    room = min(pace.due(now), most)
    members = list(redrive.members.filter(successor_id__isnull=True, code="").order_by("job_id")[:room])
    if not members:
        return 0
    held = redriving.held([member.job_id for member in members])
    outcomes = [_outcome(held.get(member.job_id), _edit_of(redrive), now=now) for member in members]
    _write_down(members, outcomes)
    refused = redrive.refused + sum(1 for outcome in outcomes if outcome.code)
    done = redrive.done + sum(1 for outcome in outcomes if not outcome.code)
    Redrive.objects.filter(pk=redrive_id).update(done=done, refused=refused, paced_at=pace.after(len(members), now))
    if done + refused == redrive.total:
        _move(redrive_id, RedriveMove.COMPLETE, finished_at=now)
    return len(members)


def _outcome(held: Held | None, edit: Edit, *, now: datetime) -> Outcome:
    """Start one member, or return why that is refused: a defect, too, ends it and leaves no trace of it but this.

    What the database refuses for the moment goes up: then the whole step is done again.
    """
    if held is None:
        return Outcome(None, NotFound.code, "The job was deleted.")
    try:
        with transaction.atomic():
            return Outcome(redriving.start(held, now=now, edit=edit).job_id)
    except InvocationError as refused:
        return Outcome(None, refused.code, refused.detail[:MOST_SENTENCE])
    except CanNeverFit as never:
        return Outcome(None, never.code, never.sentence[:MOST_SENTENCE])
    except (OperationalError, InterfaceError):
        raise
    except Exception as defect:
        log.exception("redrive_member_broke_off", job_id=str(held.job.pk))
        return Outcome(None, DEFECT, f"It could not be started again: {type(defect).__name__}.")


def _write_down(members: Sequence[RedriveMember], outcomes: Sequence[Outcome]) -> None:
    columns = zip(
        *((member.pk, outcome.successor_id, outcome.code, outcome.sentence) for member, outcome in zip(members, outcomes, strict=True)),
        strict=True,
    )
    with connection.cursor() as cursor:
        cursor.execute(WRITE_DOWN, [list(column) for column in columns])


def _edit_of(redrive: Redrive) -> Edit:
    return Edit(input=redrive.input, patch=redrive.patch, agent=AgentChoice(redrive.agent))


def _open_chosen(opening: Opening, *, now: datetime) -> Redrive:
    chosen = list(dict.fromkeys(opening.job_ids))
    dead_letters.these(chosen, tenant_id=opening.tenant_id)
    redrive = _create(opening, now=now, state=RedriveState.RUNNING, total=len(chosen))
    RedriveMember.objects.bulk_create(RedriveMember(redrive=redrive, job_id=job_id) for job_id in chosen)
    return redrive


def _create(opening: Opening, *, now: datetime, **facts: Any) -> Redrive:
    edit = opening.edit
    return Redrive.objects.create(
        tenant_id=opening.tenant_id,
        rate=opening.rate,
        input=edit.input,
        patch=edit.patch,
        agent=edit.agent,
        reason=opening.reason,
        by=opening.by,
        opened_at=now,
        paced_at=now,
        **facts,
    )


def _check(opening: Opening) -> None:
    edit = opening.edit
    if (opening.match is None) == (not opening.job_ids):
        raise InputInvalid("Say either the ids or what must match.", field="/ids")
    if len(opening.job_ids) > MOST_IDS:
        raise InputInvalid(f"At most {MOST_IDS} ids at once; what matches a filter may be more.", field="/ids", found=len(opening.job_ids))
    if not opening.reason.strip():
        raise InputInvalid("Say why.", field="/reason", found=opening.reason)
    if not LEAST_RATE <= opening.rate <= MOST_RATE:
        raise InputInvalid(f"The rate is {LEAST_RATE} to {MOST_RATE} jobs a second.", field="/rate", found=opening.rate)
    if edit.input is not None and (len(opening.job_ids) != 1 or edit.patch is not None):
        raise InputInvalid("A whole input is for one dead letter; for more of them give a patch.", field="/input")
    _check_edit(edit)


def _check_edit(edit: Edit) -> None:
    for name, value in (("input", edit.input), ("input_patch", edit.patch)):
        try:
            schemas.check_storable(value, f"/{name}")
        except schemas.Unfit as unfit:
            raise InputInvalid(f"{unfit.pointer}: {unfit.wanted}.", field=unfit.pointer) from None
        if _size(value, name) > MOST_EDIT_BYTES:
            raise InputInvalid(f"/{name}: at most {MOST_EDIT_BYTES} bytes.", field=f"/{name}")


def _size(value: Any, name: str) -> int:
    try:
        return len(orjson.dumps(value))
    except TypeError as unfit:
        raise InputInvalid(f"/{name}: {unfit}.", field=f"/{name}") from None


def _one_at_a_time(tenant_id: UUID | None) -> None:
    """Let only one transaction at a time count and add a tenant's redrives."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"redrives {tenant_id}"])


def _locked(redrive_id: UUID, state: RedriveState) -> Redrive | None:
    """Return the redrive under its lock if it is in this state and nobody else carries it on."""
    return Redrive.objects.select_for_update(skip_locked=True, no_key=True).filter(pk=redrive_id, state=state).first()


def _move(redrive_id: UUID, move: RedriveMove, **facts: Any) -> bool:
    edge = REDRIVE_EDGES[move]
    return bool(Redrive.objects.filter(pk=redrive_id, state__in=edge.sources).update(state=edge.target, **facts))
