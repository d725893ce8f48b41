"""The ledger of batches in tables of its own, kept for good as the other is. Lines that were booked before stay where they are."""

from django.db import migrations, models


FORWARDS = """
CREATE FUNCTION quota_batch_ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER batch_ledger_is_append_only BEFORE UPDATE OR DELETE ON quota_batchledgerentry
FOR EACH ROW EXECUTE FUNCTION quota_batch_ledger_is_append_only();
CREATE TRIGGER batch_ledger_is_not_emptied BEFORE TRUNCATE ON quota_batchledgerentry
FOR EACH STATEMENT EXECUTE FUNCTION quota_batch_ledger_is_append_only();
"""
BACKWARDS = """
DROP TRIGGER batch_ledger_is_append_only ON quota_batchledgerentry;
DROP TRIGGER batch_ledger_is_not_emptied ON quota_batchledgerentry;
DROP FUNCTION quota_batch_ledger_is_append_only();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('quota', '0007_connections'),
    ]

    operations = [
        migrations.CreateModel(
            name='BatchLedgerEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('call_id', models.UUIDField(null=True, unique=True)),
                ('tenant_id', models.UUIDField()),
                ('endpoint', models.CharField(max_length=80)),
                ('mode', models.CharField(max_length=20)),
                ('priority_class', models.CharField(choices=[('p0', 'p0'), ('p1', 'p1'), ('p2', 'p2'), ('p3', 'p3')], max_length=2)),
                ('run_id', models.UUIDField()),
                ('parent_kind', models.CharField(choices=[('job', 'job'), ('turn', 'turn'), ('batch', 'batch'), ('firing', 'firing')], max_length=10)),
                ('parent_id', models.CharField(max_length=64)),
                ('provider', models.CharField(max_length=40)),
                ('model', models.CharField(max_length=120)),
                ('input_tokens', models.PositiveIntegerField()),
                ('output_tokens', models.PositiveIntegerField()),
                ('cached_tokens', models.PositiveIntegerField()),
                ('input_price', models.DecimalField(decimal_places=9, max_digits=18, null=True)),
                ('output_price', models.DecimalField(decimal_places=9, max_digits=18, null=True)),
                ('cached_price', models.DecimalField(decimal_places=9, max_digits=18, null=True)),
                ('cost_usd', models.DecimalField(decimal_places=6, max_digits=14)),
                ('estimated', models.BooleanField()),
                ('at', models.DateTimeField()),
            ],
            options={
                'verbose_name_plural': 'batch ledger',
                'indexes': [models.Index(fields=['tenant_id', 'at'], name='batch_ledger_by_tenant'), models.Index(fields=['at'], name='batch_ledger_by_time')],
                'constraints': [models.CheckConstraint(condition=models.Q(('parent_kind', 'batch')), name='batch_ledger_is_of_batches'), models.CheckConstraint(condition=models.Q(('cost_usd__gte', 0)), name='batch_ledger_cost_is_not_negative'), models.CheckConstraint(condition=models.Q(('cached_tokens__lte', models.F('input_tokens'))), name='batch_cached_tokens_are_input_tokens')],
            },
        ),
        migrations.CreateModel(
            name='BatchUsageDay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('tenant_id', models.UUIDField()),
                ('day', models.DateField()),
                ('endpoint', models.CharField(max_length=80)),
                ('mode', models.CharField(max_length=20)),
                ('priority_class', models.CharField(choices=[('p0', 'p0'), ('p1', 'p1'), ('p2', 'p2'), ('p3', 'p3')], max_length=2)),
                ('provider', models.CharField(max_length=40)),
                ('model', models.CharField(max_length=120)),
                ('calls', models.PositiveBigIntegerField()),
                ('input_tokens', models.PositiveBigIntegerField()),
                ('output_tokens', models.PositiveBigIntegerField()),
                ('cached_tokens', models.PositiveBigIntegerField()),
                ('cost_usd', models.DecimalField(decimal_places=6, max_digits=20)),
                ('estimated_calls', models.PositiveBigIntegerField()),
                ('estimated_tokens', models.PositiveBigIntegerField()),
                ('estimated_usd', models.DecimalField(decimal_places=6, max_digits=20)),
            ],
            options={
                'indexes': [models.Index(fields=['day', 'provider', 'model'], name='batch_usage_by_day_and_model')],
                'constraints': [models.UniqueConstraint(fields=('tenant_id', 'day', 'endpoint', 'mode', 'priority_class', 'provider', 'model'), name='batch_usage_is_summed_once_a_day')],
            },
        ),
        migrations.CreateModel(
            name='BatchUsageMark',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('ledger_id', models.PositiveBigIntegerField(default=0)),
                ('moved_at', models.DateTimeField(null=True)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('pk', 1)), name='batch_usage_has_one_mark')],
            },
        ),
        migrations.RunSQL(FORWARDS, BACKWARDS, hints={"is_batch": True}),
    ]
