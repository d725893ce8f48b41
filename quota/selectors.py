"""What is read of quota: callers, plans, limits and usage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from uuid import UUID

from django.conf import settings
from django.db.models import Count, F, QuerySet, Sum
from django.db.models.functions import TruncDate

from quota.domain.budgets import Spending
from quota.domain.callers import Caller, PlanTerms, Scope
from quota.domain.classes import PriorityClass
from quota.domain.days import UNLIMITED, DayLimits, begins_at
from quota.domain.ledger import Usage
from quota.domain.limits import Limits
from quota.models import ApiKey, LedgerEntry, ModelQuota, Plan, Tenant


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
    return PlanTerms(plan.name, plan.weight, plan.requests_per_minute, MappingProxyType(caps), _day_of(plan))


def _day_of(plan: Plan) -> DayLimits:
    return DayLimits(plan.daily_usd, plan.daily_tokens)


def day_limits_of(tenant_id: UUID) -> DayLimits:
    """Return what the tenant's plan allows a day; nobody's day is unlimited, because nobody calls for it."""
    plan = Plan.objects.filter(tenants=tenant_id).first()
    return _day_of(plan) if plan else UNLIMITED


def used_on(tenant_id: UUID, day: date, *, using: str = "default") -> Spending:
    """Return what the ledger says that a tenant's calls of a UTC day have used."""
    calls = LedgerEntry.objects.using(using).filter(tenant_id=tenant_id, at__gte=begins_at(day), at__lt=begins_at(day + timedelta(days=1)))
    sums = calls.aggregate(usd=Sum("cost_usd"), tokens=Sum(F("input_tokens") + F("output_tokens")), calls=Count("pk"))
    return Spending(sums["usd"] or Decimal(0), sums["tokens"] or 0, sums["calls"])


def terms_of_tenants() -> Mapping[UUID, PlanTerms]:
    """Return every active tenant's plan: what the dispatcher shares by."""
    tenants = Tenant.objects.filter(is_active=True).select_related("plan")
    return {tenant.pk: plan_terms(tenant.plan) for tenant in tenants}


def terms_of(tenant_ids: Iterable[UUID]) -> Mapping[UUID, PlanTerms]:
    """Return the plan's terms of those of the tenants that are active."""
    tenants = Tenant.objects.filter(pk__in=list(tenant_ids), is_active=True).select_related("plan")
    return {tenant.pk: plan_terms(tenant.plan) for tenant in tenants}


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


def usage(tenant_id: UUID, *, since: datetime, until: datetime, using: str = "default") -> list[Usage]:
    """Sum a tenant's calls by UTC day, endpoint, mode and model; `until` itself is outside."""
    rows = (
        LedgerEntry.objects.using(using)
        .filter(tenant_id=tenant_id, at__gte=since, at__lt=until)
        .values("endpoint", "mode", "model", day=TruncDate("at"))
        .annotate(calls=Count("pk"), inputs=Sum("input_tokens"), outputs=Sum("output_tokens"), usd=Sum("cost_usd"))
        .order_by("day", "endpoint", "mode", "model")
    )
    return [
        Usage(
            day=row["day"].isoformat(),
            endpoint=row["endpoint"],
            mode=row["mode"],
            model=row["model"],
            calls=row["calls"],
            input_tokens=row["inputs"],
            output_tokens=row["outputs"],
            cost_usd=row["usd"],
        )
        for row in rows
    ]


def ledgers() -> list[str]:
    """Return the databases that hold a ledger: the first, and the one of batches where that is another."""
    return [alias for alias in ("default", "batch") if alias in settings.DATABASES]


def booked_by_class(provider: str, model: str, *, since: datetime) -> Mapping[PriorityClass, tuple[int, int]]:
    """Sum the tokens and requests of a model's calls since a moment, over all ledgers."""
    found: dict[PriorityClass, tuple[int, int]] = {}
    for alias in ledgers():
        calls = LedgerEntry.objects.using(alias).filter(provider=provider, model=model, at__gte=since)
        sums = calls.values("priority_class").annotate(calls=Count("pk"), tokens=Sum(F("input_tokens") + F("output_tokens")))
        for row in sums.order_by("priority_class"):
            word = PriorityClass(row["priority_class"])
            tokens, requests = found.get(word, (0, 0))
            found[word] = (tokens + row["tokens"], requests + row["calls"])
    return found


def tenant_id_of(name: str) -> UUID | None:
    """Return the id of the tenant of this name."""
    return Tenant.objects.filter(name=name).values_list("pk", flat=True).first()
