"""SLO records, alerts, and what operators decide about canaries."""

from decimal import Decimal

import django.db.models.deletion
import uuid6
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('invocation', '0007_results'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Alert',
            fields=[
                ('id', models.UUIDField(default=uuid6.uuid7, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('dead_letter_share', 'dead_letter_share'), ('oldest_age', 'oldest_age'), ('utilisation_high', 'utilisation_high'), ('utilisation_low', 'utilisation_low'), ('dispatcher_silent', 'dispatcher_silent'), ('pool_empty', 'pool_empty')], max_length=24)),
                ('priority_class', models.CharField(max_length=8)),
                ('sentence', models.CharField(max_length=400)),
                ('found', models.FloatField()),
                ('bound', models.FloatField()),
                ('opened_at', models.DateTimeField()),
                ('closed_at', models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name='CanaryChange',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('endpoint', models.CharField(max_length=120)),
                ('agent_version', models.PositiveIntegerField()),
                ('percent', models.DecimalField(decimal_places=2, max_digits=5)),
                ('reason', models.CharField(max_length=400)),
                ('changed_at', models.DateTimeField()),
            ],
            options={'verbose_name': 'canary', 'verbose_name_plural': 'canaries'},
        ),
        migrations.CreateModel(
            name='SloRecord',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('priority_class', models.CharField(max_length=8)),
                ('minute', models.DateTimeField()),
                ('at', models.DateTimeField()),
                ('depth', models.PositiveBigIntegerField()),
                ('oldest_s', models.FloatField()),
                ('slots', models.PositiveIntegerField()),
                ('busy', models.PositiveIntegerField()),
                ('admitted', models.PositiveBigIntegerField()),
                ('finished', models.PositiveBigIntegerField()),
                ('dead', models.PositiveBigIntegerField()),
                ('volume', models.PositiveBigIntegerField()),
                ('holds', models.PositiveIntegerField()),
                ('is_led', models.BooleanField()),
            ],
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['dead_letter_share', 'oldest_age', 'utilisation_high', 'utilisation_low', 'dispatcher_silent', 'pool_empty'])), name='alert_kind_is_known'),
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.CheckConstraint(condition=models.Q(('priority_class__in', ['p0', 'p1', 'p2', 'p3'])), name='alert_class_is_known'),
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.UniqueConstraint(condition=models.Q(('closed_at__isnull', True)), fields=('kind', 'priority_class'), name='alert_is_open_once'),
        ),
        migrations.AddField(
            model_name='canarychange',
            name='changed_by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddIndex(
            model_name='slorecord',
            index=models.Index(fields=['minute'], name='slo_by_minute'),
        ),
        migrations.AddConstraint(
            model_name='slorecord',
            constraint=models.CheckConstraint(condition=models.Q(('priority_class__in', ['p0', 'p1', 'p2', 'p3'])), name='slo_class_is_known'),
        ),
        migrations.AddConstraint(
            model_name='slorecord',
            constraint=models.UniqueConstraint(fields=('priority_class', 'minute'), name='class_is_recorded_once_a_minute'),
        ),
        migrations.AddConstraint(
            model_name='slorecord',
            constraint=models.CheckConstraint(condition=models.Q(('oldest_s__gte', 0)), name='nothing_waits_since_tomorrow'),
        ),
        migrations.AddIndex(
            model_name='canarychange',
            index=models.Index(fields=['endpoint', '-id'], name='canary_of_endpoint'),
        ),
        migrations.AddConstraint(
            model_name='canarychange',
            constraint=models.CheckConstraint(condition=models.Q(('percent__gte', 0), ('percent__lt', Decimal('100'))), name='canary_takes_a_part_or_nothing'),
        ),
    ]
