"""What lost attempts at shards had set aside counts, and turns write down what an attempt sets aside beyond its quarter."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('invocation', '0027_tries_and_turns'),
    ]

    operations = [
        migrations.AddField(
            model_name='shard',
            name='lost_calls',
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name='shard',
            name='lost_tokens',
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name='shard',
            name='lost_usd',
            field=models.DecimalField(db_default=0, decimal_places=6, max_digits=14),
        ),
        migrations.AddField(
            model_name='turn',
            name='held_calls',
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name='turn',
            name='held_tokens',
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name='turn',
            name='held_usd',
            field=models.DecimalField(db_default=0, decimal_places=6, max_digits=12),
        ),
    ]
