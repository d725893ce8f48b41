"""What columns of several tables share."""

from __future__ import annotations

from enum import StrEnum

from django.core.validators import MinValueValidator
from django.db import models


def choices(words: type[StrEnum]) -> list[tuple[str, str]]:
    return [(word.value, word.value) for word in words]


def per_million(**terms: bool | str) -> models.DecimalField[object, object]:
    """Return a column of US dollars per million tokens."""
    return models.DecimalField(max_digits=18, decimal_places=9, validators=[MinValueValidator(0)], **terms)
