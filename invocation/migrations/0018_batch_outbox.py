"""Batches tell what happened from a table beside their own; what was taken over from there leaves a receipt."""

import uuid6
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('invocation', '0017_batch_states'),
    ]

    operations = [
        migrations.CreateModel(
            name='OutboxReceipt',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('at', models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name='BatchOutbox',
            fields=[
                ('id', models.UUIDField(default=uuid6.uuid7, editable=False, primary_key=True, serialize=False)),
                ('topic', models.CharField(max_length=32)),
                ('run_id', models.UUIDField()),
                ('data', models.JSONField()),
                ('at', models.DateTimeField()),
            ],
            options={
                'indexes': [models.Index(fields=['topic', 'id'], name='batch_outbox_by_topic')],
            },
        ),
    ]
