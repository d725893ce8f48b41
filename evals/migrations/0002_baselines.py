"""The expectations that MangaAssist came with: imported figures, which gate nothing until real runs confirm them."""

from datetime import datetime, timezone

from django.db import migrations

IMPORTED_AT = datetime(2026, 11, 20, tzinfo=timezone.utc)
EXPECTED = {"streaming-sync": 0.81, "async-queue": 0.78, "batch-window": 0.86, "scheduled-trigger": None}


def seed(apps, schema_editor):
    for mode, expected in EXPECTED.items():
        apps.get_model("evals", "Baseline").objects.get_or_create(
            agent="mangaassist",
            rubric="answer",
            mode=mode,
            defaults={"expected": expected, "origin": "unset" if expected is None else "imported", "at": IMPORTED_AT},
        )


class Migration(migrations.Migration):
    dependencies = [("evals", "0001_tables")]
    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
