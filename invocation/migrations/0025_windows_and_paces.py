"""Batches have a window and what scores said of them; shards count what is done, and how much lately."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('invocation', '0024_manifest_forms'),
    ]

    operations = [
        migrations.AddField(
            model_name='batch',
            name='finish_by',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='batch',
            name='running_since',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='batch',
            name='scores',
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='batch',
            name='window',
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='shard',
            name='done',
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='shard',
            name='pace',
            field=models.JSONField(default=list),
        ),
        migrations.RunSQL(
            "UPDATE invocation_shard SET done = position; UPDATE invocation_batch SET running_since = started_at",
            migrations.RunSQL.noop,
            hints={"is_batch": True},
        ),
        migrations.AddIndex(
            model_name='batchrow',
            index=models.Index(models.F('batch'), models.F('error_code'), models.F('id'), condition=models.Q(('error_code', ''), _negated=True), name='row_failed_by_cause'),
        ),
        migrations.AddConstraint(
            model_name='shard',
            constraint=models.CheckConstraint(condition=models.Q(('done__lte', models.F('rows'))), name='shard_does_no_more_than_its_rows'),
        ),
    ]
