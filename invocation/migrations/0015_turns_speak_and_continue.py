"""The deadline of a turn's first words, and the jobs as which turns went on."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('invocation', '0013_text_seq'),
    ]

    operations = [
        migrations.AddField(
            model_name='turn',
            name='first_delta_deadline',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddConstraint(
            model_name='turn',
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ('first_delta_deadline__isnull', True),
                    ('first_delta_deadline__lte', models.F('deadline')),
                    _connector='OR',
                ),
                name='turn_speaks_before_its_deadline',
            ),
        ),
        migrations.CreateModel(
            name='Continuation',
            fields=[
                ('turn', models.OneToOneField(
                    on_delete=django.db.models.deletion.CASCADE,
                    primary_key=True,
                    related_name='continuation',
                    serialize=False,
                    to='invocation.turn',
                )),
                ('job_id', models.UUIDField(unique=True)),
                ('accepted_at', models.DateTimeField()),
            ],
        ),
    ]
