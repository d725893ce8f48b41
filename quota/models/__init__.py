"""The tables of quota."""

from quota.models.batch_ledger import BatchLedgerEntry, BatchUsageDay, BatchUsageMark
from quota.models.callers import ApiKey, ModelQuota, ModelUse, Plan, Tenant, _new_id, must_be_a_zone
from quota.models.changes import QuotaChange
from quota.models.ledger import LedgerEntry, UsageDay, UsageMark
from quota.models.prices import ModelPrice
from quota.models.reconciling import ProviderUsage, UsageImport

__all__ = [
    "ApiKey",
    "BatchLedgerEntry",
    "BatchUsageDay",
    "BatchUsageMark",
    "LedgerEntry",
    "ModelPrice",
    "ModelQuota",
    "ModelUse",
    "Plan",
    "ProviderUsage",
    "QuotaChange",
    "Tenant",
    "UsageDay",
    "UsageImport",
    "UsageMark",
    "_new_id",
    "must_be_a_zone",
]
