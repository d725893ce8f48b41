"""The shop's tables: titles, readers, purchases and refunds. MangaAssist answers from these rows."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector, SearchVectorField
from django.db import models
from django.db.models import F, Func, Q

from agents.domain.catalog import (
    FIRST_YEAR,
    LAST_YEAR,
    LONGEST_ID,
    LONGEST_NAME,
    LONGEST_SLUG,
    LONGEST_WORD,
    MOST_VOLUMES,
    Decision,
    Demographic,
    Status,
)


def _values(known: Iterable[StrEnum]) -> list[str]:
    return [each.value for each in known]


def _choices(known: Iterable[StrEnum]) -> list[tuple[str, str]]:
    return [(value, value) for value in _values(known)]


# A generated column takes immutable functions only, and array_to_string is not one:
# the migration declares agents_words, which is the same for text.
_GENRES = Func(F("genres"), function="agents_words", output_field=models.TextField())


class Title(models.Model):
    """One title of the catalog, found by its words: title and author first, then genres, then the synopsis."""

    slug = models.SlugField(primary_key=True, max_length=LONGEST_SLUG)
    title = models.CharField(max_length=LONGEST_NAME)
    author = models.CharField(max_length=LONGEST_NAME)
    year = models.SmallIntegerField()
    demographic = models.CharField(max_length=10, choices=_choices(Demographic))
    genres = ArrayField(models.CharField(max_length=LONGEST_WORD))
    volumes = models.SmallIntegerField()
    status = models.CharField(max_length=10, choices=_choices(Status))
    synopsis = models.TextField()
    search = models.GeneratedField(
        expression=SearchVector("title", "author", weight="A", config="english")
        + SearchVector(_GENRES, "demographic", weight="B", config="english")
        + SearchVector("synopsis", weight="C", config="english"),
        output_field=SearchVectorField(),
        db_persist=True,
    )

    class Meta:
        ordering = ["slug"]
        indexes = [GinIndex(fields=["search"], name="title_is_found_by_its_words")]
        constraints = [
            models.CheckConstraint(condition=Q(slug__regex=r"^[a-z0-9]+(-[a-z0-9]+)*$"), name="title_slug_is_lower_case_words"),
            models.CheckConstraint(condition=Q(year__range=(FIRST_YEAR, LAST_YEAR)), name="title_year_is_plausible"),
            models.CheckConstraint(condition=Q(volumes__range=(1, MOST_VOLUMES)), name="title_has_volumes"),
            models.CheckConstraint(condition=Q(genres__len__gte=1), name="title_has_genres"),
            models.CheckConstraint(condition=Q(demographic__in=_values(Demographic)), name="title_demographic_is_known"),
            models.CheckConstraint(condition=Q(status__in=_values(Status)), name="title_status_is_known"),
        ]

    def __str__(self) -> str:
        return self.title


class Reader(models.Model):
    """A customer of the shop."""

    reader = models.CharField(primary_key=True, max_length=LONGEST_ID)
    name = models.CharField(max_length=LONGEST_NAME)
    locale = models.CharField(max_length=LONGEST_WORD)
    joined = models.DateField()

    class Meta:
        ordering = ["reader"]

    def __str__(self) -> str:
        return f"{self.name} ({self.reader})"


class Purchase(models.Model):
    """One volume that a reader bought; the order number names it."""

    order = models.CharField(primary_key=True, max_length=LONGEST_ID)
    reader = models.ForeignKey(Reader, on_delete=models.CASCADE, related_name="purchases")
    title = models.ForeignKey(Title, on_delete=models.PROTECT, related_name="purchases")
    volume = models.SmallIntegerField()
    at = models.DateField()
    price_usd = models.DecimalField(max_digits=8, decimal_places=2)

    class Meta:
        ordering = ["-at", "order"]
        constraints = [
            models.CheckConstraint(condition=Q(volume__gte=1), name="purchase_is_of_a_volume"),
            models.CheckConstraint(condition=Q(price_usd__gte=0), name="purchase_price_is_not_negative"),
        ]

    def __str__(self) -> str:
        return self.order


class Refund(models.Model):
    """What was decided of an order: once an order, and once an effect key, however often it is tried."""

    order = models.OneToOneField(Purchase, primary_key=True, on_delete=models.PROTECT, related_name="refund", db_column="order")
    reader = models.ForeignKey(Reader, on_delete=models.PROTECT, related_name="refunds")
    amount_usd = models.DecimalField(max_digits=8, decimal_places=2)
    decision = models.CharField(max_length=10, choices=_choices(Decision))
    decided_at = models.DateTimeField()
    effect_key = models.CharField(max_length=200)

    class Meta:
        ordering = ["-decided_at"]
        constraints = [
            models.UniqueConstraint(fields=["effect_key"], name="refund_happens_once"),
            models.CheckConstraint(condition=Q(amount_usd__gte=0), name="refund_amount_is_not_negative"),
            models.CheckConstraint(condition=Q(decision__in=_values(Decision)), name="refund_decision_is_known"),
            models.CheckConstraint(condition=Q(decision=Decision.APPROVED.value) | Q(amount_usd=0), name="refund_pays_only_when_approved"),
        ]

    def __str__(self) -> str:
        return f"{self.order_id}: {self.decision}"
