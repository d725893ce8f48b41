"""The plans, the offline models' quotas, and the trigger that keeps the ledger append-only."""

from django.db import migrations

PLANS = (
    {"name": "free", "in_flight_p0": 2, "in_flight_p1": 2, "in_flight_p2": 2, "in_flight_p3": 2, "requests_per_minute": 120, "weight": 1},
    {"name": "pro", "in_flight_p0": 20, "in_flight_p1": 20, "in_flight_p2": 20, "in_flight_p3": 20, "requests_per_minute": 3000, "weight": 4},
    {"name": "house", "requests_per_minute": 1_000_000, "weight": 4},
)
QUOTAS = (
    {"provider": "offline", "model": "gearbox-offline-standard", "tokens_per_minute": 2_000_000, "requests_per_minute": 20_000},
    {"provider": "offline", "model": "gearbox-offline-economy", "tokens_per_minute": 8_000_000, "requests_per_minute": 80_000},
)
APPEND_ONLY = """
CREATE FUNCTION quota_ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER ledger_is_append_only BEFORE UPDATE OR DELETE ON quota_ledgerentry
FOR EACH ROW EXECUTE FUNCTION quota_ledger_is_append_only();
"""


def seed(apps, schema_editor):
    for plan in PLANS:
        apps.get_model("quota", "Plan").objects.get_or_create(name=plan["name"], defaults=plan)
    for quota in QUOTAS:
        apps.get_model("quota", "ModelQuota").objects.get_or_create(
            provider=quota["provider"], model=quota["model"], defaults={**quota, "p0_reserved": 0.3, "p3_cap": 0.6}
        )


class Migration(migrations.Migration):
    dependencies = [("quota", "0001_tables")]
    operations = [
        migrations.RunSQL(
            APPEND_ONLY,
            "DROP TRIGGER ledger_is_append_only ON quota_ledgerentry; DROP FUNCTION quota_ledger_is_append_only();",
        ),
        migrations.RunPython(seed, migrations.RunPython.noop),
    ]
