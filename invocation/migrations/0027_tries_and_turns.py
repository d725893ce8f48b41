"""Shards count how often their rows were tried, and batches are found by tenant: those whose turn comes, and when it last came."""

import invocation.domain.batches
from django.db import migrations, models

# What was tried in rounds before this is not known: each row at its end counts once. What was forgiven is at most that.
COUNT = """
UPDATE invocation_shard SET tried = done, tried_failed = failed_rows;
UPDATE invocation_batch AS batch
SET failures = failures || jsonb_build_object(
    'ended', least((failures->>'ended')::bigint, sums.tried), 'failed', least((failures->>'failed')::bigint, sums.failed))
FROM (SELECT batch_id, sum(tried)::bigint AS tried, sum(tried_failed)::bigint AS failed FROM invocation_shard GROUP BY batch_id) AS sums
WHERE sums.batch_id = batch.id AND failures ? 'ended';
"""


class Migration(migrations.Migration):

    dependencies = [
        ('invocation', '0026_losses_and_gathering'),
    ]

    operations = [
        migrations.AddField(
            model_name='shard',
            name='tried',
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='shard',
            name='tried_failed',
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.RunSQL(COUNT, migrations.RunSQL.noop, hints={"is_batch": True}),
        migrations.AddIndex(
            model_name='batch',
            index=models.Index(models.F('tenant_id'), models.F('id'), condition=models.Q(('state__in', (invocation.domain.batches.BatchState['PLANNED'], invocation.domain.batches.BatchState['RUNNING']))), name='batch_sent_by_tenant'),
        ),
        migrations.AddIndex(
            model_name='batch',
            index=models.Index(models.F('tenant_id'), models.F('wave_at'), condition=models.Q(('wave_at__isnull', False)), name='batch_served'),
        ),
    ]
