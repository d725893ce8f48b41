"""Creates, revokes and recognises API keys."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from quota import selectors
from quota.domain import keys
from quota.domain.callers import Caller, Scope
from quota.domain.classes import PriorityClass
from quota.domain.errors import BadKey, KeyRevoked, UnknownKey, UnknownPlan
from quota.domain.keys import RawKey
from quota.models import ApiKey, Plan, Tenant

REMEMBERED = timedelta(seconds=5)
USE_NOTED_EVERY = timedelta(minutes=1)
MOST_REMEMBERED = 10_000
_NO_DIGEST = "0" * 64


@transaction.atomic
def create(
    *,
    tenant_name: str,
    plan: str,
    now: datetime,
    scopes: Iterable[Scope] = tuple(Scope),
    highest_class: PriorityClass = PriorityClass.P0,
    name: str = "",
) -> tuple[Tenant, str]:
    """Create a key, and its tenant if new, and return both; the key's text exists nowhere else.

    A tenant that exists already keeps its plan. Raises UnknownPlan.
    """
    found = Plan.objects.filter(name=plan).first()
    if found is None:
        raise UnknownPlan(f"There is no plan {plan!r}; there are: {', '.join(Plan.objects.values_list('name', flat=True))}.")
    tenant, _ = Tenant.objects.get_or_create(name=tenant_name, defaults={"plan": found, "created_at": now})
    key = ApiKey(tenant=tenant, name=name, scopes=sorted(scopes), highest_class=highest_class)
    return tenant, seal(key, now=now)


def seal(key: ApiKey, *, now: datetime) -> str:
    """Give an unsaved row its prefix and secret, save it, and return the key's text, which exists nowhere else."""
    raw = keys.generate()
    key.prefix, key.secret_sha256, key.created_at = raw.prefix, raw.digest, now
    key.save(force_insert=True)
    return raw.text


def revoke(prefix: str, *, now: datetime) -> None:
    """Revoke a key; every process refuses it within 5 s. A second time keeps the first moment. Raises UnknownKey."""
    if not ApiKey.objects.filter(prefix=prefix).exists():
        raise UnknownKey(f"No key begins with gbx_{prefix}.")
    ApiKey.objects.filter(prefix=prefix, revoked_at__isnull=True).update(revoked_at=now)
    _remembered.forget()


def authenticate(text: str, *, now: datetime) -> Caller:
    """Return whose key this is, as of at most 5 s ago. Raises BadKey, KeyRevoked."""
    raw = keys.split(text)
    return _remembered.recall(raw, now=now) or _remembered.keep(raw, _read(raw, now=now), now=now)


def recall(text: str, *, now: datetime) -> Caller | None:
    """Return whose key this is if this process recognised it within the last 5 s; asks no database. Raises BadKey."""
    return _remembered.recall(keys.split(text), now=now)


def vouch(prefix: str, *, now: datetime) -> Caller:
    """Return whose key has this prefix, for one who has proved to hold it before. Raises BadKey, KeyRevoked."""
    key = selectors.key_by_prefix(prefix)
    if key is None:
        raise BadKey("This API key is not known here.")
    _check_alive(key, now=now)
    return selectors.caller_of(key)


def _read(raw: RawKey, *, now: datetime) -> Caller:
    """Compare a digest whether or not the prefix is known, so that the time taken tells nothing."""
    key = selectors.key_by_prefix(raw.prefix)
    if not raw.opens(key.secret_sha256 if key else _NO_DIGEST) or key is None:
        raise BadKey("This API key is not known here.")
    _check_alive(key, now=now)
    _note_use(key, now=now)
    return selectors.caller_of(key)


def _check_alive(key: ApiKey, *, now: datetime) -> None:
    if key.revoked_at is not None:
        raise KeyRevoked("This API key was revoked; create another.")
    if key.expires_at is not None and key.expires_at <= now:
        raise BadKey("This API key has expired; create another.")
    if not key.tenant.is_active:
        raise BadKey("This API key's tenant is closed.")


def _note_use(key: ApiKey, *, now: datetime) -> None:
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lte=now - USE_NOTED_EVERY)
    if key.last_used_at is None or key.last_used_at <= now - USE_NOTED_EVERY:
        ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller
    until: datetime


class _Remembered:
    """The keys this process recognised lately, by digest: a stolen memory image holds no key."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def recall(self, raw: RawKey, *, now: datetime) -> Caller | None:
        known = self._known.get(raw.prefix + raw.digest)
        return known.caller if known and known.until - REMEMBERED <= now < known.until else None

    def keep(self, raw: RawKey, caller: Caller, *, now: datetime) -> Caller:
        with self._lock:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[raw.prefix + raw.digest] = _Known(caller, now + REMEMBERED)
        return caller

    def forget(self) -> None:
        with self._lock:
            self._known.clear()


_remembered = _Remembered()
