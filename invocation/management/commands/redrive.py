"""`manage.py redrive [status|abort ID]`: dead letters from a terminal, with a progress bar."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

COMMAND = "a command"


class Command(BaseCommand):
    help = "Start dead letters again: those that match, or those of these ids. `redrive status ID` and `redrive abort ID` follow one."

    def add_arguments(self, parser: CommandParser) -> None:
        from invocation.domain.redrives import LEAST_RATE, MOST_RATE, USUAL_RATE, AgentChoice

        parser.add_argument(
            "act", nargs="?", choices=("open", "status", "abort"), default="open", help="open (the default), status or abort"
        )
        parser.add_argument("redrive", nargs="?", type=UUID, metavar="ID", help="which redrive, for status and abort")
        which = parser.add_argument_group("which dead letters")
        which.add_argument("--endpoint", default="", metavar="NAME@VERSION")
        which.add_argument("--cause", default="", choices=_causes(), help="whose fault it was")
        which.add_argument("--code", default="", help="the error's code")
        which.add_argument("--tenant", metavar="NAME")
        which.add_argument("--failed-after", type=_moment, metavar="MOMENT", help="such as 2026-11-20T09:00:00Z")
        which.add_argument("--failed-before", type=_moment, metavar="MOMENT")
        which.add_argument("--id", action="append", dest="ids", type=UUID, default=[], metavar="ID", help="this one; may be repeated")
        which.add_argument("--all", action="store_true", help="every open dead letter")
        how = parser.add_argument_group("how")
        how.add_argument(
            "--rate", type=float, default=USUAL_RATE, help=f"jobs a second, {LEAST_RATE} to {MOST_RATE}; {USUAL_RATE} if left out"
        )
        how.add_argument("--reason", default="by command", help="kept with the redrive")
        how.add_argument("--input-patch", type=_object, metavar="JSON", help="a JSON merge patch (RFC 7396) of every input")
        how.add_argument("--agent", default=str(AgentChoice.ORIGINAL), choices=[str(choice) for choice in AgentChoice])
        how.add_argument("--dry-run", action="store_true", help="count what matches, and open nothing")
        how.add_argument("--watch", action="store_true", help="show a progress bar until the redrive has ended; leaving it aborts nothing")

    def handle(self, *_: Any, act: str, **given: Any) -> None:
        from invocation.domain.errors import InvocationError

        acts: dict[str, Callable[..., None]] = {"open": self._open, "status": self._status, "abort": self._abort}
        try:
            acts[act](**given)
        except InvocationError as refused:
            raise CommandError(f"{refused.title}: {refused.detail}") from refused

    def _open(self, *, dry_run: bool, watch: bool, **given: Any) -> None:
        from invocation.services import redrives

        opening = _opening(**given)
        if dry_run:
            count = len(opening.job_ids) if opening.match is None else redrives.count_matching(opening.match)
            self.stdout.write(f"{count} dead letters match")
            return
        redrive = redrives.open_redrive(opening, now=datetime.now(UTC))
        self.stdout.write(f"redrive {redrive.pk}")
        if watch:
            self._watch(redrive.pk)

    def _status(self, *, redrive: UUID | None, watch: bool, **_: Any) -> None:
        if watch:
            self._watch(_named(redrive))
        else:
            self._tell(_named(redrive))

    def _abort(self, *, redrive: UUID | None, **_: Any) -> None:
        from invocation.selectors.redrives import any_redrive
        from invocation.services import redrives

        found = any_redrive(_named(redrive))
        redrives.abort(found.pk, by=COMMAND, now=datetime.now(UTC))
        self._tell(found.pk)

    def _watch(self, redrive_id: UUID) -> None:
        from invocation.management.redrive_bar import watch

        state = watch(redrive_id)
        self._tell(redrive_id)
        if state != "completed":
            raise CommandError(f"The redrive is {state}.")

    def _tell(self, redrive_id: UUID) -> None:
        from invocation.selectors.redrives import any_redrive, refusals

        row = any_redrive(redrive_id)
        self.stdout.write(f"{row.state}: {row.done} of {row.total} started, {row.refused} refused, {row.rate:g} jobs/s")
        for each in refusals(row):
            self.stdout.write(f"  {each.count} {each.code}: {each.sentence}")


def _opening(
    *,
    endpoint: str,
    cause: str,
    code: str,
    tenant: str | None,
    ids: list[UUID],
    failed_after: datetime | None,
    failed_before: datetime | None,
    **how: Any,
) -> Any:
    from invocation.domain.redrives import AgentChoice, Edit, Match
    from invocation.services.redrives import Opening

    tenant_id = _tenant(tenant) if tenant else None
    match = Match(endpoint=endpoint, cause=cause, code=code, tenant_id=tenant_id, failed_after=failed_after, failed_before=failed_before)
    narrows = match != Match()
    if [narrows, bool(ids), how["all"]].count(True) != 1:
        raise CommandError("Say which: what must match (--endpoint, --cause, --code, --tenant, --failed-…), or --id, or --all.")
    edit = Edit(patch=how["input_patch"], agent=AgentChoice(how["agent"]))
    return Opening(by=COMMAND, reason=how["reason"], job_ids=ids, match=None if ids else match, rate=how["rate"], edit=edit)


def _tenant(name: str) -> UUID:
    from quota.selectors import tenant_id_of

    found = tenant_id_of(name)
    if found is None:
        raise CommandError(f"There is no tenant {name!r}.")
    return found


def _named(redrive: UUID | None) -> UUID:
    if redrive is None:
        raise CommandError("Say which redrive, by its id.")
    return redrive


def _causes() -> list[str]:
    from agents.domain.errors import Cause

    return [str(cause) for cause in Cause]


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(f"{text!r} is no moment such as 2026-11-20T09:00:00Z") from wrong
    if found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} lacks its offset, such as Z")
    return found


def _object(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as wrong:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {wrong}") from wrong
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError("a patch is one JSON object")
    return found
