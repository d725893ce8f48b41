"""What a batch's dataset is to be: the schema of its outputs when it was opened, and the columns that part it."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('invocation', '0021_job_broke'),
    ]

    operations = [
        migrations.AddField(
            model_name='batch',
            name='dataset',
            field=models.JSONField(blank=True, default=dict),
        ),
    ]
