"""Triggers: the ledger and the record of changes are only ever added to; a price that was paid by stays as it was."""

from django.db import migrations

FORWARDS = """
CREATE TRIGGER ledger_is_not_emptied BEFORE TRUNCATE ON quota_ledgerentry
FOR EACH STATEMENT EXECUTE FUNCTION quota_ledger_is_append_only();

CREATE FUNCTION quota_changes_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the record of quota changes is append-only' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER changes_are_append_only BEFORE UPDATE OR DELETE ON quota_quotachange
FOR EACH ROW EXECUTE FUNCTION quota_changes_are_append_only();
CREATE TRIGGER changes_are_not_emptied BEFORE TRUNCATE ON quota_quotachange
FOR EACH STATEMENT EXECUTE FUNCTION quota_changes_are_append_only();

CREATE FUNCTION quota_price_in_effect_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.valid_from > clock_timestamp() THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'a price is superseded by another, not changed; one in effect is not deleted' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER price_in_effect_stays BEFORE UPDATE OR DELETE ON quota_modelprice
FOR EACH ROW EXECUTE FUNCTION quota_price_in_effect_stays();
"""
BACKWARDS = """
DROP TRIGGER ledger_is_not_emptied ON quota_ledgerentry;
DROP TRIGGER changes_are_append_only ON quota_quotachange;
DROP TRIGGER changes_are_not_emptied ON quota_quotachange;
DROP FUNCTION quota_changes_are_append_only();
DROP TRIGGER price_in_effect_stays ON quota_modelprice;
DROP FUNCTION quota_price_in_effect_stays();
"""


class Migration(migrations.Migration):
    dependencies = [("quota", "0004_money")]
    operations = [migrations.RunSQL(FORWARDS, BACKWARDS)]
