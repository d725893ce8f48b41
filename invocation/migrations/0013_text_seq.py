"""How far the text of a running turn is stored."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('invocation', '0012_short_days'),
    ]

    operations = [
        migrations.AddField(
            model_name='turn',
            name='text_seq',
            field=models.PositiveBigIntegerField(default=0),
        ),
    ]
