"""Calls of batches' rows that were stepped down are counted beside the batches, in the checkpoint's own transaction."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("invocation", "0019_store_grants")]
    operations = [
        migrations.CreateModel(
            name="BatchDownshiftCount",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("endpoint", models.CharField(max_length=120)),
                ("wanted", models.CharField(max_length=16)),
                ("used", models.CharField(max_length=16)),
                ("why", models.CharField(max_length=16)),
                ("count", models.PositiveBigIntegerField(default=0)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("endpoint", "wanted", "used", "why"), name="downshifts_of_batches_are_counted_in_one_place"
                    )
                ],
            },
        ),
    ]
