"""What an operator says that a model costs, over the table of published prices."""

from __future__ import annotations

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q

NOT_NEGATIVE = (MinValueValidator(0),)
GIVEN = Q(input_usd__isnull=False, output_usd__isnull=False, cached_usd__isnull=False)
EMPTY = Q(input_usd__isnull=True, output_usd__isnull=True, cached_usd__isnull=True)


class ModelPrice(models.Model):
    """A model's price from a moment on, until the next row's; an empty one hands the model back to the table.

    Rows are added. One that has come into effect is neither changed nor deleted: calls were paid by it.
    """

    provider = models.CharField(max_length=40)
    model = models.CharField(max_length=120)
    input_usd = models.DecimalField(
        "input, USD per million tokens", max_digits=18, decimal_places=9, null=True, blank=True, validators=NOT_NEGATIVE
    )
    output_usd = models.DecimalField(
        "output, USD per million tokens", max_digits=18, decimal_places=9, null=True, blank=True, validators=NOT_NEGATIVE
    )
    cached_usd = models.DecimalField(
        "cached input, USD per million tokens", max_digits=18, decimal_places=9, null=True, blank=True, validators=NOT_NEGATIVE
    )
    valid_from = models.DateTimeField()
    set_by = models.CharField(max_length=150)
    set_at = models.DateTimeField()
    reason = models.CharField(max_length=200)

    class Meta:
        verbose_name = "price"
        ordering = ("provider", "model", "-valid_from")
        constraints = (
            models.UniqueConstraint(
                fields=("provider", "model", "valid_from"),
                name="model_has_one_price_from_a_moment",
                violation_error_message="This model has a price from this very moment already.",
            ),
            models.CheckConstraint(condition=GIVEN | EMPTY, name="price_is_whole_or_empty"),
            models.CheckConstraint(
                condition=EMPTY | Q(input_usd__gte=0, output_usd__gte=0, cached_usd__gte=0), name="price_is_not_negative"
            ),
            models.CheckConstraint(condition=Q(valid_from__gte=models.F("set_at")), name="price_does_not_reach_back"),
            models.CheckConstraint(condition=~Q(reason=""), name="price_has_a_reason"),
        )

    def __str__(self) -> str:
        return f"{self.provider}/{self.model} from {self.valid_from:%Y-%m-%d %H:%M} UTC"
