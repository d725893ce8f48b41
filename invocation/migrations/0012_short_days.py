"""What a shard's next row could take when the tenant's day refused it."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('invocation', '0011_budgets'),
    ]

    operations = [
        migrations.AddField(
            model_name='shard',
            name='short_tokens',
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='shard',
            name='short_usd',
            field=models.DecimalField(decimal_places=6, default=0, max_digits=14),
        ),
    ]
