"""The local catalog's tables, and which datasets are to be registered where."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('invocation', '0022_batch_dataset'),
    ]

    operations = [
        migrations.CreateModel(
            name='CatalogTable',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=255, unique=True)),
                ('batch_id', models.UUIDField()),
                ('tenant_id', models.UUIDField()),
                ('endpoint', models.CharField(max_length=120)),
                ('location', models.TextField()),
                ('columns', models.JSONField()),
                ('partition_by', models.JSONField(default=list)),
                ('partitions', models.JSONField(default=list)),
                ('rows', models.PositiveBigIntegerField()),
                ('bytes', models.PositiveBigIntegerField()),
                ('registered_at', models.DateTimeField()),
            ],
            options={
                'indexes': [models.Index(fields=['tenant_id', 'id'], name='catalog_of_tenant')],
            },
        ),
        migrations.CreateModel(
            name='Registration',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('batch_id', models.UUIDField()),
                ('catalog', models.CharField(max_length=32)),
                ('tries', models.PositiveIntegerField(default=0)),
                ('due_at', models.DateTimeField()),
                ('done_at', models.DateTimeField(blank=True, null=True)),
                ('error', models.TextField(blank=True)),
            ],
            options={
                'indexes': [models.Index(models.F('due_at'), condition=models.Q(('done_at__isnull', True)), name='registration_due')],
                'constraints': [models.UniqueConstraint(fields=('batch_id', 'catalog'), name='dataset_is_registered_once_in_a_catalog')],
            },
        ),
    ]
