"""What is read of quota: callers, plans, limits, prices, usage and its reconciliation."""

from quota.selectors.callers import (
    all_keys,
    caller_by_prefix,
    caller_of,
    day_limits_of,
    key_by_prefix,
    limits_by_model,
    plan_ids_of,
    plan_terms,
    tenant_id_of,
    tenant_names,
    terms_by_plan,
    terms_of,
    terms_of_tenants,
)
from quota.selectors.ledger import booked_by_class
from quota.selectors.usage import used_by_class, used_by_tenants, used_on

__all__ = [
    "all_keys",
    "booked_by_class",
    "caller_by_prefix",
    "caller_of",
    "day_limits_of",
    "key_by_prefix",
    "limits_by_model",
    "plan_ids_of",
    "plan_terms",
    "tenant_id_of",
    "tenant_names",
    "terms_by_plan",
    "terms_of",
    "terms_of_tenants",
    "used_by_class",
    "used_by_tenants",
    "used_on",
]
