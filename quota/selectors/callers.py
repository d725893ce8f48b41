"""What is read of callers: keys, tenants, plans, and the limits of the models."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from uuid import UUID

from django.db.models import QuerySet

from quota.domain.callers import Caller, PlanTerms, Scope
from quota.domain.classes import PriorityClass
from quota.domain.days import UNLIMITED, DayLimits
from quota.domain.limits import Limits
from quota.models import ApiKey, ModelQuota, Plan, Tenant


def key_by_prefix(prefix: str) -> ApiKey | None:
    """Return the key with its tenant and plan, revoked or not."""
    return ApiKey.objects.select_related("tenant__plan").filter(prefix=prefix).first()


def caller_of(key: ApiKey) -> Caller:
    return Caller(
        tenant_id=key.tenant_id,
        tenant_name=key.tenant.name,
        key_id=key.pk,
        scopes=frozenset(Scope(word) for word in key.scopes),
        highest_class=PriorityClass(key.highest_class),
        plan=plan_terms(key.tenant.plan),
    )


def caller_by_prefix(prefix: str) -> Caller | None:
    """Return who the key belongs to, without asking for its secret."""
    key = key_by_prefix(prefix)
    return caller_of(key) if key else None


def plan_terms(plan: Plan) -> PlanTerms:
    caps = {
        PriorityClass.P0: plan.in_flight_p0,
        PriorityClass.P1: plan.in_flight_p1,
        PriorityClass.P2: plan.in_flight_p2,
        PriorityClass.P3: plan.in_flight_p3,
    }
    return PlanTerms(plan.name, plan.weight, plan.requests_per_minute, MappingProxyType(caps), _day_of(plan), plan.connections)


def _day_of(plan: Plan) -> DayLimits:
    return DayLimits(plan.daily_usd, plan.daily_tokens)


def day_limits_of(tenant_ids: Collection[UUID]) -> Mapping[UUID, DayLimits]:
    """Return what each tenant's plan allows a day; nobody's day is unlimited, because nobody calls for it."""
    tenants = Tenant.objects.filter(pk__in=tenant_ids).select_related("plan")
    return {**dict.fromkeys(tenant_ids, UNLIMITED), **{tenant.pk: _day_of(tenant.plan) for tenant in tenants}}


def terms_of_tenants() -> Mapping[UUID, PlanTerms]:
    """Return every active tenant's plan: what the dispatcher shares by."""
    tenants = Tenant.objects.filter(is_active=True).select_related("plan")
    return {tenant.pk: plan_terms(tenant.plan) for tenant in tenants}


def terms_of(tenant_ids: Iterable[UUID]) -> Mapping[UUID, PlanTerms]:
    """Return the plan's terms of those of the tenants that are active."""
    tenants = Tenant.objects.filter(pk__in=list(tenant_ids), is_active=True).select_related("plan")
    return {tenant.pk: plan_terms(tenant.plan) for tenant in tenants}


def plan_ids_of(tenant_ids: Iterable[UUID]) -> Mapping[UUID, int]:
    """Return which plan each of the tenants has, of those that are active."""
    return dict(Tenant.objects.filter(pk__in=list(tenant_ids), is_active=True).order_by().values_list("pk", "plan_id"))


def terms_by_plan() -> Mapping[int, PlanTerms]:
    return {plan.pk: plan_terms(plan) for plan in Plan.objects.all()}


def all_keys() -> QuerySet[ApiKey]:
    return ApiKey.objects.select_related("tenant__plan")


def limits_by_model() -> Mapping[tuple[str, str], Limits]:
    """Return the limits of every (provider, model) that has a row."""
    return {
        (row.provider, row.model): Limits(
            tokens_per_minute=row.tokens_per_minute,
            requests_per_minute=row.requests_per_minute,
            p0_reserved=row.p0_reserved,
            p3_cap=row.p3_cap,
            tokens_per_day=row.tokens_per_day,
            requests_per_day=row.requests_per_day,
            day_zone=row.day_zone,
        )
        for row in ModelQuota.objects.all()
    }


def tenant_id_of(name: str) -> UUID | None:
    """Return the id of the tenant of this name."""
    return Tenant.objects.filter(name=name).values_list("pk", flat=True).first()


def tenant_names() -> Mapping[str, str]:
    """Return the name of each tenant by its id as text."""
    return {str(pk): name for pk, name in Tenant.objects.values_list("pk", "name")}
