"""Acts on dead letters: redrive one, discard some, and the way from the list to the form of a redrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from invocation.admin import cells, filters
from invocation.domain.errors import InputInvalid, InvocationError
from invocation.domain.redrives import MOST_IDS, MOST_REASON, Match
from invocation.models import DeadLetter
from invocation.selectors.dead_letters import OPEN
from invocation.services import discards, redriving

NARROWING = ("endpoint", "cause", "code", "tenant_id")
FILTERS = (*NARROWING, "age")


def who(request: HttpRequest) -> str:
    """Return who acts, as records keep it."""
    return f"operator {request.user.get_username()}"


def redrive_one(request: HttpRequest, row: DeadLetter) -> None:
    """Start one again at once. Raises what redriving.redrive raises."""
    successor = redriving.redrive(row.pk, now=timezone.now()).job_id
    link = cells.link_to("job", successor)
    messages.success(request, format_html("Redriven as a new job, {}. What failed stays failed.", link))


def discard_one(request: HttpRequest, row: DeadLetter) -> None:
    _discard(request, [row.pk])


def discard_many(request: HttpRequest, rows: QuerySet[DeadLetter], *, action: str, context: Mapping[str, Any]) -> HttpResponse | None:
    """Ask why, and then close what was selected."""
    chosen = list(rows.order_by("pk").values_list("pk", flat=True)[: MOST_IDS + 1])
    if "reason" in request.POST:
        _try_to_discard(request, chosen[:MOST_IDS])
        if len(chosen) > MOST_IDS:
            messages.warning(request, f"Only the {MOST_IDS} oldest of them were taken at once: select the rest again.")
        return None
    asked = {
        **context,
        "title": "Discard dead letters",
        "action": action,
        "count": len(chosen),
        "selected": request.POST.getlist("_selected_action"),
        "select_across": request.POST.get("select_across", "0"),
        "most_reason": MOST_REASON,
    }
    return TemplateResponse(request, "admin/invocation/dead_letters/discard.html", asked)


def form_address(request: HttpRequest, rows: QuerySet[DeadLetter]) -> str:
    """Return where a redrive of what is selected is filled in: these rows, or all that the list's filters match."""
    if request.POST.get("select_across") == "1":
        given = {name: request.GET[name] for name in (*FILTERS, "standing", "q") if name in request.GET}
        return _form({**given, "all": "yes"})
    return _form({"ids": ",".join(map(str, rows.order_by("pk").values_list("pk", flat=True)[:MOST_IDS]))})


def edited_address(row: DeadLetter) -> str:
    """Return where one dead letter's redrive is filled in."""
    return _form({"ids": str(row.pk)})


def target(request: HttpRequest) -> tuple[Sequence[UUID], Match | None]:
    """Return what the form is about: ids, or what must match. Raises InputInvalid for what cannot be redriven as a whole."""
    told = request.GET
    try:
        if told.get("ids"):
            return [UUID(each) for each in told["ids"].split(",")], None
        if told.get("q") or told.get("standing", OPEN) != OPEN:
            raise InputInvalid("What was searched for, or is not open, is redriven by selecting it row by row.")
        if told.get("all") != "yes":
            raise InputInvalid("Begin at the list of dead letters: filter it, or select some.")
        return [], _match(told)
    except ValueError:
        raise InputInvalid("This address names something that is no id.") from None


def _match(told: Mapping[str, str]) -> Match:
    age = told.get("age", "")
    if age and age not in dict(filters.AGE_CHOICES):
        raise InputInvalid(f"There is no age {age!r}.")
    after, before = filters.span_of(age, now=timezone.now())
    narrowed: dict[str, Any] = {name: told[name] for name in NARROWING if told.get(name)}
    if "tenant_id" in narrowed:
        narrowed["tenant_id"] = UUID(narrowed["tenant_id"])
    return Match(**narrowed, failed_after=after, failed_before=before)


def _form(given: Mapping[str, str]) -> str:
    return f"{reverse('admin:invocation_redrive_add')}?{urlencode(given)}"


def _try_to_discard(request: HttpRequest, job_ids: Sequence[UUID]) -> None:
    try:
        _discard(request, job_ids)
    except InvocationError as refused:
        messages.error(request, str(refused))


def _discard(request: HttpRequest, job_ids: Sequence[UUID]) -> None:
    reason = request.POST.get("reason", "")[:MOST_REASON]
    found = discards.discard(job_ids, tenant_id=None, by=who(request), reason=reason, now=timezone.now())
    if found.closed:
        messages.success(request, f"Discarded {len(found.closed)}: closed for good.")
    if found.redriven:
        messages.warning(request, f"{len(found.redriven)} were redriven before and stay as they are.")
