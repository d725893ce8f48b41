"""How many streams a plan may have open at once."""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

CAPS = {"free": 10, "pro": 200}


def seed(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    """Only plans that we seeded, and only where nobody has said otherwise."""
    plans = apps.get_model("quota", "Plan").objects
    for name, most in CAPS.items():
        plans.filter(name=name, connections__isnull=True).update(connections=most)


class Migration(migrations.Migration):
    dependencies = [("quota", "0005_kept_for_good")]

    operations = [
        migrations.AddField(
            model_name="plan",
            name="connections",
            field=models.PositiveIntegerField(blank=True, help_text="Streams open at once; empty is no cap.", null=True),
        ),
        migrations.RunPython(seed, migrations.RunPython.noop),
    ]
