"""Tokens and model calls beside money in every budget; holds on a job's row; downshifts on record."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('invocation', '0010_hot_tables'),
    ]

    operations = [
        migrations.CreateModel(
            name='DownshiftCount',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('endpoint', models.CharField(max_length=120)),
                ('wanted', models.CharField(max_length=16)),
                ('used', models.CharField(max_length=16)),
                ('why', models.CharField(max_length=16)),
                ('count', models.PositiveBigIntegerField(default=0)),
            ],
        ),
        migrations.AddField(
            model_name='batch',
            name='call_cap',
            field=models.BigIntegerField(default=200_000_000),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='batch',
            name='token_cap',
            field=models.BigIntegerField(default=2_000_000_000_000),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='job',
            name='call_cap',
            field=models.BigIntegerField(default=1000000),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='job',
            name='held_calls',
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name='job',
            name='held_tokens',
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name='job',
            name='held_usd',
            field=models.DecimalField(db_default=0, decimal_places=6, max_digits=12),
        ),
        migrations.AddField(
            model_name='job',
            name='lent_calls',
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name='job',
            name='lent_tokens',
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name='job',
            name='spent_calls',
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name='job',
            name='spent_tokens',
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name='job',
            name='token_cap',
            field=models.BigIntegerField(default=1000000),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='runrecord',
            name='downshifts',
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='schedule',
            name='cost_usd',
            field=models.DecimalField(blank=True, decimal_places=6, max_digits=12, null=True),
        ),
        migrations.AddField(
            model_name='schedule',
            name='model_calls',
            field=models.PositiveBigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='schedule',
            name='tokens',
            field=models.PositiveBigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='shard',
            name='ahead',
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='shard',
            name='calls',
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='shard',
            name='reserved_calls',
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='shard',
            name='reserved_tokens',
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='turn',
            name='call_cap',
            field=models.BigIntegerField(default=1000000),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='turn',
            name='token_cap',
            field=models.BigIntegerField(default=1000000),
            preserve_default=False,
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(('held_calls__gte', 0), ('held_tokens__gte', 0), ('held_usd__gte', 0)), name='job_holds_no_less_than_nothing'),
        ),
        migrations.AddConstraint(
            model_name='downshiftcount',
            constraint=models.UniqueConstraint(fields=('endpoint', 'wanted', 'used', 'why'), name='downshifts_are_counted_in_one_place'),
        ),
    ]
