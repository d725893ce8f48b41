"""Places in S3 that administrators grant to tenants."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('invocation', '0018_batch_outbox'),
    ]

    operations = [
        migrations.CreateModel(
            name='StoreGrant',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('tenant_id', models.UUIDField()),
                ('prefix', models.CharField(max_length=900)),
                ('may_write', models.BooleanField(default=False)),
                ('granted_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'constraints': [
                    models.UniqueConstraint(fields=('tenant_id', 'prefix'), name='prefix_is_granted_once'),
                    models.CheckConstraint(condition=models.Q(('prefix__regex', '^s3://[^/]+(/[^/]+)*$'), models.Q(('prefix__regex', '/\\.{1,2}(/|$)'), _negated=True)), name='granted_prefix_is_plain'),
                ],
            },
        ),
    ]
