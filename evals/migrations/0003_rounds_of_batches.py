"""A batch whose failed rows ran again is scored again."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('evals', '0002_baselines'),
    ]

    operations = [
        migrations.AddField(
            model_name='batchscoring',
            name='round',
            field=models.PositiveSmallIntegerField(default=0),
        ),
    ]
