"""Manifests have a format and a packing, are planned by a lease, and each slice has a hash."""

import invocation.domain.batches
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('invocation', '0023_catalogs'),
    ]

    operations = [
        migrations.AddField(
            model_name='batch',
            name='manifest_bytes',
            field=models.PositiveBigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='batch',
            name='manifest_format',
            field=models.CharField(choices=[('jsonl', 'jsonl'), ('csv', 'csv'), ('parquet', 'parquet')], default='jsonl', max_length=8),
        ),
        migrations.AddField(
            model_name='batch',
            name='manifest_packing',
            field=models.CharField(blank=True, default='', max_length=4),
        ),
        migrations.AddField(
            model_name='batch',
            name='names_rows',
            field=models.CharField(blank=True, default='', max_length=200),
        ),
        migrations.AddField(
            model_name='batch',
            name='planner',
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='batch',
            name='planning',
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='batch',
            name='planning_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='batch',
            name='planning_tries',
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='batch',
            name='shards_wanted',
            field=models.PositiveIntegerField(default=256),
        ),
        migrations.AddField(
            model_name='shard',
            name='inside',
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='shard',
            name='sha256',
            field=models.CharField(blank=True, default='', max_length=64),
        ),
        migrations.AlterField(
            model_name='batch',
            name='manifest_sha256',
            field=models.CharField(blank=True, max_length=64),
        ),
        migrations.AddIndex(
            model_name='batch',
            index=models.Index(models.F('planning_at'), condition=models.Q(('state', invocation.domain.batches.BatchState['PLANNING'])), name='batch_planning'),
        ),
        migrations.AddConstraint(
            model_name='batch',
            constraint=models.CheckConstraint(condition=models.Q(('planner__isnull', True), ('state__in', (invocation.domain.batches.BatchState['PLANNING'], invocation.domain.batches.BatchState['CANCELLED'])), _connector='OR'), name='batch_has_a_planner_only_while_planning'),
        ),
    ]
