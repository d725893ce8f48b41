"""Filters of the lists, whose choices are declared or bounded: none asks a long table for its distinct values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from agents.domain.errors import Cause
from invocation.domain.modes import Mode
from invocation.selectors import endpoints, tenants
from quota.domain.classes import PriorityClass

Choices = Sequence[tuple[str, str]]
AGES = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}
OLDER = "older-"
AGE_CHOICES: Choices = [
    *((name, f"within {'an' if name == 'hour' else 'a'} {name}") for name in AGES),
    *((OLDER + name, f"older than {'an' if name == 'hour' else 'a'} {name}") for name in AGES),
]


def choice(column: str, choices: Callable[[], Choices], *, title: str = "") -> type[SimpleListFilter]:
    """Return a filter of a column by exact value."""

    class Chosen(SimpleListFilter):
        parameter_name = column

        def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Choices:
            return choices()

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            known = dict(self.lookup_choices)
            return queryset.filter(**{column: self.value()}) if self.value() in known else queryset

    Chosen.title = title or column.replace("_", " ")
    return Chosen


def age(column: str, *, title: str) -> type[SimpleListFilter]:
    """Return a filter by how long ago a moment was: at most, or at least."""

    class Aged(SimpleListFilter):
        parameter_name = "age"

        def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Choices:
            return AGE_CHOICES

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            after, before = span_of(self.value() or "", now=timezone.now())
            found = queryset.filter(**{f"{column}__gte": after}) if after else queryset
            return found.filter(**{f"{column}__lt": before}) if before else found

    Aged.title = title
    return Aged


def span_of(age: str, *, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Return from when (included) until when (not) an age reaches; an unknown one has no bound."""
    if age.startswith(OLDER):
        span = AGES.get(age.removeprefix(OLDER))
        return None, now - span if span else None
    span = AGES.get(age)
    return now - span if span else None, None


def words(values: Iterable[object]) -> Choices:
    return [(str(value), str(value).replace("_", " ")) for value in values]


def _endpoints() -> Choices:
    return words(endpoint.label for endpoint in endpoints.every())


Endpoint = choice("endpoint", _endpoints)
ModeOf = choice("mode", lambda: words(Mode))
Class = choice("priority_class", lambda: words(PriorityClass), title="class")
CauseOf = choice("cause", lambda: words(Cause))
Tenant = choice("tenant_id", tenants.choices, title="tenant")
