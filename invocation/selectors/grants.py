"""Whether a tenant may use a place outside of its own part of the object store."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings

from invocation.domain.locations import is_within, plain
from invocation.models import StoreGrant


def granted(tenant_id: UUID, uri: str, *, writes: bool = False) -> bool:
    """Say whether the tenant may read, or write, at this `s3://…`.

    The object store itself is nobody's to grant: each tenant's part of it is reached by relative paths.
    """
    place = plain(uri)
    if place is None or touches_object_store(place):
        return False
    found = StoreGrant.objects.filter(tenant_id=tenant_id)
    return any(is_within(place, grant.prefix) for grant in (found.filter(may_write=True) if writes else found))


def touches_object_store(place: str) -> bool:
    """Say whether a plain location lies in the object store, or the object store in it."""
    own = plain(str(settings.OBJECT_STORE))
    return own is not None and (is_within(place, own) or is_within(own, place))
