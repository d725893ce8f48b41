"""How much room a tenant has for manifests: those that it uploaded and those that were staged for its batches count together."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.conf import settings

from invocation.domain.errors import ManifestsFull
from invocation.gateways import objects
from invocation.gateways.stores import answering

FOLDER = "manifests"
MOST_FILES = 10_000
"""They are listed whenever one is to come."""


@dataclass(frozen=True, slots=True)
class Room:
    """How many bytes of manifests may be kept, and how many are."""

    limit: int
    used: int

    def must_hold(self, length: int) -> None:
        """Raises ManifestsFull."""
        if self.used + length > self.limit:
            told = f"There is no room for it: {self.used} bytes of manifests are kept, and at most {self.limit} may be."
            raise ManifestsFull(told, limit=self.limit, used=self.used, unit="bytes")


def room_of(tenant_id: UUID, *, replacing: str = "") -> Room:
    """Return what room a tenant has for one more manifest, or for one in the place of another. Raises ManifestsFull, StoreUnavailable.

    Manifests that come at the same time do not count for one another.
    """
    with answering("manifest"):
        found = objects.store_of(tenant_id).list(FOLDER)
    others = [length for path, length in found if path != replacing]
    if len(others) >= MOST_FILES:
        told = f"There is no room for it: {len(others)} manifests are kept, and at most {MOST_FILES} may be."
        raise ManifestsFull(told, limit=MOST_FILES, used=len(others), unit="files")
    return Room(settings.MANIFESTS_MAX_BYTES, sum(others))
