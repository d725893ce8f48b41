"""Shards count lost workers, and gathering its tries; what a completed batch has published is none of its shards' parts any more."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('invocation', '0025_windows_and_paces'),
    ]

    operations = [
        migrations.AddField(
            model_name='shard',
            name='losses',
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='batch',
            name='gather_tries',
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='batch',
            name='gather_due_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='batch',
            name='gathering',
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.RunSQL(
            "UPDATE invocation_shard AS shard SET parts = '[]' FROM invocation_batch AS batch"
            " WHERE batch.id = shard.batch_id AND batch.state = 'completed'",
            migrations.RunSQL.noop,
            hints={"is_batch": True},
        ),
    ]
