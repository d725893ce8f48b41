"""The shop's tables."""

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.contrib.postgres.search
import django.db.models.deletion
from django.db import migrations, models

# The same words in the same order always give the same text; only for other element types would it depend on settings.
WORDS = """
CREATE FUNCTION agents_words(words text[]) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN array_to_string(words, ' ')
"""


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.RunSQL(WORDS, "DROP FUNCTION agents_words(text[])"),
        migrations.CreateModel(
            name='Reader',
            fields=[
                ('reader', models.CharField(max_length=40, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=200)),
                ('locale', models.CharField(max_length=30)),
                ('joined', models.DateField()),
            ],
            options={
                'ordering': ['reader'],
            },
        ),
        migrations.CreateModel(
            name='Title',
            fields=[
                ('slug', models.SlugField(max_length=120, primary_key=True, serialize=False)),
                ('title', models.CharField(max_length=200)),
                ('author', models.CharField(max_length=200)),
                ('year', models.SmallIntegerField()),
                ('demographic', models.CharField(choices=[('shonen', 'shonen'), ('shojo', 'shojo'), ('seinen', 'seinen'), ('josei', 'josei'), ('kodomo', 'kodomo')], max_length=10)),
                ('genres', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=30), size=None)),
                ('volumes', models.SmallIntegerField()),
                ('status', models.CharField(choices=[('finished', 'finished'), ('ongoing', 'ongoing'), ('hiatus', 'hiatus')], max_length=10)),
                ('synopsis', models.TextField()),
                ('search', models.GeneratedField(db_persist=True, expression=django.contrib.postgres.search.CombinedSearchVector(django.contrib.postgres.search.CombinedSearchVector(django.contrib.postgres.search.SearchVector('title', 'author', config='english', weight='A'), '||', django.contrib.postgres.search.SearchVector(models.Func(models.F('genres'), function='agents_words', output_field=models.TextField()), 'demographic', config='english', weight='B'), django.contrib.postgres.search.SearchConfig('english')), '||', django.contrib.postgres.search.SearchVector('synopsis', config='english', weight='C'), django.contrib.postgres.search.SearchConfig('english')), output_field=django.contrib.postgres.search.SearchVectorField())),
            ],
            options={
                'ordering': ['slug'],
                'indexes': [django.contrib.postgres.indexes.GinIndex(fields=['search'], name='title_is_found_by_its_words')],
                'constraints': [models.CheckConstraint(condition=models.Q(('slug__regex', '^[a-z0-9]+(-[a-z0-9]+)*$')), name='title_slug_is_lower_case_words'), models.CheckConstraint(condition=models.Q(('year__range', (1900, 2100))), name='title_year_is_plausible'), models.CheckConstraint(condition=models.Q(('volumes__range', (1, 1000))), name='title_has_volumes'), models.CheckConstraint(condition=models.Q(('genres__len__gte', 1)), name='title_has_genres'), models.CheckConstraint(condition=models.Q(('demographic__in', ['shonen', 'shojo', 'seinen', 'josei', 'kodomo'])), name='title_demographic_is_known'), models.CheckConstraint(condition=models.Q(('status__in', ['finished', 'ongoing', 'hiatus'])), name='title_status_is_known')],
            },
        ),
        migrations.CreateModel(
            name='Purchase',
            fields=[
                ('order', models.CharField(max_length=40, primary_key=True, serialize=False)),
                ('volume', models.SmallIntegerField()),
                ('at', models.DateField()),
                ('price_usd', models.DecimalField(decimal_places=2, max_digits=8)),
                ('reader', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='purchases', to='agents.reader')),
                ('title', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='purchases', to='agents.title')),
            ],
            options={
                'ordering': ['-at', 'order'],
            },
        ),
        migrations.CreateModel(
            name='Refund',
            fields=[
                ('order', models.OneToOneField(db_column='order', on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='refund', serialize=False, to='agents.purchase')),
                ('amount_usd', models.DecimalField(decimal_places=2, max_digits=8)),
                ('decision', models.CharField(choices=[('approved', 'approved'), ('denied', 'denied')], max_length=10)),
                ('decided_at', models.DateTimeField()),
                ('effect_key', models.CharField(max_length=200)),
                ('reader', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='refunds', to='agents.reader')),
            ],
            options={
                'ordering': ['-decided_at'],
            },
        ),
        migrations.AddConstraint(
            model_name='purchase',
            constraint=models.CheckConstraint(condition=models.Q(('volume__gte', 1)), name='purchase_is_of_a_volume'),
        ),
        migrations.AddConstraint(
            model_name='purchase',
            constraint=models.CheckConstraint(condition=models.Q(('price_usd__gte', 0)), name='purchase_price_is_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='refund',
            constraint=models.UniqueConstraint(fields=('effect_key',), name='refund_happens_once'),
        ),
        migrations.AddConstraint(
            model_name='refund',
            constraint=models.CheckConstraint(condition=models.Q(('amount_usd__gte', 0)), name='refund_amount_is_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='refund',
            constraint=models.CheckConstraint(condition=models.Q(('decision__in', ['approved', 'denied'])), name='refund_decision_is_known'),
        ),
        migrations.AddConstraint(
            model_name='refund',
            constraint=models.CheckConstraint(condition=models.Q(('decision', 'approved'), ('amount_usd', 0), _connector='OR'), name='refund_pays_only_when_approved'),
        ),
    ]
