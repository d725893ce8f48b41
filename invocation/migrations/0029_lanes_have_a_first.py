"""Whether a lane has a first is known without reading all who wait in it."""

import invocation.domain.jobs
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('invocation', '0028_set_aside'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='job',
            index=models.Index(models.F('tenant_id'), models.F('ordering_key'), condition=models.Q(('is_behind', False), ('ordering_key__isnull', False), models.Q(('state__in', frozenset([invocation.domain.jobs.JobState['CANCELLED'], invocation.domain.jobs.JobState['COMPLETED'], invocation.domain.jobs.JobState['FAILED']])), _negated=True)), name='job_first_of_lane'),
        ),
    ]
